"""Units of columns, in their names or in a row under them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["find_units", "split_unit"]

UNIT = re.compile(r"^(.*\S)\s*\[\s*([^\[\]]*[^\[\]\d\s][^\[\]]*)\]$")
"""A name with its unit. ``x[0]`` is a name with an index."""


def split_unit(name: str) -> tuple[str, str]:
    """Split ``flow [t/h]`` into name and unit, which is empty if there is none.

    Example:
        >>> split_unit("flow [t/h]"), split_unit("F(x)"), split_unit("x[0]")
        (('flow', 't/h'), ('F(x)', ''), ('x[0]', ''))
    """
    match = UNIT.match(name.strip())
    return (match[1], match[2].strip()) if match else (name.strip(), "")


def find_units(names: Sequence[str], text: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the unit of each column: of its name, or else of the last row of text."""
    cells = text[-1] if text else []
    below = [cell.strip().strip("[]()").strip() for cell in cells] + [""] * len(names)
    below = ["" if unit in ("-", "\u2013") else unit for unit in below]
    return tuple(split_unit(name)[1] or unit for name, unit in zip(names, below, strict=False))
