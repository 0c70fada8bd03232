"""The quantities that a map takes and gives: their names, units and ranges, their mean and spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["ColumnStatistics", "Variable"]


class Variable(NamedTuple):
    """A named physical quantity: a column of x or y.

    Attributes:
        name: The column's name.
        unit: Its unit, as it is to be printed; empty for a dimensionless or unknown one.
        low: The lower end of the range in which it is meant to be used, if one is known.
        high: The upper end of that range.

    Example:
        >>> Variable("wind_rate", "m³/h", 0.0, 250.0).label, Variable.of("load")
        ('wind_rate [m³/h]', Variable(name='load', unit='', low=None, high=None))
    """

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @classmethod
    def of(cls, described: Any) -> Variable:
        """Read what a data module says of a column: a name, or an object with ``name``."""
        unit, low, high = (getattr(described, part, None) for part in ("unit", "low", "high"))
        return cls(str(getattr(described, "name", described)), str(unit or ""), low, high)


class ColumnStatistics:
    r"""Mean and standard deviation of the columns of a table that comes in pieces.

    In float64 (on a device without it, in float32), by the update of T. F. Chan, G. H. Golub and
    R. J. LeVeque, *Algorithms for computing the sample variance*, The American Statistician 37
    (1983): no large squares cancel.

    Attributes:
        count: How many rows there were.
        mean: Shape (n,).

    Example:
        >>> statistics = ColumnStatistics()
        >>> for rows in torch.arange(6.0).reshape(6, 1).split(4):
        ...     statistics.add(rows)
        >>> statistics.mean.item(), round(statistics.std.item(), 3)
        (2.5, 1.871)
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        r"""Take rows in.

        Args:
            rows: Shape (N, \*); more than one dimension after the first is flattened.
        """
        rows = rows.detach().flatten(1)
        rows = rows if rows.device.type == "mps" else rows.double()  # MPS has no float64
        if len(rows) == 0:
            return
        mean = rows.mean(0)
        self._take(len(rows), mean, (rows - mean).square().sum(0))

    @property
    def std(self) -> Tensor:
        """Standard deviation of each column, shape (n,), with Bessel's correction; 0 of one row."""
        return (self._squares / max(1, self.count - 1)).sqrt()

    @property
    def spread(self) -> Tensor:
        """The same, but 1 for a column that does not vary, so that one can divide by it."""
        return torch.where(self.std > 0, self.std, 1.0)

    def summed(self, reduce: Callable[[Tensor], Tensor]) -> ColumnStatistics:
        """Return the statistics of the rows of all processes.

        Args:
            reduce: Returns the sum over the processes of what each passes.
        """
        everywhere = ColumnStatistics()
        everywhere.count = int(reduce(torch.full_like(self.mean, float(self.count))).flatten()[0])
        everywhere.mean = reduce(self.mean * self.count) / everywhere.count
        shift = (self.mean - everywhere.mean).square() * self.count
        everywhere._squares = reduce(self._squares + shift)
        return everywhere

    def _take(self, count: int, mean: Tensor, squares: Tensor) -> None:
        before, self.count = self.count, self.count + count
        shift = mean - self.mean
        self._squares = self._squares + squares + shift.square() * before * count / self.count
        self.mean = self.mean + shift * count / self.count
