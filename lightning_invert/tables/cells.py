"""Numbers as people write them: signs of decimals and thousands, words for missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import polars

__all__ = ["CONVENTIONS", "FLAGS", "MISSING", "CellParser", "Convention", "conventions_of"]

MISSING = frozenset(
    """na|n/a|n.a.|n.a|#n/a|#na|<na>|nan|null|none|nil|nul|-|--|---|?|.|−|–|—|k. a.|k.a.|
#div/0!|#ref!|#value!|#num!|#name?|#null!|#wert!|#bezug!|#zahl!|#nv|
bad|missing|invalid|offline|off-line|error|failed|shutdown|configure|unit down|arc off-line|
bad input|bad data|bad quality|i/o timeout|io timeout|no data|no good data|no result|
not connected|not connect|not available|comm fail|scan off|scan timeout|calc failed|calc off|
intf shut|over range|under range|out of serv|out of service|pt created|data error|invalid float""".replace(
        "\n", ""
    ).split("|")
)
"""Words for a missing value, in lower case: of spreadsheets, R, pandas and plant historians."""

FLAGS = {
    "true": 1.0, "false": 0.0, "wahr": 1.0, "falsch": 0.0, "vrai": 1.0, "faux": 0.0,
}  # fmt: skip
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
        digits = re.sub(CLASSES[self.thousands], "", cell) if self.thousands else cell
        return float(re.sub(f"^[{MINUS}]", "-", digits).replace(self.decimal, "."))


CONVENTIONS = tuple(
    Convention(decimal, thousands)
    for thousands in ("", ",", ".", " ", "'")
    for decimal in (".", ",")
    if decimal != thousands
)
"""The simplest first."""


def conventions_of(cell: str) -> frozenset[Convention]:
    """Return the conventions in which a cell is a number; none for a word."""
    return _conventions_of(cell.translate(_SHAPE))


@lru_cache(maxsize=4096)
def _conventions_of(shape: str) -> frozenset[Convention]:
    cell = f"-{shape[1:]}" if shape[:1] in MINUS else shape
    return frozenset(convention for convention in CONVENTIONS if convention.matches(cell))


class CellParser:
    """Turn the text of a column into numbers, strictly: a cell is a number in one way or in none."""

    def __init__(self, convention: Convention, missing: Iterable[Any]) -> None:
        self.convention = convention
        self.words = ["", *MISSING, *(str(value).strip().lower() for value in missing)]

    def parse(self, cells: polars.Series) -> tuple[polars.Series, polars.Series]:
        """Return float64 numbers, null where one is missing, and which cells are wrong.

        The text has no blanks around it.
        """
        import polars

        numbers = self._cast(cells)
        wrong = numbers.is_null()
        if wrong.any():
            words = cells.filter(wrong).str.to_lowercase().str.replace_all(r"\s+", " ")
            flags = words.replace_strict(FLAGS, default=None, return_dtype=polars.Float64)
            places = wrong.arg_true()
            numbers = numbers.scatter(places, flags)
            wrong = wrong.scatter(places, flags.is_null() & ~words.is_in(self.words))
        # 1e400 is no number of float64.
        return numbers, wrong | (
            numbers.is_infinite().fill_null(value=False) & ~cells.str.contains("(?i)inf")
        )

    def _cast(self, cells: polars.Series) -> polars.Series:
        import polars

        decimal, thousands = self.convention
        cells = cells.str.replace(f"^[{MINUS}]", "-")
        if thousands:
            grouped = cells.str.contains(self.convention.grouped)
            cells = cells.str.replace_all(CLASSES[thousands], "").zip_with(grouped, cells)
        if decimal == ",":
            cells = cells.str.replace_many([",", "."], [".", "!"])
        return cells.cast(polars.Float64, strict=False)
