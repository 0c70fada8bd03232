import math

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_invert import ForwardInverseModule
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.watch.scalars import scalar_named, scalar_names
from tests.projects import Foreign, Smooth, fit_project, loader, quiet_trainer


class Pretend(InvertibilityCallback):
    """Logs a given value in each watched epoch instead of what it sees; None: does not watch."""

    def __init__(self, values):
        super().__init__(figures=False)
        self.values = values

    def on_validation_epoch_end(self, trainer, pl_module):
        if trainer.sanity_checking or self.values[trainer.current_epoch] is None:
            return
        look = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        self.history["forward"] = [look]
        value = self.values[trainer.current_epoch]
        pl_module.log("invertibility/forward/log10_cond_p95", value)
        pl_module.log("invertibility/forward/full_rank_fraction", value)


def run(folder, values, stop, **fit):
    trainer = quiet_trainer(folder, max_epochs=len(values), callbacks=[Pretend(values), stop])
    trainer.fit(Foreign(), loader(rows=16), loader(rows=16), **fit)
    return trainer


def fit_watched(folder, stop, maps=None, *callbacks, **options):
    watch = InvertibilityCallback(maps, figures=False)
    return fit_project(folder, watch, stop, *callbacks, **{"max_epochs": 3, **options})


LARGER = {"monitor": "full_rank_fraction"}


@pytest.mark.parametrize(
    ("values", "options", "epoch", "reason"),
    [
        ([3, 1, 1, 1, 1], {"stopping_threshold": 2.0, "patience": 3}, 3, "good"),
        ([1, 1, 3, 1, 1], {"stopping_threshold": 2.0, "patience": 3}, None, None),
        ([3, 7, 7, 3, 3], {"divergence_threshold": 6.0, "patience": 2}, 2, "bad"),
        ([3, 7, 3, 7, 3], {"divergence_threshold": 6.0, "patience": 2}, None, None),
        ([3, math.inf, math.inf, 3], {"divergence_threshold": 6.0, "patience": 2}, 2, "bad"),
        ([math.inf, math.inf, 3, 1], {"stopping_threshold": 2.0, "patience": 1}, 3, "good"),
        ([math.inf, 3, 2, 1], {"stop_when_stalled": True, "patience": 2}, None, None),
        ([3, 2, 2, 2, 2], {"stop_when_stalled": True, "patience": 2}, 3, "stalled"),
        ([3, 2, 1.95, 1.92, 1], {"stop_when_stalled": True, "min_delta": 0.1, "patience": 2}, 3,
         "stalled"),
        ([1, None, None, 1, 1], {"stopping_threshold": 2.0, "patience": 3}, 4, "good"),
        ([None, None, None], {"stopping_threshold": 2.0}, None, None),
        # A scalar that is better when it is larger.
        ([0.5, 1.0, 1.0], {**LARGER, "stopping_threshold": 1.0, "patience": 2}, 2, "good"),
        ([1.0, 0.5, 0.5], {**LARGER, "divergence_threshold": 0.9, "patience": 2}, 2, "bad"),
        ([0.5, 0.5, 0.5], {**LARGER, "stop_when_stalled": True, "patience": 2}, 2, "stalled"),
    ],
)  # fmt: skip
def test_it_stops_when_a_condition_has_held_long_enough(tmp_path, values, options, epoch, reason):
    stop = ConditioningEarlyStopping(**options)
    run(tmp_path, values, stop)
    assert (stop.stopped_epoch, stop.stopping_reason) == (epoch, reason)


@pytest.mark.parametrize("name", scalar_names())
def test_every_scalar_can_be_monitored_in_its_sense(name):
    good, bad = (2.0, 1.0) if scalar_named(name).better == "larger" else (1.0, 2.0)
    ConditioningEarlyStopping(monitor=name, stopping_threshold=good, divergence_threshold=bad)
    with pytest.raises(ValueError, match="better than `divergence_threshold`"):
        ConditioningEarlyStopping(monitor=name, stopping_threshold=bad, divergence_threshold=good)


def test_the_error_of_a_round_trip_ends_a_fit(tmp_path):
    stop = ConditioningEarlyStopping("round_trip", "consistency_error", divergence_threshold=0.0)
    watch = InvertibilityCallback(figures=False)
    module, data = ForwardInverseModule(), (Smooth(),)
    fit_project(tmp_path, watch, stop, module=module, data=data, max_epochs=9)
    assert (stop.stopped_epoch, stop.stopping_reason) == (2, "bad")


