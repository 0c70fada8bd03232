"""What is watched: which function of a module, at which part of its batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_flag, wrong
from lightning_invert.jacobians.evaluation import without_checkpoints
from lightning_invert.watch.columns import checked_names, checked_std
from lightning_invert.watch.parts import Part, describe, parse_part, parse_parts
from lightning_invert.watch.points import Points
from lightning_invert.watch.reach import Reach, checked_reach, read_bounds

__all__ = ["MapError", "WatchedMap", "checked_maps", "has_forward", "resolve_maps"]

_KEYS = (
    "module",
    "input",
    "within",
    "context",
    "output",
    "input_names",
    "output_names",
    "input_std",
    "output_std",
    "dtype",
    "identity",
    "truth",
    "reach",
)


class MapError(RuntimeError):
    """A map cannot be watched.

    Args:
        name: The map.
        part: What of it failed: ``"input"``, ``"context"``, ``"forward"``, ``"output"``,
            ``"truth"`` or ``"reach"``.
        why: The reason, a sentence.
        who: Who wanted to.
    """

    def __init__(self, name: str, part: str, why: str, who: str = "") -> None:
        who = f"{who}: map" if who else "Map"
        super().__init__(f"{who} {name!r} cannot be watched, because of its {part}: {why}")
        self.name, self.part, self.why = name, part, why

    def by(self, who: str) -> MapError:
        """Return the same, saying who wanted to watch."""
        return MapError(self.name, self.part, self.why, who)


@dataclass(frozen=True)
class WatchedMap:
    """A function R^n -> R^m of a module, and where its points come from.

    Attributes:
        name: Under which it is logged.
        function: What is called, with the inputs and then the contexts.
        owner: The module whose parameters the function uses.
        inputs: Which parts of a batch the Jacobian is taken by; of several, the joint one. None:
            the batch itself, its first part, or what ``forward`` calls its input.
        within: The part of the batch that is handed over whole, with the inputs in it, to a function
            that takes a dictionary or another collection.
        contexts: Which further parts are arguments, and held fixed.
        output: Which part of what the function returns.
        root: What a callable part may be given beside the batch.
        input_names: Names of the n inputs, for the figures.
        output_names: Names of the m outputs.
        input_std: Standard deviation of each input in the training data, shape (n,).
        output_std: Standard deviation of each output, shape (m,).
        dtype: In which it is to be given points, if that is not the dtype of its weights.
        identity: Whether it is a round trip, which is to end where it began: then it is watched
            how far it is from the identity, in value and in slope.
        truth: What its Jacobian is held against: another map, of the same inputs and contexts to
            the same outputs. Its name says in reports what it is.
        members: The same map of other runs, over which its condition numbers spread.
        reach: From where outcomes are to be reached, if it is to be told how many are.
    """

    name: str
    function: Callable[..., Any]
    owner: nn.Module
    inputs: tuple[Part, ...] | None = None
    within: Part | None = None
    contexts: tuple[Part, ...] = ()
    output: Part | None = None
    root: nn.Module | None = None
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    input_std: Tensor | None = None
    output_std: Tensor | None = None
    dtype: torch.dtype | None = None
    identity: bool = False
    truth: WatchedMap | None = None
    members: tuple[WatchedMap, ...] = ()
    reach: Reach | None = None

    def __post_init__(self) -> None:
        for argument in ("input_names", "output_names"):
            if (names := getattr(self, argument)) is not None:
                object.__setattr__(self, argument, checked_names(argument, names))
        known = {side: getattr(self, side) for side in ("input_std", "output_std")}
        for argument, std in known.items():
            if std is not None:
                object.__setattr__(self, argument, checked_std(argument, std))
        lacking = [side for side, std in known.items() if std is None]
        if len(lacking) == 1:
            raise ValueError(
                f"Expected arguments `input_std` and `output_std` of map {self.name!r} to be given "
                f"together, but there is no `{lacking[0]}`."
            )

    @property
    def owners(self) -> list[nn.Module]:
        """All modules that are evaluated: its own, and those of truth, members and inverse."""
        inverse = None if self.reach is None else self.reach.inverse
        others = [*self.members, *(one for one in (self.truth, inverse) if one is not None)]
        return [self.owner, *(other.owner for other in others)]

    @property
    def arithmetic(self) -> torch.dtype | None:
        """The coarsest dtype of its weights, if it has any: what is finer is noise."""
        dtypes = {p.dtype for p in self.owner.parameters() if p.is_floating_point()}
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=None)

    @property
    def stds(self) -> tuple[Tensor, Tensor] | None:
        """The standard deviations of inputs and outputs, if both are known."""
        if self.input_std is None or self.output_std is None:
            return None
        return self.input_std, self.output_std

    @property
    def runs_code(self) -> bool:
        """Whether taking points runs code that is not ours, which might do anything."""
        outcomes = None if self.reach is None else self.reach.outcomes
        single = [part for part in (self.within, outcomes) if part is not None]
        parts = [*(self.inputs or ()), *self.contexts, *single]
        package = __name__.partition(".")[0]
        return any(
            callable(step) and getattr(step, "__module__", "").partition(".")[0] != package
            for part in parts
            for step in part.steps
        )

    def take(self, batch: Any) -> Points:
        """Take the map's points out of a batch.

        Raises:
            MapError: If they are not there, or are no points.
        """
        inputs = [self._checked(x) for x in self._find("input", batch)]
        (within,) = self._find("within", batch) or (None,)
        return Points.of(inputs, self._find("context", batch), within)

    def take_outcomes(self, batch: Any) -> Tensor:
        """Take what is to be reached out of a batch, a row for each point.

        Raises:
            MapError: If it is not there, or is no floating tensor.
        """
        (y,) = self._find("reach", batch)
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.ndim < 2:
            why = f"expected its outcomes to be a floating tensor of shape (N, m), but got {describe(y)}."
            raise MapError(self.name, "reach", why)
        return y.detach()

    def __call__(self, *arguments: Any) -> Tensor:
        """Evaluate the map.

        Raises:
            MapError: If it fails, or does not return a floating tensor.
        """
        try:
            y = self._evaluate(arguments)
        except MapError:
            raise
        except Exception as error:
            raise MapError(self.name, "forward", self._advise(error)) from error
        if self.output is not None:
            try:
                y = self.output(y, self.root)
            except Exception as error:
                raise MapError(self.name, "output", _words(error)) from error
        if not isinstance(y, Tensor) or not y.is_floating_point():
            raise MapError(
                self.name,
                "output",
                f"expected a floating tensor, but {type(self.owner).__name__} returned "
                f"{describe(y)}. Say which part is meant: "
                f"maps={{{self.name!r}: {{..., 'output': <index, key, attribute or callable>}}}}.",
            )
        return y

    def _evaluate(self, arguments: Sequence[Any]) -> Any:
        try:
            return self.function(*arguments)
        except RuntimeError as error:
            # A network may be named that its module gives float32, of a batch of float64.
            dtype = self.arithmetic
            if isinstance(error, MapError) or not any(map(_is_double, arguments)):
                raise
            if dtype is None or dtype == torch.float64:
                raise
            narrow = [part.to(dtype) if _is_double(part) else part for part in arguments]
            try:
                return self.function(*narrow)
            except RuntimeError:
                raise error from None

    def in_float64(self, device: str | None = None) -> WatchedMap:
        """Return the same map with parameters and buffers cast; the module itself keeps its own.

        Its outputs are float64; calling it raises where the module insists on a dtype.

        Args:
            device: Where parameters and buffers are moved to; by default they stay.

        Raises:
            ValueError: If the weights are sharded over processes: they cannot be substituted.
        """
        if any(hasattr(parameter, "full_tensor") for parameter in self.owner.parameters()):
            raise ValueError(
                f"Expected `precision='native'` for map {self.name!r}: the weights of "
                f"{type(self.owner).__name__} are sharded over processes, and cannot be cast."
            )
        doubled = {
            id(tensor): _doubled(tensor.detach().to(device))
            for tensor in (*self.owner.parameters(), *self.owner.buffers())
        }

        def evaluate(*arguments: Any) -> Tensor:
            try:
                with without_checkpoints(), _substituted(self.owner, doubled):
                    y = self(*map(_doubled, arguments))
            except MapError as error:
                if "dtype" not in error.why and "scalar type" not in error.why:
                    raise
                why = self._insists(f"torch says: {error.why}")
                raise MapError(self.name, "forward", why) from error
            if y.dtype != torch.float64:
                raise MapError(self.name, "output", self._insists(f"it returns {y.dtype}"))
            return y

        return replace(self, function=evaluate, output=None)

    def _find(self, side: str, batch: Any) -> list[Any]:
        within = () if self.within is None else (self.within,)
        reach = () if self.reach is None else (self.reach.outcomes,)
        parts = {
            "input": self.inputs,
            "within": within,
            "context": self.contexts,
            "reach": reach,
        }[side]
        try:
            if parts is None:
                return [_default_input(self.name, self.function, batch)]
            return [part(batch, self.root) for part in parts]
        except Exception as error:
            raise MapError(self.name, side, _words(error)) from error

    def _checked(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
            raise MapError(
                self.name,
                "input",
                f"expected a floating tensor of shape (N, n), but got {describe(x)}. Say what of "
                f"the batch goes in: maps={{{self.name!r}: {{'module': ..., 'input': <index, key, "
                "attribute, a list of those, or a callable>}}.",
            )
        return x

    def _advise(self, error: Exception) -> str:
        words = _words(error)
        if isinstance(error, TypeError) and "positional argument" in str(error):
            words += (
                f" Say what else of the batch it takes: maps={{{self.name!r}: {{..., 'context': "
                "[[<path of the second argument>], ...]}}."
            )
        return words

    def _insists(self, how: str) -> str:
        return (
            f"expected {type(self.owner).__name__} to follow its input into float64 with "
            f"`precision='float64'`, but it insists on a dtype of its own somewhere ({how}). Look "
            "for `.float()`, `.to(torch.float32)` or a tensor that is not a buffer, or use "
            "`precision='native'`."
        )


@contextmanager
def _substituted(module: nn.Module, tensors: Mapping[int, Tensor]) -> Iterator[None]:
    """Put other tensors, by the identity of what they replace, in the place of weights and buffers.

    `torch.func.functional_call` swaps a part that has two names twice, and puts the first
    substitute back in the place of the weight.
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


