"""Small problems and foreign projects that several tests train."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import Variable
from lightning_invert.datamodules import PairDataModule
from tests.identity import guarded


class Smooth(PairDataModule):
    """Three inputs, two outputs, in units of very different size."""

    inputs = (
        Variable("wind", "m3/h", 500.0, 1500.0),
        Variable("heat", "K", 290.0),
        Variable("load"),
    )
    outputs = (Variable("rate", "t/d"), Variable("gas", "K"))

    def __init__(self, rows=200, **kwargs):
        super().__init__(**kwargs)
        self.rows = rows

    def load(self):
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(self.rows, 3, generator=generator, dtype=torch.float64)
        x = z * torch.tensor([100.0, 1.0, 0.01]) + torch.tensor([1000.0, 300.0, 0.5])
        y = torch.stack([torch.tanh(z[:, 0] + z[:, 1]), z[:, 1] - 0.5 * z[:, 2] ** 2], dim=1)
        return x, y * torch.tensor([5000.0, 20.0]) + torch.tensor([8000.0, 400.0])


class Fitted(LightningModule):
    """Minimise ``step``: by default the squared error of ``forward``."""

    def step(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self(x), y)

    def training_step(self, batch, batch_idx):
        return self.step(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


class Foreign(Fitted):
    """A project that knows nothing of us: an encoder, BatchNorm, Dropout and one linear head."""

    def __init__(self, n=5, m=3):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, m)
        )

    def forward(self, x):
        return self.encoder(x)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.step(batch))

    def predict_step(self, batch, batch_idx):
        return self(batch[0])


def loader(n=5, m=3, rows=64, batch_size=16, **options):
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(rows, n, generator=generator), torch.randn(rows, m, generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, **options)


def quiet_trainer(folder, **kwargs):
    """A trainer on the CPU that shows no bars and keeps what it writes in ``folder``.

    What watches stands between guards: see ``tests/identity.py``.
    """
    kwargs["callbacks"] = guarded(kwargs.get("callbacks") or ())
    defaults = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "log_every_n_steps": 1,
        "logger": False,
        "max_epochs": 1,
    }
    return Trainer(**{**defaults, **kwargs})


def fit_project(folder, *callbacks, module=None, data=None, **options):
    """Fit a module, ``Foreign`` by default, with callbacks; return the trainer.

    ``data`` are loaders of training and validation, or a data module alone.
    """
    trainer = quiet_trainer(folder, callbacks=[*callbacks], **options)
    trainer.fit(module or Foreign(), *(data or (loader(), loader(rows=100))))
    return trainer
