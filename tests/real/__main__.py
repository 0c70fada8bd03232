"""Try real packages: all of them, each in an environment of its own, or one by its name in this one."""

import ast
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.real import NAMES, SEEN

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5  # float32: of the largest singular value
OPTIONS = {
    "accelerator": "cpu",
    "max_epochs": 2,
    "logger": False,
    "enable_progress_bar": False,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


@dataclass
class Fit:
    """What a fit leaves: all that must not depend on being watched, and what was observed."""

    module: Any
    batch: Any
    state: dict[str, Any]
    observations: dict[str, Any]
    messages: list[str]


def fit(project, *, maps=None, watched=True):
    """Fit a project from the same seeds, watched or not."""
    from lightning_invert.callbacks import InvertibilityCallback
    from lightning_invert.callbacks.base import Callback

    class Keeper(Callback):
        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
            self.batch = batch

    random.seed(0)
    np.random.seed(0)  # the packages draw from it
    torch.manual_seed(0)
    keeper, watch = Keeper(), InvertibilityCallback(maps, figures=False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callbacks = [keeper, watch] if watched else [keeper]
        with contextlib.chdir(folder):  # some write beside themselves
            module, trainer = project.fit(callbacks, {**OPTIONS, "default_root_dir": folder})
    metrics = {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if "invertibility" not in name
    }
    weights = {name: value.tolist() for name, value in module.state_dict().items()}
    draws = [random.random(), np.random.random(), float(torch.rand(()))]
    return Fit(
        module,
        keeper.batch,
        {"metrics": metrics, "weights": weights, "draws": draws},
        {observation.name: observation for observation in watch.observations},
        [text for w in caught if "InvertibilityCallback" in (text := str(w.message))],
    )


def advice_of(messages):
    """Return the maps that the messages say to write, as a reader would copy them; None of a method."""
    text = "\n".join(messages)
    found = re.search(r"InvertibilityCallback\(\s*maps=(\{.*?\})\s*\)", text, re.DOTALL)
    return None if found is None or "def " in text else ast.literal_eval(found[1])


def error_of_two_points(project, name, observed):
    """Compare the singular values at two points of the last batch with those of autograd's Jacobian."""
    observation, batch, module = observed.observations[name], observed.batch, observed.module
    x = project.points(batch, module).detach()
    module.eval()
    jacobian = torch.autograd.functional.jacobian(
        lambda x: project.outputs(module, batch, x).flatten(1), x
    )
    errors = []
    for row in range(2):
        expected = torch.linalg.svdvals(jacobian[row, :, row].flatten(1).double())
        is_row = (observation.inputs.flatten(1) == x[row].flatten().cpu()).all(1)
        values = observation.singular_values[is_row.nonzero()[0, 0]]
        errors.append(float((values - expected).abs().max() / expected.max()))
    return max(errors)


def try_here(name):
    """Fit a project alone, watched by itself, by the advice and by its map; print what was seen."""
    project = import_module(f"tests.real.{name}")
    alone, again = (fit(project, watched=False).state for _ in range(2))
    assert alone == again, "two fits without the callback differ: nothing can be told"
    by_itself = fit(project)
    assert by_itself.state == alone, differences(by_itself.state, alone)
    advice = advice_of(by_itself.messages)
    if by_itself.observations:
        answer = "watched"
    elif advice is None:
        answer = "shows a method"
    else:
        pasted = fit(project, maps=advice)
        assert pasted.observations, f"{advice}: {pasted.messages}"
        assert pasted.state == alone, differences(pasted.state, alone)
        answer = f"`maps={advice}`"
    named = fit(project, maps=project.MAPS)
    assert named.state == alone, differences(named.state, alone)
    error = error_of_two_points(project, next(iter(project.MAPS)), named)
    assert error < TOLERANCE, error
    m, n = next(iter(named.observations.values())).shape
    print(json.dumps({"alone": answer, "shape": [n, m], "error": f"{error:.0e}"}))


def differences(state, expected):
    """Name the first values that differ."""
    return [
        (kind, name, state[kind][name], value)
        for kind in ("metrics", "weights")
        for name, value in expected[kind].items()
        if state[kind].get(name) != value
    ][:3] or (state["draws"], expected["draws"])


def try_in_environments():
    """Try each project in its own environment, note what was seen, and name those that failed."""
    seen, failed = {}, []
    for name in NAMES:
        requirements = import_module(f"tests.real.{name}").REQUIREMENTS
        packages = ["torch==2.13.0", "lightning==2.6.6", *requirements]
        command = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
        command += ["--with-editable", str(ROOT)]
        command += [part for package in packages for part in ("--with", package)]
        command += ["python", "-m", "tests.real", name]
        print(f"{name}: {' '.join(packages)}", flush=True)
        tried = subprocess.run(command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE)
        if tried.returncode:
            failed.append(name)
            continue
        seen[name] = json.loads(tried.stdout.splitlines()[-1])
        print(f"  {seen[name]}", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    SEEN.write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:]:
        try_here(sys.argv[1])
    else:
        try_in_environments()
