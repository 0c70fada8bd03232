"""Observations to draw, and how to find again what was drawn."""

from dataclasses import replace

import numpy as np
import torch

from lightning_invert import Thresholds
from lightning_invert.report.figures.style import styled
from lightning_invert.watch.findings.runs import Runs
from lightning_invert.watch.findings.truth import Truth
from lightning_invert.watch.history import record
from lightning_invert.watch.observation import Observation

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(256, 7))
CONDITION = 10 ** (6 * X[:, 6] * RNG.uniform(size=256))
RANK = np.where(X[:, 6] > 0.8, 3, 4)
COLLAPSED = np.where(X[:, 6] > 0.8, np.inf, CONDITION)
LONG = [f"the_very_long_name_of_input_{j}_measured_at_the_top [Nm³/(t·h)]" for j in range(7)]


def observed(condition, inputs=None, rank=None, *, full_rank=4, names=None, true=None, **options):
    """An observation with these condition numbers, of full rank unless ranks are given.

    With ``true`` condition numbers it has a truth and three other runs.
    """
    sigma = spectra(condition, full_rank)
    findings = [] if true is None else findings_of(sigma, spectra(true, full_rank))
    observation = Observation.of(
        sigma, inputs=None if inputs is None else torch.as_tensor(inputs), input_names=names,
        thresholds=Thresholds(singular_floor=0.0), findings=findings, **options,
    )  # fmt: skip
    rank = np.full(len(sigma), full_rank) if rank is None else rank
    return replace(observation, rank=torch.as_tensor(rank))


def spectra(condition, full_rank=4):
    condition = np.asarray(condition, dtype=float)
    sigma = torch.ones(len(condition), full_rank, dtype=torch.float64)
    sigma[:, -1] = torch.as_tensor(1 / condition)
    return sigma


def findings_of(sigma, true, name="truth"):
    count, known = len(sigma), sigma[:, -1].isfinite()
    error = torch.linspace(0, 0.1, count).where(true[:, -1].isfinite(), torch.nan)
    mean = (1 / sigma[:, -1]).log10().clamp(max=16)
    spread = 0.2 * torch.linspace(0, 1, count).where(known, torch.nan)
    return [Truth(error, true, name), Runs(mean, spread, 4)]


def looks(*observations, epochs=None):
    epochs = range(len(observations)) if epochs is None else epochs
    return [
        record(observation, epoch=epoch, step=10 * i + 9)
        for i, (observation, epoch) in enumerate(zip(observations, epochs, strict=True))
    ]


def words(figure):
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return " ".join(text.get_text() for text in texts).replace("\n", " ")


def all_drawn(axes, name):
    return axes.findobj(lambda artist: artist.get_gid() == name)


def drawn(axes, name):
    (artist,) = all_drawn(axes, name)
    return artist


def values(axes, name):
    return np.ma.filled(drawn(axes, name).get_array(), np.nan)


def places(axes, name):
    """Where the marks of a scatter are, or the lines of a collection."""
    artist = drawn(axes, name)
    offsets = np.asarray(artist.get_offsets())
    return artist.get_segments() if hasattr(artist, "get_segments") else offsets


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def assert_nothing_written_is_clipped(figure):
    with styled():
        figure.canvas.draw()
    inside = figure.bbox.padded(1)
    for axes in figure.axes:
        ticks = [*axes.xaxis.get_ticklabels(), *axes.yaxis.get_ticklabels()]
        shown = [axes.title, axes.xaxis.label, axes.yaxis.label, *ticks, *axes.texts]
        for text in (*shown, *figure.texts):
            box = text.get_window_extent()
            assert not text.get_text() or (inside.contains(*box.min) and inside.contains(*box.max))


def assert_no_neighbours_overlap(labels):
    boxes = [label.get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
