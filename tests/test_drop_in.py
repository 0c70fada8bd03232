"""Dropped into projects that it has never seen, it watches or says what to write; it ends no fit."""

import warnings

import pytest
import torch

from docs import tried
from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import quiet_trainer
from tests.third_party import PROJECTS

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)


def fit(project, folder, watch=None):
    torch.manual_seed(1)
    module = project.module()
    trainer = quiet_trainer(folder, callbacks=[watch] if watch else [], **project.also)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, project.loader(), project.loader())
    words = [str(w.message) for w in caught if "InvertibilityCallback" in str(w.message)]
    return module, trainer, words


@each_project
def test_with_no_arguments_it_watches_or_says_once_what_to_write(project, tmp_path):
    watch = InvertibilityCallback(num_points=16, figures=False)
    _, trainer, words = fit(project, tmp_path, watch)
    assert trainer.global_step == len(project.loader())
    watched = "invertibility/forward/sigma_max_median" in trainer.callback_metrics
    assert watched == (project.default == "watched"), words
    if watched:
        assert not any("The parts of a batch:" in message for message in words)
        return
    (message,) = words
    for part in ("The parts of a batch:", "forward(", "InvertibilityCallback(maps={", "goes on"):
        assert part in message


@each_project
def test_named_maps_are_watched_with_their_shape(project, tmp_path):
    watch = InvertibilityCallback(project.maps, num_points=16, figures=False, scale="physical")
    _, _, words = fit(project, tmp_path, watch)
    names = set(project.maps) if project.maps else {"forward"}
    assert {one.name for one in watch.observations} == names, words
    (m, n) = watch.observations[0].shape
    assert (n, m) == project.shape


@each_project
def test_a_fit_ends_alike_to_the_bit_with_it_and_without(project, tmp_path):
    watch = InvertibilityCallback(project.maps, num_points=16, figures=False)
    one, with_it, _ = fit(project, tmp_path, watch)
    drawn = torch.rand(1)
    other, without, _ = fit(project, tmp_path)
    assert drawn == torch.rand(1)
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name
    logged = {k: v for k, v in with_it.callback_metrics.items() if "invertib" not in k}
    assert logged == without.callback_metrics


def test_the_docs_say_what_was_tried():
    assert tried.FILE.read_text(encoding="utf-8") == tried.table(), "run python -m docs.tried"