def resolve_maps(
    maps: Mapping[str, Any] | None, root: nn.Module, *, reach: bool = False
) -> list[WatchedMap]:
    """Turn what a user wrote into functions.

    Args:
        maps: Name -> a path to a submodule or method ("" is ``root`` itself), a module, a callable,
            or a mapping with ``module`` (one of those), ``input``, ``within``, ``context`` and ``output`` (see
            :mod:`~lightning_invert.watch.parts`), ``input_names``, ``output_names``,
            ``input_std``, ``output_std``, ``dtype``, ``identity``, ``truth`` (likewise a path, a
            module or a callable: of the same arguments, to a tensor of the same outputs) and ``reach``
            (a mapping with ``inverse``, likewise, ``outcomes``, a part of the batch, and, if they are
            known, ``bounds``: see :class:`~lightning_invert.watch.reach.Reach`). ``None``: what
            ``root.invertibility_maps()`` returns, else ``root`` itself.
        root: The module that paths start from.
        reach: Whether it matters from where outcomes are to be reached; else ``reach`` is not read.

    Returns:
        The maps.

    Raises:
        ValueError: If a path does not lead to a module or a key is not known.
        TypeError: If an entry is none of the above.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(7, 4), nn.Tanh())
        >>> (first,) = resolve_maps({"first": "0"}, net)
        >>> points = first.take((torch.zeros(10, 7), "label"))
        >>> points.inputs.shape, first(points.inputs).shape
        (torch.Size([10, 7]), torch.Size([10, 4]))
    """
    if maps is None:
        ask = getattr(root, "invertibility_maps", None)
        maps = ask() if callable(ask) else {"forward": ""}
    if not reach and isinstance(maps, Mapping):
        maps = {name: _without_reach(entry) for name, entry in maps.items()}
    return [_resolve(name, spec, root) for name, spec in checked_maps(maps).items()]


