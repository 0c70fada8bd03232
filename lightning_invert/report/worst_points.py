"""The worst points: those at which a map is the hardest to invert."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_invert.jacobians.thresholds import BAND_NAMES
from lightning_invert.watch.findings.probes import SpectrumProbes
from lightning_invert.watch.observation import Observation

__all__ = ["MAX_INPUTS_SHOWN", "to_csv", "worst_first", "worst_table"]

MAX_SIGMAS = 16

MAX_INPUTS_SHOWN = 1024
"""With more inputs than that (images), no table or figure shows where."""


def worst_first(condition: Any, smallest: Any) -> np.ndarray[Any, Any]:
    """Return the points' indices, the worst first; of infinite ones, the smallest singular values decide."""
    return np.lexsort((np.asarray(smallest), -np.asarray(condition)))


def worst_table(observation: Observation, *, rows: int = 20) -> dict[str, list[Any]]:
    r"""Tabulate the worst points: name of a column -> its values, the worst point first.

    Of a Jacobian that was not formed it has bounds and estimates. Of more than 16 singular values only
    the largest and the smallest get a column; more than 1024 inputs get none.
    """
    observation = observation.finite()
    sigma, k = observation.singular_values, observation.full_rank
    finding = observation.finding(SpectrumProbes)
    cond = observation.condition if finding is None else finding.probes.cond_lower_bound
    worst = worst_first(cond, sigma[:, -1])[:rows].tolist()
    columns: dict[str, list[Any]] = {}
    if len(observation.input_names) <= MAX_INPUTS_SHOWN:
        values = observation.inputs.flatten(1)[worst].double().T.tolist()
        names = [f"input/{name}" for name in observation.input_names]
        columns |= dict(zip(names, values, strict=True))
    if finding is not None:
        for name in ("cond_lower_bound", "sigma_max", "stable_rank", "participation_ratio"):
            columns[name] = getattr(finding.probes, name)[worst].tolist()
        return columns
    columns["rank"] = observation.rank[worst].tolist()
    columns["condition_number"] = observation.condition[worst].tolist()
    bands = observation.thresholds.band(observation.condition[worst]).tolist()
    columns["band"] = [BAND_NAMES[i] for i in bands]
    all_sigmas = {f"sigma_{i + 1}": i for i in range(k)} if k <= MAX_SIGMAS else {}
    for name, i in (all_sigmas or {"sigma_max": 0, "sigma_min": k - 1}).items():
        columns[name] = sigma[worst, i].tolist()
    return columns


def to_csv(columns: Mapping[str, Sequence[Any]]) -> str:
    r"""Write a table as CSV, with six digits of what was computed."""
    shown = [
        [f"{value:.6g}" if isinstance(value, float) else value for value in values]
        if not name.startswith("input/")
        else values
        for name, values in columns.items()
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*shown, strict=True))
    return text.getvalue()
