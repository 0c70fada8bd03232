"""HTML for notebooks: no scripts, no styles of the page; colours are those of its theme."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lightning_invert.report.figures import map_figures, to_image, to_png
from lightning_invert.report.words import HEADER, legend, sentences, table_row
from lightning_invert.watch.observations import Observations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figures_html", "observations_html", "page_of", "table_of"]

SMALL = ("evolution", "condition_histogram", "singular_spectrum")
"""Figures, of which a notebook shows the first that there is."""


def page_of(words: Iterable[str], *parts: str, notes: Iterable[str] = ()) -> str:
    """Put a table, or other parts, between words and notes, which are escaped."""
    above, below = ("<br>".join(map(_line, lines)) for lines in (words, notes))
    paragraphs = [
        f'<p style="max-width:60em">{text}</p>' if text else "" for text in (above, below)
    ]
    return "".join([paragraphs[0], *parts, paragraphs[1]])


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]], *, is_html: bool = False) -> str:
    """Lay rows out as a table that scrolls where it is too wide; cells are escaped unless they are HTML."""
    # A long name may be broken behind its underscores, or a column would be as wide as it is.
    heads = [html.escape(cell).replace("_", "_<wbr>") for cell in head]
    cells = [row if is_html else list(map(html.escape, row)) for row in rows]
    top = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def observations_html(observations: Observations) -> str:
    """Lay observations out: the verdicts, their table, and a small figure of the first map."""
    if not observations:
        return page_of(["Nothing was watched yet."])
    table = table_of(HEADER, map(table_row, observations))
    notes = [] if observations.kept else [f"{legend(observations[0])}."]
    title = [observations.title] if observations.title else []
    page = page_of([*title, *sentences(observations)], table, _figure(observations), notes=notes)
    return page + (observations_html(observations.kept) if observations.kept else "")


def _figure(observations: Observations) -> str:
    with suppress(Exception):  # words and table are shown all the same
        first = observations[0].finite()
        history = observations.history.get(first.label, ())
        for name in SMALL:
            if drawn := map_figures(first, history=history, names=[name]):
                return figures_html(drawn)
    return ""


def figures_html(figures: Mapping[str, Figure]) -> str:
    """Put figures side by side, as many as there is room for."""
    images = []
    for name, figure in figures.items():
        data, label = b64encode(to_png(to_image(figure))).decode(), html.escape(name)
        style = "max-width:min(100%,27em);vertical-align:top"
        images.append(f'<img src="data:image/png;base64,{data}" alt="{label}" style="{style}">')
    return " ".join(images)


def _line(line: str) -> str:
    """Escape a line, and make what it is about bold."""
    about, colon, rest = html.escape(line).partition(": ")
    return f"<strong>{about}</strong>{colon}{rest}" if rest else about
