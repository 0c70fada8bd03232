r"""A map and its Jacobian as one program that needs neither autograd nor this package to run.

.. math:: x \mapsto \Big( f(x), \ \frac{\partial f_i}{\partial x_j}(x) \Big)

The backward passes are traced with the forward pass, so that they are operations like any other.
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

__all__ = ["export_error", "trace"]

EXAMPLES = 31
"""Points of the batch that is traced. The number must not enter the program."""


def trace(physical: PhysicalMap) -> ExportedProgram:
    """Return a program (N, n) -> (N, m), (N, m, n) in physical units and float64; gradients are on."""
    n = len(physical.domain.mean)
    # A batch as long as its points are wide would be taken for the same size.
    rows = EXAMPLES + (n == EXAMPLES)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, n, generator=generator, dtype=torch.float64)
    points = physical.domain.mean + physical.domain.std * z
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it has no backward pass
    try:
        # Fused kernels of attention have no backward pass in terms of other operations.
        with sdpa_kernel(SDPBackend.MATH):
            graph = make_fx(
                _with_jacobian(physical),
                tracing_mode="symbolic",
                decomposition_table=_backward_rules(),
                _allow_non_fake_inputs=True,  # the weights: torch has no other way to keep them
            )(points.clone().requires_grad_())
        program = torch.export.export(
            graph, (points,), dynamic_shapes=({0: Dim("batch")},), strict=False
        )
    except Exception as error:  # a foreign network can fail in any way
        raise export_error(physical, "torch.export", error) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    for node in program.graph.nodes:
        # They quote the user's code, with its folders.
        for note in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(note, None)
    return program


def export_error(physical: PhysicalMap, tool: str, error: Exception) -> ValueError:
    """Return an error that names the map, the tool that refused it, and the cause in one line."""
    return ValueError(
        f"Expected the map {physical.name!r} to consist of what {tool} supports, but {_reason(error)}"
    )


def _with_jacobian(physical: PhysicalMap) -> Any:
    m, y_std = len(physical.image.mean), physical.image.std

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        y = physical.function(x)
        if y.ndim != 2 or y.shape[1] != m:
            raise ValueError(
                f"it returns shape (N, {', '.join(str(size) for size in y.shape[1:])}) where the "
                f"pair knows {m} columns."
            )
        if not y.requires_grad:
            raise ValueError(
                "its outputs carry no gradient to its inputs: does it use `detach`, `torch.no_grad` or "
                "an operation that cannot be differentiated?"
            )
        rows = []
        for i in range(m):
            # Standardised: in the unit of an output, float32 might overflow on the way.
            cotangent = torch.zeros_like(y_std)
            cotangent[i] = 1 / y_std[i]
            (row,) = torch.autograd.grad(
                y,
                x,
                cotangent.expand_as(y),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            rows.append(row * y_std[i])
        return y, torch.stack(rows, 1)

    return evaluate


def _backward_rules() -> dict[Any, Any]:
    """Return decompositions of backward operations into operations of forward passes."""
    decompositions = torch.export.default_decompositions().items()
    rules = {operator: rule for operator, rule in decompositions if "backward" in str(operator)}
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
    """Write the gradient to a convolution's input as the transposed kind; the weights are frozen."""
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
    text = "\n".join(str(cause) for cause in causes)
    if missing := re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text):
        return f"ONNX has no operation for {missing[1]}."
    if missing := re.search(r"Could not find an implementation for (\w+)", text):
        return (
            f"it has no {missing[1]} for this dtype. Networks in float64 can be exported in float32: "
            "write `pair.float()` first."
        )
    if "bound to different types" in text:
        return (
            "the exporter mixes float32 into it. Networks in float64 can be exported in float32: write "
            "`pair.float()` first."
        )
    if "data-dependent" in text or "Data dependent" in text:
        return (
            "its control flow depends on its inputs (an `if`, a loop, `.item()`). Write it as "
            "`torch.where`, say."
        )
    if "specialized it to be a constant" in text or "Constraints violated" in text:
        return "it takes batches of one size only: is that size written in a `view` or `reshape`?"
    return text.strip().partition("\n")[0] or type(error).__name__
