"""Run a script in a process of its own, and read the JSON that it leaves."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_script(folder, script, *arguments, **values):
    """Run a script with its names replaced by values; return what it writes to stderr."""
    for name, value in values.items():
        script = script.replace(name, repr(value))
    file = folder / "script.py"
    file.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, file, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-20000:]
    return done.stderr


def json_result(folder, name):
    """Read what the script wrote."""
    return json.loads((folder / f"{name}.json").read_text())
