"""The reference problem: a blast furnace with hydrogen injection, 7 settings -> 4 outcomes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_invert.arguments import check_integer, check_number
from lightning_invert.datamodules.pair import PairDataModule, PairDataset
from lightning_invert.problems.blast_furnace import INPUTS, OUTPUTS, sample_inputs
from lightning_invert.problems.furnace_balance import true_forward

__all__ = ["BlastFurnaceDataModule"]


class BlastFurnaceDataModule(PairDataModule):
    """Operating points of a blast furnace by mass and heat balances.

    The model and its sources are described in docs/blast_furnace.md. Its true Jacobian is
    available by autograd through :meth:`true_forward`.

    Args:
        num_points: Points for training and validation.
        num_test_points: Further points, drawn afresh, for the test.
        noise: Standard deviation of the Gaussian measurement noise on each output, as a share of
            the output's own spread; 0 for none.
        data_seed: Seed of points and noise.
        batch_size: Rows a training batch.
        eval_batch_size: Rows a batch of validation, test and prediction.
        val_fraction: Share of the points held out for validation, in (0, 1).
        seed: Seed of the split.
        num_workers: Worker processes of each loader.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> data = BlastFurnaceDataModule(num_points=100)
        >>> x, y = next(iter(data.train_dataloader()))
        >>> x.shape, y.shape
        (torch.Size([16, 7]), torch.Size([16, 4]))
    """

    inputs = INPUTS
    outputs = OUTPUTS

    def __init__(
        self,
        num_points: int = 5000,
        num_test_points: int = 1000,
        noise: float = 0.01,
        data_seed: int = 0,
        batch_size: int = 16,
        eval_batch_size: int = 1024,
        val_fraction: float = 0.2,
        seed: int = 42,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_fraction=val_fraction,
            seed=seed,
            num_workers=num_workers,
        )
        self.save_hyperparameters()
        self.num_points = check_integer("num_points", num_points, low=1)
        self.num_test_points = check_integer("num_test_points", num_test_points, low=1)
        self.noise = check_number("noise", noise, low=0.0)
        self.data_seed = check_integer("data_seed", data_seed, low=0)

    def true_forward(self, x: Tensor) -> Tensor:
        """Return the outcomes without noise: (*, 7) -> (*, 4), physical units.

        Differentiable; in float64 for inputs in float64.
        """
        return true_forward(x)

    def load(self) -> tuple[Tensor, Tensor]:
        """Return the points for training and validation: x (N, 7) and measured y (N, 4)."""
        x, y = self._measure(self.num_points + self.num_test_points)
        return x[: self.num_points], y[: self.num_points]

    def test_dataloader(self) -> DataLoader[Tensor]:
        """Return the points drawn for the test."""
        self.setup()
        x, y = self._measure(self.num_points + self.num_test_points)
        assert self._splits is not None
        self._splits["test"] = PairDataset(x[self.num_points :], y[self.num_points :])
        return self._loader("test", batch_size=self.eval_batch_size)

    def _measure(self, count: int) -> tuple[Tensor, Tensor]:
        x = sample_inputs(count, seed=self.data_seed)
        with torch.no_grad():
            y = true_forward(x)
        generator = torch.Generator().manual_seed(self.data_seed + 1)
        error = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        return x, y + self.noise * y.std(0) * error
