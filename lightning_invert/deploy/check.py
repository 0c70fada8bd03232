"""Compare an exported file with the pair: no exporter is taken at its word."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_invert.deploy.maps import PhysicalMap
from lightning_invert.jacobians.jacobian import jacobian_and_outputs

__all__ = ["check"]

BATCHES = (1, 3, 17)
"""Sizes of the batches that a file is run with. It was made with another."""

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Error as a share of the largest number: ample for the order of additions."""

MAX_ROUNDINGS = 64
"""Roundings of a physical number in float64 that may add up, in standard units."""

SEEDS = (0, 1)


def check(physical: PhysicalMap, run: Callable[[Tensor], tuple[Tensor, Tensor]], file: str) -> None:
    """Raise RuntimeError if ``run``, (N, n) -> (N, m), (N, m, n), differs from torch."""
    # Where a rectifier is at its kink, rounding decides about the slope: such points may be drawn
    # once, but not twice.
    for seed in SEEDS:
        deviation = _deviation(physical, run, seed)
        if deviation is None:
            return
    raise RuntimeError(
        f"Expected {file} to compute what the pair does, but {deviation}. Do the rows of a batch depend "
        "on each other, or does a network draw at random in evaluation mode? If not, the exporter "
        "is wrong for one of its operations. Nothing was written."
    )


def _deviation(
    physical: PhysicalMap, run: Callable[[Tensor], tuple[Tensor, Tensor]], seed: int
) -> str | None:
    domain, image = physical.domain, physical.image

    def standardized(z: Tensor) -> Tensor:
        return (physical.function(domain.mean + domain.std * z) - image.mean) / image.std

    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(sum(BATCHES), len(domain.mean), generator=generator, dtype=torch.float64)
    # All at once, so that batches of other sizes reveal a network whose rows depend on each other.
    slopes, values = jacobian_and_outputs(standardized, z, check=False)
    offsets = torch.cat([side.mean.abs() / side.std for side in (domain, image)])
    rounding = MAX_ROUNDINGS * torch.finfo(torch.float64).eps * offsets.max().item()
    tolerance = TOLERANCES[physical.dtype] + rounding
    for rows in torch.arange(len(z)).split(list(BATCHES)):
        y, jacobian = run(domain.mean + domain.std * z[rows])
        if jacobian.shape != slopes[rows].shape or y.shape != values[rows].shape:
            return (
                f"at {len(rows)} points it returns shapes {tuple(y.shape)} and "
                f"{tuple(jacobian.shape)}"
            )
        for what, actual, expected in (
            ("outputs are", (y - image.mean) / image.std, values),
            ("Jacobian is", jacobian * domain.std / image.std[:, None], slopes),
        ):
            error = _relative_error(actual, expected[rows], expected)
            if not error <= tolerance:
                return f"at {len(rows)} points its {what} off by {error:.1e} of the largest number"
    return None


def _relative_error(actual: Tensor, expected: Tensor, everywhere: Tensor) -> float:
    """Return the error as a share of the largest number; inf where only one side is NaN or inf."""
    finite = expected.isfinite()
    if not torch.equal(finite, actual.isfinite()):
        return torch.inf
    error = (actual - expected)[finite].abs()
    largest = everywhere[everywhere.isfinite()].abs()
    if not error.numel() or not error.any():
        return 0.0
    return (error.max() / largest.max()).item()
