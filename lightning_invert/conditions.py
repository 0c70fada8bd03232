"""Where an input matters: conditions on other inputs, and what stands where one does not matter."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_invert.arguments import check_number, expected_but_got, suggest
from lightning_invert.variables import Variable

__all__ = ["Conditions", "filled", "matters", "read_conditions"]

SIGNS: dict[str, Callable[[Tensor, float], Tensor]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


Conditions: TypeAlias = Mapping[int, tuple[int, str, float]]
"""By index of an input that does not always matter: which other input, the sign, and the number."""


def read_conditions(variables: Sequence[Variable]) -> Conditions:
    """Read ``matters_if`` of variables.

    Raises:
        TypeError: If a condition is no name, sign and number.
        ValueError: If it names no other input, or a sign that is none.
    """
    conditions, names = {}, [variable.name for variable in variables]
    for place, variable in enumerate(variables):
        if variable.matters_if is None:
            continue
        whose, condition = f"matters_if of {variable.name!r}", variable.matters_if
        is_triple = isinstance(condition, tuple | list) and len(condition) == 3
        if not is_triple or not all(isinstance(part, str) for part in condition[:2]):
            what = "(name, sign, number), like ('h2_injection', '>', 0)"
            raise TypeError(expected_but_got(whose, what, condition))
        name, sign, number = condition
        if name == variable.name:
            raise ValueError(
                f"Expected argument `{whose}` to name another input than {name!r} itself."
            )
        if name not in names:
            hint = suggest(name, names)
            raise ValueError(expected_but_got(whose, f"of one of the inputs {names}", name) + hint)
        if sign not in SIGNS:
            raise ValueError(expected_but_got(whose, f"of one of the signs {[*SIGNS]}", sign))
        conditions[place] = names.index(name), sign, check_number(whose, number)
    return conditions


def matters(inputs: Tensor, conditions: Conditions) -> Tensor | None:
    """Return which of the inputs (N, n) matter; ``None`` if all always do.

    One that depends on another which does not matter itself does not, either: F is the same at all its values.
    """
    if not conditions:
        return None
    mattering = torch.ones_like(inputs, dtype=torch.bool)
    for _ in conditions:  # as many as may depend on each other in a row
        for place, (other, sign, number) in conditions.items():
            values = inputs[:, other]
            holds = SIGNS[sign](values, number) | values.isnan()
            mattering[:, place] = holds & mattering[:, other]
    return mattering


def filled(inputs: Tensor, variables: Sequence[Variable], usual: Tensor) -> Tensor:
    """Return inputs (N, n) with a usual value (n,), or its nearest level, for NaN where one does not matter."""
    mattering = matters(inputs, read_conditions(variables))
    if mattering is None:
        return inputs
    values = usual.to(inputs).clone()
    for place, variable in enumerate(variables):
        if variable.levels:
            centre = float(values[place])
            values[place] = min(variable.levels, key=lambda level: abs(level - centre))
    return torch.where(inputs.isnan() & ~mattering, values, inputs)
