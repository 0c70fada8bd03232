"""The house: which part may know which, so that one changes a part by reading what is below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lightning_invert"
FILES = sorted(ROOT.rglob("*.py"))

ARROWS = {
    "arguments": set(),
    "doorway": set(),
    "variables": set(),
    "sampling": set(),
    "tables": set(),
    "jacobians": set(),
    "watch": {"jacobians", "sampling", "solver", "variables"},
    "report": {"jacobians", "pair", "solver", "watch"},
    "pair": {"jacobians", "sampling", "solver", "variables"},
    "solver": {"jacobians", "variables"},
    "deploy": {"jacobians", "pair", "tables", "variables"},
    "problems": {"jacobians", "variables"},
    "datamodules": {"problems", "tables", "variables"},
    "callbacks": {"jacobians", "report", "tables", "watch"},
    "analysis": {"jacobians", "report", "sampling", "tables", "variables", "watch"},
    "cli": {
        "analysis",
        "callbacks",
        "datamodules",
        "deploy",
        "jacobians",
        "pair",
        "problems",
        "report",
        "solver",
        "tables",
        "variables",
        "watch",
    },
}
"""What each part may import, for types alone too. All may import ``arguments`` and ``doorway``."""

CIRCLES_OF_TYPES = {"lightning_invert.watch.maps", "lightning_invert.watch.reach"}

WITHOUT_LIGHTNING = (
    "arguments",
    "variables",
    "sampling",
    "tables",
    "jacobians",
    "watch",
    "solver",
    "problems",
    "analysis",
)


def wing(file):
    part = file.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imports(file, *, lazy=True, types=True):
    """The modules that a file imports, also within functions and for types alone."""
    found, stack = [], [ast.parse(file.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{name.name}" for name in node.names]
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_knows_only_what_is_below_it(file):
    here = wing(file)
    if here == "__init__":
        return
    known = {name.split(".")[1] for name in imports(file) if name.startswith("lightning_invert.")}
    assert not (known & set(ARROWS)) - ARROWS[here] - {here, "arguments", "doorway"}


def test_the_doorway_alone_looks_up_what_is_above_it():
    below = [f for f in FILES if "report" not in ARROWS.get(wing(f), {"report"}) | {wing(f)}]
    looking = [f.name for f in below if '"lightning_invert.report' in f.read_text(encoding="utf-8")]
    assert looking == ["doorway.py"]


def test_no_arrows_run_in_a_circle():
    _visit_all(ARROWS)


def test_every_wing_has_its_arrows():
    assert {wing(file) for file in FILES} == {*ARROWS, "__init__"}


@pytest.mark.parametrize("part", WITHOUT_LIGHTNING)
def test_what_needs_no_lightning_imports_none(part):
    for file in FILES:
        if wing(file) == part:
            tops = {name.split(".")[0] for name in imports(file)}
            assert not tops & {"lightning", "pytorch_lightning"}, file


def test_only_the_figures_know_matplotlib():
    imported = {file: imports(file, types=False) for file in FILES}
    knowing = {f for f, names in imported.items() if any(n.startswith("matplotlib") for n in names)}
    assert {file.parent for file in knowing} == {ROOT / "report" / "figures"}


def test_no_imports_run_in_a_circle():
    names = {
        ".".join(("lightning_invert", *f.relative_to(ROOT).with_suffix("").parts)): f for f in FILES
    }

    def module(name):
        while name and name not in names:
            name = name.rpartition(".")[0]
        return name

    def graph(**which):
        return {
            name: {module(other) for other in imports(file, **which)} - {"", name}
            for name, file in names.items()
        }

    _visit_all(graph(lazy=False, types=False))
    _visit_all({name: others - CIRCLES_OF_TYPES for name, others in graph().items()})


def _visit_all(graph):
    """Fail at the first circle in a graph, name -> the names that it points to."""
    finished, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name not in finished:
            path.append(name)
            for other in graph[name]:
                visit(other)
            path.pop()
            finished.add(name)

    for name in graph:
        visit(name)
