import math

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import (
    AlphaSchedule,
    ConditioningPenalty,
    ConstantAlpha,
    ForwardInverseModule,
    JacobianConsistency,
    LinearDecayAlpha,
    ResidualMLP,
    SmoothMLP,
    Variable,
)
from lightning_invert.pair.pair import Pair
from tests.pair.fitting import fit, saved
from tests.projects import Smooth, quiet_trainer

FROZEN, PENALTY = {"frozen": True}, {"conditioning_penalty": ConditioningPenalty()}
SLOPE = {"jacobian_consistency": JacobianConsistency(1.0)}
SOLVED = ("certified", "x_solved", "y_solved", "y_band_low", "y_band_high", "trust", "residual")


def nets():
    return {"forward_net": ResidualMLP(3, 2, width=8), "inverse_net": ResidualMLP(2, 3, width=8)}


def assert_predicts_as(again, pair):
    x, y = next(iter(Smooth().val_dataloader()))
    assert torch.equal(again.eval()(x), pair.eval()(x))
    assert torch.equal(again.inverse(y), pair.inverse(y))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pair trained well enough to be judged, and its trainer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    networks = SmoothMLP(3, 2, width=32), SmoothMLP(2, 3, width=32)
    module = ForwardInverseModule(*networks, LinearDecayAlpha(0.4, epochs=40), learning_rate=0.02)
    keep = ModelCheckpoint(folder, save_last=True)
    trainer = quiet_trainer(folder, max_epochs=30, enable_checkpointing=True, callbacks=[keep])
    trainer.fit(module, datamodule=Smooth(rows=1000, batch_size=32))
    return module.eval(), trainer, keep.last_model_path


def test_networks_that_are_not_given_are_sized_by_the_columns():
    pair = Pair()
    pair.name_columns(["a", "b", "c"], ["d"])
    pair.build_missing()
    shapes = {name: tuple(weight.shape) for name, weight in pair.named_parameters()}
    assert len(pair.forward_net.networks) == 3
    assert shapes["forward_net.networks.2.first.weight"] == (128, 3)
    assert shapes["forward_net.networks.2.head.weight"] == (1, 128)
    assert shapes["inverse_net.first.weight"] == (128, 1)
    assert shapes["inverse_net.head.weight"] == (3, 128)


@pytest.mark.slow
def test_it_learns_both_directions_in_physical_units(trained):
    module, trainer, _ = trained
    metrics = trainer.callback_metrics
    assert metrics["val/r2/rate"] > 0.95
    assert metrics["val/r2/gas"] > 0.9
    x, y = Smooth(rows=1000).val_dataloader().dataset[:]
    error = (module.round_trip(y) - y) / y.std(0)  # in physical units, as they are given
    assert error.square().mean().sqrt() < 0.5  # 1.4 for settings drawn at random
    assert ((module.inverse(y).mean(0) - x.mean(0)).abs() < 0.3 * x.std(0)).all()


