"""What makes the Jacobian of a network another than that of what it learned: kinks, and dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.points import Points

__all__ = ["ROUGH", "has_dropout", "is_staircase", "roughness"]

ROUGH = {
    "staircase": (
        "the network behind {} is piecewise linear (ReLU and the like): its Jacobian is a staircase, "
        "constant between kinks, and may be far off where the outputs are close; fragile zones are "
        "missed or made up. Use a smooth activation, such as SiLU or GELU, where κ counts."
    ),
    "dropout": (
        "the network behind {} is trained with dropout, which smooths the Jacobian away: fragile "
        "zones are missed. Train without it (p=0), with weight decay instead, where κ counts."
    ),
}
"""What is said of networks whose Jacobian is another than that of what they learned."""

MAX_POINTS_OF_A_STEP, POINTS_OF_A_LOOK = 8, 96
"""At how many points the step is taken, and of how many points of a look each: in float64, and with
what it costs to cast the weights, it is to be a hundredth of the look."""

MAX_NUMBERS_CAST = 2**24
"""Parameters of which a copy in float64 is made."""

STEP = 1e-6
"""In standard deviations of the points: so short that hardly any crosses a kink, of however many."""

MIN_BEND = 1e-3
"""A Jacobian that changes over the step by less than this share of what a smooth one would ..."""

MIN_DIFFERENCE = 1e-4
"""... though it differs from point to point by more than this, is a staircase."""

DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def roughness(watched: WatchedMap, points: Points) -> list[str]:
    """Return which of ``ROUGH`` is to be said of a map.

    Args:
        watched: The map.
        points: Those of a look, of which so few are taken that it is nothing beside the look.
    """
    few = points[: min(MAX_POINTS_OF_A_STEP, max(2, len(points) // POINTS_OF_A_LOOK))]
    found = ["staircase"] if len(few) > 1 and is_staircase(watched, few) else []
    return [*found, "dropout"] if has_dropout(watched, few[:1]) else found


def is_staircase(watched: WatchedMap, points: Points) -> bool:
    r"""Tell whether a map is piecewise linear without being linear, as with ReLU.

    Its Jacobian does not change under a small step at most points, though it differs between them.
    What is compared is one random combination of the Jacobian's rows, in float64.

    Args:
        watched: The map.
        points: At least two.

    Returns:
        Whether it is; ``False`` where it cannot be told: of more than 16.8 million parameters, of
        weights in several processes, of a module that insists on a dtype of its own.

    Example:
        >>> from lightning_invert.watch.resolution import resolve_maps
        >>> x = Points.of([torch.randn(4, 3)])
        >>> for kind in (nn.ReLU, nn.Tanh, nn.Identity):
        ...     net = nn.Sequential(nn.Linear(3, 8), kind(), nn.Linear(8, 2))
        ...     (watched,) = resolve_maps({"f": ""}, net)
        ...     print(is_staircase(watched, x))
        True
        False
        False
    """
    if sum(p.numel() for p in watched.owner.parameters()) > MAX_NUMBERS_CAST:
        return False
    device = "cpu" if points.inputs.device.type == "mps" else None
    points = points.to(device, torch.float64)
    x, generator = points.inputs, torch.Generator().manual_seed(0)
    spread = x.std(0)
    direction = torch.randn(x.shape[1:], generator=generator, dtype=x.dtype).sign().to(x.device)
    step = STEP * direction * spread
    with evaluation_mode([watched.owner]), differentiable(x.device.type):
        try:
            function = points.call(watched.in_float64(device))
            # One after the other: a trial of two points is to stay one of two.
            here, there = (
                (_slopes(function, at, points.context) * spread).flatten(1) for at in (x, x + step)
            )
        except (ValueError, MapError):
            return False
    change, difference = (there - here).norm(dim=1), (here - here.roll(1, 0)).norm(dim=1)
    typical = difference.median()
    if not typical > MIN_DIFFERENCE * here.norm(dim=1).median():
        return False  # linear, or not finite
    return bool((change <= MIN_BEND * STEP * typical).double().mean() > 0.5)


def _slopes(function: Callable[..., Tensor], x: Tensor, context: Sequence[Tensor]) -> Tensor:
    """Return the same random combination of the rows of each Jacobian."""
    leaf = x.clone().requires_grad_()
    y = function(leaf.clone(), *context)
    if not y.requires_grad:
        return torch.zeros_like(x)
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(y.shape[1:], generator=generator, dtype=y.dtype).to(y.device)
    (slopes,) = torch.autograd.grad(
        y, leaf, weights.expand_as(y), allow_unused=True, materialize_grads=True
    )
    return slopes


def has_dropout(watched: WatchedMap, points: Points) -> bool:
    """Tell whether evaluating a map passes through a dropout module that drops something in training.

    Args:
        watched: The map.
        points: At which it is evaluated.
    """
    candidates = [
        part for part in watched.owner.modules() if isinstance(part, DROPOUTS) and part.p > 0
    ]
    passed: list[Any] = []
    handles = [
        part.register_forward_pre_hook(lambda part, _: passed.append(part)) for part in candidates
    ]
    try:
        if handles:
            with evaluation_mode([watched.owner]), differentiable(points.inputs.device.type):
                points.call(watched)(*points.rows)
    finally:
        for handle in handles:
            handle.remove()
    return bool(passed)
