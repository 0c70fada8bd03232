"""A run with the callback and one without end alike, to the bit."""

import copy
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import callbacks as stock
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import Foreign, quiet_trainer


class Noisy(Foreign):
    """Draws from every random stream in its forward, as a variational model does.

    Dropout and BatchNorm it has already. It also logs in its forward, and notes which points it
    was trained on.
    """

    def __init__(self):
        super().__init__()
        self.order = []

    def forward(self, x):
        self.log("mean_input", x.mean())
        self.log_dict({"spread": x.std()}, on_epoch=True)
        return super().forward(x) + torch.randn(1) * np.random.rand() * random.random()

    def training_step(self, batch, batch_idx):
        self.order.append(batch[0][:, 0].clone())
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        return loss


class Compiled(Noisy):
    def __init__(self):
        super().__init__()
        self.encoder = torch.compile(self.encoder, backend="aot_eager")


class AverageOfWeights(stock.StochasticWeightAveraging):
    def __init__(self):
        super().__init__(swa_lrs=0.01, swa_epoch_start=1)


def EMAWeightAveraging():
    kind = getattr(stock, "EMAWeightAveraging", None)
    return kind() if kind else pytest.skip("this Lightning has none")


def loader(num_workers=0, shuffle=False):
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(64, 5, generator=generator), torch.randn(64, 3, generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=16, shuffle=shuffle, num_workers=num_workers)


OPTIONS = [
    {},
    {"num_workers": 2},
    {"accumulate_grad_batches": 3},
    {"precision": "bf16-mixed"},
    {"gradient_clip_val": 0.1},
    {"module": Compiled},
    {"callbacks": [AverageOfWeights]},
    {"callbacks": [EMAWeightAveraging]},
    {"num_sanity_val_steps": 0},
    {"val_check_interval": 2},
]


def everything_after_fit(folder, watch, *, module=Noisy, callbacks=(), num_workers=0, **options):
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    module = module()
    callbacks = [*(kind() for kind in callbacks), *watch]
    trainer = quiet_trainer(folder, max_epochs=4, callbacks=callbacks, **options)
    trainer.fit(module, loader(num_workers, shuffle=True), loader(num_workers))
    return {
        "random streams": [torch.rand(1).item(), np.random.rand(), random.random()],
        "weights and buffers": dict(module.state_dict()),
        "optimizer": copy.deepcopy(trainer.optimizers[0].state_dict()),
        "gradients": [p.grad for p in module.parameters()],
        "order of the data": module.order,
        "flags": [part.training for part in module.modules()],
        "logged": {k: v for k, v in trainer.callback_metrics.items() if "invertib" not in k},
    }


@pytest.mark.parametrize(
    "options",
    OPTIONS,
    ids=lambda options: ",".join(options) or "plain",
)
@pytest.mark.filterwarnings("ignore:.*num_workers.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Map .* gives another output:UserWarning")  # it is noisy
@pytest.mark.slow
def test_watching_changes_nothing(options, tmp_path):
    maps = {"forward": ""}  # named, so that it is tried before the first step
    watch = InvertibilityCallback(
        maps, num_points=32, figures=True, save_figures=tmp_path / "figures"
    )
    with_it = everything_after_fit(tmp_path, [watch], **options)
    assert list((tmp_path / "figures").iterdir())
    without = everything_after_fit(tmp_path, [], **options)
    for what, expected in without.items():
        torch.testing.assert_close(with_it[what], expected, rtol=0, atol=0, msg=what)
