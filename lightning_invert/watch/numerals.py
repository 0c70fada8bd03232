"""Write numbers for people: shares, powers of ten, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["counted", "percent", "percent_with_interval", "power", "short"]

_SUPERSCRIPT = str.maketrans("+-0123456789", "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float) -> str:
    """Write a share in %; 0 % and 100 % are exact.

    Example:
        >>> [percent(share) for share in (1e-6, 0.125, 0.9999, 1.0)]
        ['< 0.1 %', '12.5 %', '> 99.9 %', '100 %']
    """
    if math.isinf(share):
        return "∞"
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %" if 99.5 <= value < 100 else f"{value:.3g} %"


def percent_with_interval(scalars: Mapping[str, float], name: str) -> str:
    """Write a share, and in brackets the ends of its interval, in %."""
    low, high = (100 * scalars[f"{name}_{end}"] for end in ("low", "high"))
    return f"{percent(scalars[name])} [{low:.3g}, {high:.3g}]"


def power(exponent: int) -> str:
    """Write a power of ten."""
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def short(number: float, digits: int = 4) -> str:
    """Write a number in few letters.

    Example:
        >>> short(12345.678), short(2e9), short(float("inf"))
        ('12350', '2·10⁹', '∞')
    """
    if math.isinf(number):
        return "∞"
    text = f"{float(f'{number:.{digits}g}'):.{max(6, digits)}g}"
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}·{power(int(exponent))}" if exponent else text


def counted(number: int, noun: str) -> str:
    """Write a number of things: 1 point, 3 false alarms."""
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
