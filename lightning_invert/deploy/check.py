"""Whether a file computes what the pair does: no exporter is taken at its word."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_invert.deploy.maps import PhysicalMap
from lightning_invert.jacobians.jacobian import jacobian_and_outputs

__all__ = ["check"]

BATCHES = (1, 3, 17)
"""Sizes at which a file is run; it was made at another."""

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Of the largest number: what the order of additions changes, with room to spare."""

MAX_ROUNDINGS = 64
"""How often the rounding of a physical number in float64 may add up, in standard units."""

SEEDS = (0, 1)


def check(one: PhysicalMap, run: Callable[[Tensor], tuple[Tensor, Tensor]], file: str) -> None:
    """Compare what a file finds with what torch does, around the mean of the inputs.

    Args:
        one: The map.
        run: Evaluates the file: (N, n) -> (N, m), (N, m, n).
        file: Its name, for the error.

    Raises:
        RuntimeError: If they differ by more than rounding.
    """
    # Where a rectifier is at its kink, rounding decides about the slope: such points may be drawn
    # once, but not twice.
    for seed in SEEDS:
        said = _deviation(one, run, seed)
        if said is None:
            return
    raise RuntimeError(
        f"Expected {file} to compute what the pair does, but {said}. Do the rows of a batch depend "
        "on each other, or does a network draw at random in evaluation mode? If not, the exporter "
        "is wrong for one of its operations. Nothing was written."
    )


def _deviation(
    one: PhysicalMap, run: Callable[[Tensor], tuple[Tensor, Tensor]], seed: int
) -> str | None:
    domain, image = one.domain, one.image

    def standardized(z: Tensor) -> Tensor:
        return (one.function(domain.mean + domain.std * z) - image.mean) / image.std

    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(sum(BATCHES), len(domain.mean), generator=generator, dtype=torch.float64)
    # All at once, so that a network whose rows depend on each other is told by its batches.
    slopes, values = jacobian_and_outputs(standardized, z, check=False)
    offsets = torch.cat([side.mean.abs() / side.std for side in (domain, image)])
    rounding = MAX_ROUNDINGS * torch.finfo(torch.float64).eps * offsets.max().item()
    tolerance = TOLERANCES[one.dtype] + rounding
    for some in torch.arange(len(z)).split(list(BATCHES)):
        y, jacobian = run(domain.mean + domain.std * z[some])
        if jacobian.shape != slopes[some].shape or y.shape != values[some].shape:
            return (
                f"at {len(some)} points it returns shapes {tuple(y.shape)} and "
                f"{tuple(jacobian.shape)}"
            )
        for what, found, expected in (
            ("outputs are", (y - image.mean) / image.std, values),
            ("Jacobian is", jacobian * domain.std / image.std[:, None], slopes),
        ):
            error = _relative_error(found, expected[some], expected)
            if not error <= tolerance:
                return f"at {len(some)} points its {what} off by {error:.1e} of the largest number"
    return None


def _relative_error(found: Tensor, expected: Tensor, everywhere: Tensor) -> float:
    """Return how far numbers are off, as a share of the largest; inf where one alone is NaN or inf."""
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return torch.inf
    error = (found - expected)[finite].abs()
    largest = everywhere[everywhere.isfinite()].abs()
    if not error.numel() or not error.any():
        return 0.0
    return (error.max() / largest.max()).item()
