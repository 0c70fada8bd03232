"""What `solve` is asked, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_integer, wrong
from lightning_invert.jacobians.jacobian import count_outputs
from lightning_invert.solver.model import Box, Model
from lightning_invert.solver.reading import Kind, read_numbers, to_tensor
from lightning_invert.solver.rows import first
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Variable

__all__ = ["Asked", "read"]

NUM_STARTS = 8


class Asked(NamedTuple):
    """What is asked.

    Attributes:
        model: F and the units.
        targets: N of them.
        box: Of the N targets: what is fixed has ends that are the same.
        bounds: The box without what is fixed, but for a target's mean of it, shape (n,) each.
        start: Shape (N, S, n), or how many starts are to be drawn for each target.
        kind: In what F is evaluated.
    """

    model: Model
    targets: Targets
    box: Box
    bounds: tuple[Tensor, Tensor]
    start: Tensor | int
    kind: Kind


def owner_of(function: Any) -> nn.Module | None:
    """Return the module that a function is, or that it is a method of."""
    for one in (function, getattr(function, "__self__", None)):
        if isinstance(one, nn.Module):
            return one
    return None


def _pair_of(function: Any) -> nn.Module | None:
    """Return the pair whose forward map a function is: one that describes its inputs itself."""
    forward = isinstance(function, nn.Module) or getattr(function, "__name__", "") == "forward"
    return owner_of(function) if forward else None


def _variables(pair: nn.Module | None) -> tuple[Variable, ...] | None:
    inputs = getattr(pair, "inputs", None)
    known = isinstance(inputs, tuple) and all(isinstance(one, Variable) for one in inputs)
    return inputs if known and inputs else None


def read(
    function: Callable[[Tensor], Tensor],
    targets: Any,
    bounds: Any,
    start: Any,
    fixed: Any,
    scale: Any,
) -> Asked:
    """Read the arguments of :func:`~lightning_invert.solve` of the same names.

    Raises:
        TypeError: If one is of a wrong type.
        ValueError: If one is out of its range, or they do not fit each other.
    """
    if not callable(function):
        raise TypeError(wrong("function", "a module or a function", function))
    owner = owner_of(function)
    pair = _pair_of(function)
    inputs = _variables(pair)
    # A pair takes physical units, whose content its networks' dtype may not hold, and casts by itself.
    casts = getattr(pair, "takes_float64", False)
    statistics = getattr(getattr(pair, "scale_x", None), "mean", None) if casts else None
    kind = _kind(owner, statistics, targets, start, bounds)
    count, given = NUM_STARTS, None
    if isinstance(start, Integral):
        count = check_integer("start", start, low=1, what="or inputs to begin at")
    elif start is not None:
        given = read_numbers("start", start, kind)
    n = _num_inputs(inputs, given, bounds)
    low, high = _bounds(bounds, inputs, n, kind)
    point = torch.zeros(1, n, dtype=kind.dtype, device=kind.device)
    point = point.clamp(low, high) if given is None else given.reshape(-1, n)[:1]
    m = count_outputs(function, point)
    wanted = Targets.of(targets, m, kind)
    num_targets = len(wanted.low)
    if given is not None:
        given = _start(given, num_targets, n)
    model = Model(function, m, *_scale(scale, pair, low, high, m, kind))
    box_low, box_high = low.expand(num_targets, n), high.expand(num_targets, n)
    for index, value in _fixed(fixed, inputs, n, num_targets, kind).items():
        outside = (value < low[index]) | (value > high[index])
        if outside.any():
            raise ValueError(
                f"Expected argument `fixed` to hold values inside the box, but got "
                f"{value[first(outside)]:g} for input {_label(inputs, index)}, which may be "
                f"{low[index]:g} to {high[index]:g}."
            )
        box_low, box_high = box_low.clone(), box_high.clone()
        low, high = low.clone(), high.clone()
        box_low[:, index] = box_high[:, index] = value
        low[index] = high[index] = value.mean()
    if given is None and not (low.isfinite() & high.isfinite()).all():
        index = first(~(low.isfinite() & high.isfinite()))
        raise ValueError(
            "Expected argument `start` to be given where the box is open, as it is for input "
            f"{_label(inputs, index)}: write `start=` inputs of shape (N, {n}), or `bounds=(low, "
            "high)` from which to draw them."
        )
    begin = count if given is None else given
    return Asked(model, wanted, Box(box_low, box_high), (low, high), begin, kind)


def _kind(owner: nn.Module | None, statistics: Any, *arguments: Any) -> Kind:
    """Return dtype and device of the module, or else of the first floating tensor or array."""
    own = [] if owner is None else [*owner.parameters(), *owner.buffers()]
    others = [end for one in arguments for end in (one if isinstance(one, tuple) else (one,))]
    for one in (statistics, *own, *others):
        if getattr(one, "dtype", None) is not None:
            tensor = to_tensor(one)
            if tensor.is_floating_point():
                return Kind(tensor.dtype, tensor.device)
    return Kind(torch.get_default_dtype(), torch.get_default_device())


def _num_inputs(inputs: tuple[Variable, ...] | None, start: Tensor | None, bounds: Any) -> int:
    if inputs is not None:
        return len(inputs)
    if start is not None:
        if start.ndim not in (2, 3):
            raise ValueError(
                "Expected argument `start` to be of shape (N, n) or (N, S, n), but got "
                f"{tuple(start.shape)}."
            )
        return start.shape[-1]
    for end in bounds if isinstance(bounds, tuple | list) else ():
        shape = () if end is None else to_tensor(end).shape
        if len(shape) == 1:
            return shape[0]
    raise ValueError(
        "Expected argument `start` or `bounds` to be given, with a column for each input: where "
        "else to begin is not known."
    )


def _bounds(
    bounds: Any, inputs: tuple[Variable, ...] | None, n: int, kind: Kind
) -> tuple[Tensor, Tensor]:
    if bounds is None and inputs is not None:
        bounds = tuple(
            [torch.nan if getattr(v, end) is None else float(getattr(v, end)) for v in inputs]
            for end in ("low", "high")
        )
    if bounds is None:
        bounds = (None, None)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(wrong("bounds", "a pair (low, high)", bounds))
    ends = []
    for end, open_end in zip(bounds, (-torch.inf, torch.inf), strict=True):
        read = read_numbers("bounds", open_end if end is None else end, kind)
        if read.shape not in ((), (n,)):
            raise ValueError(
                f"Expected argument `bounds` to be of shape ({n},) each, but got "
                f"{tuple(read.shape)}."
            )
        ends.append(torch.where(read.isnan(), open_end, read).expand(n))
    low, high = ends
    wrong_way = (low > high) | (low == torch.inf) | (high == -torch.inf)
    if wrong_way.any():
        index = first(wrong_way)
        raise ValueError(
            "Expected argument `bounds` to have low <= high, but got "
            f"low={low[index]:g} and high={high[index]:g} for input {_label(inputs, index)}."
        )
    return low, high


def _start(start: Tensor, num_targets: int, n: int) -> Tensor:
    shaped = start[:, None] if start.ndim == 2 else start
    if (
        shaped.ndim != 3
        or shaped.shape[0] != num_targets
        or shaped.shape[2] != n
        or shaped.shape[1] == 0
    ):
        raise ValueError(
            f"Expected argument `start` to be of shape ({num_targets}, {n}) or ({num_targets}, S, "
            f"{n}), but got {tuple(start.shape)}."
        )
    return shaped


def _fixed(
    fixed: Any, inputs: tuple[Variable, ...] | None, n: int, num_targets: int, kind: Kind
) -> dict[int, Tensor]:
    if fixed is None:
        return {}
    if not isinstance(fixed, Mapping):
        raise TypeError(wrong("fixed", "a dictionary {name or index: value}", fixed))
    names = [variable.name for variable in inputs or ()]
    found = {}
    for key, value in fixed.items():
        if isinstance(key, str):
            if key not in names:
                known = f"one of {names}" if names else "an index: this function has no `inputs`"
                raise ValueError(wrong("fixed", f"keyed by {known}", key))
            index = names.index(key)
        else:
            index = check_integer("fixed", key, low=0, high=n - 1, what="or a name, as its keys")
        read = read_numbers("fixed", value, kind)
        if read.shape not in ((), (num_targets,)) or not read.isfinite().all():
            raise ValueError(
                f"Expected argument `fixed` to hold a finite number, or one for each of the "
                f"{num_targets} targets, but got {value!r} for {key!r}."
            )
        found[index] = read.expand(num_targets)
    if len(found) == n:
        raise ValueError("Expected argument `fixed` to leave an input that may move, but got all.")
    return found


def _scale(
    scale: Any, pair: nn.Module | None, low: Tensor, high: Tensor, m: int, kind: Kind
) -> tuple[Tensor, Tensor]:
    """Return the units of the inputs and of the outputs, (n,) and (m,), float64."""
    one = torch.ones((), dtype=torch.float64, device=kind.device)
    if isinstance(scale, tuple | list) and len(scale) == 2:
        found = []
        for unit, count in zip(scale, (len(low), m), strict=True):
            read = read_numbers("scale", unit, kind._replace(dtype=torch.float64))
            if read.shape not in ((), (count,)) or not ((read > 0) & read.isfinite()).all():
                raise ValueError(
                    "Expected argument `scale` to hold positive units, a number or one for each of "
                    f"{count}, but got {unit!r}."
                )
            found.append(read.expand(count))
        return found[0], found[1]
    if scale not in (None, "standardized", "physical"):
        raise ValueError(
            wrong("scale", "'standardized', 'physical' or units (of inputs, of outputs)", scale)
        )
    statistics: list[Any] = [getattr(pair, name, None) for name in ("scale_x", "scale_y")]
    if scale != "physical" and all(getattr(one, "fitted", False) for one in statistics):
        return statistics[0].std.double(), statistics[1].std.double()
    if scale == "standardized":
        raise ValueError(
            "Expected argument `scale` not to be 'standardized' for a function without statistics: "
            "write `scale=(spread of inputs, spread of outputs)`."
        )
    width = (high - low).double()
    boxed = width.isfinite() & (width > 0) & (scale is None)
    return torch.where(boxed, width, one), one.expand(m)


def _label(inputs: tuple[Variable, ...] | None, index: int) -> str:
    return repr(inputs[index].name) if inputs is not None else str(index)
