"""The house: which part may import which, and how large a file, a body and a signature may be."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lightning_invert"
TESTS = Path(__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ARROWS = {
    "arguments": set(),
    "arrays": set(),
    "devices": set(),
    "doorway": set(),
    "variables": {"arrays"},
    "conditions": {"variables"},
    "sampling": set(),
    "tables": set(),
    "jacobians": set(),
    "watch": {"jacobians", "sampling", "solver", "variables"},
    "report": {"jacobians", "proposals", "solver", "variables", "watch"},
    "pair": {"conditions", "jacobians", "proposals", "sampling", "solver", "variables"},
    "solver": {"arrays", "conditions", "jacobians", "variables"},
    "proposals": {"arrays", "conditions", "jacobians", "sampling", "solver", "variables"},
    "deploy": {"jacobians", "pair", "proposals", "solver", "tables", "variables"},
    "problems": {"jacobians", "variables"},
    "datamodules": {"conditions", "problems", "tables", "variables"},
    "callbacks": {"jacobians", "report", "sampling", "tables", "variables", "watch"},
    "analysis": {"arrays", "jacobians", "report", "sampling", "tables", "variables", "watch"},
    "__main__": {"cli"},
}
ARROWS["cli"] = set(ARROWS) - {"__main__", "arrays", "sampling"}
"""What each part may import, for types alone too. All may import ``arguments``, ``devices`` and ``doorway``."""

MAX_FILE, MAX_BODY = 400, 60
MAX_ARGUMENTS = {"elsewhere": 12, "callbacks/invertibility.py:__init__": 14}

WITHOUT_LIGHTNING = {
    "arguments", "arrays", "conditions", "devices", "variables", "sampling", "tables", "jacobians", "watch",
    "solver", "proposals", "problems", "analysis",
}  # fmt: skip


@cache
def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file):
    return file.relative_to(ROOT if file.is_relative_to(ROOT) else TESTS).as_posix()


def wing(file):
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file, *, lazy=True, types=True):
    """The modules that a file imports, also within functions and for types alone."""
    found, stack = [], [parsed(file)]
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


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_knows_only_what_is_below_it(file):
    below = ARROWS.get(wing(file), set()) | {wing(file), "arguments", "devices", "doorway"}
    known = {name.split(".")[1] for name in imports(file) if name.startswith("lightning_invert.")}
    assert (known & set(ARROWS)) <= below


def test_the_doorway_alone_looks_up_what_is_above_it():
    below = [f for f in FILES if "report" not in ARROWS.get(wing(f), {"report"}) | {wing(f)}]
    looking = [f.name for f in below if '"lightning_invert.report' in f.read_text(encoding="utf-8")]
    assert looking == ["doorway.py"]


def test_no_arrows_run_in_a_circle():
    TopologicalSorter(ARROWS).prepare()


def test_of_what_watches_only_the_reach_of_outcomes_knows_the_solver():
    watching = [file for file in FILES if wing(file) == "watch"]
    knowing = [f for f in watching if any("lightning_invert.solver" in n for n in imports(f))]
    assert list(map(name_of, knowing)) == ["watch/findings/reach.py"]


def test_every_wing_has_its_arrows():
    assert {wing(file) for file in FILES} == {*ARROWS, "__init__"}


def test_what_needs_no_lightning_imports_none():
    for file in FILES:
        if wing(file) in WITHOUT_LIGHTNING:
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

    TopologicalSorter(graph(lazy=False, types=False)).prepare()
    TopologicalSorter(graph()).prepare()


def too_large(file):
    """Yield what is larger than it may be: a file, a function's body, its arguments."""
    lines = len(file.read_text(encoding="utf-8").splitlines())
    if lines > MAX_FILE:
        yield name_of(file), f"{lines} lines"
    for function in ast.walk(parsed(file)) if file.is_relative_to(ROOT) else ():
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = f"{name_of(file)}:{function.name}"
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        if lines > MAX_BODY:
            yield name, f"{lines} lines"
        arguments = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}
        number = len(arguments - {"self", "cls"})
        if number > MAX_ARGUMENTS.get(name, MAX_ARGUMENTS["elsewhere"]):
            yield name, f"{number} arguments"


def test_files_bodies_and_signatures_are_of_a_reading_size():
    found = {name: size for f in (*FILES, *TESTS.rglob("*.py")) for name, size in too_large(f)}
    assert not found


def test_no_file_reads_private_names_of_another():
    private = {f"{name_of(file)}: {name}" for file in FILES for name in imports(file)
               if name.startswith("lightning_invert.") and re.search(r"\._[a-z]", name)}  # fmt: skip
    assert not private


def test_no_test_imports_a_test():
    importing = re.compile(r"(from|import) tests[\w.]*\.test_\w+|from tests[\w.]* import test_")
    found = {name_of(f) for f in TESTS.rglob("*.py") if importing.search(f.read_text("utf-8"))}
    assert not found
