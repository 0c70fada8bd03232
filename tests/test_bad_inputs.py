"""Bad arguments: each is refused in words that name it, and what makes sense is accepted.

A row of ``DOORS`` is a class or function that people call, with the values that are wrong for each
of its arguments.
"""

# ruff: noqa: C408  # a call is shorter where all keys are names

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import lightning_invert as li
from lightning_invert.datamodules import ProblemDataModule, TabularDataModule
from lightning_invert.pair.settings import AdamSettings, ForwardTraining
from lightning_invert.problems import MultilayerFilm, RobotArm

NAN, INF = math.nan, math.inf


def or_none(values):
    return tuple(value for value in values if value is not None)


# fmt: off
NUMBER = (NAN, INF, -INF, "a", "1", True, [1], {}, 1j)
NATURAL = (*NUMBER, None, 2.5, 1.0, -1)
COUNT = (*NATURAL, 0)
SIZE = (*NUMBER, None, -1.0)
POSITIVE = (*SIZE, 0.0)
SHARE = (*SIZE, 1.5)
FLAG = ("no", "false", 0, 1, None, NAN, [])
CHOICE_OR_NONE = ("other", "", 3, True, NAN, [])
CHOICE = (*CHOICE_OR_NONE, None)
BANDS = (100, "ab", NAN, None, [100], [1, 2, 3], [1e4, 100], [100, 100], [NAN, 1e4], [100, INF],
         [0.5, 10], ["1", "2"], [True, 100], {100: 1})
EVERY = (0, -1, 2.5, None, "all", NAN, True, [1.5], [-1], ["1"], [True], {1: 2})
REACH = ("net", {"inverse": "net"}, {"inverse": "net", "outcomes": 2.5},
         {"inverse": "net", "outcomes": 1, "bounds": (1, 0)})
MAPS = (3, "net", [], {}, ["net"], {"f": 3}, {1: "net"}, {"": "net"}, {"f": {"modul": "net"}},
        {"f": {"input": 2.5}}, {"f": {"output": True}}, {"f": {"identity": "no"}},
        *({"f": {"reach": reach}} for reach in REACH))
NAMES = ("ab", 3, None, [], [1], ["a", "a"])
TEXT = (3, None, "")
MODULE = ("net", 3, [], NAN, nn.Linear)
TERM = (0.1, "0.1", True, nn.Linear, {"weight": 1.0})
BETAS = (*NUMBER, None, 0.9, [0.9], [0.9, 1.0], [-0.1, 0.9], ["0.9", 0.9])

LOADING = dict(batch_size=or_none(COUNT), eval_batch_size=COUNT, val_fraction=(*SHARE, 0.0, 1.0),
               seed=NATURAL, num_workers=NATURAL)
NET = dict(in_features=COUNT, out_features=COUNT, width=COUNT)

X, SIGMA = torch.zeros(2, 3), torch.ones(2, 3)
SIZES = dict(in_features=3, out_features=2)
stop = partial(li.ConditioningEarlyStopping, stop_when_stalled=True)
table = partial(TabularDataModule, file="a.csv", inputs=["a"], outputs=["b"])

