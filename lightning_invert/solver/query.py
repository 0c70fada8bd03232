"""The query: a question to the solver, read once from the arguments of a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number, expected_but_got, to_builtin
from lightning_invert.arrays import Placement, as_columns, leaves, read_tensor, to_tensor
from lightning_invert.conditions import Conditions, read_conditions
from lightning_invert.jacobians.arithmetic import dtype_of
from lightning_invert.jacobians.evaluation import POWERS, in_parts
from lightning_invert.solver.constraints import Constraints, read_constraints
from lightning_invert.solver.cost import Cost, read_cost
from lightning_invert.solver.model import Description, Model, num_outputs_of
from lightning_invert.solver.rows import finite_rows, first_index
from lightning_invert.solver.search import Search
from lightning_invert.solver.starts import Starts, StartsOf
from lightning_invert.solver.targets import Targets, read_weights
from lightning_invert.variables import Bounds, Variable, as_variables, by_column, without_none

__all__ = ["Query"]

NUM_POINTS = 32
"""Points that tell of a function where no start is known."""


@dataclass(frozen=True)
class Query:
    """A question to the solver: N targets, each with its bounds, starts and cost."""

    model: Model
    targets: Targets
    bounds: Bounds  # (N, n); the ends of a fixed input are equal
    cost: Cost | None = None
    constraints: Constraints | None = None
    starts: Tensor | Starts | None = None  # (N, S, n), or what finds them
    num_starts: int = 1  # S at most
    tolerance: float = 1e-3  # a target is reached at this distance, in spreads of the outputs
    max_steps: int = 50  # to the target, and as many that lower the cost
    inputs: tuple[Variable, ...] = ()  # n
    reference: Tensor | None = None  # (N, n): inputs in force, one more start of each target
    weights: Tensor | None = None  # (m,), of the outputs where a target is out of reach
    max_changes: int | None = None  # how many inputs may differ from the reference

    @classmethod
    def of(
        cls,
        function: Callable[[Tensor], Tensor],
        targets: Any,
        *,
        description: Description | None = None,
        bounds: Any = None,
        starts: Any | StartsOf,
        search: Search,
        fixed: Any = None,
        cost: Any = None,
        constraints: Any = None,
        weights: Any = None,
        scale: Any = None,
        tolerance: float = 1e-3,
    ) -> Query:
        """Read the arguments of :func:`~lightning_invert.solve`; F is evaluated at a few points.

        ``description`` overrides what the function tells about itself.
        """
        tolerance = check_number("tolerance", tolerance, low=0.0, open_low=True)
        if not callable(function):
            raise TypeError(expected_but_got("function", "a module or a function", function))
        targets, bounds, starts, fixed, scale = map(
            to_builtin, (as_columns(targets), bounds, starts, fixed, scale)
        )
        about = Description.of(function) if description is None else description
        placement = about.placement(targets, None if callable(starts) else starts, bounds)
        function = in_parts(function, *_numbers_of_targets(targets), *POWERS)
        points = None if callable(starts) else read_tensor("starts", starts, placement)
        n = _num_inputs(about, points, bounds, scale)
        inputs = as_variables(about.inputs, "x", n)
        known = Bounds.of_variables(inputs)
        if bounds is None or isinstance(bounds, Mapping):
            bounds = known.replaced(bounds or {}, inputs)
        each = Bounds.of(bounds, inputs, placement)
        first = _some_points(points, each.around())
        m = num_outputs_of(function, first)
        read = Targets.of(targets, as_variables(about.outputs, "y", m), placement)
        num_targets = len(read.low)
        dtype = dtype_of(about.module) if about.module is not None else None
        units = _read_scale(scale, about, each.around(), m)
        model = Model(function, m, *units, 0.0 if dtype is None else torch.finfo(dtype).eps)
        limits, each = _fix(fixed, each, num_targets, inputs)
        constraints = about.constraints if constraints is None else constraints
        kept = read_constraints(constraints, inputs, model.input_spread, first, tolerance)
        if kept is not None:
            kept.check(each)
        num_starts = search.num_starts
        if points is None:
            begin = starts(model, limits, about, kept)
        else:
            begin = _shape_starts(points, num_targets, n)
            num_starts = begin.shape[1]
        if cost is not None:
            cost = read_cost(cost, inputs, model, read, placement, each.around())
        if weights is not None:
            weights = read_weights(weights, as_variables(about.outputs, "y", m), placement)
        return cls(
            model, read, each, cost, kept, begin, num_starts, tolerance, search.max_steps, inputs,
            weights=weights,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.targets.low)

    def rows(self, rows: Tensor | slice) -> Query:
        """Return the query for these targets; an index that repeats repeats its target."""
        return replace(
            self,
            targets=self.targets.rows(rows),
            bounds=self.bounds.rows(rows),
            starts=self.starts[rows] if isinstance(self.starts, Tensor) else self.starts,
            cost=None if self.cost is None else self.cost.rows(rows),
            reference=None if self.reference is None else self.reference[rows],
        )

    @property
    def conditions(self) -> Conditions:
        """Where inputs matter that do not always."""
        return read_conditions(self.inputs)

    @property
    def num_constraints(self) -> int:
        """K."""
        return 0 if self.constraints is None else len(self.constraints)

    @property
    def constraint_names(self) -> tuple[str, ...]:
        """Names of the constraints."""
        return () if self.constraints is None else self.constraints.names

    def weighed(self) -> Query:
        """Return the query for targets out of reach, whose distance is weighed."""
        assert self.weights is not None
        model = self.model._replace(output_spread=self.model.output_spread / self.weights)
        # What is so near in weighed spreads is near in the others.
        return replace(self, model=model, tolerance=self.tolerance * float(self.weights.min()))

    def distance(self, outputs: Tensor, residual: Tensor) -> Tensor:
        """Return how far outputs (N, m) of these residuals (N,) are from the targets, weighed."""
        if self.weights is None:
            return residual
        weighed = self.targets.distance(outputs, self.model.output_spread / self.weights)
        return weighed.where(residual.isfinite(), residual)

    def jacobian(self, inputs: Tensor) -> Tensor:
        """Return the Jacobians of outputs and constraints in their units, (N, m + K, n)."""
        jacobian = self.model.jacobian(inputs, self.targets.constrained)
        if self.constraints is None:
            return jacobian
        return torch.cat([jacobian, self.constraints.jacobian(inputs)], 1)

    def moving_jacobian(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Jacobians (N, m, n) along what may move, and how many singular values count, (N,).

        No move leads off an equation, as none changes a fixed input. What is at an end may move back.
        """
        movable, constrained = self.bounds.movable, self.targets.constrained
        jacobian, free = self.model.jacobian(inputs, constrained) * movable[:, None], movable.sum(1)
        if self.constraints is not None and (equal := self.constraints.equal).any():
            normals = self.constraints.jacobian(inputs)[:, equal] * movable[:, None]
            jacobian[~finite_rows(normals)] = torch.nan
            _, sigma, directions = torch.linalg.svd(
                normals.nan_to_num(0, 0, 0), full_matrices=False
            )
            held = sigma > torch.finfo(sigma.dtype).eps * max(normals.shape[1:]) * sigma[:, :1]
            directions = directions * held[:, :, None]
            jacobian = jacobian - jacobian @ directions.mT @ directions
            free = free - held.sum(1)
        return jacobian, torch.minimum(constrained.sum(1), free)

    def change(self, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most by which outputs and constraints have to change, (N, m + K)."""
        change = self.targets.change(outputs, self.model.output_spread)
        if self.constraints is None:
            return change
        low, high = self.constraints.change(inputs)
        return torch.cat([change[0], low], 1), torch.cat([change[1], high], 1)

    def moved(self, inputs: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs (N, n) moved within bounds and constraints, and where these hold, (N,)."""
        moved = self.model.moved(inputs, step, self.bounds)
        if self.constraints is None:
            return moved, torch.ones_like(moved[:, 0], dtype=torch.bool)
        moved = self.constraints.restored(moved, self.bounds)
        return moved, self.constraints.hold(moved)

    def points(self) -> Tensor:
        """Return the starts of all targets within their bounds, (N, S, n); constraints may not hold."""
        assert self.starts is not None
        starts = self.starts
        if not isinstance(starts, Tensor):
            starts = starts(self.targets, self.bounds)
        if self.reference is not None:
            starts = torch.cat([starts, self.reference[:, None]], 1)
        return starts.clamp(*(end[:, None] for end in self.bounds))


def _num_inputs(about: Description, starts: Tensor | None, bounds: Any, scale: Any) -> int:
    if about.inputs is not None:
        return len(about.inputs)
    if starts is not None:
        if starts.ndim not in (2, 3):
            raise ValueError(
                "Expected argument `starts` to be of shape (N, n) or (N, S, n), but got "
                f"{tuple(starts.shape)}."
            )
        return starts.shape[-1]
    units = scale[:1] if isinstance(scale, tuple | list) else ()
    for columns in (*(bounds if isinstance(bounds, Sequence) else ()), *units):
        columns = without_none(columns)
        shape = () if isinstance(columns, str) else to_tensor(columns).shape
        if shape:
            return shape[-1]
    raise ValueError(
        "Expected argument `bounds`, because the number of inputs is not known: write `bounds=(low, "
        "high)` with a number for each input. `solve` also takes `starts=` of shape (N, n)."
    )


def _some_points(points: Tensor | None, bounds: Bounds) -> Tensor:
    """Return starts, or else points of the bounds (n,): next to 0, in the middle, and anywhere."""
    if points is None:
        near = bounds.clamp(torch.zeros_like(bounds.low))
        shares = torch.rand(NUM_POINTS, len(near), generator=torch.Generator().manual_seed(0))
        shares = torch.cat([torch.full_like(shares[:1], 0.5), shares]).to(near)
        within = torch.where(bounds.closed, bounds.low + (bounds.high - bounds.low) * shares, near)
        points = torch.cat([near[None], within])
    return points.reshape(-1, points.shape[-1])


def _numbers_of_targets(targets: Any) -> list[int]:
    """Return how many targets there may be; it is certain once the outputs are counted."""
    parts = [targets] if type(targets) is tuple else leaves(targets)
    return [len(p) for p in parts if isinstance(p, list | tuple) or getattr(p, "ndim", 0) > 0]


def _shape_starts(starts: Tensor, num_targets: int, n: int) -> Tensor:
    shaped = starts[:, None] if starts.ndim == 2 else starts
    fits = shaped.ndim == 3 and shaped.shape[0] == num_targets and shaped.shape[2] == n
    if not fits or shaped.shape[1] == 0:
        raise ValueError(
            f"Expected argument `starts` to be of shape ({num_targets}, {n}) or ({num_targets}, S, "
            f"{n}), but got {tuple(starts.shape)}."
        )
    return shaped


def _fix(
    fixed: Any, bounds: Bounds, num_targets: int, inputs: Sequence[Variable]
) -> tuple[Bounds, Bounds]:
    """Return bounds with the fixed values in them: (n,), with their means, and (N, n)."""
    if bounds.low.ndim > 1 and len(bounds.low) not in (1, num_targets):
        raise ValueError(
            f"Expected argument `bounds` to have a row for each of the {num_targets} targets, but got "
            f"{len(bounds.low)}."
        )
    if fixed is not None and not isinstance(fixed, Mapping):
        raise TypeError(expected_but_got("fixed", "a dictionary {name or index: value}", fixed))
    limits, each = bounds.around(), Bounds(*(end.expand(num_targets, -1) for end in bounds))
    if not fixed:
        return limits, each
    limits, each = (Bounds(*(end.clone() for end in part)) for part in (limits, each))
    settings = by_column("fixed", fixed, inputs)
    if len(settings) == len(limits.low):
        raise ValueError("Expected argument `fixed` to leave an input that may move, but got all.")
    for index, setting in settings.items():
        name = inputs[index].name
        low, high = each.low[:, index], each.high[:, index]
        value = read_tensor("fixed", setting, Placement(low.dtype, low.device))
        if value.shape not in ((), (num_targets,)) or not value.isfinite().all():
            raise ValueError(
                "Expected argument `fixed` to hold a finite number, or one for each of the "
                f"{num_targets} targets, but got {setting!r} for {name!r}."
            )
        value = value.expand(num_targets)
        outside = (value < low) | (value > high)
        if outside.any():
            row = first_index(outside)
            raise ValueError(
                "Expected argument `fixed` to hold values within the bounds, but got "
                f"{value[row]:g} for input {name!r}, which may be "
                f"{low[row]:g} to {high[row]:g}."
            )
        for end, ends in zip(limits, each, strict=True):
            end[index], ends[:, index] = value.mean(), value
    return limits, each


def _read_scale(
    scale: Any, about: Description, bounds: Bounds, m: int
) -> tuple[Tensor, Tensor, bool]:
    """Return the units of the inputs (n,) and outputs (m,), float64, and whether the inputs' are given."""
    placement = Placement(torch.float64, bounds.low.device)
    if isinstance(scale, tuple | list) and len(scale) == 2:
        units = []
        for value, count in zip(scale, (len(bounds.low), m), strict=True):
            unit = read_tensor("scale", value, placement)
            if unit.shape not in ((), (count,)) or not ((unit > 0) & unit.isfinite()).all():
                raise ValueError(
                    "Expected argument `scale` to hold positive units, a number or one for each of "
                    f"{count}, but got {value!r}."
                )
            units.append(unit.expand(count))
        return units[0], units[1], True
    if scale not in (None, "standardized", "physical"):
        raise ValueError(
            expected_but_got(
                "scale", "'standardized', 'physical' or units (of inputs, of outputs)", scale
            )
        )
    if scale != "physical" and about.standardized:
        return about.scale_x.std.double(), about.scale_y.std.double(), True
    if scale == "standardized":
        raise ValueError(
            "Expected argument `scale` not to be 'standardized' for a function without statistics: "
            "write `scale=(spread of inputs, spread of outputs)`."
        )
    width = (bounds.high - bounds.low).double()
    by_width = width.isfinite() & (width > 0) & (scale is None)
    given = scale is not None or bool(width.isfinite().all())
    return torch.where(by_width, width, 1.0), torch.ones(m).to(width), given
