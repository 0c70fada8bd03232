"""A pair that proposes settings for wanted outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_invert.pair.physical import PhysicalPair
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.proposal import Proposal
from lightning_invert.proposals.proposer import Proposer
from lightning_invert.proposals.reliability import Reliability
from lightning_invert.proposals.trade_off import TradeOff
from lightning_invert.solver.targets import Interval

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ProposingPair"]


class ProposingPair(PhysicalPair):
    """A pair with a proposer, which knows rows of its data.

    Args:
        keep_points: Bound on the rows kept of the training split, and of the validation split.
    """

    def __init__(self, keep_points: int) -> None:
        super().__init__()
        self.evidence = Evidence(keep_points)
        self.proposer = Proposer(
            self.forward, evidence=self.evidence, inverse=self.inverse, members=self.members
        )

    def propose(self, targets: Tensor | Interval | Any, **options: Any) -> Proposal:
        """Propose settings for wanted outcomes, see :meth:`.Proposer.propose`."""
        return self.proposer.propose(targets, **options)

    def trade_off(self, targets: Tensor | Interval | Any, cost: Any, **options: Any) -> TradeOff:
        """Find what it saves if a target need not be met exactly, see :meth:`.Proposer.trade_off`."""
        return self.proposer.trade_off(targets, cost, **options)

    @property
    def reliability(self) -> Reliability | None:
        """The model of F's errors, see :attr:`.Proposer.reliability`."""
        return self.proposer.reliability

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training changes F, whose reliability has to be measured anew."""
        if mode:
            self.proposer.reset()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; their reliability has to be measured anew."""
        self.proposer.reset()
        return super().load_state_dict(*args, **kwargs)
