"""Checks of arguments, with the same messages everywhere."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_text",
    "describe_repetitions",
    "wrong",
]

MAX_SHOWN = 80
"""Characters of a value in an error."""


def check_integer(
    name: str, value: Any, *, low: int | None = None, high: int | None = None, what: str = ""
) -> int:
    """Return ``value`` as an ``int`` if it is a whole number in [low, high]; 5.0 and True are none.

    Example:
        >>> check_integer("patience", 3, low=1)
        3
        >>> check_integer("patience", "3", low=1)
        Traceback (most recent call last):
        TypeError: Expected argument `patience` to be a whole number of at least 1, but got '3' (str).
    """
    expected = f"a whole number{_ends(low, high)}{what and f', {what}'}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(wrong(name, expected, value))
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(wrong(name, expected, value))
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
    """Return ``value`` as a ``float`` if it is a finite number between two ends; True is none.

    Example:
        >>> check_number("learning_rate", 1, low=0.0, open_low=True)
        1.0
        >>> check_number("dropout", float("nan"), low=0.0, high=1.0, open_high=True)
        Traceback (most recent call last):
        ValueError: Expected argument `dropout` to be a number of at least 0 and below 1, but got nan.
    """
    finite = "" if math.isfinite(low) and math.isfinite(high) else " finite"
    expected = f"a{finite} number{_ends(low, high, open_low, open_high)}{what and f', {what}'}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(wrong(name, expected, value))
    number = float(value)
    inside = (number > low if open_low else number >= low) and (
        number < high if open_high else number <= high
    )
    if not (math.isfinite(number) and inside):
        raise ValueError(wrong(name, expected, value))
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False: ``"no"`` and 0 are neither.

    Example:
        >>> check_flag("verbose", "no")
        Traceback (most recent call last):
        TypeError: Expected argument `verbose` to be True or False, but got 'no' (str).
    """
    if not isinstance(value, bool):
        raise TypeError(wrong(name, "True or False", value))
    return value


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return ``value`` if it is one of two or more ``choices``; True is not 1 here.

    Example:
        >>> check_choice("mode", "revers", ("auto", "reverse"))
        Traceback (most recent call last):
        ValueError: Expected argument `mode` to be 'auto' or 'reverse', but got 'revers' (str). Did you mean 'reverse'?
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        *most, last = map(repr, choices)
        close = difflib.get_close_matches(str(value), [c for c in choices if isinstance(c, str)], 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(wrong(name, f"{', '.join(most)} or {last}", value) + hint)
    return value


def check_text(name: str, value: Any) -> str:
    """Return ``value`` if it is a string that is not empty.

    Example:
        >>> check_text("map", 3)
        Traceback (most recent call last):
        TypeError: Expected argument `map` to be a string, but got 3 (int).
    """
    if not isinstance(value, str):
        raise TypeError(wrong(name, "a string", value))
    if not value:
        raise ValueError(wrong(name, "a string that is not empty", value))
    return value


def describe_repetitions(names: Sequence[str]) -> str:
    """Describe which names occur more than once; empty if none does.

    Example:
        >>> describe_repetitions(["a", "b", "a", "c", "c", "c"]), describe_repetitions(["a", "b"])
        ("'a' twice, 'c' 3 times", '')
    """
    counts = Counter(names).items()
    times = {2: "twice"}
    return ", ".join(f"{name!r} {times.get(n, f'{n} times')}" for name, n in counts if n > 1)


def wrong(name: str, expected: str, value: Any) -> str:
    """Return the message about an argument that is not as expected.

    Example:
        >>> wrong("scale", "one of two", [1])
        'Expected argument `scale` to be one of two, but got [1] (list).'
    """
    shown = repr(value)
    shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
    kind = "" if isinstance(value, float) or value is None else f" ({type(value).__name__})"
    return f"Expected argument `{name}` to be {expected}, but got {shown}{kind}."


def _ends(
    low: float | None, high: float | None, open_low: bool = False, open_high: bool = False
) -> str:
    ends = []
    if low is not None and low > -math.inf:
        ends.append(f"above {low:g}" if open_low else f"of at least {low:g}")
    if high is not None and high < math.inf:
        ends.append(f"below {high:g}" if open_high else f"of at most {high:g}")
    return f" {' and '.join(ends)}" if ends else ""
