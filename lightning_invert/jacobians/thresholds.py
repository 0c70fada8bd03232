r"""Rank, condition number and their thresholds.

Let :math:`\sigma_1 \ge \dots \ge \sigma_k \ge 0`, :math:`k = \min(m, n)`, be the singular values of
J. A unit step in x moves y by :math:`\sigma_1` in the easiest direction and by :math:`\sigma_k` in
the hardest. The same small change of y therefore costs up to :math:`\kappa = \sigma_1 / \sigma_k`
times more in one direction than in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import check_number, expected_but_got

__all__ = [
    "BAND_NAMES",
    "MAX_LOG10_COND",
    "Thresholds",
    "check_real",
    "condition_limit",
    "condition_number",
    "noise_level",
    "numerical_rank",
]

MAX_LOG10_COND = 16.0
"""Cap of log10 of a condition number: 1 / eps of float64. It keeps monitored values finite."""

MAX_NOISE = 4
"""Rounding, in ε of a coarse dtype, that a rank allows for: products and activations add up 1 to 3."""

BAND_NAMES = ("stable", "moderate", "ill-conditioned", "singular", "nonfinite")


@dataclass(frozen=True)
class Thresholds:
    """Set what counts as full rank, singular, stable and ill-conditioned.

    Args:
        rank_atol: Absolute threshold: sigma counts if it exceeds max(rank_atol, rank_rtol * sigma_1).
        rank_rtol: Relative threshold: sigma counts if it exceeds max(rank_atol, rank_rtol * sigma_1).
        singular_floor: The condition number is infinite if the smallest singular value is below this.
        bands: Condition numbers where *stable* ends and *ill-conditioned* begins; both limits are
            *moderate*.

    Raises:
        TypeError: If a threshold is not a number.
        ValueError: If a threshold is negative or not finite, or ``bands`` are not two condition
            numbers in ascending order.

    Example:
        >>> thresholds = Thresholds()
        >>> sigma = torch.tensor([[3.0, 2.0], [3.0, 1e-3], [3.0, 0.0]])
        >>> kappa = thresholds.condition(sigma)
        >>> thresholds.rank(sigma).tolist(), [BAND_NAMES[i] for i in thresholds.band(kappa)]
        ([2, 2, 1], ['stable', 'moderate', 'singular'])
    """

    rank_atol: float = 1e-5
    rank_rtol: float = 0.0
    singular_floor: float = 1e-12
    bands: tuple[float, float] = (100.0, 1e4)

    def __post_init__(self) -> None:
        for name in ("rank_atol", "rank_rtol", "singular_floor"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), low=0.0))
        # A list, as YAML has it, would not be hashable.
        object.__setattr__(self, "bands", _checked_bands(self.bands))

    def rank(self, singular_values: Tensor, noise: float = 0.0) -> Tensor:
        """Return the numerical rank, see :func:`numerical_rank`; up to noise * σ₁ nothing counts."""
        rtol = max(self.rank_rtol, noise)
        return numerical_rank(singular_values, atol=self.rank_atol, rtol=rtol)

    def condition(self, singular_values: Tensor) -> Tensor:
        """Return the condition number, see :func:`condition_number`."""
        return condition_number(singular_values, floor=self.singular_floor)

    def band(self, condition: Tensor) -> Tensor:
        """Return the band of each condition number, an index into ``BAND_NAMES``, in its shape."""
        stable, ill = self.bands
        index = (condition >= stable).int() + (condition > ill).int() + condition.isinf().int()
        return index.masked_fill(condition.isnan(), BAND_NAMES.index("nonfinite"))


def check_real(argument: str, values: Tensor) -> None:
    """Raise TypeError for complex numbers: a cast to float64 would keep their real part alone."""
    if values.is_complex():
        raise TypeError(
            f"Expected argument `{argument}` to be real, but got {values.dtype}. Wrap a complex map as a "
            "real one with twice as many inputs and outputs, by `torch.view_as_complex` and "
            "`torch.view_as_real`."
        )


def numerical_rank(
    singular_values: Tensor,
    *,
    atol: float = Thresholds.rank_atol,
    rtol: float = Thresholds.rank_rtol,
) -> Tensor:
    r"""Return the number of singular values above max(atol, rtol :math:`\sigma_1`).

    Args:
        singular_values: Shape (\*, k), descending.
        atol: Absolute threshold, in the unit of the singular values.
        rtol: Threshold relative to the largest singular value.

    Returns:
        The rank, int64, shape (\*,). 0 where the singular values are NaN.

    Raises:
        ValueError: If a threshold is negative.
        TypeError: If the singular values are complex.

    Example:
        >>> numerical_rank(torch.tensor([[3.0, 1e-3, 1e-6], [3.0, 2.0, 1.0]]))
        tensor([2, 3])
    """
    check_real("singular_values", singular_values)
    atol, rtol = check_number("atol", atol, low=0.0), check_number("rtol", rtol, low=0.0)
    threshold = (rtol * singular_values[..., :1]).clamp(min=atol)
    return (singular_values > threshold).sum(-1)


def condition_number(
    singular_values: Tensor, *, floor: float = Thresholds.singular_floor
) -> Tensor:
    r"""Return :math:`\kappa = \sigma_1 / \sigma_k`.

    Args:
        singular_values: Shape (\*, k), descending.
        floor: A :math:`\sigma_k` below it counts as zero.

    Returns:
        The condition number, shape (\*,): inf where :math:`\sigma_k` is below ``floor``, NaN where
        the singular values are NaN.

    Raises:
        ValueError: If ``floor`` is negative.
        TypeError: If the singular values are complex.

    Example:
        >>> condition_number(torch.tensor([[3.0, 2.0], [3.0, 0.0]]))
        tensor([1.5000,    inf])
    """
    check_real("singular_values", singular_values)
    floor = check_number("floor", floor, low=0.0)
    largest, smallest = singular_values[..., 0], singular_values[..., -1]
    singular = (smallest < floor) | (smallest == 0)
    return torch.where(singular, torch.inf, largest / smallest)


def condition_limit(dtype: torch.dtype, shape: tuple[int, int]) -> float:
    r"""Return the largest condition number that a Jacobian (m, n) computed in ``dtype`` resolves.

    Rounding of the entries alone moves the singular values by about
    :math:`\varepsilon \max(m, n) \sigma_1`, the *resolution limit*. A smaller :math:`\sigma_k` is
    noise: the condition number is above :math:`1 / (\varepsilon \max(m, n))`, and no more is known.
    """
    return 1.0 / (torch.finfo(dtype).eps * max(shape))


def noise_level(arithmetic: torch.dtype | None, shape: tuple[int, int]) -> float:
    r"""Return the share of :math:`\sigma_1` up to which a singular value of (m, n) is rounding alone.

    It is 4 ε, and no more than the resolution limit, in what is coarser than float32. Float32 and
    float64 count by the thresholds alone: in units of very different size their smallest singular
    values are often exact.
    """
    eps = 0.0 if arithmetic is None else torch.finfo(arithmetic).eps
    return min(MAX_NOISE, max(shape)) * eps if eps > torch.finfo(torch.float32).eps else 0.0


def _checked_bands(bands: Any) -> tuple[float, float]:
    expected = "two condition numbers in ascending order, the first at least 1, as in [100, 10000]"
    if isinstance(bands, str | Mapping) or not isinstance(bands, Iterable):
        raise TypeError(expected_but_got("bands", expected, bands))
    limits = [check_number("bands", limit, low=1.0) for limit in bands]
    if len(limits) != 2 or limits[0] >= limits[1]:
        raise ValueError(expected_but_got("bands", expected, bands))
    return limits[0], limits[1]
