"""Watched maps: a function of a module, and the parts of a batch that it takes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from lightning_invert.devices import as_outside
from lightning_invert.jacobians.arithmetic import cast_to, eps
from lightning_invert.jacobians.contexts import (
    differentiable,
    evaluation_mode,
    uncompiled,
    without_checkpoints,
)
from lightning_invert.jacobians.domain import evaluate_inside
from lightning_invert.jacobians.inference import explanation_of, with_clones
from lightning_invert.jacobians.snapshot import is_sharded
from lightning_invert.watch.columns import checked_names, checked_stds
from lightning_invert.watch.finding import Question
from lightning_invert.watch.functions import Call, parameters_of
from lightning_invert.watch.parts import CALLED, Part, describe, mapping_of
from lightning_invert.watch.points import Points
from lightning_invert.watch.shards import advise_of_shards
from lightning_invert.watch.surroundings import AS_IT_IS, Surroundings
from lightning_invert.watch.voice import explain, sentence

__all__ = ["MapError", "WatchedMap"]

Q = TypeVar("Q", bound=Question)

REMEDIES = {
    " missing ": "Give its other arguments by name: in 'context' those that are parts of the batch, in "
    "'constants' those with a fixed value.",
    "multiple values for argument": "Name the argument that takes the input with 'argument', and the "
    "parts of 'context', as in {'context': {'c': 1}}.",
}
"""What Python says of a call with other arguments than a function has -> what to write."""


class MapError(RuntimeError):
    """A map cannot be watched, because of a part (its input, its forward, ...); ``why`` is a sentence."""

    def __init__(self, name: str, part: str, why: str, who: str = "") -> None:
        who = f"{who}: map" if who else "Map"
        super().__init__(f"{who} {name!r} cannot be watched, because of its {part}: {why}")
        self.name, self.part, self.why = name, part, why


@dataclass(frozen=True)
class WatchedMap:
    """A function R^n -> R^m of a module, and where its points come from."""

    name: str  # in tags and messages
    function: Callable[..., Any]  # takes the inputs and then the contexts
    owner: nn.Module  # whose parameters the function uses
    # The parts of a batch that the Jacobian is taken by; of several, the joint one. None: the batch
    # itself, its first part, or what `forward` calls its input.
    inputs: tuple[Part, ...] | None = None
    within: Part | None = None  # what the function takes whole, with the inputs in it
    contexts: tuple[Part, ...] = ()  # further arguments, held fixed
    output: Part | None = None  # the part of what the function returns
    call: Call = field(default_factory=Call)  # how the function takes inputs and contexts
    root: nn.Module | None = None  # second argument of a callable part that takes two
    input_names: Sequence[str] | None = None  # of the n inputs
    output_names: Sequence[str] | None = None  # of the m outputs
    input_std: Tensor | None = None  # (n,), of the training data
    output_std: Tensor | None = None  # (m,), likewise
    dtype: torch.dtype | None = None  # of its points, if not that of its weights
    questions: tuple[Question, ...] = ()  # what is asked of it beside its spectrum
    surroundings: Surroundings = AS_IT_IS  # in which code of the project runs

    def __post_init__(self) -> None:
        for argument in ("input_names", "output_names"):
            if (names := getattr(self, argument)) is not None:
                object.__setattr__(self, argument, checked_names(argument, names))
        stds = {side: getattr(self, side) for side in ("input_std", "output_std")}
        for argument, std in stds.items():
            if std is not None:
                object.__setattr__(self, argument, checked_stds(argument, std))
        missing = [side for side, std in stds.items() if std is None]
        if len(missing) == 1:
            raise ValueError(
                f"Expected arguments `input_std` and `output_std` of map {self.name!r} to be given "
                f"together, but there is no `{missing[0]}`."
            )

    def question(self, kind: type[Q]) -> Q | None:
        """Return the question of a kind, if there is one."""
        return next((question for question in self.questions if isinstance(question, kind)), None)

    def asking(self, *questions: Question) -> WatchedMap:
        """Return the same map with further questions; each replaces a former one of its key."""
        by_key = {question.key: question for question in (*self.questions, *questions)}
        return replace(self, questions=tuple(by_key.values()))

    @property
    def owners(self) -> list[nn.Module]:
        """All modules that are evaluated: its own, and those of its questions."""
        return [self.owner, *(module for question in self.questions for module in question.modules)]

    @property
    def dtypes(self) -> list[torch.dtype]:
        """The real dtypes of its weights, the finest first."""
        weights = [p for p in self.owner.parameters() if p.is_floating_point() or p.is_complex()]
        return sorted({weight.dtype.to_real() for weight in weights}, key=eps)

    @property
    def stds(self) -> tuple[Tensor, Tensor] | None:
        """The standard deviations of inputs and outputs, if both are known."""
        if self.input_std is None or self.output_std is None:
            return None
        return self.input_std, self.output_std

    @property
    def runs_code(self) -> bool:
        """Whether taking points runs code of others, which might do anything."""
        parts = [*(self.inputs or ()), *self.contexts]
        parts += [part for question in self.questions for part in question.parts]
        if self.within is not None:
            parts.append(self.within)
        package = __name__.partition(".")[0]
        return any(
            isinstance(getattr(step, "__self__", None), WatchedMap)
            or (isinstance(step, str) and step.endswith(CALLED))
            or (callable(step) and getattr(step, "__module__", "").partition(".")[0] != package)
            for part in parts
            for step in part.steps
        )

    def take(self, batch: Any) -> Points | None:
        """Take the map's points out of a batch, None if they are None; or raise MapError."""
        inputs = self._find("input", self.inputs, batch)
        if any(x is None for x in inputs):
            return None
        for x in inputs:
            if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
                raise MapError(
                    self.name,
                    "input",
                    f"expected a floating tensor of shape (N, n), but got {describe(x)}. Say with "
                    "'input' which part of the batch goes in: an index, a key, an attribute, a list of "
                    "those, or a callable.",
                )
        within = self._find("within", [self.within], batch)[0] if self.within else None
        contexts = self._find("context", self.contexts, batch)
        try:
            points = Points.of(inputs, contexts, within)
        except ValueError as error:
            raise MapError(self.name, "within", explain(error)) from error
        for question in self.questions:
            if (targets := question.targets(batch, self.root, len(points))) is not None:
                return replace(points, targets=targets)
        return points

    def __call__(self, *arguments: Any) -> Tensor:
        """Evaluate the map, or raise MapError if it fails or returns no floating tensor."""
        y = self._result(arguments)
        if not isinstance(y, Tensor) or not y.is_floating_point():
            raise MapError(
                self.name,
                "output",
                f"expected a floating tensor, but {type(self.owner).__name__} returned "
                f"{describe(y)}. Say with 'output' which part is meant: an index, a key, an "
                "attribute, a list of those, or a callable.",
            )
        return y

    def value(self, batch: Any) -> Any:
        """Return what the function makes of a batch, detached, where another map is watched; None of None."""
        inputs = self._find("input", self.inputs, batch)
        if any(x is None for x in inputs):
            return None
        if self.within is not None:
            inputs = self._find("within", [self.within], batch)
        arguments = [*inputs, *self._find("context", self.contexts, batch)]
        with evaluation_mode([self.owner]), uncompiled():
            value = self._result(arguments)
        return apply_to_collection(value, Tensor, Tensor.detach)

    def outputs(self, points: Points) -> Tensor:
        """Return the outputs at points, detached, in evaluation mode; NaN where the forward raises."""
        # With gradients, because a force is one.
        with evaluation_mode([self.owner]), differentiable(points.inputs.device.type):
            return evaluate_inside(points.call(self), *points.rows).detach()

    def _result(self, arguments: Sequence[Any]) -> Any:
        """Return the part that counts of what the function returns, or raise MapError if it fails."""
        try:
            y = self._evaluate(arguments)
        except MapError:
            raise
        except Exception as error:
            raise MapError(self.name, "forward", self._advise(error)) from error
        try:
            with self.surroundings.in_force(), as_outside():
                return y if self.output is None else self.output(y, self.root)
        except Exception as error:
            raise MapError(self.name, "output", explain(error)) from error

    def _evaluate(self, arguments: Sequence[Any]) -> Any:
        with self.surroundings.in_force(), as_outside():
            try:
                return with_clones(self.call, self.function, arguments)
            except (MapError, torch.OutOfMemoryError):
                raise
            except Exception:
                for others, context in self._other_ways(arguments):
                    with suppress(Exception), context:
                        return with_clones(self.call, self.function, others)
                raise

    def _other_ways(
        self, arguments: Sequence[Any]
    ) -> Iterator[tuple[Sequence[Any], AbstractContextManager[Any]]]:
        """Yield how else the function may be called: by what training does before it gets there."""
        # The module may cast a batch before it calls this part, and make tensors of its weights' dtype.
        cast = [[cast_to(part, dtype) for part in arguments] for dtype in self.dtypes]
        for dtype, parts in zip(self.dtypes, cast, strict=True):
            if any(map(operator.is_not, parts, arguments)):
                yield parts, nullcontext()
            yield parts, Surroundings(dtype).in_force()
        # What casts by hand may need the trainer's autocast to cast the rest.
        if (lower := self.surroundings.autocast_dtype) is not None:
            devices = [part.device.type for part in arguments if isinstance(part, Tensor)]
            autocast = partial(torch.autocast, (*devices, "cpu")[0], lower, cache_enabled=False)
            yield from ((parts, autocast()) for parts in [list(arguments), *cast])

    def in_float64(self, device: str | None = None) -> WatchedMap:
        """Return the map with parameters and buffers cast (and moved); the module keeps its own.

        Its outputs are float64. It raises ValueError for weights sharded over processes, which cannot be
        substituted; a call raises MapError where the module insists on a dtype.
        """
        if any(map(is_sharded, self.owner.parameters())):
            raise ValueError(
                f"Expected `precision='native'` for map {self.name!r}: the weights of "
                f"{type(self.owner).__name__} are sharded over processes, and cannot be cast."
            )
        with torch.inference_mode(False):  # `trainer.validate` runs in it: autograd takes no copies
            doubled = {
                id(tensor): _doubled(tensor.detach().to(device))
                for tensor in (*self.owner.parameters(), *self.owner.buffers())
            }

        double = replace(self, surroundings=Surroundings(torch.float64))

        def evaluate(*arguments: Any) -> Tensor:
            try:
                with without_checkpoints(), _substituted(self.owner, doubled):
                    y = double(*map(_doubled, arguments))
            except MapError as error:
                if "dtype" not in error.why and "scalar type" not in error.why:
                    raise
                why = self._insists(f"torch says: {error.why}")
                raise MapError(self.name, "forward", why) from error
            if y.dtype != torch.float64:
                raise MapError(self.name, "output", self._insists(f"it returns {y.dtype}"))
            return y

        return replace(self, function=evaluate, call=Call(), output=None)

    def _find(self, side: str, parts: Sequence[Part] | None, batch: Any) -> list[Any]:
        try:
            if parts is None:
                return [self._default_input(batch)]
            with self.surroundings.in_force(), as_outside():
                return [part(batch, self.root) for part in parts]
        except MapError as error:
            why = (
                f"the value of {error.name} is not known, because of its {error.part}: {error.why}"
            )
            raise MapError(self.name, side, why) from error.__cause__
        except Exception as error:
            raise MapError(self.name, side, explain(error)) from error

    def _default_input(self, batch: Any) -> Any:
        """Return the batch itself, its first part, or what the function calls its input."""
        if isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
            return batch[0]
        if (parts := mapping_of(batch)) is None:
            return batch
        name: int | str = self.call.inputs[0] if self.call.inputs else 0
        if isinstance(name, int):
            name = (*parameters_of(self.function), *[""] * (name + 1))[name]
        if name in parts:
            return parts[name]
        floating = [k for k, v in parts.items() if isinstance(v, Tensor) and v.is_floating_point()]
        if len(floating) == 1:
            return parts[floating[0]]
        raise ValueError(
            f"expected to find the input in {describe(batch)}, but it is not clear which of its keys "
            "it is. Name it with 'input'."
        )

    def _advise(self, error: Exception) -> str:
        advice = explain(error) + explanation_of(error)
        if of_shards := advise_of_shards(self.owner, self.root):
            return f"{of_shards} (It said: {advice})"
        for words, remedy in REMEDIES.items():
            if isinstance(error, TypeError) and words in advice:
                advice = f"{sentence(advice)} {remedy}"
        return advice

    def _insists(self, how: str) -> str:
        return (
            f"expected {type(self.owner).__name__} to compute in float64 with `precision='float64'`, but a "
            f"part of it has a dtype of its own ({how}). Look for `.float()`, `.to(torch.bfloat16)` or a "
            "tensor that is not a buffer, or use `precision='native'`."
        )


@contextmanager
def _substituted(module: nn.Module, tensors: Mapping[int, Tensor]) -> Iterator[None]:
    """Put other tensors, by the identity of what they replace, in the place of weights and buffers.

    `torch.func.functional_call` swaps a part with two names twice, and leaves the first substitute.
    """
    attributes = [(vars(part), dict(vars(part))) for part in module.modules()]
    slots = [
        (place, name, tensor)
        for part in module.modules()
        for place in (cast("dict[str, Tensor | None]", part._parameters), part._buffers)
        for name, tensor in place.items()
        if tensor is not None
    ]
    try:
        for place, name, tensor in slots:
            place[name] = tensors[id(tensor)]
        yield
    finally:
        for place, name, tensor in slots:
            place[name] = tensor
        # Recurrent layers, and caches, keep tensors that were made of the substitutes.
        for now, before in attributes:
            now.clear()
            now.update(before)


def _doubled(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    if argument.is_complex():
        return argument.to(torch.complex128)
    return argument.double() if argument.is_floating_point() else argument
