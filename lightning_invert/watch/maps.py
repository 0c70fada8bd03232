"""What is watched: which function of a module, at which part of its batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["WatchedMap", "resolve_maps"]

_KEYS = (
    "module",
    "input",
    "output",
    "input_names",
    "output_names",
    "input_std",
    "output_std",
    "identity",
)


@dataclass(frozen=True)
class WatchedMap:
    """A function R^n -> R^m of a module, and where its points come from.

    Attributes:
        name: Under which it is logged.
        function: Maps (N, *) to (N, *).
        select: Takes the map's input, (B, *), out of a batch.
        owner: The module whose parameters the function uses.
        input_names: Names of the n inputs, for the figures.
        output_names: Names of the m outputs.
        input_std: Standard deviation of each input in the training data, shape (n,).
        output_std: Standard deviation of each output, shape (m,).
        identity: Whether it is a round trip, which is to end where it began: then it is watched
            how far it is from the identity, in value and in slope.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    select: Callable[[Any], Tensor]
    owner: nn.Module
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    input_std: Tensor | None = None
    output_std: Tensor | None = None
    identity: bool = False

    @property
    def stds(self) -> tuple[Tensor, Tensor] | None:
        """The standard deviations of inputs and outputs, if both are known."""
        if self.input_std is None or self.output_std is None:
            return None
        return self.input_std, self.output_std

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate the map."""
        return self.function(x)

    def in_float64(self) -> WatchedMap:
        """Return the same map with parameters and buffers cast; the module itself keeps its own.

        Its outputs are float64; calling it raises a TypeError where the module insists on a dtype.

        Raises:
            ValueError: If the weights are sharded over processes: they cannot be substituted.
        """
        if any(hasattr(parameter, "full_tensor") for parameter in self.owner.parameters()):
            raise ValueError(
                f"Expected `precision='native'` for map {self.name!r}: the weights of "
                f"{type(self.owner).__name__} are sharded over processes, and cannot be cast."
            )
        wrapper = _Owned(self.owner, self.function)
        cast = {
            name: tensor.detach().double() if tensor.is_floating_point() else tensor
            for name, tensor in (*wrapper.named_parameters(), *wrapper.named_buffers())
        }

        def evaluate(x: Tensor) -> Tensor:
            try:
                y = functional_call(wrapper, cast, (x.double(),))
            except RuntimeError as error:
                if "dtype" not in str(error) and "scalar type" not in str(error):
                    raise
                raise TypeError(self._insists(f"torch says: {error}")) from error
            if isinstance(y, Tensor) and y.is_floating_point() and y.dtype != torch.float64:
                raise TypeError(self._insists(f"it returns {y.dtype}"))
            return y  # type: ignore[no-any-return]

        return replace(self, function=evaluate)

    def _insists(self, how: str) -> str:
        return (
            f"Expected map {self.name!r} to follow its input into float64 with "
            f"`precision='float64'`, but {type(self.owner).__name__} insists on a dtype of its own "
            f"somewhere ({how}). Look for `.float()`, `.to(torch.float32)` or a tensor that is not "
            "a buffer, or use `precision='native'`."
        )


class _Owned(nn.Module):
    """Make any function of a module a module, so that its parameters can be substituted."""

    def __init__(self, owner: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.owner = owner
        self.function = function if not isinstance(function, nn.Module) else None
        self.training = owner.training

    def forward(self, x: Tensor) -> Tensor:
        if self.function is None:
            return self.owner(x)  # type: ignore[no-any-return]
        return self.function(x)


def resolve_maps(maps: Mapping[str, Any] | None, root: nn.Module) -> list[WatchedMap]:
    """Turn what a user wrote into functions.

    Args:
        maps: Name -> a path to a submodule ("" is ``root`` itself), a module, a callable, or a
            mapping with ``module`` (one of those), ``input`` and ``output`` (index, key or
            callable), ``input_names``, ``output_names``, ``input_std``, ``output_std`` and ``identity``.
            ``None``: what ``root.invertibility_maps()`` returns, else ``root`` itself.
        root: The module that paths start from.

    Returns:
        The maps.

    Raises:
        ValueError: If a path does not lead to a module or a key is not known.
        TypeError: If an entry is none of the above.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(7, 4), nn.Tanh())
        >>> (first,) = resolve_maps({"first": "0"}, net)
        >>> first.select((torch.zeros(10, 7), "label")).shape, first(torch.zeros(10, 7)).shape
        (torch.Size([10, 7]), torch.Size([10, 4]))
    """
    if maps is None:
        ask = getattr(root, "invertibility_maps", None)
        maps = ask() if callable(ask) else {"forward": ""}
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            "Expected argument `maps` to name at least one map, as in {'forward': 'net'}, but got "
            f"{maps!r}."
        )
    return [_resolve(name, entry, root) for name, entry in maps.items()]


def _resolve(name: str, entry: Any, root: nn.Module) -> WatchedMap:
    spec = dict(entry) if isinstance(entry, Mapping) else {"module": entry}
    unknown = sorted(set(spec) - set(_KEYS))
    if unknown:
        raise ValueError(
            f"Expected the keys of `maps[{name!r}]` to be among {list(_KEYS)}, but got {unknown}."
        )
    function, owner = _find(name, spec.pop("module", ""), root)
    default = _default_input(name, function)
    pick_input = _picker(f"maps[{name!r}]['input']", spec.pop("input", None), default)
    pick_output = _picker(f"maps[{name!r}]['output']", spec.pop("output", None), _itself)
    if pick_output is not _itself:
        whole = function
        # A lambda keeps the module out of WatchedMap.function: `owner` stands for it.
        function = lambda x: pick_output(whole(x))
    return WatchedMap(name, function, _tensor(name, pick_input), owner, **spec)


def _find(name: str, where: Any, root: nn.Module) -> tuple[Callable[[Any], Any], nn.Module]:
    if isinstance(where, nn.Module):
        return where, where
    if callable(where):
        owner = getattr(where, "__self__", None)  # of a bound method
        return where, owner if isinstance(owner, nn.Module) else root
    if not isinstance(where, str):
        raise TypeError(
            f"Expected `maps[{name!r}]` to be a path to a submodule, a module, a callable or a "
            f"mapping with the keys {list(_KEYS)}, but got {type(where).__name__}."
        )
    try:
        module = root.get_submodule(where)
    except AttributeError:
        paths = [path for path, _ in root.named_modules() if path]
        raise ValueError(
            f"Expected `maps[{name!r}]` to be the path of a submodule of {type(root).__name__}, "
            f"but got {where!r}. There are: {', '.join(paths) or 'none'}."
        ) from None
    if not _has_forward(module):
        raise ValueError(
            f"Expected `maps[{name!r}]` to be a module with a `forward`, but "
            f"{type(module).__name__} defines none. Name the part of it to be watched, as in "
            "maps={'forward': 'net'}."
        )
    return module, module


def _has_forward(module: nn.Module) -> bool:
    forward = getattr(type(module), "forward", None)
    # LightningModule, of either namespace, defines a forward that only raises.
    defined_by = getattr(forward, "__qualname__", "").split(".")[0]
    return forward is not nn.Module.forward and defined_by != "LightningModule"


def _picker(where: str, key: Any, default: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if key is None:
        return default
    if callable(key):
        return key  # type: ignore[no-any-return]
    if not isinstance(key, int | str):
        raise TypeError(
            f"Expected `{where}` to be an index, a key or a callable, but got {type(key).__name__}."
        )

    def pick(whole: Any) -> Any:
        try:
            return whole[key]
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                f"Expected `{where}` to be an index or key of {_describe(whole)}, but got {key!r}."
            ) from None

    return pick


def _default_input(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Without being told: the batch itself, its first part, or what ``forward`` calls its input."""

    def pick(batch: Any) -> Any:
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
            f"Expected to find the input of map {name!r} in {_describe(batch)}, but it is not "
            f"clear which of its keys it is. Name it: maps={{{name!r}: {{'module': ..., 'input': "
            "<key>}}."
        )

    return pick


def _tensor(name: str, pick: Callable[[Any], Any]) -> Callable[[Any], Tensor]:
    def select(batch: Any) -> Tensor:
        x = pick(batch)
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
            raise TypeError(
                f"Expected the input of map {name!r} to be a floating tensor of shape (N, n), but "
                f"got {_describe(x)}. Say what of the batch goes in: maps={{{name!r}: "
                "{'module': ..., 'input': <index, key or callable>}}."
            )
        return x

    return select


def _itself(whole: Any) -> Any:
    return whole


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of dtype {value.dtype} and shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {list(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"
