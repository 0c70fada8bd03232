r"""A map and its Jacobian as one program, that needs neither autograd nor this package to run.

.. math:: x \mapsto \Big( f(x), \ \frac{\partial f_i}{\partial x_j}(x) \Big)

The backward passes are traced with the forward one, so that they are operations like any other.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from lightning_invert.deploy.maps import PhysicalMap

__all__ = ["refused", "trace"]

EXAMPLES = 31
"""Points of the batch that is traced; that they are so many must not get into the program."""


def trace(one: PhysicalMap) -> ExportedProgram:
    """Return a program (N, n) -> (N, m), (N, m, n) in physical units and float64, for any N.

    Gradients have to be on.

    Raises:
        ValueError: If the networks cannot be traced: their path depends on numbers, say.
    """
    n = len(one.domain.mean)
    # A batch as long as its points are wide would be taken for the same size.
    rows = EXAMPLES + (n == EXAMPLES)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, n, generator=generator, dtype=torch.float64)
    points = one.domain.mean + one.domain.std * z
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it has no backward pass ...
    try:
        # ... nor have the fused kernels of attention one in terms of other operations.
        with sdpa_kernel(SDPBackend.MATH):
            graph = make_fx(
                _with_jacobian(one),
                tracing_mode="symbolic",
                decomposition_table=_backward_rules(),
                _allow_non_fake_inputs=True,  # the weights: torch has no other way to keep them
            )(points.clone().requires_grad_())
        program = torch.export.export(
            graph, (points,), dynamic_shapes=({0: Dim("batch")},), strict=False
        )
    except Exception as error:  # a foreign network can fail in any way
        raise refused(one, "torch.export", error) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    for node in program.graph.nodes:
        # Lines of the user's code, with the folders where it lay.
        for note in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(note, None)
    return program


def refused(one: PhysicalMap, whom: str, error: Exception) -> ValueError:
    """Return the error to raise where a network is not to be exported, with the cause in a line."""
    return ValueError(
        f"Expected the map {one.name!r} to be made of what {whom} takes, but {_reason(error)}"
    )


def _with_jacobian(one: PhysicalMap) -> Any:
    m, spread = len(one.image.mean), one.image.std

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        y = one.function(x)
        if y.ndim != 2 or y.shape[1] != m:
            raise ValueError(
                f"it returns shape (N, {', '.join(str(size) for size in y.shape[1:])}) where the "
                f"pair knows {m} columns."
            )
        if not y.requires_grad:
            raise ValueError(
                "its outputs carry no gradient to its inputs: is there a `detach`, a "
                "`torch.no_grad` or an operation that cannot be differentiated inside?"
            )
        rows = []
        for i in range(m):
            # Standardised, lest the unit of an output leaves the range of float32 on the way.
            cotangent = torch.zeros_like(spread)
            cotangent[i] = 1 / spread[i]
            (row,) = torch.autograd.grad(
                y,
                x,
                cotangent.expand_as(y),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            rows.append(row * spread[i])
        return y, torch.stack(rows, 1)

    return evaluate


def _backward_rules() -> dict[Any, Any]:
    """Return how backward passes are written in operations that also occur in forward ones."""
    known = torch.export.default_decompositions().items()
    rules = {operator: rule for operator, rule in known if "backward" in str(operator)}
    return {**rules, torch.ops.aten.convolution_backward.default: _convolution_backward}


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor, None, None]:
    """Write the gradient to a convolution's input as the other kind of convolution.

    The weights are frozen: nobody asks for theirs.
    """
    left_over = [0] * len(stride)
    if not transposed:
        for i in range(len(stride)):
            covered = (gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i]
            covered += dilation[i] * (weight.shape[2 + i] - 1) + 1
            left_over[i] = x.shape[2 + i] - covered
    back = torch.ops.aten.convolution.default(
        gradient, weight, None, stride, padding, dilation, not transposed, left_over, groups
    )
    return back, None, None


def _reason(error: BaseException) -> str:
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    said = "\n".join(str(cause) for cause in causes)
    if missing := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", said):
        return f"ONNX has no operation for {missing[1]}."
    if missing := re.search(r"Could not find an implementation for (\w+)", said):
        return (
            f"it has none for {missing[1]} in these numbers. Networks in float64 can be exported in "
            "float32: write `pair.float()` first."
        )
    if "bound to different types" in said:
        return (
            "the exporter mixes numbers of float32 into it. Networks in float64 can be exported in "
            "float32: write `pair.float()` first."
        )
    if "data-dependent" in said or "Data dependent" in said:
        return (
            "the way through it depends on the numbers that go in (an `if`, a loop, `.item()`). "
            "Write it as `torch.where`, say."
        )
    if "specialized it to be a constant" in said:
        return "it takes batches of one size alone: is that size written in a `view` or `reshape`?"
    return said.strip().partition("\n")[0] or type(error).__name__
