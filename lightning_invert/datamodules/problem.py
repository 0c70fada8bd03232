"""Pairs (x, y) of a known process, drawn from its prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_invert.arguments import check_integer, check_number, expected_but_got
from lightning_invert.datamodules.pair import PairDataModule, PairDataset
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.problems import KNOWN, Problem

__all__ = ["ProblemDataModule"]


class ProblemDataModule(PairDataModule):
    """Draw pairs (x, y) from a process whose true map and true Jacobian are known.

    ``data.problem.forward`` is the true map and ``data.problem.jacobian`` its Jacobian.
    docs/evidence/problems.md describes the processes.

    Args:
        problem: A :class:`~lightning_invert.problems.Problem`, or a name in
            :data:`lightning_invert.problems.KNOWN`, such as ``"robot_arm"``.
        num_points: Points for training and validation.
        num_test_points: Further points for the test.
        noise: Standard deviation of the Gaussian measurement noise on each output, as a share of the
            output's own standard deviation; 0 for none.
        batch_size: Rows of a training batch. ``None``: by their number, as in
            :class:`~lightning_invert.datamodules.PairDataModule`.
        eval_batch_size: Rows of a batch in validation, test and prediction.
        val_fraction: Share of the points held out for validation, in (0, 1).
        seed: Seed of the points, their noise and the split.
        num_workers: Worker processes of each loader.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or ``problem`` is not a name in ``KNOWN``.

    Example:
        >>> data = ProblemDataModule("robot_arm", num_points=100)
        >>> x, y = next(iter(data.train_dataloader()))
        >>> x.shape, y.shape, data.problem.jacobian(x).shape
        (torch.Size([16, 4]), torch.Size([16, 2]), torch.Size([16, 2, 4]))
    """

    def __init__(
        self,
        problem: Problem | str = "blast_furnace",
        num_points: int = 5000,
        num_test_points: int = 1000,
        noise: float = 0.0,
        batch_size: int | None = None,
        eval_batch_size: int = 1024,
        val_fraction: float = 0.2,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_fraction=val_fraction,
            seed=seed,
            num_workers=num_workers,
        )
        self.problem = _problem(problem)
        self.num_points = check_integer("num_points", num_points, low=1)
        self.num_test_points = check_integer("num_test_points", num_test_points, low=1)
        self.noise = check_number("noise", noise, low=0.0)
        # A checkpoint holds plain values: a name, but no object.
        self.save_hyperparameters(ignore=() if isinstance(problem, str) else "problem")
        self.inputs = self.problem.inputs
        self.outputs = self.problem.outputs

    @property
    def source(self) -> str:
        """Name of the process, for error messages."""
        return f"the problem {self.problem.name!r}"

    def load(self) -> tuple[Tensor, Tensor]:
        """Return the points for training and validation: x (N, n) and measured y (N, m)."""
        x, y = self._measure()
        return x[: self.num_points], y[: self.num_points]

    def test_dataloader(self) -> DataLoader[Tensor]:
        """Return the points of the test."""
        self.setup()
        x, y = self._measure()
        assert self._splits is not None
        self._splits["test"] = PairDataset(x[self.num_points :], y[self.num_points :])
        return self._loader("test", batch_size=self.eval_batch_size)

    @making_tensors_on_cpu()
    def _measure(self) -> tuple[Tensor, Tensor]:
        x = self.problem.sample(self.num_points + self.num_test_points, self.seed)
        with torch.no_grad():
            y = self.problem.forward(x)
        generator = torch.Generator().manual_seed(self.seed + 1)
        error = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        return x, y + self.noise * y.std(0) * error


def _problem(problem: Problem | str) -> Problem:
    if isinstance(problem, Problem):
        return problem
    expected = f"a Problem or one of {', '.join(map(repr, sorted(KNOWN)))}"
    if not isinstance(problem, str):
        raise TypeError(expected_but_got("problem", expected, problem))
    if problem not in KNOWN:
        raise ValueError(expected_but_got("problem", expected, problem))
    return KNOWN[problem]()
