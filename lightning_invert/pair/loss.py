r"""The loss of a forward/inverse pair, see :class:`~lightning_invert.ForwardInverseModule`.

With F frozen and :math:`\alpha = 1` it is that of the *tandem* network of inverse design: D. Liu, Y. Tan,
E. Khoram and Z. Yu, *Training deep neural networks for the inverse design of nanophotonic structures*,
ACS Photonics 5 (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_invert.jacobians.arithmetic import in_dtype_of
from lightning_invert.pair.ensemble import members_of

__all__ = ["PairLoss", "consistency_loss", "frozen", "pair_loss"]


class PairLoss(NamedTuple):
    """The loss, its terms before they are weighted, each of shape (), and F(x), (N, m).

    ``forward`` is the loss of F(x). For an ensemble, ``total`` holds the mean of the members' own
    losses instead.
    """

    total: Tensor
    forward: Tensor
    inverse: Tensor
    consistency: Tensor
    y_hat: Tensor


def consistency_loss(
    forward: Callable[[Tensor], Tensor],
    inverse: Callable[[Tensor], Tensor],
    y: Tensor,
) -> Tensor:
    """Return MSE(F(I(y)), y), the error of the round trip.

    Args:
        forward: F, maps (N, n) to (N, m).
        inverse: I, maps (N, m) to (N, n).
        y: Wanted outcomes, shape (N, m).

    Returns:
        The loss, shape ().

    Example:
        >>> consistency_loss(lambda x: 2 * x, lambda y: y / 2 + 1, torch.zeros(5, 3)).item()
        4.0
    """
    return _mean_square(forward(inverse(y)), y)


def pair_loss(
    forward_net: nn.Module,
    inverse_net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    alpha: float,
    consistency_trains_forward: bool = False,
    forward_only: bool = False,
) -> PairLoss:
    r"""Return the joint loss of a pair on a batch in standardised units.

    Each member of an :class:`~lightning_invert.Ensemble` fits the data by itself: the first term is
    the mean over k of :math:`\mathrm{MSE}(F_k(x), y)`. The consistency term takes their mean. Its
    gradient reaches F's weights only with ``consistency_trains_forward``. With ``forward_only``, I
    gets gradients of zero.
    """
    y_hat, fit, forward = _fit(forward_net, x, y)
    x_hat = _of_shape("inverse_net", inverse_net(in_dtype_of(inverse_net, y)), x)
    inverse = _mean_square(x_hat, x)
    x_hat = x_hat.to(x.dtype)  # which F takes, whatever I computes in
    # Gradients of zero rather than none, which DDP would wait for.
    total = fit + (0.0 if forward_only else 1.0 - alpha) * inverse
    if alpha == 0 or forward_only:  # logged all the same, without a backward pass
        with torch.no_grad():
            return PairLoss(total, forward, inverse, _mean_square(forward_net(x_hat), y), y_hat)
    with frozen(forward_net, unless=consistency_trains_forward):
        consistency = _mean_square(forward_net(x_hat), y)
    return PairLoss(total + alpha * consistency, forward, inverse, consistency, y_hat)


def _fit(forward_net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return F(x), the loss that trains F, and the loss of F(x)."""
    members = members_of(forward_net)
    if members is None:
        y_hat = _of_shape("forward_net", forward_net(x), y)
        loss = _mean_square(y_hat, y)
        return y_hat, loss, loss
    answers = members(x)
    with torch.no_grad():
        y_hat = _of_shape("forward_net", answers.mean(0), y)
        loss = _mean_square(y_hat, y)
    return y_hat, _mean_square(answers, y.expand_as(answers)), loss


def _of_shape(name: str, answer: Tensor, column: Tensor) -> Tensor:
    if answer.shape != column.shape:
        raise ValueError(
            f"Expected `{name}` to return shape {tuple(column.shape)} for a batch of this data, but got "
            f"{tuple(answer.shape)}. Give a network of that size, or None to have it sized by the data."
        )
    return answer


@contextmanager
def frozen(module: nn.Module, *, unless: bool) -> Iterator[None]:
    """Let gradients pass through ``module`` without reaching its parameters."""
    trained = [] if unless else [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _mean_square(predicted: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared difference; in torch 2.6 gradients fail where the dtypes differ."""
    dtype = torch.promote_types(predicted.dtype, known.dtype)
    return mse_loss(predicted.to(dtype), known.to(dtype))
