"""Points to draw, and how to read what was drawn."""

from dataclasses import replace

import numpy as np
import torch

from lightning_invert import Thresholds
from lightning_invert.jacobians.comparison import Comparison
from lightning_invert.report import figures
from lightning_invert.watch.members import Members
from lightning_invert.watch.observation import Observation

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(256, 7))
CONDITION = 10 ** (6 * X[:, 6] * RNG.uniform(size=256))
RANK = np.where(X[:, 6] > 0.8, 3, 4)
ZERO_INFLATED = np.where(X < 0.5, 0.0, X)
COLLAPSED = np.where(X[:, 6] > 0.8, np.inf, CONDITION)
LONG = [f"the_very_long_name_of_input_{j}_measured_at_the_top [Nm³/(t·h)]" for j in range(7)]


def words(figure):
    texts = [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]
    return " ".join(text.get_text() for text in texts)


def bars(figure):
    """Heights of the histogram, which is one artist."""
    (steps,) = (p for p in figure.axes[0].patches if hasattr(p, "get_data"))
    return steps.get_data().values


def density(panel):
    return np.ma.filled(panel.images[1].get_array(), np.nan)


def strip(panel):
    return np.ma.filled(panel.images[2].get_array(), np.nan)[0]


def medians(panel):
    return panel.patches[-1].get_data().values


def look(condition, epoch=0, rank=None, **more):
    """What is kept of a look at these points, of full rank 4 unless told otherwise."""
    known = np.asarray(condition)[~np.isnan(condition)]
    log10 = np.minimum(np.log10(known), 16) if len(known) else np.full(1, 16.0)
    quantiles = np.quantile(log10, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    rank = np.full(max(len(known), 1), 4) if rank is None else rank
    share = [float(np.mean(rank == r)) for r in (4, 3, 2, 1, 0)]
    return {
        "epoch": epoch,
        "step": 10 * epoch + 9,
        "num_points": len(known),
        "rank_shares": share,
        "log10_cond": quantiles.tolist(),
        "full_rank_interval": [max(0.0, share[0] - 0.05), min(1.0, share[0] + 0.05)],
        "median_interval": [quantiles[3] - 0.1, quantiles[3] + 0.1],
        "p95_interval": [quantiles[5] - 0.1, 16.0],
        **more,
    }


def looks(condition, epochs=range(0, 20, 2), **more):
    return [look(condition, epoch, **more) for epoch in epochs]


def seen(inputs, condition, rank=None, *, full_rank=4, names=None, **known):
    """What would have been found where the condition numbers and ranks were these."""
    condition = torch.as_tensor(np.asarray(condition, dtype=float))
    rank = np.full(len(condition), full_rank) if rank is None else rank
    sigma = torch.ones(len(condition), full_rank, dtype=torch.float64)
    sigma[:, -1] = 1 / condition
    one = Observation.of(sigma, inputs=torch.as_tensor(inputs), input_names=names, **known)
    return replace(one, condition=condition, rank=torch.as_tensor(rank))


def against(inputs, condition, rank=None, *, true=None, full_rank=4, names=None):
    """The same, held against a truth and three other runs."""
    true = np.asarray(condition if true is None else true, dtype=float)
    sigma = torch.ones(len(true), full_rank, dtype=torch.float64)
    sigma[:, -1] = torch.as_tensor(1 / true)
    error = torch.linspace(0, 0.1, len(true)).where(sigma[:, -1].isfinite(), torch.nan)
    log10 = torch.as_tensor(np.minimum(np.log10(np.asarray(condition, dtype=float)), 16))
    spread = 0.2 * torch.linspace(0, 1, len(true)).where(log10.isfinite(), torch.nan)
    known = {"truth": Comparison(error, sigma), "members": Members(log10, spread, 4)}
    return seen(inputs, condition, rank, full_rank=full_rank, names=names, **known)


def truth(inputs, condition, rank=None, *, title="", **known):
    return figures.truth(against(inputs, condition, rank, **known), title=title)


def members(inputs, condition, rank=None, *, title="", **known):
    return figures.members(against(inputs, condition, rank, **known), title=title)


def rank_histogram(rank, *, full_rank, title=""):
    one = seen(np.zeros((len(rank), 0)), np.ones(len(rank)), rank, full_rank=full_rank)
    return figures.rank_histogram(one, title=title)


def condition_histogram(condition, *, limit=np.inf, title=""):
    one = seen(np.zeros((len(condition), 0)), condition, condition_limit=limit)
    return figures.condition_histogram(one, title=title)


def singular_spectrum(sigma, *, limit=np.inf, title="", **thresholds):
    sigma = torch.as_tensor(np.array(sigma))
    one = Observation.of(sigma, condition_limit=limit, thresholds=Thresholds(**thresholds))
    return figures.singular_spectrum(one, title=title)


def fragile_zones(inputs, condition, rank, *, full_rank=4, names=None, **options):
    one = seen(inputs, condition, rank, full_rank=full_rank, names=names)
    return figures.fragile_zones(one, **options)


def zone_map(inputs, condition, rank, *, full_rank=4, names=None, **options):
    one = seen(inputs, condition, rank, full_rank=full_rank, names=names)
    return figures.zone_map(one, **options)


def worst_points(inputs, condition, rank, *, full_rank=4, names=None, **options):
    one = seen(inputs, condition, rank, full_rank=full_rank, names=names)
    return figures.worst_points(one, **options)
