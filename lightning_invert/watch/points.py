"""Points of a map: its inputs, and the further arguments that are held fixed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lightning_invert.jacobians.evaluation import in_parts, plain
from lightning_invert.watch.parts import describe

__all__ = ["Frame", "Points", "Shape"]

Shape: TypeAlias = tuple[torch.Size, ...]
"""Of one point: of each of its inputs and of each further tensor that has a row for it."""


MAX_READ = 2**16
"""Numbers of a tensor that are read to tell it from others."""


class _Place(NamedTuple):
    """The place, in what the function takes, of an input or of a tensor with a row for each point."""

    is_input: bool
    number: int


_Dress: TypeAlias = Callable[[Tensor], Tensor]
"""Puts numbers into a tensor of a subclass, with its attributes."""


def _dress_of(tensor: Tensor) -> _Dress | None:
    """Return that of a tensor, None if it is one of numbers alone."""
    if type(tensor) is type(plain(tensor)) or isinstance(tensor, nn.Parameter):
        return None
    kind, attributes = type(tensor), dict(vars(tensor))

    def put_on(numbers: Tensor) -> Tensor:
        dressed = numbers.as_subclass(kind)
        vars(dressed).update(attributes)
        return dressed

    return put_on


@dataclass(frozen=True)
class Frame:
    """How a map's arguments are made of the tensors that have a row for each point."""

    shapes: tuple[torch.Size, ...]  # of the inputs; of several, the joint Jacobian is watched
    context: tuple[Any, ...] = ()  # the further arguments, with places for tensors
    within: Any = None  # the collection that takes the inputs; None: they are the first arguments
    sizes: tuple[int, ...] = ()  # numbers of rows that the map takes, or may take
    # Of each input and of each tensor of the context, if that was one of a subclass.
    dresses: tuple[_Dress | None, ...] = ()

    @property
    def fingerprint(self) -> bytes:
        """What tells apart the numbers that belong to all points of a batch; empty if there are none."""
        fixed: list[Any] = []
        apply_to_collection((self.context, self.within), (Tensor, int, float), fixed.append)
        if not fixed:
            return b""
        digest = hashlib.blake2b(digest_size=16)
        for part in fixed:
            digest.update(repr(tuple(part.shape) if isinstance(part, Tensor) else part).encode())
            with suppress(Exception):  # what has no such numbers is told by its shape alone
                numbers = plain(part).flatten()[:: 1 + part.numel() // MAX_READ]
                digest.update(numbers.contiguous().cpu().view(torch.uint8).numpy().tobytes())
        return digest.digest()

    def call(self, function: Callable[..., Any], x: Tensor, *rows: Tensor) -> Any:
        """Call a function with numbers alone; if it fails, with the subclasses that it may want."""
        try:
            return function(*self.arguments(x, rows))
        except Exception:
            if not any(self.dresses):
                raise
            with suppress(Exception):
                return function(*self.arguments(x, rows, self.dresses))
            raise

    def arguments(
        self, x: Tensor, rows: Sequence[Tensor], dresses: Sequence[_Dress | None] = ()
    ) -> list[Any]:
        """Return the arguments of the function: inputs (N, *), or joint (N, n), and other rows."""
        inputs: list[Any] = [x]
        if len(self.shapes) > 1:
            parts = x.split([shape.numel() for shape in self.shapes], dim=1)
            inputs = [
                part.reshape(len(x), *shape) for part, shape in zip(parts, self.shapes, strict=True)
            ]
        if any(dresses):
            tensors = [*inputs, *rows]
            tensors = [d(t) if d else t for d, t in zip(dresses, tensors, strict=True)]
            inputs, rows = tensors[: len(inputs)], tensors[len(inputs) :]
        if self.within is None and not self.context:
            return inputs

        def fill(place: _Place) -> Tensor:
            return (inputs if place.is_input else rows)[place.number]

        context = [apply_to_collection(part, _Place, fill) for part in self.context]
        if self.within is None:
            return [*inputs, *context]
        return [apply_to_collection(self.within, _Place, fill), *context]


@dataclass(frozen=True)
class Points:
    """N points of a map."""

    inputs: Tensor  # what the Jacobian is taken by, (N, *)
    context: tuple[Tensor, ...] = ()  # further tensors with a row for each point, held fixed
    frame: Frame = Frame((torch.Size(),))  # how the map's arguments are made of both
    targets: Tensor | None = None  # known outcomes, (N, *): they stay where they are

    @classmethod
    def of(
        cls, inputs: Sequence[Tensor], context: Sequence[Any] = (), within: Any = None
    ) -> Points:
        """Sort parts of a batch into rows and what is the same for all points.

        Inputs are (N, *). The context is tensors (N, *), collections of such, and anything else.
        ``within`` is the collection with the inputs in it, if the map takes that: it raises ValueError
        if they are not found there.
        """
        count, rows, originals = len(inputs[0]), list[Tensor](), list[Tensor]()

        def place_input(tensor: Tensor) -> Any:
            numbers = (number for number, part in enumerate(inputs) if part is tensor)
            number = next(numbers, None)
            return place(tensor) if number is None else _Place(True, number)

        def place(tensor: Tensor) -> Any:
            if tensor.ndim == 0 or len(tensor) != count:
                return tensor
            rows.append(plain(tensor))
            originals.append(tensor)
            return _Place(False, len(rows) - 1)

        frame = Frame(
            tuple(part.shape[1:] for part in inputs),
            tuple(apply_to_collection(part, Tensor, place) for part in context),
            apply_to_collection(within, Tensor, place_input),
            (count,),
        )
        frame = replace(frame, dresses=tuple(map(_dress_of, (*inputs, *originals))))
        found = set[_Place]()
        apply_to_collection(frame.within, _Place, found.add)
        if within is not None and sum(place.is_input for place in found) < len(inputs):
            raise ValueError(
                "expected a dictionary, list, tuple or dataclass with the input itself in it, but got "
                f"{describe(within)}, where it is not found. For any other object, add a method that "
                "takes the input and makes the object, and watch that method."
            )
        parts = list(map(plain, inputs))
        x = parts[0] if len(parts) == 1 else torch.cat([p.flatten(1) for p in parts], dim=1)
        return cls(x, tuple(rows), frame)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> Points:
        targets = None if self.targets is None else self.targets[rows]
        return replace(self.with_rows([part[rows] for part in self.rows]), targets=targets)

    @property
    def rows(self) -> list[Tensor]:
        """All tensors that have a row for each point, the inputs first."""
        return [self.inputs, *self.context]

    @property
    def shape(self) -> Shape:
        """The shape of one point."""
        return (*self.frame.shapes, *(row.shape[1:] for row in self.context))

    def with_rows(self, rows: Sequence[Tensor]) -> Points:
        """Return other points of the same frame."""
        return replace(self, inputs=rows[0], context=tuple(rows[1:]))

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Points:
        """Move the points; floating tensors get the dtype, if there is one."""

        def move(tensor: Tensor) -> Tensor:
            # What was made in inference mode can never take part in a gradient.
            tensor = tensor.clone() if tensor.is_inference() else tensor
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        with torch.inference_mode(False):
            context, within = apply_to_collection(
                (self.frame.context, self.frame.within), Tensor, move
            )
            frame = replace(self.frame, context=context, within=within)
            return replace(self.with_rows([move(row) for row in self.rows]), frame=frame)

    def call(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` as one of any number of inputs and rows of the context."""
        frame = self.frame
        return in_parts(lambda x, *rows: frame.call(function, x, *rows), *frame.sizes)