def checked_maps(maps: Any) -> dict[str, dict[str, Any]]:
    """Return what is to be watched as a mapping for each map, as far as it makes sense by itself.

    Args:
        maps: As for :func:`resolve_maps`, but not ``None``.

    Raises:
        ValueError: If there is no map, or a key is not known.
        TypeError: If an entry is of the wrong kind.

    Example:
        >>> checked_maps({"first": "net.0"})
        {'first': {'module': 'net.0'}}
    """
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(wrong("maps", "a mapping with at least one map, {'forward': 'net'}", maps))
    return {name: _checked_spec(name, entry) for name, entry in maps.items()}


def _without_reach(entry: Any) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    return {key: value for key, value in entry.items() if key != "reach"}


def _checked_spec(name: Any, entry: Any) -> dict[str, Any]:
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"Expected the names in argument `maps` to be texts, as in {{'forward': 'net'}}, but "
            f"got {name!r}."
        )
    spec = dict(entry) if isinstance(entry, Mapping) else {"module": entry}
    unknown = sorted(map(str, set(spec) - set(_KEYS)))
    if unknown:
        raise ValueError(
            f"Expected the keys of `maps[{name!r}]` to be among {list(_KEYS)}, but got {unknown}."
        )
    module = spec.get("module", "")
    if not isinstance(module, str | nn.Module) and not callable(module):
        raise TypeError(
            f"Expected `maps[{name!r}]` to be a path to a submodule or method, a module, a "
            f"callable or a mapping with the keys {list(_KEYS)}, but got {type(module).__name__}."
        )
    truth = spec.get("truth")
    if truth is not None and not isinstance(truth, str) and not callable(truth):
        expected = "a path to a submodule or method, a module or a callable"
        raise TypeError(wrong(f"maps[{name!r}]['truth']", expected, truth))
    for side in ("input", "within", "context", "output"):
        if spec.get(side) is not None:
            parse_parts(f"maps[{name!r}]['{side}']", spec[side])
    if spec.get("identity") is not None:
        check_flag(f"maps[{name!r}]['identity']", spec["identity"])
    if spec.get("reach") is not None:
        spec["reach"] = checked_reach(f"maps[{name!r}]['reach']", spec["reach"])
        further = [side for side in ("context", "within") if spec.get(side) is not None]
        if further:
            raise ValueError(
                f"Expected `maps[{name!r}]` to have no `{further[0]}` beside `reach`: an outcome is "
                "reached by the inputs alone."
            )
    return spec


