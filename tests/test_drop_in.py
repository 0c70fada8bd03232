"""Dropped into a project that it has never seen, the callback watches or says what to write."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from docs import tried
from lightning_invert.callbacks import InvertibilityCallback
from lightning_invert.watch import search
from tests.advice import copied
from tests.projects import quiet_trainer
from tests.third_party import PROJECTS
from tests.third_party.advised import ADVISED


def fit(project, folder, callbacks=(), module=None):
    torch.manual_seed(1)
    module = module or project.module()
    trainer = quiet_trainer(folder, callbacks=list(callbacks), **project.options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, project.loader(), project.loader())
    return SimpleNamespace(
        module=module,
        trainer=trainer,
        draw=torch.rand(1),
        messages=[str(w.message) for w in caught if "InvertibilityCallback" in str(w.message)],
    )


@pytest.fixture(scope="module", params=PROJECTS, ids=lambda project: project.name)
def fits(request, tmp_path_factory):
    """A project with its fit alone and its fit with both callbacks: by default, and with maps."""
    project, folder = request.param, tmp_path_factory.mktemp("fits")
    default = InvertibilityCallback(num_points=16, figures=False)
    named = InvertibilityCallback(project.maps, num_points=16, figures=False, scale="physical")
    callbacks = [default, named] if project.maps else [default]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MAX_SECONDS", 1e9)  # the machine may do other work, too
        watched = fit(project, folder, callbacks)
    return SimpleNamespace(
        project=project,
        default=default,
        named=callbacks[-1],
        watched=watched,
        advice=[m for m in watched.messages if "The parts of a batch:" in m],
        alone=fit(project, folder),
    )


def test_with_no_arguments_it_watches_or_says_once_what_to_write(fits):
    watches = fits.project.is_watched_by_default
    assert [observation.name for observation in fits.default.observations] == ["forward"] * watches
    assert len(fits.advice) == (not watches), fits.watched.messages
    for part in ("forward(", "goes on"):
        assert all(part in message for message in fits.advice)


def test_a_message_is_short_enough_to_be_read(fits):
    for message in fits.advice:
        lines = message.splitlines()
        assert len(lines) <= 40
        assert all(len(line) <= (240 if "(maps=" in line else 120) for line in lines)


def test_what_is_advised_works_when_it_is_copied(fits, tmp_path):
    for message in fits.advice:
        maps, method = copied(message)
        advised = ADVISED[fits.project.name]
        module = fits.project.module()
        if method is None:
            assert maps == {"forward": advised}
        else:
            assert advised is None
            maps = method(module)  # of which a person writes the function
            maps["forward"]["module"] = lambda x: x.flatten(1).tanh()
        watch = InvertibilityCallback(maps, num_points=16, figures=False, on_error="raise")
        fit(fits.project, tmp_path, [watch], module)
        (observation,) = watch.observations
        assert observation.num_points == 16
        assert (observation.singular_values[:, 0] > 0).any()


def test_named_maps_are_watched_with_their_shape(fits):
    observations = {observation.name: observation for observation in fits.named.observations}
    assert list(observations) == list(fits.project.maps or {"forward": ""})
    m, n = next(iter(observations.values())).shape
    assert (n, m) == fits.project.shape


def test_a_fit_ends_alike_to_the_bit_with_it_and_without(fits):
    watched, alone = fits.watched, fits.alone
    assert watched.draw == alone.draw
    assert watched.trainer.global_step == alone.trainer.global_step == len(fits.project.loader())
    weights = watched.module.state_dict()
    for name, value in alone.module.state_dict().items():
        assert torch.equal(weights[name], value), name
    metrics = watched.trainer.callback_metrics
    assert alone.trainer.callback_metrics["val_loss"].isfinite()
    logged = {name: value for name, value in metrics.items() if "invertib" not in name}
    assert logged == alone.trainer.callback_metrics


def test_the_docs_list_every_project_and_option():
    assert tried.FILE.read_text(encoding="utf-8") == tried.table(), "run python -m docs.tried"
