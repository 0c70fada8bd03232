"""The constraints of a query: whether they hold, and how points come to where they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number, expected_but_got
from lightning_invert.jacobians.evaluation import POWERS, in_parts
from lightning_invert.solver.bounded_step import bounded_step
from lightning_invert.solver.constraint import Constraint, LikeData, Linear
from lightning_invert.solver.model import Model, num_outputs_of
from lightning_invert.solver.rows import finite_rows, first_index, select
from lightning_invert.variables import Bounds, Variable, by_column

__all__ = ["Constraints", "inside", "read_constraints", "read_linear"]

ROUNDS, PATIENT_ROUNDS = 8, 50
"""Newton steps back to the constraints, and before they are called contradictory; linear ones need one
or two."""

EXACT, HELD, ROUNDING = 1e-12, 1e-9, 4.0
"""How nearly linear constraints are met and have to hold, in the inputs' units, beside so many units in
the last place of their dtype."""

CLOSE = 1e-3
"""How nearly other constraints are met, as a share of the tolerance."""

MAX_POINTS = 64
"""Points that tell how steep a function is."""

BINDING = 1e-5
"""A constraint binds that is so near to its end, in the inputs' units."""


def inside(points: Tensor, bounds: Bounds, constraints: Constraints | None) -> Tensor:
    """Move points (P, n) to within bounds (n,), and to near ones where the constraints hold."""
    points = bounds.clamp(points)
    if constraints is None:
        return points
    return constraints.restored(points, Bounds(*(end.expand_as(points) for end in bounds)))


