"""lightly: contrastive learning of batches (views, targets, names of files)."""

import torch
from torch import nn

from tests.real._training import Fitted, fitted

REQUIREMENTS = ("lightly==1.6.0",)
TRAINED = "SimCLR"
MAPS = {"embed": {"module": "", "input": [0, 1]}}


def fit(callbacks, options):
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from torch.utils.data import DataLoader

    class SimCLR(Fitted):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Tanh(), nn.Flatten())
            self.head = SimCLRProjectionHead(36, 8, 4, batch_norm=False)
            self.criterion = NTXentLoss()

        def forward(self, x):
            return self.head(self.backbone(x))

        def step(self, batch):
            views, _, _ = batch
            return self.criterion(*map(self, views))

    class Views(torch.utils.data.Dataset):
        views = torch.randn(24, 2, 3, 8, 8)

        def __len__(self):
            return len(self.views)

        def __getitem__(self, row):
            return list(self.views[row]), 0

    data = LightlyDataset.from_torch_dataset(Views())
    return fitted(SimCLR(), DataLoader(data, batch_size=8), callbacks, options)


def points(batch, module):
    return batch[0][1]


def outputs(module, batch, x):
    return module(x)
