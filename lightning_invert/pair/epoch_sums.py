"""Sums over the steps of an epoch: its means and scores follow from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_invert.pair.loss import PairLoss

__all__ = ["EpochMeans", "EpochSums"]

MAX_STEPS_HELD = 64
"""Steps whose losses and predictions are held until they are summed: to sum each step would take
longer than the step."""


class EpochMeans(NamedTuple):
    """Means over the rows of an epoch: losses by name, and ``mae`` and ``r2`` of each output (m,)."""

    losses: dict[str, Tensor]
    mae: Tensor
    r2: Tensor


class EpochSums:
    """Add up the steps of an epoch.

    Example:
        >>> sums, y = EpochSums(), torch.tensor([[1.0], [3.0]])
        >>> loss = PairLoss(*torch.tensor([4.0, 3.0, 2.0, 1.0]), y_hat=y + 0.5)
        >>> sums.add(loss, y)
        >>> means = sums.means(lambda total: total)
        >>> means.losses["forward"].item(), means.mae.item(), means.r2.item()
        (3.0, 0.5, 0.75)
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, ...]] = []
        self._total: Tensor | None = None

    def add(self, loss: PairLoss, y: Tensor) -> None:
        """Add the loss of a step with outcomes y (N, m)."""
        self._steps.append((*(part.detach() for part in loss), y))
        if len(self._steps) >= MAX_STEPS_HELD:
            self._sum()

    @property
    def empty(self) -> bool:
        """Whether no step was added."""
        return self._total is None and not self._steps

    def means(self, reduce: Callable[[Tensor], Tensor]) -> EpochMeans:
        """Return the means and begin anew; ``reduce`` sums a tensor over the processes."""
        self._sum()
        assert self._total is not None
        total, self._total = reduce(self._total), None
        count, losses = total[0], total[1:5] / total[0]
        absolute, squares, first, second = total[5:].reshape(4, -1)
        names = ("loss", "forward", "inverse", "consistency")
        return EpochMeans(
            dict(zip(names, losses, strict=True)),
            absolute / count,
            1.0 - squares / (second - first.square() / count),
        )

    def _sum(self) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        y_hat, y = (torch.cat([step[i] for step in steps]).float() for i in (-2, -1))
        sizes = y.new_tensor([len(step[-1]) for step in steps])
        losses = torch.stack([step[i] for step in steps for i in range(4)]).float().view(-1, 4)
        error = y_hat - y
        by_output = (error.abs(), error.square(), y, y.square())
        sums = [sizes.sum()[None], sizes @ losses, *(part.sum(0) for part in by_output)]
        total = torch.cat(sums)
        self._total = total if self._total is None else self._total + total
