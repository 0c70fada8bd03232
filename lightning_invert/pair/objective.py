"""The objective of a pair's training, and its means over an epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_number, expected_but_got
from lightning_invert.pair.alpha import AlphaSchedule, ConstantAlpha
from lightning_invert.pair.loss import PairLoss, frozen, pair_loss
from lightning_invert.pair.pair import Pair
from lightning_invert.pair.penalty import ConditioningPenalty, JacobianConsistency
from lightning_invert.pair.settings import ForwardTraining
from lightning_invert.variables import Variable

__all__ = ["Objective"]

MAX_STEPS_HELD = 64
"""Steps whose losses and predictions are held until they are summed: to sum each step would take
longer than the step."""


class Objective(nn.Module):
    """Loss and penalties of a pair at a batch, in standardised units, and the sums of each stage."""

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
                raise TypeError(
                    expected_but_got(name, f"a {kind.__name__}(weight=...) or None", term)
                )
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
        if not isinstance(value, AlphaSchedule):
            what = "or an AlphaSchedule"
            value = ConstantAlpha(check_number("alpha", value, low=0.0, high=1.0, what=what))
        self._alpha = value

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
        losses, mae, r2 = self.sums[stage].means(reduce)
        outputs = [v.name for v in pair.outputs or map(Variable, map(str, range(len(mae))))]
        columns = {"mae": mae * pair.scale_y.std} | ({} if stage == "train" else {"r2": r2})
        scores = {
            f"{score}/{output}": value
            for score, values in columns.items()
            for output, value in zip(outputs, values, strict=True)
        }
        return {f"{stage}/{name}": value for name, value in (losses | scores).items()}


class EpochSums:
    """Add up the steps of an epoch."""

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, ...]] = []
        self._total: Tensor | None = None

    def add(self, loss: PairLoss, y: Tensor) -> None:
        """Add the loss of a step with outcomes y (N, m)."""
        self._steps.append((*(part.detach() for part in loss), y))
        if len(self._steps) >= MAX_STEPS_HELD:
            self._sum()

    @property
    def empty(self) -> bool:
        """Whether no step was added."""
        return self._total is None and not self._steps

    def means(self, reduce: Callable[[Tensor], Tensor]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return means over the rows: losses by name, and MAE and R² of each output, (m,). Begin anew."""
        self._sum()
        assert self._total is not None
        total, self._total = reduce(self._total), None
        count, losses = total[0], total[1:5] / total[0]
        absolute, squares, first, second = total[5:].reshape(4, -1)
        names = ("loss", "forward", "inverse", "consistency")
        r2 = 1.0 - squares / (second - first.square() / count)
        return dict(zip(names, losses, strict=True)), absolute / count, r2

    def _sum(self) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        y_hat, y = (torch.cat([step[i] for step in steps]).float() for i in (-2, -1))
        sizes = y.new_tensor([len(step[-1]) for step in steps])
        losses = torch.stack([step[i] for step in steps for i in range(4)]).float().view(-1, 4)
        error = y_hat - y
        by_output = (error.abs(), error.square(), y, y.square())
        sums = [sizes.sum()[None], sizes @ losses, *(part.sum(0) for part in by_output)]
        total = torch.cat(sums)
        self._total = total if self._total is None else self._total + total
