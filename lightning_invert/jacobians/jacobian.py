r"""Jacobians of a function at many points at once.

A function f: R^n -> R^m that treats the rows of a batch independently has, at each of N points,
a Jacobian

.. math:: J_{ij} = \frac{\partial f_i}{\partial x_j} \in \mathbb{R}^{m \times n}.

Because no row depends on another, one backward pass from the i-th output of all rows gives the
i-th row of all N Jacobians, and one forward-mode pass along the j-th input their j-th column: the
cost is m or n passes over the batch, whatever N is. Where the batch is too small to keep the
processor busy, autograd takes several backward passes at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lightning_invert.arguments import check_choice, check_flag, check_integer
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.jacobians.contexts import differentiable, twice_differentiable
from lightning_invert.jacobians.evaluation import (
    POWERS,
    as_leaf,
    evaluate,
    in_parts,
    plain,
)
from lightning_invert.jacobians.independence import check_independence, remembered_outputs

__all__ = [
    "Mode",
    "batched_jacobian",
    "count_outputs",
    "default_chunk",
    "jacobian_and_outputs",
]

Mode = Literal["auto", "reverse", "forward"]

MAX_NUMBERS_AT_ONCE = 2**16
"""Inputs and outputs of the points of a default chunk: more no longer fit a processor's cache."""

MIN_CHUNK = 8

MAX_ROWS_AT_ONCE = 4096
"""Where the points are fewer, as many backward passes at once as make this many rows."""

ATTENTION = "scaled_dot_product"
"""Part of the name of operations that have a kernel without a second derivative."""

MIN_TOGETHER = 16
"""Batching fewer backward passes costs more than it saves."""


@making_tensors_on_cpu()
def batched_jacobian(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    mode: Mode = "auto",
    chunk_size: int | None = None,
    create_graph: bool = False,
    check: bool = True,
) -> Tensor:
    r"""Return the Jacobian of ``function`` at each row of ``inputs``.

    It works inside ``torch.no_grad`` and ``torch.inference_mode``, without autocast. Compiled modules run
    uncompiled. The parameters' ``.grad`` stays as it is. ``function`` must treat the rows independently: put
    a module with BatchNorm into evaluation mode.

    Args:
        function: Maps (N, \*) to (N, \*).
        inputs: The points, shape (N, \*), floating. Dimensions after the first are flattened to n;
            those of the outputs to m.
        mode: ``"reverse"`` takes m backward passes. ``"forward"`` takes n forward-mode passes, which
            every operation in ``function`` must support. ``"auto"`` is reverse unless m > 4 n, because a
            forward-mode pass takes about four times as long as a backward pass.
        chunk_size: Points at a time, which bounds the memory beside the result. Default: as many as
            have 65 536 inputs and outputs, at least 8; all points with ``create_graph``.
        create_graph: Give the result a graph to the function's parameters, for a loss. Each point then
            goes through the function once for every output, in one batch.
        check: Check that the rows are treated independently: a function in each call, a module once for
            every shape of a point and every choice of parts in training mode.

    Returns:
        The Jacobians, shape (N, m, n), in the dtype and on the device of the outputs.

    Raises:
        TypeError: If ``inputs`` or what ``function`` returns is not a floating tensor, or ``chunk_size``
            is not a whole number.
        ValueError: If the shapes, ``mode`` or ``chunk_size`` do not fit, if the outputs carry no gradient,
            or if an output depends on other rows, which the Jacobians would leave out.

    Example:
        >>> a = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]])
        >>> batched_jacobian(lambda x: x @ a.T, torch.zeros(5, 3)).shape
        torch.Size([5, 2, 3])
        >>> batched_jacobian(torch.square, torch.tensor([[1.0, 2.0]]))
        tensor([[[2., 0.],
                 [0., 4.]]])
    """
    check_flag("create_graph", create_graph)
    check_flag("check", check)
    _check_points(inputs)
    function = in_parts(function, len(inputs), *POWERS)
    return jacobian_and_outputs(
        function, inputs, mode=mode, chunk_size=chunk_size, create_graph=create_graph, check=check
    )[0]


