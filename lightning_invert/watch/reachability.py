"""How many outcomes are reached from what an inverse proposes, by a few steps of the solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_invert.solver.least_squares import approach
from lightning_invert.solver.model import Model
from lightning_invert.solver.query import Query
from lightning_invert.solver.solve import points_at_once
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.quantities import to_numpy
from lightning_invert.watch.scalars import Array

if TYPE_CHECKING:
    from lightning_invert.watch.maps import WatchedMap

__all__ = ["TOLERANCE", "Reachability", "reach_outcomes", "reach_quantities"]

TOLERANCE = 1e-2
"""Distance up to which an outcome is reached, in standard deviations of the outputs."""


class Reachability(NamedTuple):
    """How near the solver came to the outcomes of N points, from the proposals for them.

    Attributes:
        distance: Euclidean, in standard deviations of the outputs, shape (N,), float64: at the
            start, if that is near enough, or after at most ``steps`` steps. Infinite where proposal
            or outcome of it are not finite; NaN where the wanted outcome is not, or was not asked
            for.
        steps: How many were allowed.
    """

    distance: Tensor
    steps: int

    def at(self, rows: Tensor) -> Self:
        """Return the same at some of the points."""
        return self._replace(distance=self.distance[rows])

    @property
    def reached(self) -> Tensor:
        """Whether each outcome is reached, shape (N,)."""
        return self.distance <= TOLERANCE


def reach_outcomes(
    watched: WatchedMap,
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    outcomes: Tensor,
    stds: tuple[Tensor, Tensor],
    steps: int,
) -> Reachability:
    r"""Go from the proposals for some outcomes to these, inside the box of the map.

    One approach of Levenberg and Marquardt, as :func:`~lightning_invert.solve` begins with (which,
    of what that does not reach, tries as many steps again with care).

    Args:
        watched: The map, which says from where to reach; in evaluation mode.
        function: What evaluates it, (N, \*) -> (N, \*).
        inputs: The sampled points, shape (N, \*): their range is the box where no other is known.
        outcomes: What is wanted, shape (R, \*), of the first R points.
        stds: Standard deviations of the inputs, shape (n,), and of the outputs, shape (m,).
        steps: How many may be tried for each outcome.

    Returns:
        How near they came.

    Raises:
        MapError: If the shapes do not fit, or weights are sharded over processes.
    """
    reach, x = watched.reach, inputs.flatten(1)
    assert reach is not None
    if any(hasattr(p, "full_tensor") for owner in watched.owners for p in owner.parameters()):
        raise MapError(
            watched.name,
            "reach",
            f"the weights of {type(watched.owner).__name__} are sharded over processes, which all "
            "have to call it equally often; how many steps it takes may differ. Write "
            "`reachable_steps=None`.",
        )
    outcomes = outcomes.detach().to(x.device)
    try:
        start = reach.inverse(outcomes).detach().flatten(1).to(x.dtype)
    except MapError as error:
        raise MapError(watched.name, "reach", error.why) from error.__cause__
    wanted = outcomes.flatten(1).to(x.dtype)
    (n, m), (proposed, named) = (len(std) for std in stds), (start.shape[1], wanted.shape[1])
    if (proposed, named) != (n, m):
        raise MapError(
            watched.name,
            "reach",
            f"expected its inverse to take its {m} outputs and to propose its {n} inputs, but it "
            f"takes {named} and proposes {proposed}.",
        )
    try:
        ends = reach.box(x)
    except ValueError as error:
        raise MapError(watched.name, "reach", str(error)) from error
    model = Model(
        lambda z: function(z.reshape(-1, *inputs.shape[1:])).flatten(1),
        m,
        *(std.detach().to(x.device).double() for std in stds),
    )
    known = wanted.isfinite().all(1).nonzero()[:, 0]
    distance = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    for rows in known.split(points_at_once(n, m)):
        query = Query(
            model,
            Targets(wanted[rows], wanted[rows]),
            Bounds(*(end.expand(len(rows), n) for end in ends)),
            tolerance=TOLERANCE,
            max_steps=steps,
        )
        distance[rows] = approach(query, start[rows].clamp(*ends)).residual
    return Reachability(distance, steps)


def reach_quantities(found: Reachability) -> dict[str, Array]:
    """Return whether each outcome is reached, shape (N,), NaN where none was asked for.

    Example:
        >>> reach_quantities(Reachability(torch.tensor([0.0, 0.5, torch.nan]), 10))["reached"]
        array([ 1.,  0., nan])
    """
    reached = found.reached.double().where(~found.distance.isnan(), torch.nan)
    return {"reached": to_numpy(reached)}
