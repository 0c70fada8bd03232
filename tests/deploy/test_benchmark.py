import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "page.py"


@pytest.mark.slow
def test_a_page_is_timed_by_a_script(browser, page_file):
    # In a process of its own, as a browser is open in this one.
    command = [sys.executable, SCRIPT, "--page", page_file, "--moves", "2", "--targets", "1"]
    run = subprocess.run([*command, "--times", "1"], check=True, capture_output=True, text=True)
    assert "threads; torch " in run.stdout
    assert "the windows of all 5 settings" in run.stdout
