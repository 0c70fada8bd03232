"""Inputs for wanted outputs: many targets at once, inside a box, at the least cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lightning_invert.arguments import check_flag, check_integer, check_number
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.jacobians.jacobian import batched_jacobian
from lightning_invert.solver.asked import Asked, owner_of, read
from lightning_invert.solver.cost import Cost, Near, read_cost
from lightning_invert.solver.descent import descend
from lightning_invert.solver.least_squares import approach
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.ranking import Found, gather
from lightning_invert.solver.solution import Solution, joined
from lightning_invert.solver.starts import Pool
from lightning_invert.solver.targets import Interval, Targets

__all__ = ["points_at_once", "solve"]

MAX_NUMBERS_AT_ONCE = 2**23
"""Of the points of a default chunk, with their Jacobians: 64 MiB in float64."""

VECTORS = 30
"""So many numbers a point has beside its Jacobian, for each input and each output."""

BAR_AFTER = 2.0
"""Seconds after which a progress bar is shown."""


def solve(
    function: Callable[[Tensor], Tensor],
    targets: Tensor | Interval | Any,
    *,
    bounds: tuple[Any, Any] | None = None,
    start: Tensor | int | Any = None,
    fixed: Mapping[str | int, Any] | None = None,
    cost: Near | Callable[[Tensor], Tensor] | Tensor | Any = None,
    tolerance: float = 1e-3,
    max_steps: int = 50,
    scale: Any = None,
    seed: int = 42,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Solution:
    r"""Find inputs whose outputs are the targets, inside the box, at the least cost.

    .. math:: \min_x c(x) \quad \text{with} \quad F(x) \in [y_l, y_h], \; x_l \le x \le x_h

    By Newton steps through the Jacobian of F: those of Levenberg and Marquardt, each the best of its
    linear model inside the box, until the target is reached; then those of sequential quadratic
    programming, along the null space, which lower the cost. All targets are solved at once. Where one
    cannot be reached, the inputs lead as near to it as was found, and ``converged`` says so.
    What is found is a local optimum, the best of those that the starts led to.

    A module is evaluated in evaluation mode, on its own device and in its own dtype, which what is
    given is brought to; afterwards it is as it was. Linear systems are solved in float64.

    Args:
        function: F, maps (N, n) to (N, m), each row by itself, differentiable: a module, a function,
            or a pair, whose inputs' names, ranges and statistics are then used.
        targets: Wanted outputs, shape (N, m), with NaN for a free one; or an
            :class:`~lightning_invert.Interval`.
        bounds: Lower and upper ends of the inputs, each of shape (n,) or a number; open where
            infinite, NaN or None. By default the ranges of a pair's inputs, or none.
        start: Where to begin, shape (N, n), or (N, S, n) for several starts of each target; what is
            outside of the box is moved to its nearest point. Or how many starts are drawn from the
            box, by default 8: of 512 points of the box, those that come nearest to the target.
        fixed: Inputs that are given, by index or, for a pair, by name: a number, or one for each
            target, shape (N,).
        cost: Prices, shape (n,); or a differentiable function (N, n) -> (N,), each row by itself; or
            :class:`~lightning_invert.Near` a reference.
        tolerance: Distance up to which a target is reached, in the units of ``scale``.
        max_steps: How many are tried for the target, as many again, with care not to run into a
            corner of the box, where no start led to it, and as many for the cost.
        scale: Units of inputs and outputs, in which steps, residuals and condition numbers are
            measured. ``"standardized"``: by the statistics of a pair. ``"physical"``: as F has them.
            Or a pair of numbers or of shapes (n,) and (m,). By default a pair is standardised; for
            any other function an input is measured by the width of the box, where there is one,
            and outputs as they are.
        seed: Of the drawn starts.
        chunk_size: How many targets are taken at a time, which bounds the memory beside the result.
            By default so many that their Jacobians take about 64 MiB.
        progress: Show a progress bar if it takes long and the output is a terminal.

    Returns:
        The best solution of each target, and others.

    Raises:
        TypeError: If an argument is of a wrong type, or tensors are not floating.
        ValueError: If an argument is out of its range or shapes do not fit; in words.

    Example:
        >>> f = lambda x: torch.stack((x[:, 0] * x[:, 1], x[:, 1] + x[:, 2]), dim=1)
        >>> found = solve(
        ...     f, [[2.0, 3.0], [9.0, 0.0]], bounds=(0.0, [2.0, 4.0, 4.0]), cost=[1.0, 1.0, 1.0]
        ... )
        >>> found.converged
        tensor([ True, False])
        >>> found.inputs[0].round(decimals=2), found.cost[0].round(decimals=2)
        (tensor([0.6700, 3.0000, 0.0000]), tensor(3.6700, dtype=torch.float64))
    """
    tolerance = check_number("tolerance", tolerance, low=0.0, open_low=True)
    max_steps = check_integer("max_steps", max_steps, low=1)
    seed = check_integer("seed", seed)
    check_flag("progress", progress)
    if chunk_size is not None:
        chunk_size = check_integer("chunk_size", chunk_size, low=1, what="or None")
    owner = owner_of(function)
    modules = [] if owner is None else [owner]
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(modules):
        asked = read(function, targets, bounds, start, fixed, scale)
        num_targets = len(asked.targets.low)
        price = None
        if cost is not None:
            price = read_cost(cost, num_targets, asked.model.input_spread, asked.kind)
        starts: Tensor | Pool
        if isinstance(asked.start, int):
            starts = Pool.drawn(asked.model, *asked.bounds, seed=seed, count=asked.start)
            few = starts.inputs[:3]
        else:
            starts = asked.start
            few = starts.flatten(0, 1)[:3]
        if chunk_size is None:
            chunk_size = _default_chunk(asked)
        # Warns of a function that mixes rows, and complains of one that cannot be differentiated.
        batched_jacobian(function, few)
        parts: list[list[Solution]] = []
        with tqdm(
            desc="solve",
            total=num_targets,
            unit=" targets",
            unit_scale=True,
            delay=BAR_AFTER,
            disable=None if progress else True,
        ) as bar:
            for begin in range(0, num_targets, chunk_size):
                rows = slice(begin, begin + chunk_size)
                parts.append(_solve_chunk(asked, price, starts, rows, tolerance, max_steps))
                bar.update(len(parts[-1][0].inputs))
    return joined(parts)


def _default_chunk(asked: Asked) -> int:
    starts = asked.start if isinstance(asked.start, int) else asked.start.shape[1]
    return points_at_once(asked.box.low.shape[1], asked.model.num_outputs) // starts or 1


def points_at_once(n: int, m: int) -> int:
    """Return for how many points at once the solver's memory is bounded by default."""
    return max(1, MAX_NUMBERS_AT_ONCE // (m * n + VECTORS * (m + n)))


def _solve_chunk(
    asked: Asked,
    cost: Cost | None,
    starts: Tensor | Pool,
    rows: slice,
    tolerance: float,
    max_steps: int,
) -> list[Solution]:
    model, targets, box = asked.model, asked.targets.rows(rows), asked.box.rows(rows)
    if isinstance(starts, Pool):
        start = starts.starts(targets, box)
    else:
        start = starts[rows].clamp(box.low[:, None], box.high[:, None])
    target = torch.arange(len(start), device=start.device).repeat_interleave(start.shape[1])
    each, walls = targets.rows(target), box.rows(target)
    found = _nearest(model, start, target, each, walls, tolerance, max_steps)
    if cost is not None:
        found = _cheapest(model, cost.rows(rows), found, target, each, walls, tolerance, max_steps)
    return gather(model, found, targets, box, tolerance=tolerance)


def _nearest(
    model: Model,
    start: Tensor,
    target: Tensor,
    targets: Targets,
    box: Box,
    tolerance: float,
    max_steps: int,
) -> Found:
    """Go to the targets, and once more with care to those that no start led to."""
    begin = start.flatten(0, 1)
    near = approach(model, begin, targets, box, tolerance=tolerance, max_steps=max_steps)
    found = Found(near.inputs, near.outputs, near.distance, near.stationary, near.steps, None)
    missed = (near.distance > tolerance).reshape(start.shape[:2]).all(1)
    rows = missed[target].nonzero()[:, 0]
    if len(rows) == 0:
        return found
    again = approach(
        model,
        begin[rows],
        targets.rows(rows),
        box.rows(rows),
        tolerance=tolerance,
        max_steps=max_steps,
        careful=True,
    )
    found.steps[rows] += again.steps
    nearer = again.distance < near.distance[rows]
    rows = rows[nearer]
    found.inputs[rows], found.outputs[rows] = again.inputs[nearer], again.outputs[nearer]
    found.residual[rows] = again.distance[nearer]
    found.optimal[rows] = again.stationary[nearer]
    return found


def _cheapest(
    model: Model,
    cost: Cost,
    found: Found,
    target: Tensor,
    targets: Targets,
    box: Box,
    tolerance: float,
    max_steps: int,
) -> Found:
    """Lower the cost where the target is reached; change ``found`` in place."""
    price, _ = cost.rows(target)(found.inputs)
    rows = (found.residual <= tolerance).nonzero()[:, 0]
    cheap = descend(
        model,
        cost.rows(target[rows]),
        found.inputs[rows],
        found.outputs[rows],
        targets.rows(rows),
        box.rows(rows),
        tolerance=tolerance,
        max_steps=max_steps,
    )
    found.inputs[rows], found.outputs[rows] = cheap.inputs, cheap.outputs
    found.residual[rows], found.optimal[rows] = cheap.distance, cheap.optimal
    found.steps[rows] += cheap.steps
    price[rows] = cheap.cost
    return found._replace(cost=price)
