"""Checks of arguments, with the same messages everywhere."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = [
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_text",
    "describe_repetitions",
    "expected_but_got",
    "plain_values",
    "suggest",
    "to_builtin",
]

MAX_SHOWN = 80
"""Characters of a value in an error."""


def check_integer(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, what: str = ""
) -> int:
    """Return ``value`` as an ``int`` if it is a whole number in [low, high]; 5.0 and True are none."""
    expected = f"a whole number{_ends(low, high)}{what and f', {what}'}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(expected_but_got(name, expected, value))
    number = int(value)
    if not low <= number <= high:
        raise ValueError(expected_but_got(name, expected, value))
    return number


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    what: str = "",
) -> float:
    """Return ``value`` as a ``float`` if it is a finite number between two ends; True is none."""
    finite = "" if math.isfinite(low) and math.isfinite(high) else " finite"
    expected = f"a{finite} number{_ends(low, high, open_low, open_high)}{what and f', {what}'}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(expected_but_got(name, expected, value))
    number = float(value)
    inside = (number > low if open_low else number >= low) and (
        number < high if open_high else number <= high
    )
    if not (math.isfinite(number) and inside):
        raise ValueError(expected_but_got(name, expected, value))
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a ``bool`` if it is True or False: ``"no"`` and 0 are neither."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(expected_but_got(name, "True or False", value))
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return ``value`` if it is one of two or more ``choices``; True is not 1 here.

    Example:
        >>> check_choice("mode", "revers", ("auto", "reverse"))
        Traceback (most recent call last):
        ValueError: Expected argument `mode` to be 'auto' or 'reverse', but got 'revers' (str). Did you mean 'reverse'?
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        *most, last = map(repr, choices)
        hint = suggest(str(value), [choice for choice in choices if isinstance(choice, str)])
        raise ValueError(expected_but_got(name, f"{', '.join(most)} or {last}", value) + hint)
    return value


def check_text(name: str, value: Any) -> str:
    """Return ``value`` if it is a string that is not empty."""
    if not isinstance(value, str):
        raise TypeError(expected_but_got(name, "a string", value))
    if not value:
        raise ValueError(expected_but_got(name, "a string that is not empty", value))
    return value


def plain_values(value: Any) -> Any:
    """Return a value, and what lists, tuples and dictionaries in it hold, without NumPy's scalars.

    ``torch.load(weights_only=True)`` refuses a file that has one.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(map(plain_values, value))
    if type(value) is dict:
        return {plain_values(key): plain_values(part) for key, part in value.items()}
    return value


def to_builtin(value: Any) -> Any:
    """Return a list or dictionary of any kind, as configurations bring their own, as Python's own."""
    if isinstance(value, Mapping):
        return {key: to_builtin(part) for key, part in value.items()}
    if type(value) is tuple:
        return tuple(map(to_builtin, value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | tuple):
        return [to_builtin(part) for part in value]
    return value


def suggest(word: str, words: Sequence[str]) -> str:
    """Return " Did you mean ...?" with the nearest of ``words``; empty if none is near."""
    folded = {choice.casefold(): choice for choice in reversed(words)}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def describe_repetitions(names: Sequence[str]) -> str:
    """Describe which names occur more than once; empty if none does.

    Example:
        >>> describe_repetitions(["a", "b", "a", "c", "c", "c"]), describe_repetitions(["a", "b"])
        ("'a' twice, 'c' 3 times", '')
    """
    counts = Counter(names).items()
    return ", ".join(
        f"{name!r} {'twice' if n == 2 else f'{n} times'}" for name, n in counts if n > 1
    )


def expected_but_got(name: str, expected: str, value: Any) -> str:
    """Return the message about an argument that is not as expected."""
    shown = repr(value)
    shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
    kind = "" if isinstance(value, float) or value is None else f" ({type(value).__name__})"
    return f"Expected argument `{name}` to be {expected}, but got {shown}{kind}."


def _ends(low: float, high: float, open_low: bool = False, open_high: bool = False) -> str:
    ends = []
    if low > -math.inf:
        ends.append(f"above {low:g}" if open_low else f"of at least {low:g}")
    if high < math.inf:
        ends.append(f"below {high:g}" if open_high else f"of at most {high:g}")
    return f" {' and '.join(ends)}" if ends else ""
