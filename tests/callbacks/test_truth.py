import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_invert import analyze
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.scalars import scalar_names
from tests.callbacks.fits import Known, pair, process
from tests.projects import Smooth, fit_project


@pytest.mark.slow
def test_a_pair_is_held_against_the_process_of_its_data(tmp_path):
    everywhere = Thresholds(bands=(1, 1e4))  # all points are fragile
    watch = InvertibilityCallback(
        figures="all", save_figures=tmp_path / "figures", thresholds=everywhere
    )
    keep = ModelCheckpoint(tmp_path / "kept", monitor="invertibility/forward/jacobian_error_median")
    stop = ConditioningEarlyStopping(
        "round_trip", "cond_rank_correlation", divergence_threshold=-1.0
    )
    logger = CSVLogger(tmp_path)
    options = {"max_epochs": 2, "logger": logger, "enable_checkpointing": True}
    module = pair()
    trainer = fit_project(tmp_path, watch, keep, stop, module=module, data=(Known(),), **options)
    for name in ("forward", "round_trip"):
        tags = {f"invertibility/{name}/{scalar}" for scalar in scalar_names("truth")}
        assert tags <= set(trainer.callback_metrics)
        assert (tmp_path / "figures" / f"{name}_truth.png").exists()
    assert not [t for t in trainer.callback_metrics if "inverse/jacobian_error" in t]
    assert keep.best_model_score > 0
    assert stop.stopping_reason is None
    logged = set(logger.experiment.metrics_keys)
    assert "invertibility/forward/fragile_recall" in logged
    assert "invertibility/forward/jacobian_error_p95" not in logged
    forward, _, round_trip = watch.observations
    outside, *_ = resolve_maps(module.invertibility_maps(process), module)
    found = analyze(outside, forward.inputs)
    true = torch.autograd.functional.jacobian(lambda x: process(x).sum(0), forward.inputs.double())
    true = true.transpose(0, 1) * module.scale_x.std / module.scale_y.std[:, None]
    torch.testing.assert_close(
        forward.findings["truth"].singular_values, torch.linalg.svdvals(true)
    )
    torch.testing.assert_close(found.findings["truth"].error, forward.findings["truth"].error)
    assert round_trip.findings["truth"].error.isfinite().all()


def test_data_without_a_known_process_have_no_truth(tmp_path):
    trainer = fit_project(tmp_path, InvertibilityCallback(), module=pair(), data=(Smooth(),))
    assert not [tag for tag in trainer.callback_metrics if "jacobian_error" in tag]
    assert pair().invertibility_maps()["forward"]["truth"] is None
