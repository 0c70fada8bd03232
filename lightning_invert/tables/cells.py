"""Numbers as people write them: signs of decimals and thousands, per cent, words for missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import polars

__all__ = ["CONVENTIONS", "FLAGS", "MISSING", "CellParser", "Convention", "conventions_of"]

MISSING = frozenset(
    ["na", "n/a", "n.a.", "n.a", "#n/a", "#na", "<na>", "nan", "null", "none", "nil", "nul", "-", "--", "---", "?", ".", "#div/0!", "#ref!", "#value!", "#num!", "#name?", "#null!", "#wert!", "#bezug!", "#zahl!", "#nv", "−", "–", "—", "bad", "missing", "invalid", "offline", "off-line", "error", "failed", "shutdown"]
) | {
    "bad input", "bad data", "bad quality", "i/o timeout", "io timeout", "no data", "no good data",
    "no result", "not connected", "not connect", "not available", "comm fail", "scan off",
    "scan timeout", "calc failed", "calc off", "intf shut", "over range", "under range",
    "out of serv", "out of service", "pt created", "data error", "invalid float", "configure",
    "unit down", "arc off-line", "k. a.", "k.a.",
}  # fmt: skip
"""Words for a missing value, in lower case: of spreadsheets, R, pandas and plant historians."""

FLAGS = {
    **dict.fromkeys(["true", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "prawda"], 1.0),
    **dict.fromkeys(["false", "falsch", "faux", "falso", "fałsz"], 0.0),
}
"""Truth in lower case, as spreadsheets write it."""

MINUS = "\u2212\u2013"
"""Signs that only ever stand for a minus: U+2212, and the dash that spreadsheets make of it."""

CLASSES = {" ": "[ \u00a0\u2007\u2009\u202f]", "'": "['\u2019]", ".": r"\.", ",": ",", "": ""}
"""What counts as a sign of thousands, as a pattern."""

_SHAPE = str.maketrans("23456789", "11111111")


class Convention(NamedTuple):
    """How numbers are written."""

    decimal: Literal[".", ","]
    thousands: Literal["", ",", ".", " ", "'"]

    @property
    def grouped(self) -> str:
        """Pattern of a number whose thousands are set apart."""
        group, point = CLASSES[self.thousands], CLASSES[self.decimal]
        return rf"^[+-]?[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+(?:{point}[0-9]+)?$"

    @property
    def plain(self) -> str:
        """Pattern of a number without signs of thousands."""
        point = CLASSES[self.decimal]
        return rf"^[+-]?(?:[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"

    def matches(self, cell: str) -> bool:
        """Whether a cell is a number in this convention."""
        grouped = bool(self.thousands) and re.match(self.grouped, cell)
        return bool(re.match(self.plain, cell) or grouped)

    def read(self, cell: str) -> float:
        """Return the number of a cell that matches."""
        cell = cell.removesuffix("%").rstrip()
        digits = re.sub(CLASSES[self.thousands], "", cell) if self.thousands else cell
        return float(re.sub(f"^[{MINUS}]", "-", digits).replace(self.decimal, "."))


SIGNS = [
    (".", ""),
    (",", ""),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
    (",", "'"),
]
CONVENTIONS = tuple(starmap(Convention, SIGNS))
"""The simplest first."""


def conventions_of(cell: str) -> frozenset[Convention]:
    """Return the conventions in which a cell is a number; none for a word."""
    return _conventions_of(cell.translate(_SHAPE))


@lru_cache(maxsize=4096)
def _conventions_of(shape: str) -> frozenset[Convention]:
    cell = shape.strip().removesuffix("%").rstrip()
    cell = f"-{cell[1:]}" if cell[:1] in MINUS else cell
    return frozenset(convention for convention in CONVENTIONS if convention.matches(cell))


class CellParser:
    """Turn the text of a column into numbers, strictly: a cell is a number in one way or in none."""

    def __init__(self, convention: Convention, missing: Iterable[Any]) -> None:
        self.convention = convention
        self.words = [*MISSING, *(str(value).strip().lower() for value in missing)]

    def parse(
        self, cells: polars.Series, percent: bool = False
    ) -> tuple[polars.Series, polars.Series]:
        """Return float64 numbers, null where one is missing, and which cells are wrong.

        The text has no blanks around it. In a column of per cent, every number has its sign.
        """
        import polars

        cells = cells.alias("")  # Polars takes a name like "^a$" for a pattern
        numbers = self._cast(cells, percent)
        wrong = (numbers.is_null() & (cells != "")).fill_null(value=False)
        if wrong.any():
            odd = cells.filter(wrong)
            words = odd.str.to_lowercase().str.replace_all(r"\s+", " ")
            minus = self._cast(odd.str.replace(f"^[{MINUS}]", "-"), percent)
            flags = words.replace_strict(FLAGS, default=None, return_dtype=polars.Float64)
            values = minus.zip_with(minus.is_not_null(), flags)
            places = wrong.arg_true()
            numbers = numbers.scatter(places, values)
            wrong = wrong.scatter(places, values.is_null() & ~words.is_in(self.words))
        infinite = numbers.is_infinite().fill_null(value=False)
        if infinite.any():
            wrong |= infinite & ~cells.str.contains("(?i)inf").fill_null(value=False)
        return numbers, wrong

    def _cast(self, cells: polars.Series, percent: bool) -> polars.Series:
        import polars

        decimal, thousands = self.convention
        if percent:
            without = cells.str.strip_suffix("%").str.strip_chars_end()
            cells = without.set(~cells.str.ends_with("%").fill_null(value=False), "!")
        if thousands:
            group, grouped = CLASSES[thousands], cells.str.contains(self.convention.grouped)
            cells = cells.str.replace_all(group, "").zip_with(grouped.fill_null(value=False), cells)
        if decimal == ",":
            cells = cells.str.replace_many([",", "."], [".", "!"])
        return cells.cast(polars.Float64, strict=False)
