"""What several of these tests fit: a pair, data whose process is known, a project of others."""

from types import SimpleNamespace

import torch

from lightning_invert import ForwardInverseModule, ResidualMLP
from tests.projects import Foreign, Smooth, loader, quiet_trainer


def process(x):
    """What `Smooth` measures."""
    z = (x - x.new_tensor([1000.0, 300.0, 0.5])) / x.new_tensor([100.0, 1.0, 0.01])
    y = torch.stack([torch.tanh(z[:, 0] + z[:, 1]), z[:, 1] - 0.5 * z[:, 2] ** 2], dim=1)
    return y * y.new_tensor([5000.0, 20.0]) + y.new_tensor([8000.0, 400.0])


class Known(Smooth):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.problem = SimpleNamespace(forward=process)


def pair(dropout=0.0):
    torch.manual_seed(0)
    nets = (ResidualMLP(n, m, width=8, dropout=dropout) for n, m in ((3, 2), (2, 3)))
    return ForwardInverseModule(*nets)


def fit_foreign(folder, callback, module=None, **options):
    """Fit a project that knows nothing of us, with a callback."""
    trainer = quiet_trainer(folder, callbacks=[callback], **options)
    trainer.fit(module or Foreign(), loader(), loader(rows=100))
    return trainer
