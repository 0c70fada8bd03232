import sys

import pytest
import torch
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from lightning_invert import ForwardInverseModule
from lightning_invert.cli.fit import InvertCLI
from lightning_invert.pair.learning_rate import adam_over, follow_loss, one_cycle
from lightning_invert.pair.settings import AdamSettings
from tests.pair.fitting import fit, saved


def rates_of(schedule, optimizer, steps):
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_a_cycle_is_that_of_torch():
    weights = [torch.nn.Parameter(torch.zeros(1))]
    other = Adam(weights, lr=0.003)
    expected = OneCycleLR(other, max_lr=0.003, total_steps=5000, cycle_momentum=False)
    ours = adam_over(weights, 0.003, AdamSettings(), lambda: 5000, fused=False)
    rates = rates_of(ours["lr_scheduler"]["scheduler"], ours["optimizer"], 5000)
    # Theirs turns a step earlier.
    assert rates == pytest.approx(rates_of(expected, other, 5000), abs=0.003 * 1e-3)


def test_it_stays_at_its_end():
    assert one_cycle(1.0) == one_cycle(3.0) == pytest.approx(4e-6)


def test_a_fit_ends_at_the_lowest_rate(tmp_path):
    trainer = fit(ForwardInverseModule(), tmp_path, max_epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(3e-3 * 4e-6, rel=1e-3)


def test_it_is_constant_where_it_is_asked_to_be_or_the_end_is_not_known(tmp_path):
    constant = ForwardInverseModule(adam={"schedule": "constant"}, learning_rate=1e-3)
    assert not fit(constant, tmp_path, max_epochs=2).lr_scheduler_configs
    endless = {"max_epochs": -1, "max_time": {"seconds": 0}}
    assert not fit(ForwardInverseModule(), tmp_path, **endless).lr_scheduler_configs


def test_adam_takes_the_betas_that_are_asked_for_and_a_checkpoint_keeps_them(tmp_path):
    pair = ForwardInverseModule(adam={"betas": [0.95, 0.99]})
    path = saved(pair, tmp_path)
    assert pair.trainer.optimizers[0].param_groups[0]["betas"] == (0.95, 0.99)
    assert ForwardInverseModule.load_from_checkpoint(path).adam.betas == (0.95, 0.99)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adam", "options", "expected"),
    [
        ({}, {}, lambda loss: min(0.1, 5 * loss)),
        ({}, {"max_epochs": 40}, lambda loss: 5 * loss),
        ({}, {"limit_val_batches": 0}, lambda loss: 0.0),
        ({"weight_decay": 0.25}, {}, lambda loss: 0.25),
        ({"weight_decay": 0.0}, {}, lambda loss: 0.0),
    ],
)
def test_the_weight_decay_follows_the_loss_in_validation(adam, options, expected, tmp_path):
    trainer = fit(ForwardInverseModule(adam=adam), tmp_path, **options)
    loss = float(trainer.callback_metrics.get("val/forward", 0.0))
    (group,) = trainer.optimizers[0].param_groups
    assert group["weight_decay"] == pytest.approx(expected(loss), rel=1e-6)
    assert not options.get("max_epochs") or 0 < group["weight_decay"] < 0.1


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_leaves_the_weight_decay(loss):
    optimizer = adam_over(
        [torch.nn.Parameter(torch.zeros(1))], 1e-3, AdamSettings(), None, fused=False
    )
    follow_loss([optimizer], 0.004)
    follow_loss([optimizer], loss)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.02)


def test_without_weight_decay_a_step_is_that_of_adam_to_the_bit():
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    ours = adam_over(
        weights[:1], 0.01, AdamSettings("constant", weight_decay=0.0), None, fused=True
    )
    for optimizer, weight in (
        (ours, weights[0]),
        (Adam(weights[1:], 0.01, fused=True), weights[1]),
    ):
        for step in range(50):
            optimizer.zero_grad()
            ((weight - 0.1 * step).sin() ** 2).sum().backward()
            optimizer.step()
    assert torch.equal(*weights)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning")
def test_a_finished_fit_can_be_made_longer(tmp_path):
    path = saved(ForwardInverseModule(), tmp_path, max_epochs=2)
    longer = fit(ForwardInverseModule(), tmp_path, max_epochs=4, ckpt_path=path)
    assert longer.current_epoch == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*configure_optimizers. will be overridden:UserWarning")
def test_the_command_line_can_name_another_optimizer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-invert"])
    options = ["fit", "--data", "ProblemDataModule", "--data.num_points", "40"]
    for network, n, m in (("forward_net", "7", "4"), ("inverse_net", "4", "7")):
        name = f"--model.{network}"
        options += [name, "SmoothMLP", f"{name}.in_features", n, f"{name}.out_features", m]
    options += ["--optimizer", "AdamW", "--optimizer.lr", "0.002", "--trainer.max_epochs", "1"]
    options += ["--trainer.accelerator", "cpu", "--trainer.logger", "false"]
    command = InvertCLI(
        [*options, "--lr_scheduler", "ExponentialLR", "--lr_scheduler.gamma", "0.5"]
    )
    (optimizer,) = command.trainer.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.001
