"""The format of a text file: what a user says of it, and what an error advises to say."""

from __future__ import annotations

import codecs
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_invert.arguments import check_choice, check_integer, expected_but_got

__all__ = ["FormatError", "TableFormat"]


def _option(text: str) -> Any:
    return field(
        default=None, metadata={"help": f"{text} Default: found from the file's first lines."}
    )


@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """Say how a text file writes its table; what is None is found from the file's first lines."""

    separator: str | None = _option(
        "Character between the cells of a text file; a blank stands for any number of blanks."
    )
    decimal: Literal[".", ","] | None = _option("Decimal sign of the numbers in a text file.")
    thousands: Literal["", ",", ".", " ", "'"] | None = _option(
        "Sign between the thousands in a text file; '' for none."
    )
    encoding: str | None = _option("Encoding of a text file, such as utf-8, cp1252 or utf-16.")
    skip_rows: int | None = _option("Number of lines of a table before the names of its columns.")
    units_row: int | None = _option(
        "Number of rows under the names that hold no numbers; the last one holds the units."
    )
    missing: list[float | str] | float | str | None = field(
        default=None,
        metadata={
            "help": "Words and numbers that stand for a missing value, such as '[-200, Offline]', besides "
            "NA, Bad Input, No Data, ? and the like."
        },
    )

    def __post_init__(self) -> None:
        sign = self.separator
        is_text = isinstance(sign, str)
        if sign is not None and not (
            is_text and re.fullmatch("[\x01-\x7f]", sign) and sign not in '"\r\n'
        ):
            raise ValueError(
                "Expected argument `separator` to be a single ASCII character, and no quote or line "
                f"end, but got {sign!r}."
            )
        check_choice("decimal", self.decimal, (None, ".", ","))
        check_choice("thousands", self.thousands, (None, "", ",", ".", " ", "'"))
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(expected_but_got("thousands", "other than `decimal`", self.thousands))
        for name in ("skip_rows", "units_row"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low=0)
        try:
            codecs.lookup("utf-8" if self.encoding is None else self.encoding)
        except (LookupError, TypeError, ValueError):
            words = expected_but_got("encoding", "the name of an encoding", self.encoding)
            raise ValueError(words) from None
        if not all(
            isinstance(value, str | float | int) and not isinstance(value, bool)
            for value in self.missing_values
        ):
            words = "a list of words and numbers, [-200, 'Offline']"
            raise TypeError(expected_but_got("missing", words, self.missing))

    @property
    def sentinels(self) -> list[float]:
        """The numbers that stand for a missing value."""
        return [float(value) for value in self.missing_values if _is_float(value)]

    @property
    def missing_values(self) -> list[Any]:
        """The words and numbers that stand for a missing value, besides the usual ones."""
        if isinstance(self.missing, Sequence) and not isinstance(self.missing, str):
            return list(self.missing)
        return [] if self.missing is None else [self.missing]


class FormatError(ValueError):
    """A table whose format has to be said, with what to say: as arguments or as options."""

    def __init__(self, message: str, advice: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self.message = message
        self.advice = advice  # each a condition, and what to say if it holds
        super().__init__(message, advice)

    def __str__(self) -> str:
        return self._text(lambda name, value: f"{name}={value!r}", ", ")

    def as_options(self) -> str:
        """Return the message with options of a command: ``--decimal ','``."""
        return self._text(lambda name, value: f"--{name} {_shell(value)}", " ")

    def _text(self, write: Any, between: str) -> str:
        parts = [
            f"{condition} `{between.join(write(*item) for item in said.items())}`."
            for condition, said in self.advice
        ]
        return " ".join([self.message, *parts])


def _is_float(value: Any) -> bool:
    with suppress(ValueError):
        return float(value) is not None
    return False


def _shell(value: Any) -> str:
    if isinstance(value, list | dict):
        return shlex.quote(json.dumps(value, ensure_ascii=False))
    # A tab that is pasted would complete a name.
    return {"\t": r"$'\t'", "'": '"\'"'}.get(value, f"'{value}'")
