"""The table of bad inputs: each is refused in words that name it, or rightly used. None is obscure.

A row is a door (a class or a function that people call), an argument of it and a kind; a kind is the
values that are wrong for it. ``python -m tests.test_bad_inputs`` prints how many cases a door has.
"""

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import (
    ConditioningEarlyStopping,
    ConditioningPenalty,
    ConstantAlpha,
    Ensemble,
    ForwardInverseModule,
    InvertibilityCallback,
    JacobianConsistency,
    LinearDecayAlpha,
    LinearPlusNonlinear,
    PredictionWriter,
    ResidualMLP,
    SmoothMLP,
    Thresholds,
    analyze,
    batched_jacobian,
    condition_number,
    numerical_rank,
)
from lightning_invert.datamodules import ProblemDataModule, TabularDataModule
from lightning_invert.jacobians.lanczos import probe_jacobians
from lightning_invert.pair.settings import AdamSettings, ForwardTraining
from lightning_invert.watch.watcher import Watcher

NAN, INF = math.nan, math.inf

NO_NUMBER = (NAN, INF, -INF, "a", "1", True, [1], {}, 1j)
COUNT = (*NO_NUMBER, None, 2.5, 1.0, 0, -1)
COUNT_OR_NONE = tuple(value for value in COUNT if value is not None)
NATURAL = tuple(value for value in COUNT if value != 0)
SIZE = (*NO_NUMBER, None, -1.0)
POSITIVE = (*SIZE, 0.0)
POSITIVE_OR_NONE = tuple(value for value in POSITIVE if value is not None)
NUMBER_OR_NONE = NO_NUMBER
SHARE = (*SIZE, 1.5)
INNER_SHARE = (*SHARE, 0.0, 1.0)
DROPOUT = (*SHARE, 1.0)
FLAG = ("no", "false", 0, 1, None, NAN, [])
CHOICE = ("other", "", 3, True, NAN, [])
BANDS = (100, "ab", NAN, None, [100], [1, 2, 3], [1e4, 100], [100, 100], [NAN, 1e4], [100, INF],
         [0.5, 10], ["1", "2"], [True, 100], {100: 1})  # fmt: skip
EVERY = (0, -1, 2.5, None, "all", NAN, True, [1.5], [-1], ["1"], [True], {1: 2})
MAPS = (3, "net", [], {}, ["net"], {"f": 3}, {1: "net"}, {"": "net"}, {"f": {"modul": "net"}},
        {"f": {"input": 2.5}}, {"f": {"output": True}}, {"f": {"identity": "no"}}, {"f": {"reach": "net"}},
        {"f": {"reach": {"inverse": "net"}}}, {"f": {"reach": {"inverse": "net", "outcomes": 2.5}}},
        {"f": {"reach": {"inverse": "net", "outcomes": 1, "bounds": (1, 0)}}})  # fmt: skip
FOLDER = (3, NAN, None, "", [])
CSV = (3, None, "", "a.txt", "a", ["a.csv"])
NAMES = ("ab", 3, None, [], [1], ["a", "a"])
FILE = (3, None, "", NAN, ["a.csv"])
MODULE = ("net", 3, [], NAN, nn.Linear)
TERM = (0.1, "0.1", True, nn.Linear, {"weight": 1.0})
THRESHOLDS = {"rank_atol": SIZE, "rank_rtol": SIZE, "singular_floor": SIZE, "bands": BANDS}
LOOKING = {"scale": CHOICE, "precision": (*CHOICE, None), **THRESHOLDS}
LOADING = {
    "batch_size": COUNT,
    "eval_batch_size": COUNT,
    "val_fraction": INNER_SHARE,
    "seed": NATURAL,
    "num_workers": NATURAL,
}
NET = {"in_features": COUNT, "out_features": COUNT, "width": COUNT, "dropout": DROPOUT}


def table(**options):
    return TabularDataModule(**{"file": "a.csv", "inputs": ["a"], "outputs": ["b"], **options})


def stop(**options):
    return ConditioningEarlyStopping(**{"stop_when_stalled": True, **options})


def network(kind):
    return lambda **options: kind(**{"in_features": 3, "out_features": 2, **options})


X = torch.zeros(2, 3)
SIGMA = torch.ones(2, 3)

