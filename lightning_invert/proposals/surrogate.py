"""A function with known points: its columns, units, bounds and starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.arrays import Placement, TensorLike, read_tensor
from lightning_invert.conditions import filled
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.jacobians.evaluation import POWERS, in_parts
from lightning_invert.proposals.correction import Correction
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.solver.cases import read_query
from lightning_invert.solver.constraint import LikeData, with_another, with_points
from lightning_invert.solver.constraints import Constraints, inside
from lightning_invert.solver.cost import Plausible, Robust
from lightning_invert.solver.model import Description, Model, evaluating, num_outputs_of
from lightning_invert.solver.query import Query
from lightning_invert.solver.search import Search
from lightning_invert.solver.starts import Pool, Starts, StartsOf
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds, Variable, as_variables

__all__ = ["Surrogate", "of_any_dtype"]

DTYPES = torch.float64, torch.float32


@dataclass(frozen=True)
class Surrogate:
    """A function F with known points and descriptions of its columns.

    An attribute that is None is read from the function when it is needed, see :class:`.Description`:
    a pair gets its columns and statistics only in a fit.
    """

    function: Callable[[Tensor], Tensor]  # F, (N, n) -> (N, m)
    evidence: Evidence
    inputs: tuple[Variable, ...] | None = None
    outputs: tuple[Variable, ...] | None = None
    scale: tuple[TensorLike, TensorLike] | None = None  # standard units of inputs and outputs
    inverse: Callable[[Tensor], Tensor] | None = None  # (N, m) -> (N, n)
    members: Callable[[Tensor], Tensor | None] | None = None  # (N, n) -> (K, N, m), or None
    correction: Correction | None = None  # by rows that were tried

    @property
    def description(self) -> Description:
        """What is known of the columns."""
        about = Description.of(self.function)
        return about._replace(
            inputs=self.inputs or about.inputs, outputs=self.outputs or about.outputs
        )

    @property
    def known(self) -> tuple[Tensor, Tensor] | None:
        """Known training points, (K, n) and (K, m), float64."""
        return self.evidence.rows("train")

    @property
    def bounds(self) -> Bounds | None:
        """Ranges of the variables or else of the known points; ``None`` if n is not known."""
        known = self.known
        count = 0 if known is None else known[0].shape[1]
        variables = as_variables(self.description.inputs, "x", count)
        if not variables:
            return None
        bounds = Bounds.of_variables(variables)
        return bounds if known is None else bounds.or_range(known[0])

    @property
    def units(self) -> tuple[Tensor, Tensor] | None:
        """Standard units of inputs and outputs, (n,) and (m,), if they are known."""
        about, known = self.description, self.known
        placement = Placement(torch.float64, about.placement().device)
        if self.scale is not None:
            units = [read_tensor("scale", unit, placement) for unit in self.scale]
            return units[0], units[1]
        if about.standardized:
            return about.scale_x.std.double(), about.scale_y.std.double()
        if known is None or len(known[0]) < 2:
            return None
        spreads = [part.std(0).to(placement.device) for part in known]
        units = [torch.where(spread > 0, spread, 1.0) for spread in spreads]
        return units[0], units[1]

    def evaluating(self, *functions: Any) -> AbstractContextManager[None]:
        """Evaluate the functions without gradients, their modules in evaluation mode."""
        return evaluating(self.function, self.inverse, self.members, *functions)

    def predict(self, x: Tensor) -> Tensor:
        """Return F at inputs (N, n), corrected; NaN where it raises."""
        return evaluate_inside(in_parts(self.corrected, len(x), *POWERS), x)

    @property
    def corrected(self) -> Callable[[Tensor], Tensor]:
        """F, with its correction if it has one."""
        if self.correction is None or self.units is None:
            return self.function
        function, unit = self.function, self.units[1]
        correction = self.correction.to(unit.device)

        def corrected(x: Tensor) -> Tensor:
            y = function(x)
            return y + (unit * correction.at(self.standardize(x))).to(y)

        return corrected

    def centre(self, side: str) -> Tensor:
        """Return the mean of the inputs ("x") or of the outputs ("y"), or 0."""
        about, known = self.description, self.known
        if self.scale is None and about.standardized:
            mean: Tensor = (about.scale_x if side == "x" else about.scale_y).mean.double()
            return mean
        return torch.zeros(()) if known is None else known["xy".index(side)].mean(0)

    def filled(self, x: Tensor, bounds: Bounds | None = None) -> Tensor:
        """Return inputs (N, n) with their mean, within bounds, for NaN where one does not matter."""
        variables = self.description.inputs or ()
        if x.ndim != 2 or x.shape[1] != len(variables):
            return x
        centre = self.centre("x").cpu().expand(len(variables))
        bounds = bounds or self.bounds
        return filled(x, variables, centre if bounds is None else bounds.clamp(centre))

    def standardize(self, x: Tensor) -> Tensor:
        """Return inputs in standard units about their mean: far from 0 digits would be lost."""
        assert self.units is not None
        return (x.double() - self.centre("x").to(x.device)) / self.units[0]

    def spread(self, x: Tensor) -> Tensor | None:
        """Return the standard deviation over F's members in standard units, (N, m)."""
        members = None if self.members is None else self.members(x)
        if members is None or self.units is None or len(members) < 2:
            return None
        return members.double().std(0) / self.units[1]

    def query(
        self,
        targets: Any,
        search: Search,
        *,
        bounds: Any = None,
        cost: Any = None,
        **options: Any,
    ) -> Query:
        """Ask for targets, from known inputs on; ``options`` are of :func:`.read_query`."""
        if isinstance(cost, Plausible) and cost.points is None and self.known is not None:
            cost = Plausible(self.known[0])
        about, known = self.description, self.bounds
        if self.known is not None:
            constraints = options.get("constraints")
            constraints = about.constraints if constraints is None else constraints
            if isinstance(cost, Robust) and cost.share is not None:
                share = check_number("cost.share", cost.share, low=0.0, high=1.0, open_low=True)
                constraints = with_another(constraints, LikeData(share))
            options["constraints"] = with_points(constraints, self.known[0])
        if known is not None and isinstance(bounds, Mapping | None):
            bounds = known.replaced(bounds or {}, as_variables(about.inputs, "x", len(known.low)))
        return read_query(
            self.corrected,
            targets,
            description=about,
            bounds=bounds,
            starts=self.starts_of(search.num_starts),
            search=search,
            scale=self.units,
            cost=cost,
            **options,
        )

    def starts_of(self, count: int) -> StartsOf:
        """Return what makes ``count`` starts of a target: I(y) and the nearest known points."""
        known, inverse = self.known, self.inverse

        def make(
            model: Model, bounds: Bounds, about: Description, constraints: Constraints | None
        ) -> Starts:
            if known is None:
                pool = Pool.drawn(model, bounds, about, constraints, seed=0, count=count)
            else:
                pool = Pool(model, inside(known[0].to(bounds.low), bounds, constraints), count)
            return pool if inverse is None else partial(_starts, model, pool, inverse)

        return make


