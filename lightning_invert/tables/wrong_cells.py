"""The error of cells that are no numbers: each column, and what to write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_invert.tables.cells import CONVENTIONS, conventions_of
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import Layout

__all__ = ["WrongCells"]

MAX_ADVISED = 5
"""Words that an error advises to call missing."""


class WrongCells:
    """What is wrong in a file: cells that are no numbers, column by column, in whatever pieces it is read."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, tuple[int, str]] = {}
        self._words: dict[str, dict[str, None]] = {name: {} for name in columns}

    def add(self, name: str, cells: Iterable[str], line: int) -> None:
        """Add cells of a column, of which the first one is in ``line``."""
        words = self._words[name]
        for cell in cells:
            self._first.setdefault(name, (line, cell))
            self.counts[name] += 1
            if len(words) <= MAX_ADVISED:
                words[cell] = None

    def error(self, file: Path, form: TableFormat, layout: Layout, word: str) -> FormatError:
        """Return the error that names each column, its first such cell in that line, and the remedy."""
        first = {name: self._first[name] for name in self._words if name in self._first}
        columns = ", ".join(
            f"{name!r} ({self.counts[name]}, the first in {word} {line}: {cell!r})"
            for name, (line, cell) in first.items()
        )
        message = f"Expected columns of {str(file)!r} to hold numbers, but these have other cells: {columns}."
        known, decimal = layout.found, layout.convention.decimal
        found = list(dict.fromkeys(cell for words in self._words.values() for cell in words))
        words = [cell for cell in found if not any(map(str.isdigit, cell))]
        numbers = [cell for cell in found if conventions_of(cell)]
        advice: list[tuple[str, Mapping[str, Any]]] = []
        if any(cell.endswith("%") for cell in found):
            message += " Write numbers without a per cent sign."
        elif numbers and word == "row":
            message += " In a workbook, a number is a cell of numbers, not of text."
        elif numbers:
            others = [c for c in CONVENTIONS if c in conventions_of(numbers[0])]
            other = min(others, key=lambda c: c.decimal != decimal)
            advice.append(("If all numbers are written so, write", known | other._asdict()))
        if words and len(words) == len(found) <= MAX_ADVISED:
            said = known | {"missing": [*form.missing_values, *words]}
            advice.append(("If such words stand for missing values, write", said))
        return FormatError(message, advice)
