"""One trunk, two heads: the profile of the film, and its quality."""

import torch
from lightning.pytorch import LightningModule
from torch import nn


class Coater(LightningModule):
    """Predict the profile and the quality from the settings and an embedding of the recipe."""

    def __init__(self, width: int, positions: int, lr: float, quality_weight: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.recipe = nn.Embedding(4, 3)
        self.trunk = nn.Sequential(
            nn.Linear(5 + 3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.heads = nn.ModuleDict(
            {"profile": nn.Linear(width, positions), "quality": nn.Linear(width, 1)}
        )

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return both predictions."""
        hidden = self.trunk(torch.cat([batch["settings"], self.recipe(batch["recipe"])], 1))
        return {name: head(hidden) for name, head in self.heads.items()}

    def losses(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the squared errors of both heads."""
        predicted = self(batch)
        profile, quality = (nn.functional.mse_loss(predicted[k], batch[k]) for k in predicted)
        return profile + self.hparams.quality_weight * quality

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Log and return the loss."""
        loss = self.losses(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Log the loss."""
        self.log("val/loss", self.losses(batch), batch_size=len(batch["recipe"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), self.hparams.lr)
