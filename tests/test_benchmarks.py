import ast
import importlib
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
PARTS = {"common", "inverse_problems_page"}
TINY = {
    "spectrum": "--seconds 0.01 --shapes 1",
    "overhead": "--epochs 2",
    "large": "--points 16 --turns 1 --only ResNet",
    "surrogate": "--only smooth,true --share 0.005",
    "inverse_problems": "--problems robot_arm --seeds 1 --targets 3 --epochs 1 --adjoint 0",
    "training": "--epochs 1 --turns 1",
    "alpha": "--few --seeds 1 --epochs 2 --points 300 --targets 50",
    "defaults": "--problems sine --rows 60 --noise 0.2 --epochs 2 --widths 8 --sweep",
    "stopping": "--runs 2 --epochs 7 --every 2 --targets 20 --points 100",
    "page": "",  # tests/deploy/test_benchmark.py, where a page is built
    "backtest": "--points 300 --rows 2 --epochs 1",
    "trust": "--problems robot_arm --pairs 1 --targets 16 --epochs 1",
    "observe": "--repeats 1 --runs 1 --epochs 1",
    "like_data": "--targets 4 --draws 50 --points 300 --epochs 1",
    "constraints": "--only ballistics --targets 20 --few 2 --fewer 1",
    "solve": "--targets 40 --few 2 --epochs 2 --seconds 0.01",
}
"""The smallest setting of each benchmark."""

FEWER = {
    "backtest": {"GRID": ((0.1, 0.1),), "NUM_WINDOWS": 1},
    "spectrum": {"SHAPES": [(50, 7, 4, 8)]},
    "overhead": {"NUM_POINTS": 200, "SECONDS": 0.1},
    "training": {"NUM_POINTS": 200},
    "observe": {
        "NUM_POINTS": 300,
        "BEFORE": 10,
        "AFTER": (10, 20),
        "NEXT": 5,
        "CHANGES": {"wet": {"MOISTURE": 110.0}},
    },
    "solve": {"FILM_STEPS": 2, "ADAM_STEPS": 10},
    "stopping": {"REGIMES": {"small": {"num_points": 60, "noise": 0.1}}},
}
"""Constants that are smaller here."""

LOGGERS = ("lightning", "lightning.pytorch", "lightning_invert")
"""Loggers that a benchmark silences."""

each_benchmark = pytest.mark.parametrize("name", TINY)


@pytest.fixture
def run(monkeypatch, capfd, tmp_path):
    """Run a benchmark in this process and return what it and its children print."""

    def run(name, options):
        monkeypatch.syspath_prepend(FOLDER)
        for module in {*TINY, *PARTS}:
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *options.split()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
            for constant, value in FEWER.get(name, {}).items():
                assert hasattr(module, constant)
                monkeypatch.setattr(module, constant, value)
            module.main()
        return capfd.readouterr().out

    threads = torch.get_num_threads()
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    environment = dict(os.environ)
    yield run
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)


def test_every_benchmark_is_run_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*TINY, *PARTS}


@each_benchmark
def test_a_benchmark_explains_its_options(name, run, capfd):
    with pytest.raises(SystemExit, match="0"):
        run(name, "--help")
    assert "options:" in capfd.readouterr().out


def test_what_a_benchmark_writes_has_one_place_in_the_docs():
    pages = [page.read_text(encoding="utf-8") for page in (FOLDER.parent / "docs").rglob("*.md")]
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "put":
                name = re.sub(r"\{.*?\}", ".*", ast.unparse(node.args[0]).removeprefix("f")[1:-1])
                assert sum(bool(re.search(f"<!-- {name} -->", page)) for page in pages) == 1, file


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TINY if name != "page"])
def test_a_benchmark_names_versions_and_limit(name, run):
    printed = run(name, TINY[name])
    assert "threads; torch " in printed
    assert "limit" in printed
