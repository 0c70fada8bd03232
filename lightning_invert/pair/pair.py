"""A forward surrogate and its inverse, between physical units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lightning_invert.arguments import expected_but_got
from lightning_invert.doorway import Shown
from lightning_invert.jacobians.arithmetic import in_dtype_of
from lightning_invert.pair.ensemble import Ensemble, members_of
from lightning_invert.pair.networks import SmoothMLP, Standardize
from lightning_invert.solver.constraints import read_linear
from lightning_invert.variables import ColumnStatistics, Variable, as_variables, check_rounding

if TYPE_CHECKING:
    from typing_extensions import Self

    from lightning_invert.solver.constraint import Linear

__all__ = ["COLUMNS", "Pair", "split_batch"]

COLUMNS = ("inputs", "outputs", "constraints")
"""What a data module tells of its columns."""

WIDTH, MEMBERS = 128, 3
"""Of the networks that are built where none is given: benchmarks/defaults.py tries others."""


class Pair(Shown, nn.Module):
    """Hold F and I with their scales and columns.

    Inputs and outputs are in physical units, float64. The networks work in standardised units, in a dtype
    of their own.

    ``inputs`` and ``outputs`` are the variables of the n settings and m outcomes, if they are known.
    ``frozen`` keeps a trained F as it is, in evaluation mode.
    """

    takes_float64 = True

    forward_net: nn.Module | None
    inverse_net: nn.Module | None

    def __init__(
        self,
        forward_net: nn.Module | None = None,
        inverse_net: nn.Module | None = None,
        *,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        for name, network in {"forward_net": forward_net, "inverse_net": inverse_net}.items():
            if not isinstance(network, nn.Module | None):
                raise TypeError(expected_but_got(name, "an nn.Module or None", network))
        self.scale_x = Standardize()
        self.scale_y = Standardize()
        self.inputs: tuple[Variable, ...] | None = None
        self.outputs: tuple[Variable, ...] | None = None
        self._constraints: tuple[Linear, ...] = ()
        self.forward_net = forward_net
        self.inverse_net = inverse_net
        self.frozen = frozen
        self._held: set[tuple[str, torch.dtype]] = set()
        """Sides and dtypes that passed :meth:`checked`."""

    def forward(self, x: Tensor) -> Tensor:
        """Predict the outcomes of settings: F, (N, n) -> (N, m)."""
        return self.scale_y.inverse(self._evaluate("forward_net", self.scale_x(x)))

    def inverse(self, y: Tensor) -> Tensor:
        """Propose settings for wanted outcomes: I, (N, m) -> (N, n)."""
        return self.scale_x.inverse(self._evaluate("inverse_net", self.scale_y(y)))

    def round_trip(self, y: Tensor) -> Tensor:
        """Predict the outcomes of the proposed settings: F∘I, (N, m) -> (N, m)."""
        return self.forward(self.inverse(y))

    def members(self, x: Tensor) -> Tensor | None:
        """Predict the outcomes by each of F's K members, (N, n) -> (K, N, m); ``None`` without."""
        network = self.network("forward_net")
        members = members_of(network)
        if members is None:
            return None
        return self.scale_y.inverse(members(in_dtype_of(network, self.scale_x(x))))

    @property
    def input_names(self) -> tuple[str, ...] | None:
        """Names of the settings, if they are known."""
        return None if self.inputs is None else tuple(variable.name for variable in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the outcomes, if they are known."""
        return None if self.outputs is None else tuple(variable.name for variable in self.outputs)

    def network(self, name: str) -> nn.Module:
        """Return ``forward_net`` or ``inverse_net``; a ``ValueError`` if there is none yet."""
        network = getattr(self, name)
        if network is None:
            raise ValueError(
                f"Expected argument `{name}` to be an nn.Module, but it is None, and no data module "
                "with `inputs` and `outputs` gives its size."
            )
        return network  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen F stays in evaluation mode."""
        super().train(mode)
        if self.frozen and self.forward_net is not None:
            self.forward_net.eval()
        return self

    @property
    def constraints(self) -> tuple[Linear, ...]:
        """Linear constraints between the settings: proposals keep them unless others are given."""
        return self._constraints

    @constraints.setter
    def constraints(self, constraints: Any) -> None:
        self._constraints = read_linear(constraints, self.inputs)

    def name_columns(
        self, inputs: Sequence[Any] | None, outputs: Sequence[Any] | None, constraints: Any = None
    ) -> None:
        """Take over variables or names of both sides, and constraints, if there are any."""
        if inputs and outputs:
            self.inputs = tuple(map(Variable.of, inputs))
            self.outputs = tuple(map(Variable.of, outputs))
        self.constraints = constraints or self.constraints

    def build_missing(self) -> None:
        """Build the networks that are ``None``, sized by the numbers of columns; freeze F."""
        if self.frozen and self.forward_net is None:
            raise ValueError(
                "Expected a trained F with `frozen=True`: give `forward_net` or `start_from`."
            )
        if self.inputs and self.outputs:
            n, m = len(self.inputs), len(self.outputs)
            if self.forward_net is None:
                self.forward_net = Ensemble(SmoothMLP(n, m, width=WIDTH), MEMBERS)
            if self.inverse_net is None:
                self.inverse_net = SmoothMLP(m, n, width=WIDTH)
        forward_net, _ = self.network("forward_net"), self.network("inverse_net")
        if self.frozen:
            forward_net.requires_grad_(False).eval()

    def fit_scales(
        self, input_mean: Tensor, input_std: Tensor, output_mean: Tensor, output_std: Tensor
    ) -> None:
        """Set the statistics by which both sides are standardised."""
        self.scale_x.fit(input_mean, input_std)
        self.scale_y.fit(output_mean, output_std)

    def fit_scales_to(
        self, batches: Iterable[Any], reduce: Callable[[Tensor], Tensor] = lambda sums: sums
    ) -> None:
        """Set the statistics of all batches; ``reduce`` sums a tensor over the processes."""
        statistics: list[Tensor] = []
        columns = zip(*(split_batch(batch) for batch in batches), strict=True)
        for side, parts in zip("xy", columns, strict=True):
            own = ColumnStatistics()
            for rows in parts:
                own.add(rows.to(self.scale_x.mean.device))
            total = own.summed(reduce)
            total.check(self.variables(side, len(total.mean)), "of the training loader")
            statistics += [total.mean, total.std]
        self.fit_scales(*statistics)

    def standardized(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return settings and outcomes in standardised units, in F's dtype."""
        forward_net = self.network("forward_net")
        return in_dtype_of(forward_net, self.scale_x(x)), in_dtype_of(forward_net, self.scale_y(y))

    def variables(self, side: str, count: int) -> Sequence[Variable]:
        """Return the variables of ``"x"`` or ``"y"``: x0, x1, ... where they are unknown."""
        return as_variables(self.inputs if side == "x" else self.outputs, side, count)

    def maps(self, truth: Callable[[Tensor], Tensor] | None = None) -> dict[str, dict[str, Any]]:
        """Return F at x, I and F∘I at y as ``InvertibilityCallback`` takes them.

        ``truth`` is the process, (N, n) -> (N, m) in physical units. An inverse has none: it is not
        unique.
        """
        inputs, outputs, fitted = self.inputs, self.outputs, self.scale_x.fitted
        truths: dict[str, Callable[[Tensor], Tensor]] = {}
        if truth is not None:
            truths = {"forward": truth, "round_trip": lambda y: truth(self.inverse(y))}
        reach = {
            "inverse": self.inverse,
            "outcomes": lambda batch: split_batch(batch)[1],
            "bounds": inputs and ([v.low for v in inputs], [v.high for v in inputs]),
        }
        x = (inputs and [v.label for v in inputs], self.scale_x.std if fitted else None)
        y = (outputs and [v.label for v in outputs], self.scale_y.std if fitted else None)
        return {
            name: {
                "module": function,
                "input": lambda batch, place=place: split_batch(batch)[place],
                "input_names": domain[0],
                "input_std": domain[1],
                "output_names": image[0],
                "output_std": image[1],
                "dtype": self.scale_x.mean.dtype,
                "identity": name == "round_trip",
                "target": (lambda batch: split_batch(batch)[1]) if name == "forward" else None,
                "truth": truths.get(name),
                "reach": reach if name == "forward" else None,
            }
            for name, function, place, domain, image in (
                ("forward", self.forward, 0, x, y),
                ("inverse", self.inverse, 1, y, x),
                ("round_trip", self.round_trip, 1, y, y),
            )
        }

    def checked(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return x and y; a ``ValueError`` if they come in a dtype that does not hold them."""
        for side, part, scale in (("x", x, self.scale_x), ("y", y, self.scale_y)):
            if part is None or part.dtype == torch.float64 or (side, part.dtype) in self._held:
                continue
            if scale.fitted and part.is_floating_point():
                variables = self.variables(side, len(scale.mean))
                check_rounding(variables, scale.mean, scale.std, part.dtype)
                self._held.add((side, part.dtype))
        return x, y

    def _evaluate(self, name: str, z: Tensor) -> Tensor:
        network = self.network(name)
        return network(in_dtype_of(network, z))  # type: ignore[no-any-return]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Cast complex weights as the real ones: ``double()`` would leave them as they are."""

        def apply_to(tensor: Tensor) -> Tensor:
            if not tensor.is_complex():
                return fn(tensor)
            parts = fn(torch.view_as_real(tensor))
            # Layers do not compute in complex numbers of half precision.
            return torch.view_as_complex(parts.float() if parts.itemsize < 4 else parts)

        return super()._apply(apply_to, recurse)  # type: ignore[no-untyped-call,no-any-return]


def split_batch(batch: Any, *, complete: bool = True) -> tuple[Any, Any]:
    """Return (x, y) of a batch: a sequence of two, or a mapping with the keys x and y.

    With ``complete``, both have to be there; else the other one is ``None``.
    """
    if isinstance(batch, Mapping):
        x, y = batch.get("x"), batch.get("y")
    elif isinstance(batch, Sequence) and len(batch) == 2:
        x, y = batch
    else:
        x = y = None
    if (complete and (x is None or y is None)) or (x is None and y is None):
        got = list(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise TypeError(
            "Expected a batch to be a pair (x, y) of tensors or a mapping with the keys 'x' and "
            f"'y', but got {got}."
        )
    return x, y
