"""The objective of a pair's training, and its means over an epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from torch import Tensor, nn

from lightning_invert.arguments import wrong
from lightning_invert.pair.alpha import AlphaSchedule, read_alpha
from lightning_invert.pair.epoch_sums import EpochSums
from lightning_invert.pair.loss import PairLoss, frozen, pair_loss
from lightning_invert.pair.pair import Pair
from lightning_invert.pair.penalty import ConditioningPenalty, JacobianConsistency
from lightning_invert.pair.settings import ForwardTraining
from lightning_invert.variables import Variable

__all__ = ["Objective"]


class Objective(nn.Module):
    """Loss and penalties of a pair at a batch, in standardised units.

    Attributes:
        alpha: Schedule of the weight of the consistency term.
        conditioning_penalty: Penalty of F's condition numbers, or ``None``.
        jacobian_consistency: Penalty of the slope of F∘I, or ``None``.
        sums: Stage -> sums of the epoch's steps.
    """

    conditioning_penalty: nn.Module | None
    jacobian_consistency: nn.Module | None

    def __init__(
        self,
        alpha: float | AlphaSchedule,
        forward_training: ForwardTraining,
        conditioning_penalty: nn.Module | None = None,
        jacobian_consistency: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, term, kind in (
            ("conditioning_penalty", conditioning_penalty, ConditioningPenalty),
            ("jacobian_consistency", jacobian_consistency, JacobianConsistency),
        ):
            if not isinstance(term, nn.Module | None):  # a user's own may take its place
                raise TypeError(wrong(name, f"a {kind.__name__}(weight=...) or None", term))
        if forward_training.frozen and conditioning_penalty is not None:
            raise ValueError(
                "Expected argument `conditioning_penalty` to be None where F is frozen: it trains F."
            )
        self.alpha = alpha
        self.conditioning_penalty = conditioning_penalty
        self.jacobian_consistency = jacobian_consistency
        self.sums: defaultdict[str, EpochSums] = defaultdict(EpochSums)
        self._trains_forward = forward_training.learns_consistency

    @property
    def alpha(self) -> AlphaSchedule:
        """The schedule of alpha; set it to a number or a schedule."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float | AlphaSchedule) -> None:
        self._alpha = read_alpha(value)

    def loss(
        self, pair: Pair, x: Tensor, y: Tensor, stage: str, alpha: float, forward_only: bool
    ) -> PairLoss:
        """Return the loss at x (N, n) and y (N, m), and add it to the stage's sums."""
        loss = pair_loss(
            pair.network("forward_net"),
            pair.network("inverse_net"),
            x,
            y,
            alpha=alpha,
            consistency_trains_forward=self._trains_forward,
            forward_only=forward_only,
        )
        self.sums[stage].add(loss, y)
        return loss

    def penalties(
        self, pair: Pair, x: Tensor, y: Tensor, *, forward_only: bool
    ) -> dict[str, Tensor]:
        """Return the penalties at x (N, n) and y (N, m), by name."""
        f, i = pair.network("forward_net"), pair.network("inverse_net")
        terms: dict[str, Tensor] = {}
        if self.conditioning_penalty is not None:
            terms["conditioning_penalty"] = self.conditioning_penalty(f, x)
        if self.jacobian_consistency is not None and not forward_only:
            with frozen(f, unless=self._trains_forward):
                terms["jacobian_consistency"] = self.jacobian_consistency(f, i, y)
        return terms

    def means(
        self, pair: Pair, stage: str, reduce: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Return the epoch's means by tag, and begin anew; empty if there was no step.

        ``reduce`` sums a tensor over the processes. ``mae`` is in physical units.
        """
        if self.sums[stage].empty:
            return {}  # Lightning ends such an epoch where it resumes after the last batch
        means = self.sums[stage].means(reduce)
        outputs = [v.name for v in pair.outputs or map(Variable, map(str, range(len(means.mae))))]
        mae = zip(outputs, means.mae * pair.scale_y.std, strict=True)
        values = {**means.losses, **{f"mae/{output}": value for output, value in mae}}
        if stage != "train":
            r2 = zip(outputs, means.r2, strict=True)
            values |= {f"r2/{output}": value for output, value in r2}
        return {f"{stage}/{name}": value for name, value in values.items()}