@dataclass(frozen=True)
class Constraints:
    """K rows of constraints: first those of functions, then L linear ones.

    A row is measured in a unit of its own: it changes by about 1 where the inputs move by their units in
    its steepest direction.
    """

    names: tuple[str, ...]
    low: Tensor  # (K,), float64, infinite where an end is open
    high: Tensor
    weights: Tensor  # (L, n), for inputs in their units
    curved: Model | None  # (P, n) -> (P, K - L)
    input_spread: Tensor
    tolerance: float

    def __len__(self) -> int:
        return len(self.names)

    def values(self, inputs: Tensor) -> Tensor:
        """Return the rows at inputs (P, n), shape (P, K), float64."""
        linear = (inputs.double() / self.input_spread) @ self.weights.mT
        if self.curved is None:
            return linear
        outputs = self.curved.outputs(inputs).double() / self.curved.output_spread
        return torch.cat([outputs, linear], 1)

    def change(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most by which the rows have to change, (P, K) each."""
        values = self.values(inputs)
        return self.low - values, self.high - values

    def jacobian(self, inputs: Tensor) -> Tensor:
        """Return the Jacobians in units of the rows and inputs, (P, K, n)."""
        linear = self.weights.expand(len(inputs), -1, -1)
        if self.curved is None:
            return linear
        counts = torch.ones_like(self.curved.output_spread)[None]
        return torch.cat([self.curved.jacobian(inputs, counts), linear], 1)

    @property
    def linear(self) -> Constraints:
        """The linear ones alone."""
        rows = range(len(self) - len(self.weights), len(self))
        return self if self.curved is None else replace(self._only(rows), curved=None)

    @property
    def equal(self) -> Tensor:
        """Which are equations, (K,)."""
        return self.low == self.high

    def hold(self, inputs: Tensor) -> Tensor:
        """Return at which inputs (P, n) all constraints hold."""
        low, high = self.change(inputs)
        return (torch.maximum(low, -high) <= self._nearness(inputs, self.tolerance, HELD)).all(1)

    def binding(self, inputs: Tensor) -> Tensor:
        """Return which constraints are at an end, (P, K)."""
        low, high = self.change(inputs)
        return torch.maximum(low, -high) >= -self._nearness(inputs, self.tolerance, BINDING)

    def restored(self, inputs: Tensor, bounds: Bounds, rounds: int = ROUNDS) -> Tensor:
        """Move inputs (P, n) by Newton steps within the bounds to where the constraints hold nearby."""
        inputs = inputs.clone()
        left = finite_rows(inputs).nonzero()[:, 0]
        for _ in range(rounds):
            # Rounded to the inputs' dtype, a sum is to be on the right side of an end.
            low, high = self.change(inputs[left])
            near = self._nearness(inputs[left], CLOSE * self.tolerance, EXACT)
            margin = torch.minimum(near, (self.high - self.low) / 4)
            margin[:, : len(self) - len(self.weights)] = 0
            low, high = low + margin, high - margin
            away = (torch.maximum(low, -high) > near).any(1)
            left, low, high = select(away, left, low, high)
            jacobian = self.jacobian(inputs[left])
            left, jacobian, low, high = select(finite_rows(jacobian), left, jacobian, low, high)
            if len(left) == 0:
                break
            within = bounds.rows(left)
            limits = within.steps(inputs[left], self.input_spread)
            damping = jacobian.new_zeros(len(left))
            step, _ = bounded_step(
                jacobian, (low, high), limits, damping, num_constraints=len(self)
            )
            moved = inputs[left].double() + step.nan_to_num(nan=0.0) * self.input_spread
            inputs[left] = within.clamp(moved.to(inputs.dtype))
        return inputs

    def check(self, bounds: Bounds) -> None:
        """Raise a ValueError if no point within the bounds (N, n) keeps the linear constraints."""
        linear = self.linear
        if len(linear) == 0:
            return
        bounds = Bounds(*(end.double() for end in bounds))
        lost = ~linear._possible(bounds)
        if not lost.any():
            return
        row = first_index(lost)
        one = bounds.rows(slice(row, row + 1))
        needed = list(range(len(linear)))
        for index in range(len(linear)):
            others = [other for other in needed if other != index]
            if others and not linear._only(others)._possible(one).all():
                needed = others
        names = " and ".join(repr(linear.names[index]) for index in needed)
        of = "" if lost.all() else f" of target {row}"
        raise ValueError(
            f"Expected argument `constraints` to leave a point within the bounds{of}, but none keeps "
            f"{names}."
        )

    def _possible(self, bounds: Bounds) -> Tensor:
        same = all(bool((end == end[0]).all()) for end in bounds)
        some = bounds.rows(slice(0, 1)) if same else bounds
        found = self.hold(self.restored(some.middle, some, rounds=PATIENT_ROUNDS))
        return found.expand(len(bounds.low))

    def _only(self, rows: Sequence[int]) -> Constraints:
        """Return these of the linear rows, or all that are."""
        first, index = len(self) - len(self.weights), list(rows)
        return replace(
            self,
            names=tuple(self.names[row] for row in index),
            low=self.low[index],
            high=self.high[index],
            weights=self.weights[[row - first for row in index]],
        )

    def _nearness(self, inputs: Tensor, curved: float, linear: float) -> Tensor:
        """Return distances from the ends, (P, K): a rounded sum needs room."""
        sizes = (inputs.double() / self.input_spread).abs() @ self.weights.abs().mT
        room = linear + ROUNDING * torch.finfo(inputs.dtype).eps * sizes
        others = room.new_full((len(room), len(self) - room.shape[1]), curved)
        return torch.cat([others, room], 1)


def read_constraints(
    constraints: Any,
    inputs: Sequence[Variable],
    input_spread: Tensor,
    points: Tensor,
    tolerance: float,
) -> Constraints | None:
    """Read one constraint, several, or name -> constraint; functions are evaluated at points (P, n)."""
    if constraints is None:
        return None
    if isinstance(constraints, Linear | Constraint | LikeData):
        constraints = [constraints]
    if isinstance(constraints, Mapping):
        parts = [(f"constraints[{name!r}]", str(name), part) for name, part in constraints.items()]
    elif isinstance(constraints, Sequence) and not isinstance(constraints, str):
        parts = [(f"constraints[{i}]", "", part) for i, part in enumerate(constraints)]
    else:
        what = (
            "a Linear, a Constraint, a LikeData, a list of them, or a dictionary {name: constraint}"
        )
        raise TypeError(expected_but_got("constraints", what, constraints))
    if not parts:
        return None
    names, ends, functions, weights = [], [], [], []
    # Functions come first.
    for place, name, part in sorted(parts, key=lambda part: isinstance(part[2], Linear)):
        part = part.constraint(place, len(inputs)) if isinstance(part, LikeData) else part
        low, high = _read_ends(place, part)
        if isinstance(part, Linear):
            row = _read_weights(place, part, inputs, input_spread)
            weights.append(row * input_spread)
            row_names = [name or part.name or _formula(row, low, high, inputs)]
        else:
            function = _checked(part.function, place)
            functions.append(function)
            name = name or getattr(function, "__name__", place).replace("<lambda>", place)
            count = num_outputs_of(function, points)
            row_names = [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
        names += row_names
        ends += [(low, high)] * len(row_names)
    low, high = torch.tensor(ends, dtype=torch.float64, device=points.device).T
    rows = torch.stack(weights) if weights else input_spread.new_empty(0, len(inputs))
    curved, unit = None, rows.norm(dim=1)
    if functions:
        curved = _curved(functions, len(names) - len(rows), input_spread, points)
        unit = torch.cat([curved.output_spread, unit])
    rows = rows / rows.norm(dim=1, keepdim=True)
    low, high = low / unit, high / unit
    return Constraints(tuple(names), low, high, rows, curved, input_spread, tolerance)


def read_linear(constraints: Any, inputs: Sequence[Variable] | None) -> tuple[Linear, ...]:
    """Read constraints that a file can hold: each a :class:`Linear`, or weights with ``low`` and ``high``.

    Raises:
        TypeError: If one is something else.
        ValueError: If they do not fit the inputs, where these are known, or contradict each other or the ranges.
    """
    if isinstance(constraints, Linear | Constraint | LikeData):
        constraints = [constraints]
    if isinstance(constraints, str) or not isinstance(constraints, Mapping | Sequence):
        what = "a Linear, a list of them, or a dictionary {name: Linear}"
        raise TypeError(expected_but_got("constraints", what, constraints))
    named = isinstance(constraints, Mapping)
    parts = constraints.items() if isinstance(constraints, Mapping) else enumerate(constraints)
    read = []
    for key, part in parts:
        name = str(key) if named else ""
        if isinstance(part, Mapping):
            part = Linear.of(part, name)
        if not isinstance(part, Linear) or not isinstance(part.name, str):
            what = (
                "a Linear or its weights with `low` and `high`, as a file holds no function (give a "
                "Constraint or a LikeData to `propose`)"
            )
            raise TypeError(expected_but_got(f"constraints[{key!r}]", what, part))
        read.append(replace(part, weights=dict(part.weights), name=name or part.name))
    if inputs and read:
        together = {part.name: part for part in read} if named else read
        unit = torch.ones(len(inputs), dtype=torch.float64)
        rows = read_constraints(together, inputs, unit, unit[None], 1e-3)
        assert rows is not None
        rows.check(Bounds(*(end[None] for end in Bounds.of_variables(inputs))))
    return tuple(read)


def _curved(
    functions: Sequence[Callable[[Tensor], Tensor]],
    num_outputs: int,
    input_spread: Tensor,
    points: Tensor,
) -> Model:
    """Return the functions as one, its outputs measured by how they change with the inputs."""

    def together(x: Tensor) -> Tensor:
        return torch.cat([function(x) for function in functions], 1)

    points = points[:MAX_POINTS]
    plain = Model(
        in_parts(together, *POWERS), num_outputs, input_spread, input_spread.new_ones(num_outputs)
    )
    steepness = plain.jacobian(points, plain.output_spread[None]).norm(dim=2)
    unit = torch.where(steepness.isfinite() & (steepness > 0), steepness, torch.nan)
    return plain._replace(output_spread=unit.nanmedian(0).values.nan_to_num(nan=1.0))


def _checked(function: Any, place: str) -> Callable[[Tensor], Tensor]:
    """Return a function (N, n) -> (N, k) that says what it should have returned."""
    if not callable(function):
        raise TypeError(expected_but_got(f"{place}.function", "a function", function))

    @wraps(function)
    def call(x: Tensor) -> Tensor:
        y = function(x)
        if not isinstance(y, Tensor) or y.ndim not in (1, 2) or len(y) != len(x) or not y.numel():
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(
                f"Expected argument `{place}.function` to return numbers of each point, of shape "
                f"({len(x)},) or ({len(x)}, k), but it returned {got}."
            )
        if x.requires_grad and not y.requires_grad:
            raise ValueError(
                f"Expected argument `{place}.function` to return a tensor that carries a gradient to "
                "the inputs, but it does not."
            )
        return y.reshape(len(x), -1)

    return call


def _read_ends(place: str, part: Any) -> tuple[float, float]:
    if not isinstance(part, Linear | Constraint):
        raise TypeError(expected_but_got(place, "a Linear, a Constraint or a LikeData", part))
    low, high = (
        open_end if end is None else check_number(f"{place}.{name}", end)
        for name, end, open_end in (("low", part.low, -math.inf), ("high", part.high, math.inf))
    )
    if low == -math.inf and high == math.inf:
        raise ValueError(f"Expected argument `{place}` to have an end, low or high, but got none.")
    if low > high:
        raise ValueError(
            f"Expected argument `{place}` to have low <= high, but got low={low:g} and high={high:g}."
        )
    return low, high


def _read_weights(
    place: str, part: Linear, inputs: Sequence[Variable], input_spread: Tensor
) -> Tensor:
    place = f"{place}.weights"
    if not isinstance(part.weights, Mapping):
        expected = "a dictionary {name or index: number}"
        raise TypeError(expected_but_got(place, expected, part.weights))
    row = torch.zeros_like(input_spread)
    for index, weight in by_column(place, part.weights, inputs).items():
        row[index] = check_number(place, weight)
    if not row.any():
        raise ValueError(
            f"Expected argument `{place}` to hold a number that is not 0, but got none."
        )
    return row


def _formula(row: Tensor, low: float, high: float, inputs: Sequence[Variable]) -> str:
    """Write a linear constraint, as ``x0 + 2 x1 <= 3``."""
    text = ""
    for weight, variable in zip(row.tolist(), inputs, strict=True):
        if weight:
            sign = "-" if weight < 0 else "+"
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} "
            text += f" {sign} {factor}{variable.name}"
    text = text[3:] if text[1] == "+" else "-" + text[3:]
    if low == high:
        return f"{text} = {low:g}"
    return f"{low:g} <= " * (low > -math.inf) + text + f" <= {high:g}" * (high < math.inf)
