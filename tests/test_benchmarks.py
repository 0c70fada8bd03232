import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"

PARTS = ("common.py", "inverse_problems_page.py")

COMMANDS = {
    "spectrum.py": ["--seconds", "0.01", "--shapes", "1"],
    "overhead.py": ["--epochs", "2"],
    "large.py": ["--quick"],
    "surrogate.py": ["--only", "smooth,true", "--share", "0.005"],
    "inverse_problems.py": [
        "--problems",
        "robot_arm",
        "--seeds",
        "1",
        "--targets",
        "3",
        "--epochs",
        "1",
        "--adjoint",
        "0",
    ],
    "training.py": ["--epochs", "1", "--turns", "1"],
    "alpha.py": ["--few", "--seeds=1", "--epochs=2", "--points=300", "--targets=50"],
    "stopping.py": ["--runs=2", "--epochs=7", "--every=2", "--targets=20", "--points=100"],
    "page.py": ["--moves=2", "--targets=1", "--times=1"],
    "trust.py": ["--problems=robot_arm", "--targets=20", "--epochs=1"],
    "solve.py": ["--targets", "200", "--few", "2", "--epochs", "2", "--seconds", "0.01"],
}


def test_every_benchmark_is_run_here():
    assert {path.name for path in FOLDER.glob("*.py")} == {*COMMANDS, *PARTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_names_machine_versions_and_limit(name):
    browser = shutil.which("chromium") and shutil.which("npm")
    if name == "page.py" and not (browser or os.environ.get("CI")):
        pytest.skip("no chromium or no npm here")
    done = subprocess.run(
        [sys.executable, FOLDER / name, *COMMANDS[name]],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    for word in ("threads; torch ", "limit"):
        assert word in done.stdout
