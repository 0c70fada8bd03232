import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_invert import solve
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.watch.findings.reach import TOLERANCE
from lightning_invert.watch.scalars import scalar_names
from tests.callbacks.fits import pair
from tests.identity import state_of
from tests.projects import Foreign, Smooth, fit_project

TAG = "invertibility/forward/reachable_fraction"


@pytest.mark.slow
def test_a_pair_tells_it_of_its_forward_map_inside_the_ranges_of_its_variables(tmp_path):
    watch = InvertibilityCallback(reachable_steps=10)
    keep = ModelCheckpoint(tmp_path / "kept", monitor=TAG, mode="max")
    stop = ConditioningEarlyStopping("forward", "reachable_fraction", divergence_threshold=0.0)
    logger = CSVLogger(tmp_path)
    options = {"max_epochs": 3, "logger": logger, "enable_checkpointing": True}
    module, data = pair(), Smooth()
    wind, heat, load = data.inputs
    data.inputs = (wind._replace(low=600.0, high=1400.0), heat._replace(low=298.5), load)
    trainer = fit_project(tmp_path, watch, keep, stop, module=module, data=(data,), **options)
    told = {tag.rpartition("/")[2] for tag in trainer.callback_metrics if "reach" in tag}
    assert told == set(scalar_names("reach"))
    assert TAG in logger.experiment.metrics_keys
    assert f"{TAG}_low" not in logger.experiment.metrics_keys
    assert keep.best_model_score >= trainer.callback_metrics[TAG]
    assert stop.stopping_reason is None

    # All points of validation were looked at.
    x, y = (torch.cat(part) for part in zip(*data.val_dataloader(), strict=True))
    found = watch.observations[0]
    y = y[(found.inputs[:, None] == x).all(2).double().argmax(1)]
    low, high = x.min(0).values, x.max(0).values
    low[:2], high[0] = torch.tensor([600, 298.5]), 1400
    module.eval()
    solved = solve(
        lambda x: module(x), y, bounds=(low, high), starts=module.inverse(y).detach(),
        max_steps=10, tolerance=TOLERANCE, scale=(module.scale_x.std, module.scale_y.std),
    )  # fmt: skip
    reached = found.findings["reach"].reached
    assert trainer.callback_metrics[TAG] == reached.double().mean()
    assert 0.2 < reached.double().mean() < 0.8
    assert solved.converged[reached].all()
    # It tries as many steps again.
    assert not reached[solved.steps > 10].any()
    torch.testing.assert_close(found.findings["reach"].distance[reached], solved.residual[reached])


def test_it_is_off_by_default(tmp_path):
    data = Smooth()
    data.inputs = tuple(v._replace(low=2.0, high=1.0) for v in data.inputs)  # is not even read
    watch = InvertibilityCallback()
    trainer = fit_project(tmp_path, watch, module=pair(), data=(data,))
    assert not [tag for tag in trainer.callback_metrics if "reach" in tag]
    assert "reach" not in watch.observations[0].findings


@pytest.mark.parametrize("loop", ["validate", "test"])
def test_it_is_told_after_fit_too(tmp_path, loop):
    watch = InvertibilityCallback(reachable_steps=1)
    module, data = pair(), Smooth()
    trainer = fit_project(tmp_path, watch, module=module, data=(data,))
    (found,) = getattr(trainer, loop)(module, dataloaders=data.val_dataloader(), verbose=False)
    assert TAG in {tag.removeprefix("test/") for tag in found}


def test_a_module_that_does_not_say_from_where_is_refused_before_the_first_step(tmp_path):
    module = Foreign()
    before = state_of(module)
    watch = InvertibilityCallback(reachable_steps=10)
    with pytest.raises(ValueError, match="Expected argument `reachable_steps` to be None"):
        fit_project(tmp_path, watch, module=module)
    assert state_of(module) == before


def test_an_inverse_that_fails_is_said_once_and_ends_no_fit(tmp_path):
    def broken(y):
        raise ZeroDivisionError("a pole")

    maps = {"f": {"module": "", "reach": {"inverse": broken, "outcomes": 1}}}
    words = "because of its reach: ZeroDivisionError: a pole. The map is missing"
    with pytest.warns(UserWarning, match=words) as caught:
        trainer = fit_project(
            tmp_path, InvertibilityCallback(maps, reachable_steps=3), max_epochs=3
        )
    assert sum("a pole" in str(warning.message) for warning in caught) == 1
    assert trainer.current_epoch == 3
