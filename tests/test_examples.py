"""The notebooks run, what they show is clean, and one line watches a project of another shape."""

import ast
import json
import re
import runpy
import shutil
import warnings
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch

from lightning_invert import build_page

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHORT = {
    "a_network_trained_elsewhere": {"ROWS": 300, "STEPS": 100, "TARGETS": 4},
    "from_csv_to_page": {"ROWS": 300, "EPOCHS": 3, "WIDTH": 16},
    "watch_a_model": {"ROWS": 300, "EPOCHS": 3},
}
"""What stands in for the first cell of each notebook."""

MAX_BYTES = 300_000
PROJECT = FOLDER / "lightning_project"
CALLBACKS = PROJECT / "conf" / "callbacks" / "default.yaml"

each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def code_of(file):
    """Return the code cells of a notebook: number, tags, source, outputs."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [
        (cell["execution_count"], cell["metadata"].get("tags", []), "".join(cell["source"]), cell["outputs"])
        for cell in cells
        if cell["cell_type"] == "code"
    ]  # fmt: skip


def run_cell(source, names):
    """Run a cell, and show the value of its last expression as a notebook does."""
    *body, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        body, last = [*body, last], None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        show = getattr(value, "_repr_html_", None) or getattr(value, "_repr_png_", lambda: None)
        show()


def fake_page(pair, file, **options):
    """Stand in for what other tests build and open, as it takes long."""
    Path(file).write_text("a page")
    return Path(file)


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_shortened(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, tags, source, _ in code_of(file):
            run_cell(source, names)
            if "build_page" in names:
                names["build_page"] = create_autospec(build_page, side_effect=fake_page)
            if "parameters" in tags:
                assert {*SHORT[file.stem]} == {*names} - {"__name__", "__builtins__"}
                names.update(SHORT[file.stem])


@each_notebook
def test_what_a_notebook_shows_is_whole_small_and_clean(file):
    text = file.read_text(encoding="utf-8")
    cells = code_of(file)
    assert len(text) <= MAX_BYTES
    assert [number for number, *_ in cells] == [*range(1, len(cells) + 1)]
    assert cells[0][1] == ["parameters"]
    outputs = [output for *_, outputs in cells for output in outputs]
    assert {output["output_type"] for output in outputs} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert {output.get("name") for output in outputs} <= {None, "stdout"}
    assert any("image/png" in json.dumps(output) for output in outputs)
    shown = re.sub(r"[A-Za-z0-9+/=\\n]{200,}", "", json.dumps(outputs))  # pictures
    assert not re.search(r"/(home|root|tmp|work|Users|usr)/|\\u001b|Warning|Tip:|Traceback", shown)
    assert (ROOT / "docs" / "start" / file.name).resolve() == file


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project, and what trains it."""
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "project")
    main = runpy.run_path(str(tmp_path / "project" / "train.py"))["main"]
    few = "max_epochs=2", "enable_progress_bar=false", "enable_model_summary=false"

    def train():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = main(["data.num_runs=300", *(f"trainer.{option}" for option in few)])
        return trainer, torch.rand(1)

    return train


def test_one_line_watches_a_project_and_changes_nothing_in_it(project, tmp_path):
    """The line is that of the README's diff."""
    (diff,) = re.findall(
        r"```diff\n(.*?)```", (PROJECT / "README.md").read_text("utf-8"), re.DOTALL
    )
    lines = diff.splitlines()
    (added,) = [line[1:] for line in lines if line.startswith("+")]
    assert [line[1:] for line in lines] == CALLBACKS.read_text(encoding="utf-8").splitlines()

    watched, draw = project()
    copy = tmp_path / "project" / CALLBACKS.relative_to(PROJECT)
    copy.write_text("\n".join(line[1:] for line in lines if line[1:] != added))
    alone, draw_alone = project()

    assert torch.equal(draw, draw_alone)
    weights = watched.lightning_module.state_dict()
    for name, value in alone.lightning_module.state_dict().items():
        assert torch.equal(weights[name], value), name
    logged = watched.callback_metrics
    assert 0 <= logged["invertibility/profile/full_rank_fraction"] <= 1
    assert logged["invertibility/profile/r2_mean"].isfinite()
    others = {name: value for name, value in logged.items() if "invertib" not in name}
    assert others == alone.callback_metrics
