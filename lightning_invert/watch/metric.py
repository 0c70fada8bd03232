"""The summary of many spectra as a torchmetrics metric, over batches and processes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_invert.doorway import figures_of
from lightning_invert.jacobians.thresholds import Thresholds, check_real
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.scalars import scalars_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["InvertibilityMetric"]


class InvertibilityMetric(Metric):
    """Summarise the Jacobian spectra of a map over many points, and over all processes.

    ``compute`` returns these scalars. All but ``nonfinite_fraction`` leave out the points whose Jacobian
    is not finite:

    {scalars}

    If no point has a finite Jacobian, ``full_rank_fraction`` is 0, ``deficient_fraction`` and
    ``fragile_fraction`` are 1, and condition numbers are inf, so that a monitor is not fooled.

    Args:
        thresholds: What counts as full rank, singular and ill-conditioned. Default:
            :class:`~lightning_invert.Thresholds`.
        kwargs: See :class:`torchmetrics.Metric`.

    Example:
        >>> metric = InvertibilityMetric()
        >>> metric.update(torch.tensor([[2.0, 1.0], [1.0, 0.0], [3.0, 0.02]]))
        >>> summary = metric.compute()
        >>> [round(summary[f"{band}_fraction"].item(), 2) for band in ("fragile", "moderate")]
        [0.67, 0.33]
        >>> summary["cond_median"].item()
        150.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    singular_values: list[Tensor]
    condition_limit: Tensor

    def __init__(self, *, thresholds: Thresholds | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thresholds = thresholds or Thresholds()
        self.add_state("singular_values", [], dist_reduce_fx="cat")
        self.add_state(
            "condition_limit", torch.tensor(math.inf, dtype=torch.float32), dist_reduce_fx="min"
        )

    def update(self, singular_values: Tensor, *, condition_limit: float = math.inf) -> None:
        """Add the spectra of some points.

        Args:
            singular_values: Shape (N, k), descending; NaN where the Jacobian was not finite.
            condition_limit: The largest condition number that the arithmetic can resolve, see
                :func:`~lightning_invert.jacobians.thresholds.condition_limit`.

        Raises:
            ValueError: If ``singular_values`` is not of shape (N, k).
            TypeError: If the singular values are complex.
        """
        check_real("singular_values", singular_values)
        if singular_values.ndim != 2:
            raise ValueError(
                "Expected argument `singular_values` to be of shape (N, k), but got "
                f"{tuple(singular_values.shape)}."
            )
        self.singular_values.append(singular_values)
        self.condition_limit = self.condition_limit.clamp(max=condition_limit)

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars listed above, each of shape ()."""
        observation = self._observation()
        like = observation.singular_values
        return {name: like.new_tensor(value) for name, value in observation.scalars.items()}

    def plot(self) -> tuple[Figure, list[Axes]]:
        """Draw the histogram of the condition numbers seen so far, with the bands marked."""
        (figure,) = figures_of(self._observation(), names=["condition_histogram"]).values()
        return figure, list(figure.axes)

    def _observation(self) -> Observation:
        return Observation.of(
            dim_zero_cat(self.singular_values),
            thresholds=self.thresholds,
            condition_limit=self.condition_limit.item(),
        )


_LINES = (
    f"* ``{'``, ``'.join(row.names)}``: {row.formula}; {row.doc}" for row in scalars_of("spectrum")
)
InvertibilityMetric.__doc__ = (InvertibilityMetric.__doc__ or "").replace(
    "{scalars}", "\n    ".join(_LINES)
)