def jacobian_and_outputs(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    mode: Mode = "auto",
    chunk_size: int | None = None,
    num_outputs: int | None = None,
    create_graph: bool = False,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return the Jacobians, (N, m, n), and the outputs of the same evaluation, (N, m).

    The arguments are those of :func:`batched_jacobian`; ``num_outputs``, m, saves an evaluation.
    """
    _check_points(inputs)
    check_choice("mode", mode, get_args(Mode))
    if create_graph and mode == "forward":
        raise ValueError("Expected argument `mode` to be 'auto' or 'reverse' with `create_graph`.")
    if chunk_size is not None:
        check_integer("chunk_size", chunk_size, low=1, what="or None")
    inputs = plain(inputs)
    arguments = (mode, chunk_size, num_outputs, create_graph, check)
    with differentiable(inputs.device.type):
        try:
            with twice_differentiable() if create_graph else nullcontext():
                return _in_chunks(function, inputs, *arguments)
        except RuntimeError as error:
            # A function that is a slope itself asks for a second derivative.
            if ATTENTION not in str(error):
                raise
        with twice_differentiable():
            return _in_chunks(function, inputs, *arguments)


def _in_chunks(
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    mode: Mode,
    chunk_size: int | None,
    num_outputs: int | None,
    create_graph: bool,
    check: bool,
) -> tuple[Tensor, Tensor]:
    if len(inputs) == 0:  # many a function fails there
        m = count_outputs(function, inputs.new_zeros(1, *inputs.shape[1:]))
        return inputs.new_zeros(0, m, inputs.shape[1:].numel()), inputs.new_zeros(0, m)
    if check:
        check_independence(function, inputs)
    if chunk_size is None and create_graph:
        chunk_size = len(inputs)
    elif chunk_size is None:
        if num_outputs is None:
            num_outputs = _outputs(function, inputs)
        chunk_size = default_chunk(inputs[:1].numel() + num_outputs)
    chunks = inputs.split(chunk_size) if len(inputs) > chunk_size else (inputs,)
    if create_graph:
        parts = [_with_graph(function, chunk) for chunk in chunks]
    else:
        parts = [_of_chunk(function, chunk, mode) for chunk in chunks]
    if len(parts) == 1:
        return parts[0]
    jacobians, outputs = zip(*parts, strict=True)
    return torch.cat(jacobians), torch.cat(outputs)


def _check_points(inputs: Tensor) -> None:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise TypeError(f"Expected argument `inputs` to be a floating tensor, but got {got}.")
    if inputs.ndim < 2:
        raise ValueError(
            "Expected argument `inputs` to be of shape (N, n) or (N, *event), but got "
            f"{tuple(inputs.shape)}."
        )


def _outputs(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    if len(inputs) <= MIN_CHUNK:
        return 1  # there is nothing to be split
    remembered = remembered_outputs(function, inputs)
    return count_outputs(function, inputs) if remembered is None else remembered


def count_outputs(function: Callable[[Tensor], Tensor], inputs: Tensor) -> int:
    """Return m, by evaluating the function at no more than two points."""
    # With gradients, because a force is one: its function cannot be evaluated without.
    with differentiable(inputs.device.type):
        return evaluate(function, as_leaf(inputs[:2])).shape[1:].numel()


def default_chunk(numbers: int) -> int:
    """Return the points of a chunk, where a point has this many inputs and outputs."""
    return max(MIN_CHUNK, MAX_NUMBERS_AT_ONCE // numbers)


def _of_chunk(
    function: Callable[[Tensor], Tensor], points: Tensor, mode: Mode
) -> tuple[Tensor, Tensor]:
    x = as_leaf(points)
    y = evaluate(function, x)
    n, m = x.shape[1:].numel(), y.shape[1:].numel()
    outputs = y.detach().reshape(len(x), m)
    if mode == "forward":
        try:
            return _forward_mode(function, points, n), outputs
        except NotImplementedError as error:
            raise NotImplementedError(
                "Expected argument `mode` to be 'auto' or 'reverse' for a function with an "
                f"operation that has no forward-mode rule: {error}"
            ) from error
    if mode == "auto" and m > 4 * n:
        try:
            return _forward_mode(function, points, n), outputs
        except (NotImplementedError, RuntimeError):
            pass  # an operation without a forward-mode rule: reverse mode serves
    _check_gradient(y)
    return _reverse_mode(x, y, m), outputs


def _with_graph(function: Callable[[Tensor], Tensor], points: Tensor) -> tuple[Tensor, Tensor]:
    m = count_outputs(function, points)
    # Each point once for every output, so that one backward pass finds all rows.
    x = points.repeat_interleave(m, 0).requires_grad_()
    y = evaluate(function, x).reshape(len(x), m)
    _check_gradient(y)
    each = torch.eye(m, dtype=y.dtype, device=y.device).repeat(len(points), 1)
    (rows,) = torch.autograd.grad(
        y, x, each, create_graph=True, allow_unused=True, materialize_grads=True
    )
    n = points.shape[1:].numel()
    return rows.reshape(len(points), m, n), y.detach()[::m]


def _check_gradient(y: Tensor) -> None:
    if not y.requires_grad:
        raise ValueError(
            "Expected argument `function` to return a tensor that carries a gradient to its "
            "input, but it does not: is there a `detach`, a `torch.no_grad` or an operation that "
            "cannot be differentiated inside?"
        )


def _reverse_mode(x: Tensor, y: Tensor, m: int) -> Tensor:
    rows = y.reshape(len(x), m)
    together = min(m, max(1, MAX_ROWS_AT_ONCE // len(x)))
    if together >= MIN_TOGETHER:
        try:
            return _pulled_back(x, rows, together)
        except RuntimeError:
            pass  # an operation whose backward pass cannot be batched
    return _pulled_back(x, rows, 1)


def _pulled_back(x: Tensor, rows: Tensor, together: int) -> Tensor:
    """Take the backward passes from each column of (N, m), ``together`` at once."""
    jacobian = rows.new_empty(len(x), rows.shape[1], x[0].numel())
    unit_vectors = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    for cotangents, part in zip(
        unit_vectors.split(together), jacobian.split(together, dim=1), strict=True
    ):
        batched = together > 1
        (gradient,) = torch.autograd.grad(
            rows,
            x,
            cotangents[:, None].expand(-1, *rows.shape) if batched else cotangents.expand_as(rows),
            retain_graph=True,
            is_grads_batched=batched,
            allow_unused=True,
            materialize_grads=True,
        )
        part.copy_(gradient.reshape(len(cotangents), len(x), -1).transpose(0, 1))
    return jacobian


@cache
def _load_forward_mode() -> None:
    """Let torch load its forward-mode rules, which it does at the first use, without its warning."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.filterwarnings(
            "ignore", message=r".*torch\.jit\.script", category=DeprecationWarning
        )
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


def _forward_mode(function: Callable[[Tensor], Tensor], points: Tensor, n: int) -> Tensor:
    _load_forward_mode()
    columns = []
    with torch.no_grad(), forward_ad.dual_level():
        for j in range(n):
            tangent = torch.zeros_like(points).reshape(len(points), n)
            tangent[:, j] = 1
            dual = forward_ad.make_dual(points.clone(), tangent.reshape(points.shape))
            y, dy = forward_ad.unpack_dual(evaluate(function, dual))
            columns.append(torch.zeros_like(y) if dy is None else dy)
    return torch.stack([column.reshape(len(points), -1) for column in columns], dim=-1)
