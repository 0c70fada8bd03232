"""Windows of proposals in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lightning_invert.proposals.windows import Windows
from lightning_invert.watch.numerals import counted

__all__ = ["window_lines", "windows_words"]

MAX_TARGETS = 3

AT_END = 1e-6
"""Share of the bounds within which a window ends with them."""


def windows_words(windows: Windows, names: Sequence[str] = ()) -> str:
    """Say what each input may be, for the first three targets; ``names`` (N) are those of the targets."""
    count = len(windows.low)
    lines = [
        f"Windows of {counted(count, 'target')}: what each input may be while the others compensate."
    ]
    for row in range(min(count, MAX_TARGETS)):
        if count > 1:
            lines.append(f"{names[row] if names else f'target {row + 1}'}:")
        lines += [f"  {line}" for line in window_lines(windows, row)]
    return "\n".join(lines)


def window_lines(windows: Windows, row: int) -> Iterator[str]:
    """Say what each input of a proposal may be."""
    ends = [end[row].tolist() for end in (windows.low, windows.high, *windows.proposal.bounds)]
    for variable, low, high, least, most in zip(
        windows.proposal.input_variables, *ends, strict=True
    ):
        near = AT_END * (most - least)
        unit = f" {variable.unit}" if variable.unit else ""
        if not low <= high:
            words = "nothing was proposed"
        elif least == most:
            words = f"stays at {low:.4g}{unit}"
        elif low <= least + near and high >= most - near:
            words = f"anything from {low:.4g} to {high:.4g}{unit}"
        elif low <= least + near:
            words = f"not above {high:.4g}{unit}"
        elif high >= most - near:
            words = f"not below {low:.4g}{unit}"
        else:
            words = f"{low:.4g} to {high:.4g}{unit}"
        yield f"{variable.name}: {words}"
