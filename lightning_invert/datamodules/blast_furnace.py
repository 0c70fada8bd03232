"""The reference problem: a blast furnace with hydrogen injection, 7 settings -> 4 outcomes."""

from __future__ import annotations

from lightning_invert.datamodules.problem import ProblemDataModule
from lightning_invert.problems import BlastFurnace

__all__ = ["BlastFurnaceDataModule"]


class BlastFurnaceDataModule(ProblemDataModule):
    """Operating points of a blast furnace by mass and heat balances.

    The model and its sources are described in docs/blast_furnace.md. What it truly answers is
    ``data.problem.forward``, its true Jacobian ``data.problem.jacobian``.

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
        TypeError: If an argument is of another kind than described.
        ValueError: If an argument is out of its range.

    Example:
        >>> data = BlastFurnaceDataModule(num_points=100)
        >>> x, y = next(iter(data.train_dataloader()))
        >>> x.shape, y.shape
        (torch.Size([16, 7]), torch.Size([16, 4]))
    """

    inputs = BlastFurnace.inputs
    outputs = BlastFurnace.outputs

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
            BlastFurnace(),
            num_points=num_points,
            num_test_points=num_test_points,
            noise=noise,
            data_seed=data_seed,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_fraction=val_fraction,
            seed=seed,
            num_workers=num_workers,
        )
