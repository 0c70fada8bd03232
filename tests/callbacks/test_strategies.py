import warnings

import numpy as np
import pytest
import torch

from lightning_invert.watch.findings.reach import TOLERANCE
from tests.callbacks.in_processes import SHARDS, fit_shards
from tests.scripts import json_result, run_script

pytestmark = pytest.mark.slow

needs_fsdp2 = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"),
    reason="this torch's FSDP2 asks the CPU for what it has not",
)
STRATEGIES = ["ddp", pytest.param("fsdp2", marks=needs_fsdp2)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two processes finds with a strategy."""
    known = {}

    def of(strategy):
        if strategy not in known:
            folder = tmp_path_factory.mktemp(strategy)
            script = "from tests.callbacks.in_processes import main\nmain(STRATEGY)"
            run_script(folder, script, STRATEGY=strategy)
            known[strategy] = [json_result(folder, f"rank{rank}") for rank in (0, 1)]
        return known[strategy]

    return of


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", SHARDS)
def test_processes_find_the_same_as_one_on_the_same_points(results, strategy, case):
    first, second = (found["shards"][case] for found in results(strategy))
    assert first == second
    shards, options = SHARDS[case]
    assert first["points"] == min(options["num_points"], sum(shards))
    if options["num_points"] > sum(shards):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert first == pytest.approx(fit_shards("one", shards, **options), rel=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_processes_look_at_the_kept_weights_together_unless_they_are_sharded(results, strategy):
    first, second = (found["kept"] for found in results(strategy))
    assert first == second
    assert len(first) == (strategy == "ddp")


@needs_fsdp2
def test_sharded_weights_in_float64_are_refused_in_words(results):
    for found in results("fsdp2"):
        assert "weights of Net are sharded over processes" in found["float64"]


def test_processes_log_the_same_findings_of_the_points_of_both_and_stop_together(results):
    first, second = (found["pair"] for found in results("ddp"))
    assert first == second
    assert (first["points"], first["epochs"]) == (32, 2)
    assert len(first["error"]) == len(first["distance"]) == 32
    logged = first["logged"]
    median = logged["invertibility/forward/jacobian_error_median"]
    assert median == pytest.approx(np.median(first["error"]), rel=0.2)
    share = np.mean(np.array(first["distance"]) <= TOLERANCE)
    assert logged["invertibility/forward/reachable_fraction"] == share


@pytest.mark.parametrize("where", ["batch", "look"])
def test_processes_decide_alike_where_one_fails(results, where):
    for rank, found in enumerate(results("ddp")):
        # Batches without points leave those of the other process.
        assert found["failures"][f"{where}, warn"] == ([0, 1] if where == "batch" else [])
        error = found["failures"][f"{where}, raise"]
        assert error.startswith("InvertibilityCallback: map 'f' cannot be watched")
        assert ("in process 1: " in error) is (rank == 0)
        assert f"ValueError: a broken {where}" in error


def test_processes_resume_an_epoch_s_end_to_the_bit(results):
    first, second = results("ddp")
    assert first["resumed"] == second["resumed"] == [True] * 3
    assert len(first["rows"]) == len(second["rows"]) == 10  # 2 epochs of 5 steps, of 160 rows
    assert first["rows"] != second["rows"]
