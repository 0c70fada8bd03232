"""Runs of a coating line: settings, recipe, and the film that they gave."""

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, random_split

POSITIONS = 12


class Runs(Dataset):
    """Simulated runs; a sample is a dictionary."""

    def __init__(self, num_runs: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        # Web speed, pump rate, gap left and right, oven temperature: standardised.
        self.settings = torch.randn(num_runs, 5, generator=generator)
        self.recipe = torch.randint(4, (num_runs,), generator=generator)
        speed, pump, left, right, oven = self.settings.T
        viscosity = torch.tensor([0.8, 1.0, 1.3, 1.7])[self.recipe]
        across = torch.linspace(-1, 1, POSITIONS)
        shapes = torch.stack([across**0, across, 1 - across**2, across**6, torch.sin(3 * across)])
        tilt, bulge = 0.3 * (right - left), 0.3 * (left + right) * viscosity
        weights = [0.4 * pump / viscosity, tilt, bulge, 0.3 * oven, 0.3 * speed]
        noise = 0.02 * torch.randn(num_runs, POSITIONS, generator=generator)
        self.profile = torch.tanh(torch.stack(weights, 1) @ shapes) + noise
        self.quality = torch.exp(-((oven - 0.5 * speed - 0.3 * viscosity) ** 2))[:, None]

    def __len__(self) -> int:
        return len(self.settings)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        names = "settings", "recipe", "profile", "quality"
        return {name: getattr(self, name)[i] for name in names}


class CoatingData(LightningDataModule):
    """Training and validation batches of runs."""

    def __init__(self, num_runs: int = 2000, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """Split the runs."""
        runs = Runs(self.hparams.num_runs, self.hparams.seed)
        generator = torch.Generator().manual_seed(self.hparams.seed)
        self.train, self.val = random_split(runs, [0.8, 0.2], generator)

    def train_dataloader(self) -> DataLoader:
        """Return shuffled batches."""
        return DataLoader(self.train, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Return the held-out batches."""
        return DataLoader(self.val, self.hparams.batch_size)
