"""Options of a trainer with which watching must change nothing, and the module to fit."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch import callbacks as stock
from torch import nn

from tests.projects import Foreign


class Noisy(Foreign):
    """Draws from every random stream and logs in its forward, and notes its training points."""

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


class WithInverse(Noisy):
    """Has an inverse, too, that leaves traces where it is used."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
        self.calls = 0
        self.register_buffer("latest", torch.zeros(()))

    def propose(self, y):
        self.calls += 1
        self.latest += y.mean().detach() + torch.rand(()) + np.random.rand() + random.random()
        self.log("proposed", y.mean())
        return self.decoder(y)


def StochasticWeightAveraging():
    return stock.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)


def EMAWeightAveraging():
    kind = getattr(stock, "EMAWeightAveraging", None)
    return kind() if kind else pytest.skip("this Lightning has none")


OPTIONS = [
    {},
    {"num_workers": 2},
    {"accumulate_grad_batches": 3},
    {"precision": "bf16-mixed"},
    {"precision": "bf16-true"},
    {"precision": "64-true"},
    {"gradient_clip_val": 0.1},
    {"module": Compiled},
    {"callbacks": [StochasticWeightAveraging]},
    {"callbacks": [EMAWeightAveraging]},
    {"num_sanity_val_steps": 0},
    {"val_check_interval": 2},
]
