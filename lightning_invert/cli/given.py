"""What is said of settings beside the targets: their box, their prices, what is given or in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_invert.arguments import repeated
from lightning_invert.cli.wanted import Wanted, named_numbers, number, read_columns
from lightning_invert.solver.cost import Near
from lightning_invert.solver.rows import first_index
from lightning_invert.tables import row_name
from lightning_invert.variables import Variable

__all__ = ["read_box", "read_cost", "read_fixed"]

NONE = ("", "~", "null")
"""What stands for nothing in YAML."""


def read_box(
    file: str | None, known: tuple[Tensor, Tensor] | None, inputs: Sequence[Variable]
) -> tuple[Tensor, Tensor]:
    """Return the ends of the settings, (n,) each, float64.

    Args:
        file: YAML of name: [low, high]; what it leaves out is as the pair knows it.
        known: The box of the pair.
        inputs: The n inputs.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is of another form.
        ValueError: If a name or an end is not known, an end is no finite number, or the box is
            upside down.
    """
    names = [variable.name for variable in inputs]
    if known is not None:
        ends = [list(pair) for pair in zip(*(end.tolist() for end in known), strict=True)]
    else:
        ends = [[variable.low, variable.high] for variable in inputs]
    for name, pair in _named(file, "--bounds", names, "a pair of numbers").items():
        if not isinstance(pair, list) or len(pair) != 2:
            raise TypeError(f"Expected {name!r} in {file!r} to be like [low, high].")
        for side, end in enumerate(pair):
            if end not in NONE:
                ends[names.index(name)][side] = _number(end, f"{name!r} in {file!r}")
    missing = [
        repr(name)
        for name, pair in zip(names, ends, strict=True)
        if not all(end is not None and -torch.inf < end < torch.inf for end in pair)
    ]
    if missing:
        raise ValueError(
            f"Expected a box for {', '.join(missing)}, but the checkpoint knows none: it has no "
            "ranges and no rows of its data. Give --bounds box.yaml with lines like "
            f"{missing[0][1:-1]}: [low, high]."
        )
    low, high = torch.tensor(ends, dtype=torch.float64).T
    if (low > high).any():
        index = first_index(low > high)
        raise ValueError(
            f"Expected {names[index]!r} in {file!r} to have low <= high, but got "
            f"[{low[index]:g}, {high[index]:g}]."
        )
    return low, high


def read_fixed(
    text: str | None, wanted: Wanted, inputs: Sequence[str], box: tuple[Tensor, Tensor]
) -> dict[int, Tensor]:
    """Return the settings that are given, index -> (N,), by the option or by the table of targets.

    Raises:
        ValueError: If a name is unknown or given twice, a value is no number or outside of the box.
    """
    fixed = dict(wanted.fixed)
    for name, value in (named_numbers("--fixed", text) if text is not None else {}).items():
        if name not in inputs:
            raise ValueError(
                f"Expected --fixed to name settings, some of {', '.join(inputs)}, but got {name!r}."
            )
        index = inputs.index(name)
        if index in fixed:
            raise ValueError(
                f"Expected {name!r} to be given once, but --fixed and a column of {wanted.file!r} do."
            )
        fixed[index] = torch.full((len(wanted),), number(value, f"{name!r} in --fixed")).double()
    for index, values in fixed.items():
        low, high = (float(end[index]) for end in box)
        outside = (values < low) | (values > high)
        if outside.any():
            row = first_index(outside)
            where = "--fixed" if index not in wanted.fixed else row_name(wanted.file, row)
            whose = "" if index not in wanted.fixed else f" of {wanted.file!r}"
            raise ValueError(
                f"Expected {inputs[index]!r}{whose} to be inside of its box, {low:g} to {high:g}, but "
                f"{where} has {values[row]:g}."
            )
    return fixed


def read_cost(
    prices: str | None, near: str | None, inputs: Sequence[str], num_targets: int
) -> Callable[[slice], Any]:
    """Return what gives the cost of some of the targets.

    Args:
        prices: YAML of name: price; what it leaves out costs nothing.
        near: Table of settings that are in force: one row, or one for each target.
        inputs: Names of the n inputs.
        num_targets: N.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If the file of prices is of another form.
        ValueError: If both are given, a name is unknown, or a number is missing or none.
    """
    if prices is not None and near is not None:
        raise ValueError("Expected at most one of --cost and --near, but got both.")
    if prices is not None:
        found = dict.fromkeys(inputs, 0.0)
        for name, price in _named(prices, "--cost", inputs, "a price").items():
            found[name] = _number(price, f"{name!r} in {prices!r}")
        return lambda rows: list(found.values())
    if near is None:
        return lambda rows: None
    reference = torch.stack(list(read_columns(near, inputs).values()), 1)
    if len(reference) not in (1, num_targets):
        raise ValueError(
            f"Expected {near!r} to have one row, or one for each of the {num_targets} targets, but it "
            f"has {len(reference)}."
        )
    missing = ~reference.isfinite()
    if missing.any():
        row = first_index(missing.any(1))
        raise ValueError(
            f"Expected column {inputs[first_index(missing[row])]!r} of {near!r} to have a finite number in "
            f"every row, but {row_name(near, row)} has none."
        )
    return lambda rows: Near(reference[0] if len(reference) == 1 else reference[rows])


def _named(file: str | None, option: str, names: Sequence[str], what: str) -> Mapping[str, Any]:
    """Read a YAML file of name: value. All in it is text, lists and mappings: no tag makes anything."""
    import yaml

    if file is None:
        return {}
    if not Path(file).is_file():
        raise FileNotFoundError(f"Expected {option} to name a file, but there is no {file!r}.")
    try:
        text = Path(file).read_text(encoding="utf-8")
        # Not the safe loader, to which names like `no` and numbers like 1e3 are something else.
        found = yaml.load(text, Loader=yaml.BaseLoader)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"Expected {file!r} to be YAML in UTF-8, but: {said}") from error
    if not isinstance(found, dict):
        raise TypeError(f"Expected {file!r} to have lines of a name, a colon and {what}.")
    # Of a name that is there twice, the mapping has the last alone.
    if again := repeated([key.value for key, _ in root.value]):
        raise ValueError(f"Expected {file!r} to name each setting once, but got {again}.")
    for name in found:
        if name not in names:
            raise ValueError(
                f"Expected {file!r} to name settings, some of {', '.join(names)}, but got {name!r}."
            )
    return found


def _number(value: Any, what: str) -> float:
    if not isinstance(value, str):
        raise TypeError(f"Expected {what} to be a finite number, but got a {type(value).__name__}.")
    return number(value, what)
