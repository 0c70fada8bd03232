"""What people see of the looks at maps: histograms, figures, a table of the worst points, a summary."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning.pytorch.utilities import rank_zero_only

from lightning_invert.arguments import check_choice, check_flag, check_integer, wrong
from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.report.files import file_name, replace_file
from lightning_invert.report.loggers import (
    Gallery,
    Guard,
    count,
    declare_metrics,
    galleries,
    logger_step,
    notice,
)
from lightning_invert.report.tags import charts, chosen_scalars, tag_of
from lightning_invert.report.words import report_table
from lightning_invert.report.worst_points import to_csv, worst_table

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from matplotlib.figure import Figure

    from lightning_invert.watch.history import Record
    from lightning_invert.watch.observation import Observation

__all__ = ["Display"]

DRAWING_SHARE = 0.01
"""What ``figures="auto"`` may spend on drawing before the end of fit, as a share of its time."""

FIRST_DRAWING_SECONDS = 1.0
"""What a map's figures are assumed to cost until they have been timed once."""

FOLDER = "invertibility"


class Display:
    """Show observations through a trainer's loggers and on disk.

    Args:
        histograms: Whether to write histograms.
        figures: ``True``, ``"auto"`` or ``False``: see
            :class:`~lightning_invert.callbacks.InvertibilityCallback`, as for the others.
        save_figures: ``True`` for the folder beside the logs, or a folder.
        worst_points: Rows of the table of the worst points.
        verbose: Whether to print the summary.
        scalars: Which scalars loggers get: ``"essential"`` or ``"all"``.
        on_error: What is done where a logger, a disk or a figure fails: ``"warn"``: it is said once
            and training goes on; ``"raise"``: it ends.
    """

    def __init__(
        self,
        *,
        histograms: bool,
        figures: Literal["auto"] | bool,
        save_figures: bool | str | Path,
        worst_points: int,
        verbose: bool,
        scalars: Literal["essential", "all"] = "essential",
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.histograms = check_flag("histograms", histograms)
        self.figures = check_choice("figures", figures, ("auto", True, False))
        self.save_figures = save_figures
        if not isinstance(save_figures, bool | str | Path) or save_figures == "":
            raise TypeError(wrong("save_figures", "True, False or a folder", save_figures))
        self.worst_points = check_integer("worst_points", worst_points, low=0)
        self.verbose = check_flag("verbose", verbose)
        self.scalars = check_choice("scalars", scalars, ("essential", "all"))
        self.seconds_drawing = 0.0
        """What drawing has cost since ``begin``."""
        self.seconds_of_last = 0.0
        """What the latest drawing cost."""
        self._seen: Sequence[Observation] = ()
        self._drawn: Sequence[Observation] = ()
        self._prefix, self._step = "", 0
        self._pictures: Path | None = None
        self._tables: Path | None = None
        self._started = time.monotonic()
        self._arranged = self._noticed = False
        self._guard = Guard(on_error)

    def begin(self, trainer: Trainer) -> None:
        """Find out where files go; every process has to ask."""
        self._started, self.seconds_drawing = time.monotonic(), 0.0
        self._seen, self._drawn, self._arranged = (), (), False
        beside = self._beside(trainer)
        self._pictures = None
        if self.save_figures:
            given = None if self.save_figures is True else Path(self.save_figures)
            self._pictures = given or (beside or Path(trainer.default_root_dir)) / FOLDER
        self._tables = self._pictures or (beside / FOLDER if beside else None)
        if not self._noticed:
            notice(trainer, histograms=self.histograms, images=self.figures is not False)
        self._noticed = True

    def declare(self, trainer: Trainer, module: LightningModule, maps: Sequence[str]) -> None:
        """Let loggers compare runs by how their maps end."""
        declare_metrics(trainer, module, maps, self._guard)

    def log(self, trainer: Trainer, scalars: Mapping[str, float]) -> dict[str, float]:
        """Give the loggers those of the scalars that they are to have, and return these."""
        chosen = chosen_scalars(scalars, self.scalars)
        for gallery in galleries(trainer, self._guard):
            gallery.scalars({**chosen, "epoch": trainer.current_epoch}, logger_step(trainer))
        return chosen

    def show(
        self,
        trainer: Trainer,
        seen: Sequence[Observation],
        history: Mapping[str, list[Record]],
        *,
        prefix: str,
        draw: bool,
    ) -> None:
        """Show what was seen: at once what is cheap, and pictures if they are wanted now."""
        self._seen = [one.finite() for one in seen]
        self._prefix, self._step = prefix, logger_step(trainer)
        if self.histograms:
            with self._guard("could not count its histograms"):
                self._write_histograms(trainer)
        # Outside fit a curve is a point; and the charts of the fit before would be gone.
        if not self._arranged and trainer.state.fn == "fit":
            self._arranged = True
            self._arrange(trainer)
        if draw:
            self._draw(trainer, history)

    def may_draw(self, maps: int, max_overhead: float | None = None) -> bool:
        """Tell whether a drawing, and one more at the end, keep to their share of the time."""
        share = min(DRAWING_SHARE, max_overhead or 1.0)
        elapsed = time.monotonic() - self._started
        per_drawing = self.seconds_of_last if self._drawn else FIRST_DRAWING_SECONDS * maps
        # The last look is drawn in any case.
        return self.seconds_drawing + 2 * per_drawing <= share * elapsed

    def finish(self, trainer: Trainer, history: Mapping[str, list[Record]]) -> None:
        """Draw the last look and write its table, while the loggers are still open."""
        if self.figures is not False and self._drawn is not self._seen:
            self._draw(trainer, history)
        self._write_tables(trainer)

    @rank_zero_only
    def sum_up(self) -> None:
        """Print the summary of the last look."""
        if self.verbose and self._seen:
            with self._guard("could not print its summary"):  # κ, on a terminal of 1990
                print(report_table(self._seen))
                if self._pictures is not None and self._drawn:
                    print(f"Figures: {self._pictures}")

    def _beside(self, trainer: Trainer) -> Path | None:
        """Return the folder of the logs, if the first logger has one that is open to others."""
        folder = trainer.log_dir
        kinds = {cls.__name__ for one in trainer.loggers[:1] for cls in type(one).__mro__}
        own = folder is not None and kinds & {"TensorBoardLogger", "CSVLogger"}
        return Path(folder) if own and folder is not None else None

    @rank_zero_only
    def _write_histograms(self, trainer: Trainer) -> None:
        shown = [gallery for gallery in galleries(trainer, self._guard) if gallery.histograms]
        for one in self._seen if shown else ():
            if len(one.rank) == 0:
                continue
            if one.formed:
                log10_cond = one.condition.log10().clamp(max=MAX_LOG10_COND)
                k = one.full_rank
                kinds = {
                    "log10_cond": count(log10_cond, 0.0, MAX_LOG10_COND),
                    "sigma": count(one.singular_values.flatten()),
                    "rank": count(one.rank, -0.5, k + 0.5, bins=k + 1),
                }
            else:
                kinds = {"sigma_max": count(one.singular_values.flatten())}
            for name, counts in kinds.items():
                for gallery in shown:
                    gallery.histogram(f"{self._tag(one)}/{name}", counts, self._step)

    @rank_zero_only
    def _arrange(self, trainer: Trainer) -> None:
        for gallery in galleries(trainer, self._guard):
            gallery.layout(charts(self._seen, self._prefix))

    @rank_zero_only
    def _draw(self, trainer: Trainer, history: Mapping[str, list[Record]]) -> None:
        begun = time.monotonic()
        shown = [gallery for gallery in galleries(trainer, self._guard) if gallery.images]
        for one in self._seen if shown or self._pictures else ():
            with self._guard("could not draw its figures"):
                from lightning_invert.report.figures import map_figures

                figures = map_figures(
                    one,
                    history=history.get(one.label, ()),
                    title=f"{one.label}, step {self._step}",
                )
                for name, figure in figures.items():
                    self._publish(shown, figure, one, name)
        self.seconds_of_last = time.monotonic() - begun
        self.seconds_drawing += self.seconds_of_last
        self._drawn = self._seen

    def _publish(
        self, shown: Sequence[Gallery], figure: Figure, one: Observation, name: str
    ) -> None:
        from lightning_invert.report.figures import to_image, to_png

        for gallery in shown:
            gallery.image(f"{self._tag(one)}/{name}", to_image(figure), self._step)
        if self._pictures is not None:
            with self._guard("could not save its figures"):
                replace_file(self._file(self._pictures, one, f"{name}.png"), to_png(figure))

    @rank_zero_only
    def _write_tables(self, trainer: Trainer) -> None:
        for one in self._seen if self.worst_points else ():
            with self._guard("could not tabulate the worst points"):
                table = worst_table(one, rows=self.worst_points)
                for gallery in galleries(trainer, self._guard):
                    gallery.table(f"{self._tag(one)}/worst_points", table, self._step)
                if self._tables is not None:
                    with self._guard("could not write the worst points"):
                        file = self._file(self._tables, one, "worst_points.csv")
                        replace_file(file, to_csv(table))

    def _file(self, folder: Path, one: Observation, name: str) -> Path:
        test = "test_" if self._prefix.startswith("test/") else ""
        return folder / f"{test}{file_name(one.label)}_{name}"

    def _tag(self, one: Observation) -> str:
        return tag_of(one, self._prefix)
