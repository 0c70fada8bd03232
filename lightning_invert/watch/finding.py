"""Findings of a map beside its spectrum, and the questions that they answer.

A new finding is a file in :mod:`~lightning_invert.watch.findings`: a :class:`Finding`, the
:class:`Question` that measures it, and rows in :mod:`~lightning_invert.watch.scalars`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn
from typing_extensions import Self

from lightning_invert.doorway import Shown
from lightning_invert.jacobians.spectrum import Spectrum
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.watch.parts import Part
from lightning_invert.watch.points import Points
from lightning_invert.watch.scalars import Array

__all__ = ["Finding", "MapQuestion", "Measurement", "Observed", "Question"]


class Observed(Protocol):
    """What a finding may read of the observation that it belongs to."""

    @property
    def num_points(self) -> int: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def condition(self) -> Tensor: ...  # noqa: D102
    @property
    def thresholds(self) -> Thresholds: ...  # noqa: D102
    @property
    def scalars(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def input_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def output_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> Tensor: ...  # noqa: D102
    @property
    def findings(self) -> Mapping[str, Finding]: ...  # noqa: D102


@dataclass(frozen=True, repr=False)
class Finding(Shown, ABC):
    """Something found of a map at N points; its tensors have a row for each point."""

    key: ClassVar[str]
    """Its name in ``Observation.findings``."""

    def rows(self) -> dict[str, Tensor]:
        """Return the tensors."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def with_rows(self, rows: Mapping[str, Tensor]) -> Self:
        """Return the same with other tensors."""
        changes: dict[str, Any] = dict(rows)
        return replace(self, **changes)

    def at(self, which: Tensor) -> Self:
        """Return the same at some of the points: a mask or indices."""
        return self.with_rows({name: rows[which] for name, rows in self.rows().items()})

    def quantities(self, observation: Observed) -> dict[str, Array]:
        """Return what scalars are statistics of, each of shape (N,), NaN where it is not known."""
        return {}

    def scalars(self, observation: Observed) -> dict[str, float]:
        """Return the scalars that are no statistic of one quantity."""
        return {}

    def accuracy(self, observation: Observed) -> str:
        """Return how accurate the map is, to begin its verdict with."""
        return ""

    def words(self, observation: Observed) -> str:
        """Return a sentence for the report, to follow the map's name and a comma."""
        return ""

    def columns(self, observation: Observed) -> dict[str, Array]:
        """Return its columns of a table with a row for each point."""
        return {}


@dataclass(frozen=True)
class Measurement:
    """A measured spectrum with all that a question needs to add its finding."""

    owner: nn.Module  # whose parameters the function uses
    function: Callable[..., Tensor]  # (N, ...) and rows of the context -> (N, ...)
    points: Points  # where the map was measured
    spectrum: Spectrum
    unit_stds: tuple[Tensor, Tensor] | None  # what the Jacobian was standardised by
    find_stds: Callable[[], tuple[Tensor, Tensor]]  # of inputs (n,) and outputs (m,)
    thresholds: Thresholds
    double: bool  # whether it is computed in float64
    outcomes: Tensor | None = None  # (R, ...), to be reached at the first R points


class Question(ABC):
    """What is asked of a map beside its spectrum."""

    key: ClassVar[str]
    """Its name in ``maps=``."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that are evaluated beside the map's own."""
        return ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of a batch that are taken beside the points."""
        return ()

    def targets(self, batch: Any, root: nn.Module | None, count: int) -> Tensor | None:
        """Return the known outcomes of ``count`` points, if it is them that it compares with."""
        return None

    def options(self, points: Points) -> dict[str, Any]:
        """Return what :func:`~lightning_invert.jacobians.spectrum.measure_spectrum` has to do for it."""
        return {}

    @abstractmethod
    def measure(self, measurement: Measurement) -> Finding | None:
        """Return the finding, or None if this map has none."""


class MapQuestion(Question):
    """A question that a user asks in ``maps=``, under its key."""

    @classmethod
    @abstractmethod
    def check(cls, where: str, value: Any) -> None:
        """Raise TypeError or ValueError, which name ``where``, if the value makes no sense by itself."""

    @classmethod
    @abstractmethod
    def resolve(cls, name: str, where: str, value: Any, root: nn.Module) -> Question | None:
        """Return the question to the map of that name; ``root`` is where paths start from."""
