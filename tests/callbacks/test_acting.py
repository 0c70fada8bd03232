import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ForwardInverseModule, JacobianConsistency
from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from tests.projects import Foreign, Smooth, fit_project, quiet_trainer

FULL_RANK = "invertibility/forward/full_rank_fraction"
P95 = "invertibility/forward/log10_cond_p95"


def plant(seed=0):
    x = 2 * torch.rand(512, 3, generator=torch.Generator().manual_seed(seed)) - 1
    y = torch.stack([x[:, 0] + 0.5 * x[:, 2], 0.1 * x[:, 1]], dim=1)
    return DataLoader(TensorDataset(x, y), 64)


class Learner(Foreign):
    def __init__(self, collapse=None):
        super().__init__(3, 2)
        self.encoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))
        self.collapse = collapse

    def on_train_epoch_start(self):
        if self.collapse is not None and self.current_epoch >= self.collapse:
            with torch.no_grad():
                self.encoder[0].bias -= 0.5


def fit(folder, module, *callbacks, epochs=60, **options):
    watch = InvertibilityCallback(num_points=128, figures=False)
    options |= {"module": module, "data": (plant(), plant(1)), "max_epochs": epochs}
    return fit_project(folder, watch, *callbacks, **options), watch


def test_a_model_that_collapses_is_stopped_while_its_last_good_checkpoint_is_fresh(tmp_path):
    stop = ConditioningEarlyStopping(
        "forward", "full_rank_fraction", divergence_threshold=0.9, patience=2
    )
    keep = ModelCheckpoint(tmp_path, "best", monitor=FULL_RANK, mode="max")
    trainer, watch = fit(tmp_path, Learner(collapse=6), stop, keep, enable_checkpointing=True)
    shares = [look["full_rank_fraction"] for look in watch.history["forward"]]
    assert min(shares[:6]) > 0.95
    assert max(shares[-2:]) < 0.9
    assert stop.stopping_reason == "bad"
    assert trainer.current_epoch == stop.stopped_epoch + 1 < 20
    learner = Learner.load_from_checkpoint(tmp_path / "best.ckpt").eval()
    x = plant(1).dataset.tensors[0][:50]
    jacobian = torch.func.vmap(torch.func.jacrev(learner.encoder))(x)
    assert (torch.linalg.matrix_rank(jacobian) == 2).float().mean() > 0.9


def test_stock_callbacks_keep_the_best_conditioned_epoch_and_stop_by_it(tmp_path):
    keep = ModelCheckpoint(tmp_path, "best", monitor=P95)
    stop = EarlyStopping(P95, patience=6, min_delta=1e9)
    trainer, watch = fit(tmp_path, Learner(), keep, stop, epochs=20, enable_checkpointing=True)
    assert trainer.current_epoch == 7
    p95 = [look["log10_cond_p95"] for look in watch.history["forward"]]
    assert keep.best_model_score.item() == pytest.approx(min(p95))
    weights = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert weights["epoch"] == np.argmin(p95)


@pytest.mark.slow
def test_the_term_of_the_slope_lowers_what_is_watched_of_it(tmp_path):
    found = []
    for term in (None, JacobianConsistency(1.0)):
        torch.manual_seed(0)
        module = ForwardInverseModule(alpha=0.0, jacobian_consistency=term, learning_rate=0.005)
        options = {"module": module, "data": (Smooth(),), "max_epochs": 6}
        trainer = fit_project(tmp_path, InvertibilityCallback(), **options)
        tag = "invertibility/round_trip/jacobian_consistency_error"
        found.append(trainer.callback_metrics[tag].item())
    assert found[1] < found[0]


def test_optuna_prunes_a_trial_by_its_conditioning(tmp_path):
    optuna = pytest.importorskip("optuna")
    from optuna_integration import PyTorchLightningPruningCallback

    epochs = []

    def objective(trial):
        torch.manual_seed(0)
        prune = PyTorchLightningPruningCallback(trial, monitor=FULL_RANK)
        watch = InvertibilityCallback(num_points=64, figures=False)
        trainer = quiet_trainer(tmp_path, max_epochs=8, callbacks=[watch, prune])
        collapse = trial.suggest_categorical("collapse", [20, 3])
        try:
            trainer.fit(Learner(collapse), plant(), plant(1))
        finally:
            epochs.append(len(watch.history["forward"]))
        prune.check_pruned()
        return trainer.callback_metrics[FULL_RANK].item()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"collapse": [20, 3]}, seed=1),
        pruner=optuna.pruners.ThresholdPruner(lower=0.9),
    )
    study.optimize(objective, n_trials=2)
    states = {t.params["collapse"]: t.state.name for t in study.trials}
    assert states == {20: "COMPLETE", 3: "PRUNED"}
    assert min(epochs) < 8


def test_a_sweep_that_reports_callback_metrics_sees_every_epoch(tmp_path):
    reports = []

    class Report(Callback):
        """As Ray Tune's own callback does it."""

        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                reports.append({k: v.item() for k, v in trainer.callback_metrics.items()})

    watch = InvertibilityCallback(num_points=32)
    fit_project(tmp_path, Report(), watch, max_epochs=3)
    assert len(reports) == 3
    for report, look in zip(reports, watch.history["forward"], strict=True):
        assert report[FULL_RANK] == pytest.approx(look["full_rank_fraction"])
        assert report[P95] == pytest.approx(look["log10_cond_p95"])
