"""Roughness: kinks and dropout, which make a network's Jacobian differ from that of what it learned."""

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
        "constant between kinks, and may be wrong where the outputs are right. It misses fragile zones "
        "and invents others. If κ counts, use a smooth activation, such as SiLU or GELU."
    ),
    "dropout": (
        "the network behind {} is trained with dropout, which smooths the Jacobian: it misses fragile "
        "zones. If κ counts, train without dropout (p=0), and with weight decay instead."
    ),
}
"""Kind of roughness -> what the user is told; {} stands for the maps."""

MAX_POINTS_OF_A_STEP, POINTS_OF_A_LOOK = 8, 96
"""The step is taken at one point of 96, at 8 at most: with the weights cast to float64, it costs a
hundredth of the look."""

MAX_NUMBERS_CAST = 2**24
"""Modules with more parameters are not copied to float64."""

STEP = 1e-6
"""In standard deviations of the points: so short that hardly any point crosses a kink."""

MIN_BEND, MIN_DIFFERENCE = 1e-3, 1e-4
"""A Jacobian is a staircase if it changes over the step by less than MIN_BEND of what a smooth one
would, though it differs from point to point by more than MIN_DIFFERENCE."""

DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def roughness(watched: WatchedMap, points: Points) -> list[str]:
    """Return the kinds of roughness of a map, from a few of the points of a look."""
    sample = points[: min(MAX_POINTS_OF_A_STEP, max(2, len(points) // POINTS_OF_A_LOOK))]
    kinds = ["staircase"] if len(sample) > 1 and is_staircase(watched, sample) else []
    return [*kinds, "dropout"] if has_dropout(watched, sample[:1]) else kinds


def is_staircase(watched: WatchedMap, points: Points) -> bool:
    """Tell whether a map is piecewise linear without being linear, as with ReLU.

    Its Jacobian does not change under a small step at most points, though it differs between them: one
    random combination of its rows is compared, in float64, at two points at least. ``False`` where it
    cannot be told: too many parameters, weights in several processes, a module with a dtype of its own.
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
    """Tell whether evaluating a map passes through a module that drops something in training."""
    candidates = [
        part for part in watched.owner.modules() if isinstance(part, DROPOUTS) and part.p > 0
    ]
    passed: list[Any] = []
    handles = [
        part.register_forward_pre_hook(lambda part, _: passed.append(part)) for part in candidates
    ]
    try:
        if handles:
            watched.outputs(points)
    finally:
        for handle in handles:
            handle.remove()
    return bool(passed)
