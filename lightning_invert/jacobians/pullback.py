r"""Many backward passes at once through the graph that autograd recorded.

One backward pass carries one cotangent g, of the outputs' shape, back to :math:`J^T g`. Autograd's
own way to carry several, ``is_grads_batched``, dispatches every operation through ``vmap``. For
what perceptrons are made of there is less to do:

- a linear layer carries all cotangents with one matrix product,
- an elementwise function scales them with its derivative, which is the same for all of them and is
  taken once, from autograd's own formula,
- a change of the dtype is made backwards,
- a cotangent that does not depend on the point stays a single row until it meets a derivative that
  does: the last layer of a network costs nothing.

A graph with any other operation is left to autograd, and so is every graph if torch no longer calls
what its nodes saved by the names that are read here. Hooks on the tensors in between do not run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

__all__ = ["Pullback"]

Node: TypeAlias = Any
"""A node of the graph, as in ``tensor.grad_fn``: torch has no public type for its attributes."""

Rule: TypeAlias = Callable[[Tensor, bool], tuple[Tensor, bool]]
"""Carries cotangents (c, N or 1, \\*) from a node's output to one of its inputs. The flag says
whether nobody else holds them, so that they may be overwritten: the system takes back large blocks
of memory, and to fetch them again costs more than the arithmetic."""

MIN_COLUMNS = 16
"""MKL takes up to three times as long for a product with fewer columns as for one with so many."""

_ELEMENTWISE = frozenset(
    (  # noqa: SIM905 - forty lines of one word each
        "Abs Add Addcdiv Addcmul Atan Celu Clamp Cos Cosh Div Elu Erf Exp Expm1 Gelu Hardshrink "
        "Hardsigmoid Hardswish Hardtanh LeakyRelu Lerp Log Log1P LogSigmoid Maximum Minimum Mish "
        "Mul Neg Pow PreluKernel Reciprocal Relu Rsqrt Rsub Sigmoid Silu Sin Sinh Softplus "
        "Softshrink Sqrt Sub Tanh Threshold Where"
    ).split()
)
_SAME = frozenset({("Add", 0), ("Sub", 0), ("Clone", 0)})
_RESHAPE = frozenset({"Alias", "ReshapeAlias", "Squeeze", "UnsafeView", "Unsqueeze", "View"})
_LINEAR = frozenset({("Addmm", 1), ("Mm", 0)})


class Pullback:
    r"""Carry cotangents at ``y`` back to ``x``.

    Args:
        x: A leaf that requires a gradient, shape (N, \*).
        y: What was computed from it, each row from the same row of ``x``, shape (N, \*).

    Attributes:
        supported: Whether all operations between ``x`` and ``y`` are known here.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]]).requires_grad_()
        >>> pull = Pullback(x, x.square())
        >>> pull(torch.eye(2)[:, None])
        tensor([[[2., 0.]],
        <BLANKLINE>
                [[0., 4.]]])
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._shape = x.shape
        self._leaf: Node = get_gradient_edge(x).node
        self._root: Node = y.grad_fn
        self._steps: list[tuple[Node, list[tuple[Node, Rule]]]] = []
        self.supported = y.grad_fn is not None and self._prepare(x.shape, y.shape)

    def __call__(self, cotangents: Tensor) -> Tensor:
        r"""Return the pulled back cotangents.

        Args:
            cotangents: Shape (c, N, \*) like ``y``, or (c, 1, \*) if all points have the same.

        Returns:
            Shape (c, N, \*) like ``x``.
        """
        waiting: dict[Node, tuple[Tensor, bool]] = {self._root: (cotangents, False)}
        with torch.no_grad():
            for node, rules in self._steps:
                g, owned = waiting.pop(node)
                for source, rule in rules:
                    carried = rule(g, owned and len(rules) == 1)
                    if source in waiting:
                        carried = waiting[source][0] + carried[0], True
                    waiting[source] = carried
        ((pulled, _),) = waiting.values()
        return pulled.expand(len(cotangents), *self._shape)

    @torch.no_grad()
    def _prepare(self, leaf: torch.Size, root: torch.Size) -> bool:
        """Find a rule for every way from a node to another that leads to ``x``."""
        try:
            if (_shape(self._leaf), _shape(self._root)) != (leaf, root):
                return False
            return self._plan()
        # The nodes' attributes are torch's own affair, so anything may be wrong with them. What is
        # wrong with the graph, such as a saved tensor that was overwritten, autograd says better.
        except Exception:  # noqa: BLE001  # whatever it is, autograd serves
            return False

    def _plan(self) -> bool:
        order = _on_the_way(self._root, self._leaf)
        known = {*order, self._leaf}
        plan = []
        for node in order:
            makers = []
            for index, (source, _) in enumerate(node.next_functions):
                if source in known:
                    make = _maker(node, index, source)
                    if make is None:
                        return False
                    makers.append((source, make))
            plan.append((node, makers))
        # What the nodes saved is not touched before all are known: sharded weights (FSDP) are only
        # there while autograd itself runs, and bring nodes of their own.
        self._steps = [
            (node, [(source, make()) for source, make in makers]) for node, makers in plan
        ]
        return bool(plan)