def assert_statistics_are_of(module, x, y):
    np.testing.assert_allclose(module.scale_x.mean, x.numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(module.scale_y.std, y.numpy().std(0, ddof=1), rtol=1e-5)


def test_statistics_are_those_of_the_training_split_alone(trained):
    module, trainer, _ = trained
    assert_statistics_are_of(module, *trainer.datamodule.train_dataloader().dataset[:])


def test_a_checkpoint_alone_predicts_the_same(trained):
    module, _, path = trained
    again = ForwardInverseModule.load_from_checkpoint(path)
    assert_predicts_as(again, module)
    assert again.inputs == Smooth.inputs
    assert again.outputs == Smooth.outputs
    assert again.alpha == LinearDecayAlpha(0.4, epochs=40)


def test_validation_logs_equal_plain_formulas(trained):
    module, trainer, _ = trained
    x, y = trainer.datamodule.val_dataloader().dataset[:]
    f, i = module.forward_net, module.inverse_net
    u, v = module.scale_x(x).float(), module.scale_y(y).float()
    alpha = 0.4 * (1 - 29 / 40)
    with torch.no_grad():
        forward, inverse = (f(u) - v).square().mean(), (i(v) - u).square().mean()
        consistency = (f(i(v)) - v).square().mean()
        error = (module(x) - y).double()
    expected = {
        "val/forward": forward,
        "val/inverse": inverse,
        "val/consistency": consistency,
        "val/loss": forward + (1 - alpha) * inverse + alpha * consistency,
        "val/mae/rate": error[:, 0].abs().mean(),
        "val/mae/gas": error[:, 1].abs().mean(),
        "val/r2/rate": 1 - error[:, 0].square().sum() / (y[:, 0].var() * (len(y) - 1)),
        "val/r2/gas": 1 - error[:, 1].square().sum() / (y[:, 1].var() * (len(y) - 1)),
    }
    for name, value in expected.items():
        assert trainer.callback_metrics[name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert trainer.callback_metrics["train/alpha"].item() == pytest.approx(alpha)
    assert {"train/loss", "train/forward", "train/mae/gas"} <= set(trainer.callback_metrics)


def test_alpha_is_logged_each_epoch_and_goes_on_after_resuming(tmp_path):
    def run(epochs, **kwargs):
        module = ForwardInverseModule(**nets(), alpha=LinearDecayAlpha(0.5, epochs=5))
        logger = CSVLogger(tmp_path, name="", version=str(epochs))
        path = saved(module, tmp_path, max_epochs=epochs, logger=logger, **kwargs)
        logged = np.genfromtxt(tmp_path / str(epochs) / "metrics.csv", delimiter=",", names=True)
        return path, [value for value in logged["trainalpha"] if not np.isnan(value)]

    path, alphas = run(2)
    assert alphas == pytest.approx([0.5, 0.4])
    _, alphas = run(4, ckpt_path=path)
    assert alphas == pytest.approx([0.3, 0.2])


def test_alpha_can_be_changed_and_the_change_survives_resuming(tmp_path):
    module = ForwardInverseModule(**nets(), alpha=0.1)
    module.alpha = 0.7
    resumed = ForwardInverseModule(**nets(), alpha=0.1)
    fit(resumed, tmp_path, max_epochs=2, ckpt_path=saved(module, tmp_path))
    assert resumed.alpha == ConstantAlpha(0.7)


def weights(network):
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def test_warming_up_trains_the_forward_network_alone(tmp_path):
    module = ForwardInverseModule(**nets(), forward_training={"warmup_epochs": 1})
    forward, inverse = weights(module.forward_net), weights(module.inverse_net)
    trainer = fit(module, tmp_path)
    assert not torch.equal(weights(module.forward_net), forward)
    assert torch.equal(weights(module.inverse_net), inverse)
    assert trainer.callback_metrics["train/loss"] == trainer.callback_metrics["train/forward"]
    trainer = fit(module, tmp_path, max_epochs=2)
    assert not torch.equal(weights(module.inverse_net), inverse)


@pytest.mark.filterwarnings("ignore:Found .* in eval mode:UserWarning")  # a frozen F is
@pytest.mark.parametrize("source", ["forward_net", "start_from"])
def test_tandem_keeps_a_trained_forward_network_and_its_units(tmp_path, trained, source):
    given, _, path = trained
    before = weights(given.forward_net)
    if source == "forward_net":
        forward = {"forward_net": given.forward_net, "forward_training": {"frozen": True}}
    else:
        forward = {"forward_training": {"frozen": True, "start_from": path}}
    module = ForwardInverseModule(**forward, alpha=1.0)
    file = saved(module, tmp_path, Smooth(rows=1000), max_epochs=2)
    assert torch.equal(weights(module.forward_net), before)
    assert not module.forward_net.training
    assert module.inverse_net.training
    if source == "start_from":
        assert torch.equal(module.scale_x.mean, given.scale_x.mean)
    assert_predicts_as(ForwardInverseModule.load_from_checkpoint(file), module)
    given.forward_net.requires_grad_(True)


def test_statistics_are_computed_from_a_plain_loader(tmp_path):
    x, y = Smooth().load()
    pairs = TensorDataset(x.float(), y.float())
    module = ForwardInverseModule(**nets())
    shuffled = DataLoader(pairs, batch_size=16, shuffle=True)
    quiet_trainer(tmp_path).fit(module, shuffled, DataLoader(pairs, batch_size=64))
    assert_statistics_are_of(module, x, y)


def test_standardisation_can_be_switched_off(tmp_path):
    module = ForwardInverseModule(**nets(), standardize=False)
    fit(module, tmp_path)
    assert not module.scale_x.fitted
    x = torch.randn(5, 3)
    assert torch.equal(module.eval()(x), module.forward_net(x))


def test_predict_returns_both_predictions_the_round_trip_and_proposals(tmp_path, trained):
    module, _, _ = trained
    batches = quiet_trainer(tmp_path).predict(module, datamodule=Smooth(eval_batch_size=64))
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    x, y = Smooth().load()
    assert torch.equal(columns["x"], x)
    torch.testing.assert_close(columns["y_hat"], module(x))
    torch.testing.assert_close(columns["x_hat"], module.inverse(y))
    torch.testing.assert_close(columns["y_round_trip"], module.round_trip(y))
    low, high = module.proposer.bounds
    assert ((columns["x_solved"] >= low) & (columns["x_solved"] <= high)).all()
    solved = columns["y_solved"]
    torch.testing.assert_close(solved, module(columns["x_solved"]), rtol=1e-6, atol=0)
    missed = ((solved - y) / module.scale_y.std).norm(dim=1)
    torch.testing.assert_close(columns["residual"], missed, rtol=1e-4, atol=1e-9)
    assert (missed < 1e-3).double().mean() > 0.9
    assert ((columns["y_band_low"] < solved) & (solved < columns["y_band_high"])).all()
    assert ((columns["trust"] >= 0) & (columns["trust"] <= 1)).all()


def test_predict_proposes_nothing_where_nothing_is_wanted(trained):
    module, _, _ = trained
    y = Smooth().load()[1][:4].clone()
    y[1], y[2, 0], y[3, 1] = math.nan, math.inf, math.nan
    columns = module.predict_step({"y": y}, 0)
    assert columns.keys() == {"x_hat", "y", "y_round_trip", *SOLVED}
    for name in SOLVED:
        assert columns[name][1].isnan().all()
        assert columns[name][[0, 2, 3]].isfinite().all()
    missed = ((columns["y_solved"] - y) / module.scale_y.std)[[2, 3], [1, 0]].abs()
    torch.testing.assert_close(columns["residual"][2:], missed, rtol=1e-4, atol=1e-9)
    assert all(module.predict_step({"y": y[1:2]}, 0)[name].isnan().all() for name in SOLVED)


def test_predict_proposes_only_within_bounds_and_if_it_may():
    predicted = ["x_hat", "y", "y_round_trip"]
    module = ForwardInverseModule(**nets(), predict_proposals=False)
    assert sorted(module.predict_step({"y": torch.randn(3, 2)}, 0)) == predicted
    module.predict_proposals = True
    assert sorted(module.predict_step({"y": torch.randn(3, 2)}, 0)) == predicted
    module.inputs = tuple(Variable(f"x{i}", "", -1.0, 1.0) for i in range(3))
    found = module.predict_step({"y": torch.randn(3, 2)}, 0)
    assert found.keys() == {*predicted, "x_solved", "y_solved", "residual"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"forward_training": FROZEN | {"warmup_epochs": 2}}, "`warmup_epochs` .*`fro"),
        ({**nets(), "forward_training": {"start_from": "a.ckpt"}}, "`start_from`"),
        ({"forward_training": FROZEN, **PENALTY}, "`conditioning_penalty` to be None"),
    ],
)
def test_arguments_that_contradict_each_other_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ForwardInverseModule(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"forward_training": {"frozen": True}}, "trained F"), ({}, "`forward_net`")],
    ids=["frozen", "no data module"],
)
def test_a_network_that_cannot_be_built_is_named(tmp_path, arguments, words):
    loaders = Smooth().train_dataloader(), Smooth().val_dataloader()
    with pytest.raises(ValueError, match=words):
        quiet_trainer(tmp_path).fit(ForwardInverseModule(**arguments), *loaders)