def _starts(
    model: Model,
    pool: Pool,
    inverse: Callable[[Tensor], Tensor],
    targets: Targets,
    bounds: Bounds,
) -> Tensor:
    """Return what the inverse proposes and the nearest points of the pool, (N, S, n)."""
    nearest = pool.nearest(targets)
    count = nearest.shape[1]
    # Of an interval the inverse gets the point next to a known outcome.
    outputs = model.outputs(pool.inputs[nearest[:, 0]])
    inverse = in_parts(inverse, len(outputs), *POWERS)
    wanted = outputs.clamp(targets.low, targets.high)
    own = evaluate_inside(inverse, wanted).to(bounds.low)
    known = pool.inputs[nearest[:, : max(1, count - 1)]]
    starts = torch.cat([own[:, None], known], 1)[:, :count]
    starts = torch.where(starts.isfinite(), starts, known[:, :1])
    return starts.clamp(*(end[:, None] for end in bounds))


def of_any_dtype(
    function: Callable[[Tensor], Tensor], points: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """Return F for rows of any dtype, where it takes one alone, like a network that it calls."""
    if points is None or Description.of(function).module is not None:
        return function
    works = []
    for dtype in DTYPES:
        with suppress(Exception), evaluating(function):
            num_outputs_of(function, points.to(dtype))
            works.append(dtype)
    return partial(_cast, function, works[0]) if len(works) == 1 else function


def _cast(function: Callable[[Tensor], Tensor], dtype: torch.dtype, x: Tensor) -> Tensor:
    return function(x.to(dtype)).to(x.dtype)
