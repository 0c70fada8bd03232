"""Fit names of inputs and outputs into the room that a figure has for them; their units stay."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["in_a_line", "room_for", "wrapped"]


def wrapped(name: str, letters: int) -> str:
    """Break a name behind its underscores and spaces, into three lines at most."""
    lines = [""]
    for word in re.findall(r".+?(?:[_ ]+|$)", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    lines = [line.rstrip() for line in lines]
    lines = [line if len(line) <= letters else line[: letters - 1] + "…" for line in lines]
    if len(lines) > 3:
        lines = [*lines[:2], _with_unit(lines[2] + "…", name, letters)]
    return "\n".join(lines)


def in_a_line(name: str, letters: int) -> str:
    """Shorten a name to a number of letters."""
    return name if len(name) <= letters else _with_unit(name, name, letters)


def room_for(names: Sequence[str], least: float) -> float:
    """Return the inches from one name of several lines to the next one below it."""
    return max(least, 0.05 + 0.135 * max(name.count("\n") + 1 for name in names))


def _with_unit(text: str, name: str, letters: int) -> str:
    """Cut a text so that the unit of a name has room behind it."""
    unit = re.search(r" \[[^]]*\]$", name)
    ending = unit[0] if unit and len(unit[0]) < letters - 1 else ""
    return text.removesuffix("…")[: letters - 1 - len(ending)] + "…" + ending
