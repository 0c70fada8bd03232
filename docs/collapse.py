"""The first picture of the README: ``python -m docs.collapse`` draws docs/images/collapse.png.

A plant has two outcomes, one in small units. Weight decay forgets the small one, which the loss hardly
holds: the loss stays where it is, and one of the two outcomes can no longer be adjusted.
"""

from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import InvertibilityCallback
from lightning_invert.report.figures.style import BLUE, band_spans, kappa_ticks, styled

FILE = Path(__file__).parent / "images" / "collapse.png"
EPOCHS = 60


class Surrogate(LightningModule):
    """Two layers, trained with weight decay."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 2))
        self.curves = {"loss": [], "log10_cond_median": []}

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self(x), y)

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.training_step(batch, batch_idx))

    def on_train_epoch_end(self):
        logged = {
            name.rpartition("/")[2]: x.item() for name, x in self.trainer.callback_metrics.items()
        }
        for name, curve in self.curves.items():
            curve.append(logged[name])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3, weight_decay=0.02)


def plant(points):
    """Return rows of the plant: the load and the moisture, the latter in small units."""
    x = 2 * torch.rand(points, 3) - 1
    y = torch.stack([x[:, 0] + 0.5 * x[:, 2], 0.03 * x[:, 1]], dim=1)
    return TensorDataset(x, y + torch.tensor([0.1, 0.001]) * torch.randn(points, 2))


def main():
    """Train, and draw the loss beside what the callback logged."""
    seed_everything(0)
    train, val = DataLoader(plant(2000), 64, shuffle=True), DataLoader(plant(1000), 1000)
    watch, surrogate = InvertibilityCallback(), Surrogate()
    trainer = Trainer(
        max_epochs=EPOCHS, callbacks=[watch], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(surrogate, train, val)
    with styled():
        draw(*surrogate.curves.values()).savefig(FILE, dpi=160)


def draw(loss, log10_cond):
    """Return the figure: left the loss, right the condition number over its bands."""
    figure = Figure((8.4, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(loss, color=BLUE)
    left.set(title="Validation loss", xlabel="epoch", ylim=(0, 0.05), xlim=(0, EPOCHS))
    for name, colour, low, high in band_spans((1e2, 1e4), 5.0):
        right.axhspan(low, high, color=colour, alpha=0.18, lw=0)
        right.text(1, high - 0.12, name, va="top", fontsize=8, color="0.3")
    right.plot(log10_cond, color=BLUE)
    right.set(title="Condition number κ (median)", xlabel="epoch", ylim=(0, 5), xlim=(0, EPOCHS))
    kappa_ticks(right.yaxis, 5, None)
    return figure


if __name__ == "__main__":
    main()
