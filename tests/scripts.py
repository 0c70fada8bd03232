"""Run a script in a process of its own, or in this one, and read the JSON that it leaves."""

import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]


def filled(script, values):
    """Replace each name by its value."""
    for name, value in values.items():
        script = script.replace(name, repr(value))
    return textwrap.dedent(script)


def run_script(folder, script, *arguments, **values):
    """Run a script in a new process; its strategy may start more of them."""
    file = folder / "script.py"
    file.write_text(filled(script, values))
    done = subprocess.run(
        [sys.executable, file, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-20000:]


def run_script_here(monkeypatch, folder, script, *arguments, **values):
    """Run a script in this process: starting another takes longer than the rest."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(filled(script, values), {"__name__": "__main__"})  # noqa: S102  # ours


def json_result(folder, name):
    """Read what the script wrote."""
    return json.loads((folder / f"{name}.json").read_text())
