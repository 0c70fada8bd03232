"""Pages of the reference that are made of the code: the API, the commands, the scalars, the configs."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import lightning_invert
from lightning_invert.cli.main import LIGHTNING_COMMANDS, OWN_COMMANDS, main
from lightning_invert.watch.scalars import SCALARS, Scalar

CONFIGS = Path(lightning_invert.__file__).parent / "configs"

API = {
    "Watch": (
        "For those who watch a LightningModule, or a map that is trained already.",
        (
            "InvertibilityCallback ConditioningEarlyStopping InvertibilityMetric analyze Observation "
            "Thresholds"
        ),
    ),
    "Train": (
        (
            "For those who train a forward network and its inverse together. `propose`, `windows`, "
            "`backtest`, `observe` and `trade_off` of a pair are those of its [Proposer](api_invert.md)."
        ),
        (
            "ForwardInverseModule pair.settings.ForwardTraining pair.settings.AdamSettings SmoothMLP "
            "ResidualMLP LinearPlusNonlinear Ensemble Standardize AlphaSchedule ConstantAlpha "
            "LinearDecayAlpha consistency_loss ConditioningPenalty JacobianConsistency PredictionWriter"
        ),
    ),
    "Data": (
        "For those who bring rows of a table, or the points of a known process.",
        "datamodules.TabularDataModule datamodules.ProblemDataModule Variable Problem",
    ),
    "Invert": (
        "For those who look for settings that lead to a wanted outcome.",
        (
            "solve Solution solver.solution.Alternatives Proposer Evidence Proposal "
            "proposals.windows.Windows proposals.backtest.Backtest proposals.trade_off.TradeOff "
            "proposals.trials.Trials"
        ),
    ),
    "Numbers": (
        "For those who need Jacobians, ranks and condition numbers alone: no Lightning.",
        "batched_jacobian singular_values numerical_rank condition_number weakest_directions",
    ),
    "Deploy": ("For those who take a trained pair out of Python.", "export_onnx build_page"),
}
"""Title of a page -> whom it is for, and the public names on it. What is on none is on *Invert*."""

FINDINGS = {
    "spectrum": "Every map whose Jacobians are formed",
    "probes": "Maps whose Jacobians are too large to be formed",
    "accuracy": "Maps whose outcomes are known: a pair's `forward`, maps with `target`",
    "round_trip": "Round trips: a pair's `round_trip`, maps with `identity`",
    "truth": "Maps whose true map is known",
    "runs": "With other runs, given to `analyze`",
    "reach": "With `reachable_steps`",
}


def write_reference(folder: Path) -> None:
    """Write the pages into a folder; what is as it should be stays, so that a build can be repeated."""
    for name, text in pages():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Return the names and the texts of all pages."""
    yield from api()
    yield "made/commands.md", commands()
    yield "made/scalars.txt", scalars()
    yield "made/configs.md", configs()


def api() -> Iterator[tuple[str, str]]:
    """Return a page for each group of public names."""
    groups = {title: names.split() for title, (_, names) in API.items()}
    listed = {name for names in groups.values() for name in names}
    groups["Invert"] += [name for name in lightning_invert.__all__ if name not in listed]
    for title, names in groups.items():
        entries = []
        for name in names:
            kind = "autoclass" if name.rpartition(".")[2][0].isupper() else "autofunction"
            members = "\n   :members:" if kind == "autoclass" else ""
            entries.append(f"```{{eval-rst}}\n.. {kind}:: lightning_invert.{name}{members}\n```\n")
        whom, _ = API[title]
        yield f"made/api_{title.lower()}.md", f"# {title}\n\n{whom}\n\n" + "\n".join(entries)


def commands() -> str:
    """Return what each command answers to ``--help``."""
    names = ("", *LIGHTNING_COMMANDS, *OWN_COMMANDS)
    parts = ["# Commands\n\nFor those who work in a terminal: the help of each command.\n"]
    for name in names:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([*name.split(), "--help"])
        title = f"lightning-invert {name}".strip()
        parts.append(f"## {title}\n\n```text\n{text.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def scalars() -> str:
    """Return the table of all scalars, by who reports them."""
    parts = []
    for source, title in FINDINGS.items():
        rows = "\n".join(map(_row, (row for row in SCALARS.values() if row.of[0] == source)))
        head = "| scalar | at a point | what is logged | better |\n|---|---|---|---|"
        parts.append(f"## {title}\n\n{head}\n{rows}\n")
    return "\n".join(parts)


def _row(row: Scalar) -> str:
    star = "*" if row.essential else ""
    interval = "; with its 95 % interval `…_low`, `…_high`" if row.interval else ""
    formula = row.formula.replace("|", r"\|")
    return f"| `{row.name}`{star} | {formula} | {row.doc}{interval} | {row.better} |"


def configs() -> str:
    """Return the packaged configs."""
    parts = []
    for file in sorted(CONFIGS.glob("*.yaml")):
        parts.append(f"## {file.stem}\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n")
    head = (
        "# Configs\n\nFor those who begin with `--config NAME` and want to know what it sets.\n\n"
    )
    return head + "\n".join(parts)