def _resolve(name: str, spec: dict[str, Any], root: nn.Module) -> WatchedMap:
    spec = dict(spec)
    function, owner = _find(f"maps[{name!r}]", spec.pop("module", ""), root)
    truth = spec.pop("truth", None)
    if truth is not None:
        truth = WatchedMap("truth", *_find(f"maps[{name!r}]['truth']", truth, root))
    reach = spec.pop("reach", None)
    if reach is not None:
        at = f"maps[{name!r}]['reach']"
        reach = Reach(
            WatchedMap("inverse", *_find(f"{at}['inverse']", reach["inverse"], root)),
            parse_part(f"{at}['outcomes']", reach["outcomes"]),
            *read_bounds(f"{at}['bounds']", reach.get("bounds")),
        )
    said = {side: spec.pop(side, None) for side in ("input", "within", "context", "output")}
    where = {side: f"maps[{name!r}]['{side}']" for side in said}
    some = {
        side: None if said[side] is None else parse_parts(where[side], said[side])
        for side in ("input", "context")
    }
    one = {
        side: None if said[side] is None else parse_part(where[side], said[side])
        for side in ("within", "output")
    }
    return WatchedMap(
        name,
        function,
        owner,
        inputs=some["input"],
        within=one["within"],
        contexts=some["context"] or (),
        output=one["output"],
        root=root,
        truth=truth,
        reach=reach,
        **spec,
    )


def _find(
    argument: str, where: str | Callable[..., Any], root: nn.Module
) -> tuple[Callable[..., Any], nn.Module]:
    if isinstance(where, nn.Module):
        return where, where
    if not isinstance(where, str):
        owner = getattr(where, "__self__", None)  # of a bound method
        return where, owner if isinstance(owner, nn.Module) else root
    try:
        module = root.get_submodule(where)
    except AttributeError:
        return _find_method(argument, where, root)
    if not has_forward(module):
        raise ValueError(
            f"Expected `{argument}` to be a module with a `forward`, but "
            f"{type(module).__name__} defines none. Name the part of it to be watched, as in "
            "maps={'forward': 'net'}."
        )
    return module, module


def _find_method(
    argument: str, where: str, root: nn.Module
) -> tuple[Callable[..., Any], nn.Module]:
    path, _, attribute = where.rpartition(".")
    try:
        owner = root.get_submodule(path)
        method = getattr(owner, attribute)
    except AttributeError:
        method = None
    if not callable(method):
        paths = [path for path, _ in root.named_modules() if path]
        raise ValueError(  # noqa: TRY004  # it is a path that leads nowhere
            f"Expected `{argument}` to be the path of a submodule or a method of "
            f"{type(root).__name__}, but got {where!r}. There are: {', '.join(paths) or 'none'}."
        )
    return method, owner


def has_forward(module: nn.Module) -> bool:
    """Tell whether a module has a forward of its own."""
    forward = getattr(type(module), "forward", None)
    # LightningModule, of either namespace, defines a forward that only raises.
    defined_by = getattr(forward, "__qualname__", "").split(".")[0]
    return forward is not nn.Module.forward and defined_by != "LightningModule"


def _default_input(name: str, function: Callable[..., Any], batch: Any) -> Any:
    """Without being told: the batch itself, its first part, or what ``forward`` calls its input."""
    if isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
        return batch[0]
    if not isinstance(batch, Mapping):
        return batch
    parameters = list(inspect.signature(getattr(function, "forward", function)).parameters)
    if parameters and parameters[0] in batch:
        return batch[parameters[0]]
    floating = [k for k, v in batch.items() if isinstance(v, Tensor) and v.is_floating_point()]
    if len(floating) == 1:
        return batch[floating[0]]
    raise ValueError(
        f"expected to find the input in {describe(batch)}, but it is not clear which of its keys "
        f"it is. Name it: maps={{{name!r}: {{'module': ..., 'input': <key>}}}}."
    )


def _is_double(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.dtype == torch.float64


def _doubled(argument: Any) -> Any:
    floating = isinstance(argument, Tensor) and argument.is_floating_point()
    return argument.double() if floating else argument


def _words(error: Exception) -> str:
    """Return what an exception says, with its type unless it is one of ours."""
    text = str(error) or "no reason given"
    known = isinstance(error, ValueError | TypeError) and text.startswith(("Expected", "expected"))
    return text if known else f"{type(error).__name__}: {text}"