def test_a_batch_of_another_form_is_named():
    module = ForwardInverseModule(**nets())
    with pytest.raises(TypeError, match=r"pair \(x, y\).*got \['a'\]"):
        module.training_step({"a": torch.zeros(3, 3)}, 0)


def test_a_schedule_that_leaves_the_unit_interval_is_named():
    class Wild(AlphaSchedule):
        def __call__(self, epoch):
            return 2.0

    module = ForwardInverseModule(**nets(), alpha=Wild())
    with pytest.raises(ValueError, match=r"Wild .* returned 2.0 for epoch 0"):
        _ = module.current_alpha


def test_a_network_that_cannot_be_packed_is_named_and_can_be_given_again(tmp_path):
    class Local(nn.Linear):
        pass

    module = ForwardInverseModule(Local(3, 2), ResidualMLP(2, 3))
    with pytest.warns(UserWarning, match="forward_net="):
        file = saved(module, tmp_path)
    again = ForwardInverseModule.load_from_checkpoint(file, forward_net=Local(3, 2))
    assert_predicts_as(again, module)


class PenaltyOnly(ForwardInverseModule):
    # The penalties alone train it, so that their gradients can be told apart.
    def training_step(self, batch, batch_idx):
        terms = self.objective.penalties(
            self.pair, *self.pair.standardized(*batch), forward_only=False
        )
        return super().training_step(batch, batch_idx) * 0.0 + sum(terms.values())