def test_the_reason_is_said_in_words(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(tmp_path, [7, 7, 7], ConditioningEarlyStopping(divergence_threshold=6.0, patience=2))
    assert (
        "fit stops after epoch 1: invertibility/forward/log10_cond_p95 = 7; it has been above 6.0 "
        "(too badly conditioned) for 2 looks in a row" in caplog.text
    )


def test_resuming_goes_on_counting(tmp_path):
    first = run(tmp_path, [3, 1], ConditioningEarlyStopping(stopping_threshold=2.0, patience=3))
    first.save_checkpoint(tmp_path / "two.ckpt")
    resumed = ConditioningEarlyStopping(stopping_threshold=2.0, patience=3)
    run(tmp_path, [3, 1, 1, 1, 1], resumed, ckpt_path=tmp_path / "two.ckpt")
    assert resumed.stopped_epoch == 3


def test_two_of_them_have_states_of_their_own():
    one = ConditioningEarlyStopping("forward", stopping_threshold=2.0)
    two = ConditioningEarlyStopping("inverse", stopping_threshold=2.0)
    assert one.state_key != two.state_key


def test_what_could_never_end_a_fit_is_refused():
    with pytest.raises(ValueError, match="would never stop"):
        ConditioningEarlyStopping()
    with pytest.raises(ValueError, match=r"`monitor` .* 'log10_cond_p95'"):
        ConditioningEarlyStopping(monitor="log10_cond", stopping_threshold=2.0)


def test_a_trainer_that_watches_nothing_is_told_so(tmp_path):
    with pytest.raises(MisconfigurationException, match="InvertibilityCallback"):
        fit_project(tmp_path, ConditioningEarlyStopping(stopping_threshold=2.0))


def test_a_map_that_is_not_watched_is_named(tmp_path):
    stop = ConditioningEarlyStopping("inverse", stopping_threshold=2.0)
    with pytest.raises(MisconfigurationException, match=r"forward/.*got 'invertibility/inverse/"):
        run(tmp_path, [1, 1], stop)


def test_of_several_watchers_it_follows_the_one_that_watches_its_map(tmp_path):
    watchers = [
        InvertibilityCallback({"code": "encoder"}, every_n_validations=[], figures=False),
        InvertibilityCallback({"whole": "encoder"}, figures=False),
    ]
    stop = ConditioningEarlyStopping("whole", stopping_threshold=16.0, patience=3)
    fit_project(tmp_path, *watchers, stop, max_epochs=10)
    assert stop.stopped_epoch == 2


def test_it_judges_only_what_was_seen_of_its_own_map(tmp_path):
    # It took what another map's look had left, and stopped after one look at its own.
    class FailsAfterOne(Foreign):
        def watched(self, x):
            if self.trainer.current_epoch > 0:
                raise RuntimeError("out of memory, say")
            return self.encoder(x)

    module = FailsAfterOne()
    maps = {"works": "encoder", "fails": module.watched}
    stop = ConditioningEarlyStopping("fails", stop_when_stalled=True, patience=2)
    with pytest.warns(UserWarning, match="map 'fails' cannot be watched"):
        trainer = fit_watched(tmp_path, stop, maps, module=module, max_epochs=6)
    assert (trainer.current_epoch, stop.stopped_epoch) == (6, None)


@pytest.mark.parametrize("monitor", ["stable_rank_median", "fragile_recall"])
def test_a_scalar_that_the_map_does_not_have_is_said_and_ends_no_fit(tmp_path, monitor):
    stop = ConditioningEarlyStopping(monitor=monitor, stopping_threshold=0.5)
    words = f"{monitor} of map 'forward' is not known.* need a Jacobian that is formed, a truth, or"
    with pytest.warns(UserWarning, match=words):
        trainer = fit_watched(tmp_path, stop)
    assert trainer.current_epoch == 3


@pytest.mark.parametrize("monitor", ["fragile_recall", "fragile_precision", "r2_mean"])
def test_a_scalar_that_no_look_can_tell_ends_no_fit(tmp_path, monitor):
    # No point is fragile, and no outcome varies.
    constant = lambda batch: torch.zeros_like(batch[1])
    entry = {"module": "encoder", "input": 0, "truth": lambda x: x[:, :3], "target": constant}
    tag, logger = f"invertibility/f/{monitor}", CSVLogger(tmp_path)
    keep = ModelCheckpoint(tmp_path / "kept", monitor=tag, mode="max", save_top_k=2)
    patient = EarlyStopping(tag, mode="max", patience=9, check_finite=False)
    stop = ConditioningEarlyStopping("f", monitor, divergence_threshold=0.5, patience=1)
    options = {"logger": logger, "enable_checkpointing": True}
    with pytest.warns(UserWarning, match="is not known"):
        trainer = fit_watched(tmp_path, stop, {"f": entry}, keep, patient, **options)
    assert trainer.current_epoch == 3
    assert trainer.callback_metrics[tag].isnan()
    assert tag not in logger.experiment.metrics_keys
    assert len(keep.best_k_models) == 2


def test_a_map_of_one_of_several_dataloaders_is_judged_where_it_was_looked_at(tmp_path):
    watch = InvertibilityCallback(dataloaders="separate", every_n_validations=2, figures=False)
    stop = ConditioningEarlyStopping(
        "dataloader_1/forward", "full_rank_fraction", stopping_threshold=0.0, patience=3
    )
    module, data = Foreign(), (loader(), [loader(), loader()])
    module.validation_step = lambda batch, batch_idx, dataloader_idx=0: None
    fit_project(tmp_path, watch, stop, module=module, data=data, max_epochs=9)
    assert stop.stopped_epoch == 4  # epochs 0, 2 and 4 were watched
