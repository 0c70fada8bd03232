"""The function as the solver sees it: inputs and outputs in their own units, Jacobians without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invert.arrays import Placement, leaves, to_tensor
from lightning_invert.jacobians.arithmetic import dtype_of
from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.jacobians.evaluation import evaluate
from lightning_invert.jacobians.jacobian import count_outputs, default_chunk, jacobian_and_outputs
from lightning_invert.solver.constraint import Linear
from lightning_invert.variables import Bounds, Variable

__all__ = ["Description", "Model", "evaluating", "num_outputs_of"]

MAX_TRIED = 8
"""Points at which F may raise before its outputs are counted."""


class Model(NamedTuple):
    """A function with the units in which its inputs and outputs are measured."""

    function: Callable[[Tensor], Tensor]  # (N, n) -> (N, m), each row by itself
    num_outputs: int
    input_spread: Tensor  # (n,), float64
    output_spread: Tensor  # (m,), float64
    units_given: bool = (
        True  # by bounds or by a scale; else the inputs' spreads are 1 for want of another
    )
    eps: float = 0.0  # how coarse the weights are: inputs may be finer

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return F at inputs (P, n), shape (P, m), without a graph; NaN where it raises."""
        chunk = default_chunk(inputs.shape[1] + self.num_outputs)
        with differentiable(inputs.device.type):
            parts = [self._outputs(part).detach() for part in inputs.split(chunk)]
        return torch.cat(parts)

    def _outputs(self, inputs: Tensor) -> Tensor:
        def flat(x: Tensor) -> Tensor:
            return evaluate(self.function, x).reshape(len(x), self.num_outputs)

        return evaluate_inside(flat, inputs, shape=(self.num_outputs,))

    def jacobian(self, inputs: Tensor, constrained: Tensor) -> Tensor:
        """Return the Jacobians in units of the spreads, (P, m, n): 0 for outputs without a target."""
        if len(inputs) == 0:
            return self.input_spread.new_empty(0, self.num_outputs, inputs.shape[1])

        def jacobians(x: Tensor) -> Tensor:
            return jacobian_and_outputs(
                self.function, x, num_outputs=self.num_outputs, check=False
            )[0]

        jacobian = evaluate_inside(jacobians, inputs, shape=(self.num_outputs, inputs.shape[1]))
        return (
            jacobian.double() * self.input_spread * (constrained / self.output_spread)[:, :, None]
        )

    def jacobian_with_graph(self, x: Tensor) -> Tensor:
        """Return the Jacobians at a leaf x (P, n), (P, m, n), without units; NaN where F raises."""
        # Each point once for every output, so that one backward pass finds all rows.
        points = x.repeat_interleave(self.num_outputs, 0)
        y = self._outputs(points)
        each = torch.eye(self.num_outputs, dtype=y.dtype, device=y.device).repeat(len(x), 1)
        (rows,) = torch.autograd.grad(
            y, points, each, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return rows.reshape(len(x), self.num_outputs, -1)

    def moved(self, inputs: Tensor, step: Tensor, bounds: Bounds) -> Tensor:
        """Return inputs (P, n) moved by a step in their spreads, no further than the bounds."""
        return bounds.clamp((inputs.double() + step * self.input_spread).to(inputs.dtype))


class Description(NamedTuple):
    """What a function tells about itself: names, ranges and statistics of its columns.

    A pair, or any module with the attributes ``inputs``, ``outputs``, ``scale_x`` and ``scale_y``,
    describes its ``forward``. Another function has no description.
    """

    module: nn.Module | None = None  # which the function is, or whose method it is
    inputs: tuple[Variable, ...] | None = None
    outputs: tuple[Variable, ...] | None = None
    scale_x: Any = None  # with ``fitted``, ``mean`` and ``std``
    scale_y: Any = None
    takes_float64: bool = False  # the module casts to its networks' dtype by itself
    constraints: tuple[Linear, ...] = ()

    @classmethod
    def of(cls, function: Any) -> Description:
        """Read the attributes of the module that a function belongs to."""
        owners = (function, getattr(function, "__self__", None))
        module = next((owner for owner in owners if isinstance(owner, nn.Module)), None)
        name = getattr(function, "__name__", "")
        if module is None or not (isinstance(function, nn.Module) or name == "forward"):
            return cls(module)
        return cls(
            module=module,
            inputs=_tuple_of(Variable, getattr(module, "inputs", None)),
            outputs=_tuple_of(Variable, getattr(module, "outputs", None)),
            scale_x=getattr(module, "scale_x", None),
            scale_y=getattr(module, "scale_y", None),
            takes_float64=bool(getattr(module, "takes_float64", False)),
            constraints=_tuple_of(Linear, getattr(module, "constraints", None)) or (),
        )

    @property
    def standardized(self) -> bool:
        """Whether both statistics are known."""
        return all(getattr(scale, "fitted", False) for scale in (self.scale_x, self.scale_y))

    def placement(self, *arguments: Any) -> Placement:
        """Return dtype and device of the module, or else of the first floating argument."""
        # A pair's networks may be coarser than the physical units that it takes.
        statistics = getattr(self.scale_x, "mean", None) if self.takes_float64 else None
        if statistics is None and self.module is not None and (dtype := dtype_of(self.module)):
            return Placement(
                dtype, next(chain(self.module.parameters(), self.module.buffers())).device
            )
        for value in leaves(statistics, *arguments):
            if getattr(value, "dtype", None) is not None:
                tensor = to_tensor(value)
                if tensor.is_floating_point():
                    return Placement(tensor.dtype, tensor.device)
        return Placement(torch.get_default_dtype(), torch.get_default_device())


def num_outputs_of(function: Callable[[Tensor], Tensor], points: Tensor) -> int:
    """Return m, by evaluating a function at the first of a few points that is not outside of its domain."""
    failures = []
    for x in points[:MAX_TRIED].split(1):
        try:
            return count_outputs(function, x)
        except Exception as error:  # noqa: BLE001  # whatever it is, another point may be inside
            failures.append(error)
    raise failures[0]


def _tuple_of(kind: type[Any], value: Any) -> tuple[Any, ...] | None:
    known = isinstance(value, tuple) and all(isinstance(part, kind) for part in value)
    return value if known and value else None


@contextmanager
def evaluating(*functions: Any) -> Iterator[None]:
    """Evaluate functions without gradients, their modules in evaluation mode."""
    modules = [Description.of(function).module for function in functions]
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        evaluation_mode([module for module in modules if module is not None]),
    ):
        yield
