"""Several networks of one shape, and their mean."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_integer, expected_but_got, to_builtin

__all__ = ["Ensemble", "members_of"]


class Ensemble(nn.Module):
    r"""Average several networks, each of which fits the data by itself.

    .. math:: F(x) = \frac{1}{K} \sum_{k=1}^{K} F_k(x)

    The mean lowers the error that a network owes to its first weights: B. Lakshminarayanan, A. Pritzel
    and C. Blundell, *Simple and scalable predictive uncertainty estimation using deep ensembles*,
    NeurIPS 2017. As F of a :class:`~lightning_invert.ForwardInverseModule` it is trained by the mean of
    its members' own losses; ``forward`` is logged for the averaged output.

    Args:
        network: The first member; the other members are copies whose layers draw new weights by
            ``reset_parameters``. Or a list of all members.
        members: K, at least 1. ``None``: 3 for one network, else the length of the list.

    Attributes:
        networks: The members, an ``nn.ModuleList``.

    Raises:
        TypeError: If ``network`` is neither a network nor a list of networks, or ``members`` is not
            a whole number.
        ValueError: If ``members`` is not positive or differs from the length of the list, if the list is
            empty or repeats a network, or if a layer cannot draw new weights: then give a list.

    Example:
        >>> from lightning_invert import SmoothMLP
        >>> forward_net, x = Ensemble(SmoothMLP(7, 4), members=3), torch.randn(10, 7)
        >>> forward_net(x).shape, forward_net.members(x).shape
        (torch.Size([10, 4]), torch.Size([3, 10, 4]))
        >>> torch.allclose(forward_net(x), forward_net.members(x).mean(0), atol=1e-6)
        True
    """

    def __init__(
        self, network: nn.Module | Sequence[nn.Module], members: int | None = None
    ) -> None:
        super().__init__()
        if members is not None:
            check_integer("members", members, low=1, what="or None")
        if isinstance(network, nn.Module):
            others = range((members or 3) - 1)
            networks = [network, *(_drawn_anew(network) for _ in others)]
        else:
            networks = _checked(network, members)
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the members: (N, n) to (N, m)."""
        # No `stack`: through a sum, the members' Jacobians are taken together in one pass.
        total: Tensor = sum(network(x) for network in self.networks)
        return total / len(self.networks)

    def members(self, x: Tensor) -> Tensor:
        """Return the outputs of each member: (N, n) to (K, N, m)."""
        return torch.stack([network(x) for network in self.networks])


def members_of(network: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return a network's method ``members``; ``None`` without, or for a submodule of that name."""
    members = getattr(network, "members", None)
    return members if inspect.ismethod(members) else None


def _checked(networks: Sequence[nn.Module], members: int | None) -> list[nn.Module]:
    expected, networks = "a network, or a list of networks", to_builtin(networks)
    if not isinstance(networks, list | tuple):
        raise TypeError(expected_but_got("network", expected, networks))
    for network in networks:
        if not isinstance(network, nn.Module):
            raise TypeError(expected_but_got("network", expected, network))
    if not networks or len({*map(id, networks)}) < len(networks):
        raise ValueError(expected_but_got("network", f"{expected}, each once", list(networks)))
    if members not in (None, len(networks)):
        raise ValueError(
            expected_but_got("members", f"{len(networks)}, as `network` has, or None", members)
        )
    return list(networks)


@torch.no_grad()
def _drawn_anew(network: nn.Module) -> nn.Module:
    """Return a copy with all weights drawn anew."""
    drawn = copy.deepcopy(network)
    for parameter in drawn.parameters():
        parameter.fill_(torch.nan)
    for layer in reversed([*drawn.modules()]):  # a container resets after its layers
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
    unset = [name for name, parameter in drawn.named_parameters() if parameter.isnan().any()]
    if unset:
        raise ValueError(
            "Expected every layer of argument `network` to draw new weights in `reset_parameters`, but "
            f"{', '.join(map(repr, unset))} did not change. Give a list of networks: "
            "`Ensemble([first, second, third])`."
        )
    return drawn