DOORS = {
    li.InvertibilityCallback: dict(
        maps=MAPS, num_points=COUNT, every_n_validations=EVERY, scale=CHOICE_OR_NONE,
        precision=CHOICE, figures=("other", "", 3, 1, 0, None, NAN), dataloaders=CHOICE,
        save_figures=(3, NAN, None, "", []), sampling=CHOICE, scalars=CHOICE, on_error=CHOICE,
        max_work=or_none(POSITIVE), reachable_steps=or_none(COUNT)),
    stop: dict(
        map=(*TEXT, NAN), monitor=CHOICE, stopping_threshold=NUMBER, divergence_threshold=NUMBER,
        stop_when_stalled=FLAG, min_delta=SIZE, patience=COUNT, verbose=FLAG),
    li.PredictionWriter: dict(file=(*TEXT, "a.txt", "a", ["a.csv"])),
    li.ForwardInverseModule: dict(
        forward_net=MODULE, inverse_net=MODULE, alpha=SHARE, learning_rate=POSITIVE,
        forward_training=(3, "frozen", None, {"freeze": True}), standardize=FLAG,
        adam=(3, "constant", None, {"beta": 0.9}), predict_proposals=FLAG,
        conditioning_penalty=TERM, jacobian_consistency=TERM),
    ForwardTraining: dict(
        learns_consistency=FLAG, warmup_epochs=NATURAL, frozen=FLAG, start_from=(3, "", NAN, [])),
    AdamSettings: dict(schedule=CHOICE, betas=BETAS, weight_decay=or_none(SIZE)),
    partial(li.ResidualMLP, **SIZES): dict(**NET, dropout=(*SHARE, 1.0)),
    partial(li.SmoothMLP, **SIZES): dict(**NET, depth=COUNT),
    partial(li.LinearPlusNonlinear, **SIZES): dict(**NET, dropout=(*SHARE, 1.0)),
    partial(li.Ensemble, network=nn.Linear(3, 2)): dict(
        network=(*MODULE, None, [3], [nn.Linear]), members=or_none(COUNT)),
    li.ConstantAlpha: dict(value=SHARE),
    li.LinearDecayAlpha: dict(start=SHARE, epochs=COUNT),
    li.ConditioningPenalty: dict(weight=SIZE, limit=(*SIZE, 0.5, 1e6), num_points=COUNT),
    li.JacobianConsistency: dict(weight=SIZE, num_points=COUNT),
    ProblemDataModule: dict(
        **LOADING, num_points=COUNT, num_test_points=COUNT, noise=SIZE),
    table: dict(
        **LOADING, file=(*TEXT, NAN, ["a.csv"]), inputs=NAMES, outputs=NAMES, on_missing=CHOICE,
        units=(3, "kW", [], ["a"], {"c": "kW"}), separator=(3, "", "ab", "ä", NAN),
        decimal=(3, "", ";", NAN, []), thousands=(3, ";", NAN, []), encoding=(3, "", "utf-99", []),
        skip_rows=(-1, 1.5, True, "1"), units_row=(-1, 1.5, True, "1"),
        missing=({"a": 1}, [None], [[1]], True),
        test_fraction=(*SHARE, 1.0, 0.9)),
    partial(RobotArm().sample, num_points=2, seed=0): dict(num_points=COUNT, seed=NATURAL),
    MultilayerFilm: dict(num_layers=COUNT, num_wavelengths=(*COUNT, 1)),
    li.Thresholds: dict(rank_atol=SIZE, rank_rtol=SIZE, singular_floor=SIZE, bands=BANDS),
    partial(li.numerical_rank, SIGMA): dict(atol=SIZE, rtol=SIZE),
    partial(li.condition_number, SIGMA): dict(floor=SIZE),
    partial(li.batched_jacobian, torch.square, X): dict(
        mode=CHOICE, chunk_size=or_none(COUNT), create_graph=FLAG, check=FLAG),
    partial(li.analyze, torch.square, X + 1): dict(
        scale=CHOICE_OR_NONE, precision=CHOICE, directions=FLAG, name=or_none(TEXT)),
}

ACCEPTED = {
    "a whole number of NumPy": (li.InvertibilityCallback, dict(num_points=np.int64(64))),
    "the first and the last": (li.InvertibilityCallback, dict(every_n_validations=[])),
    "a range": (li.InvertibilityCallback, dict(every_n_validations=range(0, 9, 3))),
    "no bound": (li.InvertibilityCallback, dict(max_work=None)),
    "a whole number": (li.ForwardInverseModule, dict(learning_rate=1, alpha=0)),
    "numbers of NumPy": (li.Thresholds, dict(rank_atol=np.float32(1e-4), bands=np.array([10, 100]))),
    "bands of YAML": (li.Thresholds, dict(bands=[10, 1000], rank_atol=0.0, singular_floor=0)),
    "a negative logarithm": (stop, dict(stopping_threshold=-1)),
    "the end of a share": (li.ConstantAlpha, dict(value=1)),
    "no noise": (ProblemDataModule, dict(noise=0, seed=2**32 - 1)),
    "a tuple of names": (table, dict(inputs=("a", "c"))),
}
# fmt: on


def problem(build, argument, value):
    """Return what is wrong with the refusal of a value; nothing if it names the argument."""
    try:
        build(**{argument: value})
    except (ValueError, TypeError) as error:
        words = str(error)
        clear = words.startswith("Expected") and len(words) < 1100
        return "" if clear and (f"`{argument}`" in words or f"`{argument}[" in words) else words
    return "accepted"


@pytest.mark.parametrize(
    ("build", "argument", "values"),
    [
        pytest.param(build, *case, id=f"{getattr(build, 'func', build).__name__}-{case[0]}")
        for build, arguments in DOORS.items()
        for case in arguments.items()
    ],
)
def test_bad_values_are_refused_in_words_that_name_the_argument(build, argument, values):
    assert [(value, said) for value in values if (said := problem(build, argument, value))] == []


@pytest.mark.parametrize("case", ACCEPTED)
def test_good_values_are_accepted(case):
    build, options = ACCEPTED[case]
    build(**options)
