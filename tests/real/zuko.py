"""zuko: a conditional flow, whose transform is a method of two lines."""

import torch

from tests.real._training import Fitted, fitted

REQUIREMENTS = ("zuko==1.6.0",)
TRAINED = "NSF, forward(x, c) is the log density"
MAPS = {"latent": {"module": "latent", "input": 0, "context": 1}}


def fit(callbacks, options):
    import zuko
    from torch.utils.data import DataLoader, TensorDataset

    class Flow(Fitted):
        def __init__(self):
            super().__init__()
            self.flow = zuko.flows.NSF(3, 2, transforms=2, hidden_features=(8,))

        def forward(self, x, c):
            return self.flow(c).log_prob(x)

        def latent(self, x, c):
            return self.flow(c).transform(x)

        def step(self, batch):
            return -self(*batch).mean()

    data = TensorDataset(torch.randn(48, 3), torch.randn(48, 2))
    return fitted(Flow(), DataLoader(data, batch_size=16), callbacks, options)


def points(batch, module):
    return batch[0]


def outputs(module, batch, x):
    return module.flow(batch[1][: len(x)]).transform(x)