def _on_the_way(root: Node, leaf: Node) -> list[Node]:
    """Return the nodes between ``root`` and ``leaf``, each after all that hand it a gradient."""
    leads: dict[Node, bool] = {leaf: True}
    finished: list[Node] = []
    stack = [(root, False)]
    while stack:
        node, seen = stack.pop()
        sources = [source for source, _ in node.next_functions if source is not None]
        if seen:
            leads[node] = any(leads[source] for source in sources)
            if leads[node]:
                finished.append(node)
        elif node not in leads:
            leads[node] = False
            stack.append((node, True))
            stack.extend((source, False) for source in sources if source not in leads)
    return finished[::-1]


def _private(node: Node, name: str) -> Any:
    """Return an attribute that torch does not document."""
    return getattr(node, name)


def _shape(node: Node) -> tuple[int, ...]:
    """Return the shape of the tensor that the node made."""
    return tuple(_private(node, "_input_metadata")[0].shape)


def _maker(node: Node, index: int, source: Node) -> Callable[[], Rule] | None:
    """Return what makes the rule from a node's output to one of its inputs, if it is known."""
    name = node.name().rstrip("0123456789").removesuffix("Backward")
    to, of = _shape(source), _shape(node)
    if to[0] != of[0]:
        return None
    if (name, index) in _LINEAR:
        return lambda: _through_linear(node, (of[1], to[1]))
    if name in _RESHAPE:
        return lambda: lambda g, owned: (g.reshape(*g.shape[:2], *to[1:]), owned)
    if to != of:
        return None
    if name == "ToCopy":
        return _through_cast(node, source)
    if (name, index) in _SAME:
        return lambda: lambda g, owned: (g, owned)
    if name in _ELEMENTWISE or (
        name == "NativeBatchNorm" and _private(node, "_saved_training") is False
    ):
        return lambda: _through_elementwise(node, index, of)
    return None


def _through_cast(node: Node, source: Node) -> Callable[[], Rule] | None:
    made, of = (_private(one, "_input_metadata")[0] for one in (node, source))
    if made.device != of.device or made.dtype == of.dtype:
        return None
    return lambda: lambda g, owned: (g.to(of.dtype), True)


def _through_linear(node: Node, shape: tuple[int, int]) -> Rule:
    weight = _private(node, "_saved_mat2").t()
    alpha = _private(node, "_saved_alpha") if node.name().startswith("Addmm") else 1
    if weight.shape != shape or not isinstance(alpha, int | float):
        raise TypeError("These are not what a linear layer saves.")
    if alpha != 1:
        weight = alpha * weight
    columns = weight.shape[1]
    if columns < MIN_COLUMNS:
        weight = nn.functional.pad(weight, (0, MIN_COLUMNS - columns))
    return lambda g, owned: (
        (g.reshape(-1, g.shape[-1]) @ weight).view(*g.shape[:-1], -1)[..., :columns],
        True,
    )


def _through_elementwise(node: Node, index: int, shape: tuple[int, ...]) -> Rule:
    metadata = _private(node, "_input_metadata")[0]
    one = torch.ones((), dtype=metadata.dtype, device=metadata.device)
    gradients = node(one.expand(shape))
    derivative = gradients[index] if isinstance(gradients, tuple) else gradients
    if derivative.data_ptr() == one.data_ptr():  # a sum hands on what it gets
        return lambda g, owned: (g, owned)

    def rule(g: Tensor, owned: bool) -> tuple[Tensor, bool]:
        if owned and g.shape[1:] == derivative.shape and g.dtype == derivative.dtype:
            return g.mul_(derivative), True
        return g * derivative, True

    return rule
