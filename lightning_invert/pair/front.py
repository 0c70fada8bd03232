"""What a tolerance buys: the least cost against how far from the target an outcome may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number
from lightning_invert.doorway import figures_of
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.solver.asked import read
from lightning_invert.solver.cost import Near
from lightning_invert.solver.targets import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_invert.pair.proposing import ProposingPair

__all__ = ["Front", "front"]

WIDTHS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Front:
    """The least cost at which N targets are reached, for each of K widths of what will do.

    Attributes:
        widths: By how many standard units each wanted outcome may be missed, shape (K,), ascending.
        cost: The least that was found, shape (K, N), float64, nowhere rising with the width; NaN
            where the target is not reached.
        inputs: The settings that cost this, shape (K, N, n); NaN likewise.
    """

    widths: Tensor
    cost: Tensor
    inputs: Tensor

    def figure(self, *, title: str = "") -> Figure:
        """Draw the cost over the widths."""
        return figures_of(self, title=title)["trade_off"]


def front(
    pair: ProposingPair,
    y: Tensor | Interval | Any,
    cost: Near | Callable[[Tensor], Tensor] | Tensor | Any,
    *,
    widths: Sequence[float] = WIDTHS,
    bounds: tuple[Any, Any] | None = None,
    fixed: Mapping[str | int, Any] | None = None,
    **options: Any,
) -> Front:
    r"""Find out what it buys if an outcome need not be met exactly.

    For each width k, settings are proposed at the least cost for the interval from k standard units
    below to k above what is wanted of each output. Settings for a narrower interval are in the wider
    one, too, and stay where they are the cheaper ones.

    Args:
        pair: A trained :class:`~lightning_invert.ForwardInverseModule`.
        y: Wanted outcomes, as for its ``propose``: shape (N, m), or an
            :class:`~lightning_invert.Interval`.
        cost: Prices, a function or :class:`~lightning_invert.Near`, likewise.
        widths: In standard units, in ascending order.
        bounds: Lower and upper ends of the settings, likewise.
        fixed: Settings that are given, likewise.
        options: Further ones of ``propose``: ``start``, ``tolerance``, ``max_steps``, ``progress``.

    Returns:
        The costs and the settings.

    Raises:
        ValueError: If the widths are none, negative or not in ascending order; and as ``propose``.
        TypeError: If a width is no number; and as ``propose``.

    Example:
        >>> from lightning_invert import ForwardInverseModule, SmoothMLP
        >>> _ = torch.manual_seed(0)
        >>> pair = ForwardInverseModule(SmoothMLP(3, 2), SmoothMLP(2, 3))
        >>> box = (3 * [-9.0], 3 * [9.0])
        >>> found = front(pair, torch.zeros(4, 2), [1.0, 1.0, 0.0], widths=(0, 0.1), bounds=box)
        >>> found.cost.shape, bool((found.cost[1] <= found.cost[0]).all())
        (torch.Size([2, 4]), True)
    """
    steps = [check_number("widths", width, low=0.0) for width in widths]
    if not steps or any(a >= b for a, b in pairwise(steps)):
        raise ValueError(
            f"Expected argument `widths` to be numbers in ascending order, but got {widths!r}."
        )
    if cost is None:
        raise TypeError(
            "Expected argument `cost` to be prices, a function or a `Near`, but got None: without a "
            "cost a tolerance buys nothing."
        )
    bounds = pair.box() if bounds is None else bounds
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode([pair]):
        asked = read(pair, y, bounds, 1, fixed, pair._units())
    targets, unit = asked.targets, asked.model.output_spread
    count, times = len(targets.low), len(steps)
    will_do = torch.tensor(steps, dtype=torch.float64)
    by = (will_do.to(unit.device)[:, None, None] * unit).to(targets.low)
    # All widths at once: a few targets take nearly as long as many.
    wanted = Interval((targets.low - by).flatten(0, 1), (targets.high + by).flatten(0, 1))
    if isinstance(cost, Near):
        cost = cost._replace(reference=_repeated(cost.reference, 2, times))
    if fixed is not None:
        fixed = {key: _repeated(value, 1, times) for key, value in fixed.items()}
    found = pair.propose(wanted, cost=cost, bounds=bounds, fixed=fixed, **options)
    assert found.cost is not None
    paid = torch.where(found.converged, found.cost, torch.inf).reshape(times, count)
    least, which = paid.cummin(0)
    settings = found.inputs.reshape(times, count, -1)
    settings = settings.gather(0, which[:, :, None].expand_as(settings))
    reached = least.isfinite()
    return Front(
        will_do,
        torch.where(reached, least, torch.nan),
        torch.where(reached[:, :, None], settings, torch.nan),
    )


def _repeated(value: Any, dimensions: int, times: int) -> Any:
    """Repeat what is given for each target: a value with so many dimensions."""
    given = torch.as_tensor(value)
    return given.repeat(times, *(1,) * (dimensions - 1)) if given.ndim == dimensions else value
