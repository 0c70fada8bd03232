"""The error of cells that are no numbers: each column, and what to write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invert.tables.cells import CONVENTIONS, conventions_of
from lightning_invert.tables.format import FormatError, TableFormat
from lightning_invert.tables.layout import Layout

if TYPE_CHECKING:
    import polars

__all__ = ["WrongCells"]

MAX_ADVISED = 5
"""Words that an error advises to call missing."""


class WrongCells:
    """What is wrong in a file: cells that are no numbers, column by column, in whatever pieces it is read."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, tuple[int, str]] = {}
        self._words: dict[str, dict[str, None]] = {name: {} for name in columns}

    def add(self, name: str, cells: polars.Series, first: int) -> None:
        """Add cells of a column, of which the first one is in the row ``first``."""
        self.counts[name] += len(cells)
        self.first.setdefault(name, (first, cells[0]))
        words = self._words[name]
        for word in cells.unique(maintain_order=True).head(MAX_ADVISED + 1):
            if len(words) <= MAX_ADVISED:
                words[word] = None

    def error(
        self, file: Path, form: TableFormat, layout: Layout, lines: Mapping[int, str]
    ) -> FormatError:
        """Return the error that names each column, its first such cell and the remedy."""
        columns = [
            f"{name!r} ({self.counts[name]}, the first in {lines[self.first[name][0]]}: "
            f"{self.first[name][1]!r})"
            for name in self._words
            if name in self.first
        ]
        message = (
            f"Expected columns of {str(file)!r} to hold numbers, but these have cells that are "
            f"none: {', '.join(columns)}."
        )
        known = layout.found
        found = list(dict.fromkeys(word for words in self._words.values() for word in words))
        words = [word for word in found if not any(map(str.isdigit, word))]
        numbers = [word for word in found if conventions_of(word)]
        advice: list[tuple[str, Mapping[str, Any]]] = []
        if any(word.endswith("%") for word in numbers) or layout.percents:
            message += " In a column, either all numbers have a per cent sign or none has."
        elif numbers and file.suffix.lower().startswith(".xls"):
            message += " In a workbook, a number is a cell of numbers, not of text."
        elif numbers:
            decimal = layout.convention.decimal
            other = min(
                conventions_of(numbers[0]),
                key=lambda c: (c.decimal != decimal, CONVENTIONS.index(c)),
            )
            advice.append(("If all numbers are written so, write", known | other._asdict()))
        words_first = not any(re.match(r"\W*\d", cell) for _, cell in self.first.values())
        if set(lines) == {0} and max(self.counts.values()) == 1 and words_first:
            said = known | {"units_row": (form.units_row or known.get("units_row", 0)) + 1}
            advice.append((f"If {lines[0]} holds units, write", said))
        if words and len(words) == len(found) <= MAX_ADVISED:
            said = known | {"missing": [*form.missing_values, *words]}
            advice.append(("If such words stand for missing values, write", said))
        return FormatError(message, advice)