@pytest.mark.parametrize(
    ("penalties", "trained"),
    [
        ({"conditioning_penalty": ConditioningPenalty(1.0, limit=1.0)}, {"forward_net"}),
        (SLOPE, {"inverse_net"}),
        (
            {**SLOPE, "forward_training": {"learns_consistency": True}},
            {"forward_net", "inverse_net"},
        ),
    ],
    ids=["conditioning", "slope", "slope, through F"],
)
def test_a_penalty_trains_the_network_it_is_meant_for(tmp_path, penalties, trained):
    module = PenaltyOnly(alpha=0.0, **penalties)
    seen = set()

    def note(trainer, pl_module, *_):
        for name in ("forward_net", "inverse_net"):
            net = getattr(pl_module, name)
            if any(p.grad is not None and p.grad.any() for p in net.parameters()):
                seen.add(name)

    watch = LambdaCallback(on_before_optimizer_step=note)
    trainer = fit(module, tmp_path, callbacks=[watch])
    assert seen == trained
    names = {"conditioning_penalty", "jacobian_consistency"} & set(penalties)
    assert {f"train/{name}" for name in names} <= set(trainer.callback_metrics)


def test_penalties_are_in_the_checkpoint(tmp_path):
    module = ForwardInverseModule(
        conditioning_penalty=ConditioningPenalty(0.5, limit=7.0),
        jacobian_consistency=JacobianConsistency(0.25),
    )
    loaded = ForwardInverseModule.load_from_checkpoint(saved(module, tmp_path))
    assert (loaded.conditioning_penalty.weight, loaded.conditioning_penalty.limit) == (0.5, 7.0)
    assert loaded.jacobian_consistency.weight == 0.25