DOORS = {
    "InvertibilityCallback": (
        InvertibilityCallback,
        {
            "scale": CHOICE,
            "precision": (*CHOICE, None),
            "maps": MAPS,
            "num_points": COUNT,
            "every_n_validations": EVERY,
            "figures": ("other", "", 3, 1, 0, None, NAN),
            "dataloaders": (*CHOICE, None),
            "save_figures": FOLDER,
            "sampling": (*CHOICE, None),
            "scalars": (*CHOICE, None),
            "on_error": (*CHOICE, None),
            "max_work": POSITIVE_OR_NONE,
            "reachable_steps": COUNT_OR_NONE,
        },
    ),
    "Watcher": (
        Watcher,
        {
            "maps": MAPS,
            "num_points": COUNT,
            "scale": CHOICE,
            "seed": NATURAL,
            "max_work": POSITIVE_OR_NONE,
        },
    ),
    "ConditioningEarlyStopping": (
        stop,
        {
            "map": (3, None, "", NAN),
            "monitor": (*CHOICE, None),
            "stopping_threshold": NUMBER_OR_NONE,
            "divergence_threshold": NUMBER_OR_NONE,
            "stop_when_stalled": FLAG,
            "min_delta": SIZE,
            "patience": COUNT,
            "verbose": FLAG,
        },
    ),
    "PredictionWriter": (PredictionWriter, {"file": CSV}),
    "ForwardInverseModule": (
        ForwardInverseModule,
        {
            "forward_net": MODULE,
            "inverse_net": MODULE,
            "alpha": SHARE,
            "forward_training": (3, "frozen", None, {"freeze": True}),
            "learning_rate": POSITIVE,
            "adam": (3, "constant", None, {"beta": 0.9}),
            "standardize": FLAG,
            "predict_proposals": FLAG,
            "conditioning_penalty": TERM,
            "jacobian_consistency": TERM,
        },
    ),
    "ForwardTraining": (
        ForwardTraining,
        {
            "learns_consistency": FLAG,
            "warmup_epochs": NATURAL,
            "frozen": FLAG,
            "start_from": (3, "", NAN, []),
        },
    ),
    "AdamSettings": (
        AdamSettings,
        {
            "schedule": (*CHOICE, None),
            "betas": (*NO_NUMBER, None, 0.9, [0.9], [0.9, 1.0], [-0.1, 0.9], ["0.9", 0.9]),
        },
    ),
    "ResidualMLP": (network(ResidualMLP), NET),
    "SmoothMLP": (
        network(SmoothMLP),
        {"in_features": COUNT, "out_features": COUNT, "width": COUNT, "depth": COUNT},
    ),
    "LinearPlusNonlinear": (network(LinearPlusNonlinear), NET),
    "Ensemble": (
        lambda **options: Ensemble(**{"network": nn.Linear(3, 2), **options}),
        {"network": (*MODULE, None, [3], [nn.Linear]), "members": COUNT_OR_NONE},
    ),
    "ConstantAlpha": (ConstantAlpha, {"value": SHARE}),
    "LinearDecayAlpha": (LinearDecayAlpha, {"start": SHARE, "epochs": COUNT}),
    "ConditioningPenalty": (
        ConditioningPenalty,
        {"weight": SIZE, "limit": (*SIZE, 0.5, 1e6), "num_points": COUNT},
    ),
    "JacobianConsistency": (JacobianConsistency, {"weight": SIZE, "num_points": COUNT}),
    "ProblemDataModule": (
        ProblemDataModule,
        {
            **LOADING,
            "num_points": COUNT,
            "num_test_points": COUNT,
            "noise": SIZE,
            "data_seed": NATURAL,
        },
    ),
    "TabularDataModule": (
        table,
        {
            **LOADING,
            "file": FILE,
            "inputs": NAMES,
            "outputs": NAMES,
            "units": (3, "kW", [], ["a"], {"c": "kW"}),
            "separator": (3, None, "", "ab", "ä", NAN),
            "on_missing": (*CHOICE, None),
            "test_fraction": (*SHARE, 1.0, 0.9),
        },
    ),
    "Thresholds": (Thresholds, THRESHOLDS),
    "numerical_rank": (partial(numerical_rank, SIGMA), {"atol": SIZE, "rtol": SIZE}),
    "condition_number": (partial(condition_number, SIGMA), {"floor": SIZE}),
    "batched_jacobian": (
        partial(batched_jacobian, torch.square, X),
        {"mode": (*CHOICE, None), "chunk_size": COUNT_OR_NONE, "create_graph": FLAG, "check": FLAG},
    ),
    "probe_jacobians": (
        partial(probe_jacobians, torch.square, X),
        {"probes": (*COUNT, 2), "steps": COUNT, "seed": NATURAL},
    ),
    "analyze": (
        partial(analyze, torch.square, X + 1),
        {"scale": CHOICE, "precision": (*CHOICE, None), "directions": FLAG, "name": (3, None, "")},
    ),
}

REFUSED = [
    pytest.param(build, argument, value, id=f"{door}-{argument}-{value!r:.30}")
    for door, (build, arguments) in DOORS.items()
    for argument, values in arguments.items()
    for value in values
]

ACCEPTED = {
    "whole numbers of NumPy": (InvertibilityCallback, {"num_points": np.int64(64)}),
    "a whole number for a number": (ForwardInverseModule, {"learning_rate": 1, "alpha": 0}),
    "numbers of NumPy": (Thresholds, {"rank_atol": np.float32(1e-4), "bands": np.array([10, 100])}),
    "bands as YAML has them": (Thresholds, {"bands": [10, 1000]}),
    "the first and the last": (InvertibilityCallback, {"every_n_validations": []}),
    "a range of validations": (InvertibilityCallback, {"every_n_validations": range(0, 9, 3)}),
    "a threshold of rank zero": (Thresholds, {"rank_atol": 0.0, "singular_floor": 0}),
    "negative thresholds of a logarithm": (stop, {"stopping_threshold": -1}),
    "the ends of a share": (ConstantAlpha, {"value": 1}),
    "no noise": (ProblemDataModule, {"noise": 0}),
    "the largest seed of NumPy": (Watcher, {"seed": 2**32 - 1}),
    "a tuple of names": (table, {"inputs": ("a", "c")}),
    "no limit of work": (InvertibilityCallback, {"max_work": None}),
}


@pytest.mark.parametrize(("build", "argument", "value"), REFUSED)
def test_what_makes_no_sense_is_refused_in_words_that_name_it(build, argument, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        build(**{argument: value})
    words = str(caught.value)
    assert f"`{argument}`" in words or f"`{argument}[" in words or f"argument `{argument}" in words
    assert words.startswith("Expected")
    assert len(words) < 1000


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_makes_sense_is_accepted(case):
    build, options = ACCEPTED[case]
    build(**options)


def test_the_table_is_long_enough():
    assert len(REFUSED) >= 900
    assert len(ACCEPTED) >= 10


if __name__ == "__main__":
    for door, count in Counter(str(case.id).split("-")[0] for case in REFUSED).items():
        print(f"{door:30} {count:4d} refused")
    print(f"{'in all':30} {len(REFUSED):4d} refused, {len(ACCEPTED)} accepted")
