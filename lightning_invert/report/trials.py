"""Rows that were tried and measured, in words."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_invert.proposals.band import COVERAGE
from lightning_invert.proposals.drift import FALSE_ALARMS
from lightning_invert.proposals.trials import Trials
from lightning_invert.watch.numerals import counted

__all__ = ["trials_words"]


def trials_words(trials: Trials) -> str:
    """Describe how the rows were judged, what is corrected, and what to do next."""
    return "\n".join(_lines(trials))


def _lines(trials: Trials) -> Iterator[str]:
    count, before = len(trials), trials.num_rows - len(trials)
    yield f"{counted(count, 'row')} tried{f', {trials.num_rows} so far' if before else ''}."
    if trials.inside is None:
        yield "Bands: none, because fewer than 30 validation points are known."
    else:
        so_far = f", {trials.num_rows - trials.num_missed} of {trials.num_rows} so far"
        yield (
            f"All outcomes inside their bands: {int(trials.inside.sum())} of {count}"
            f"{so_far if before else ''}; expected: {100 * COVERAGE:.0f} %."
        )
    error, left = float(trials.error.median()), float(trials.corrected_error.median())
    yield f"Error of the predictions: median {error:.3g} standard units."
    if trials.corrected:
        names = ", ".join(variable.name for variable in trials.corrected)
        yield (
            f"Corrected near the tried rows: {names}. Each row corrected by the others alone: "
            f"median {left:.3g}."
        )
    else:
        yield "Nothing is corrected: the errors look like noise, or are too few to tell."
    if trials.alarm is None:
        if trials.inside is not None:
            yield "No alarm: outcomes miss their bands no more often than chance allows."
        return
    yield (
        f"ALARM at row {trials.alarm + 1}: from about row {trials.since + 1} on, outcomes miss their bands "
        "more often than chance allows. The process has changed. (Of processes that never change, at "
        f"most {100 * FALSE_ALARMS:.0f} % ever raise an alarm.)"
    )
    yield (
        f"What to do: look for the cause, and train anew with the rows from {trials.since + 1} on. Until then "
        "rely on certified proposals, and go on measuring."
    )
