"""Networks for surrogates and inverses, and the scaling between physical and standardised units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from lightning_invert.arguments import check_integer, check_number

__all__ = ["LinearPlusNonlinear", "ResidualMLP", "SmoothMLP", "Standardize"]


class ResidualMLP(nn.Module):
    r"""Map through two hidden ReLU layers with dropout and a linear skip from the input.

    .. math:: f(x) = W_3 \big( h(h(x)) + W_s x \big) + b_3, \qquad
              h(z) = \mathrm{dropout}(\mathrm{relu}(W z + b))

    The skip keeps a linear path from every input to every output, so that the Jacobian keeps its rank
    where ReLUs are off.

    Args:
        in_features: n.
        out_features: m.
        width: Units of each hidden layer.
        dropout: Share of hidden units dropped in training, in [0, 1).

    Example:
        >>> ResidualMLP(7, 4)(torch.zeros(10, 7)).shape
        torch.Size([10, 4])
    """

    def __init__(
        self, in_features: int, out_features: int, *, width: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_number("dropout", dropout, low=0.0, high=1.0, open_high=True)
        _check_sizes(in_features=in_features, out_features=out_features, width=width)
        self.hidden = nn.Sequential(
            nn.Linear(in_features, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.skip = nn.Linear(in_features, width, bias=False)
        self.head = nn.Linear(width, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return self.head(self.hidden(x) + self.skip(x))  # type: ignore[no-any-return]


class SmoothMLP(nn.Module):
    r"""Map through residual layers with a smooth activation, and a linear skip from input to output.

    .. math:: h_1 = s(W_1 x + b_1), \quad h_i = h_{i-1} + s(W_i h_{i-1} + b_i), \quad
              f(x) = V h_d + S x + c

    with :math:`s(z) = z / (1 + e^{-z})`, the SiLU. It is the default surrogate: the Jacobian of a ReLU
    network is a staircase, and dropout smooths flat regions away; either hides nearly all truly fragile
    points (docs/explanations/blast_furnace.md).

    Args:
        in_features: n.
        out_features: m.
        width: Units of each hidden layer.
        depth: d, the number of hidden layers.

    Raises:
        TypeError: If a size is not a whole number.
        ValueError: If a size is not positive.

    Example:
        >>> SmoothMLP(7, 4)(torch.zeros(10, 7)).shape
        torch.Size([10, 4])
    """

    def __init__(
        self, in_features: int, out_features: int, *, width: int = 256, depth: int = 3
    ) -> None:
        super().__init__()
        _check_sizes(in_features=in_features, out_features=out_features, width=width, depth=depth)
        self.first = nn.Linear(in_features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.head = nn.Linear(width, out_features)
        self.skip = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        h = silu(self.first(x))
        for layer in self.hidden:
            h = h + silu(layer(h))
        return self.head(h) + self.skip(x)  # type: ignore[no-any-return]


class LinearPlusNonlinear(nn.Module):
    r"""Add a small sigmoid network to a linear map.

    .. math:: f(x) = A x + a + W_2 \, \mathrm{dropout}(\mathrm{sigmoid}(W_1 x + b_1)) + b_2

    Args:
        in_features: n.
        out_features: m.
        width: Units of the hidden layer.
        dropout: Share of hidden units dropped in training, in [0, 1).

    Example:
        >>> LinearPlusNonlinear(4, 7)(torch.zeros(10, 4)).shape
        torch.Size([10, 7])
    """

    def __init__(
        self, in_features: int, out_features: int, *, width: int = 10, dropout: float = 0.25
    ) -> None:
        super().__init__()
        check_number("dropout", dropout, low=0.0, high=1.0, open_high=True)
        _check_sizes(in_features=in_features, out_features=out_features, width=width)
        self.linear = nn.Linear(in_features, out_features)
        self.nonlinear = nn.Sequential(
            nn.Linear(in_features, width),
            nn.Sigmoid(),
            nn.Dropout(dropout),
            nn.Linear(width, out_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return self.linear(x) + self.nonlinear(x)  # type: ignore[no-any-return]


class Standardize(nn.Module):
    r"""Scale columns to mean 0 and standard deviation 1, by statistics kept in buffers.

    .. math:: z = (x - \mu) / s

    It computes in float64 whatever the networks' dtype, because float32 cannot tell time stamps of 1.7e9 s
    a minute apart. So it returns physical units in float64, and ``half``, ``float`` and the like leave
    the statistics as they are. MPS has no float64: there all is float32. Until it is fitted it changes
    nothing. It loads a state dict of any size.

    Args:
        mean: :math:`\mu`, shape (n,).
        std: s, shape (n,), positive.

    Raises:
        ValueError: If only one is given, the shapes differ, or ``std`` is not positive and finite.

    Example:
        >>> scale = Standardize(torch.tensor([10.0, 0.0]), torch.tensor([2.0, 1.0]))
        >>> scale(torch.tensor([[14.0, 3.0]]))
        tensor([[2., 3.]])
        >>> scale.inverse(torch.tensor([[2.0, 3.0]]))
        tensor([[14.,  3.]], dtype=torch.float64)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(1.0, dtype=torch.float64))
        if mean is not None or std is not None:
            if mean is None or std is None:
                raise ValueError("Expected arguments `mean` and `std` to be given together.")
            self.fit(mean, std)

    @property
    def fitted(self) -> bool:
        """Whether it has statistics."""
        return self.mean.ndim > 0

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics, each of shape (n,)."""
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(
                "Expected arguments `mean` and `std` to be of one shape (n,), but got "
                f"{tuple(mean.shape)} and {tuple(std.shape)}."
            )
        if not (std > 0).all() or not std.isfinite().all() or not mean.isfinite().all():
            raise ValueError(
                f"Expected argument `std` to be positive and both to be finite, but got mean="
                f"{mean.tolist()}, std={std.tolist()}."
            )
        self.mean = mean.detach().to(self.mean)
        self.std = std.detach().to(self.std)

    def forward(self, x: Tensor) -> Tensor:
        """Map physical to standard units, shape (..., n), in the dtype of ``x``."""
        mean = self.mean
        if mean.ndim == 0:
            return x
        if x.dtype == mean.dtype:
            return (x - mean) / self.std
        return ((x.to(mean.dtype) - mean) / self.std).to(x.dtype)

    def inverse(self, z: Tensor) -> Tensor:
        """Map standard to physical units, shape (..., n), in float64."""
        # Cast first: a gradient in float32 is then in standardised units.
        return z.to(self.mean.dtype) * self.std + self.mean if self.fitted else z

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Standardize:
        """Move the statistics with ``to``, ``half``, ``float`` and ``cuda``, but do not round them."""

        def move(statistics: Tensor) -> Tensor:
            if statistics.is_meta:
                return fn(statistics)
            device = fn(statistics.float()).device
            return statistics.to(device, torch.float32 if device.type == "mps" else torch.float64)

        return super()._apply(move, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("mean", "std"):
            saved, here = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.shape != here.shape:
                setattr(self, name, here.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_integer(name, size, low=1)
