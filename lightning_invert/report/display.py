"""What people see of the looks at maps: histograms, figures, a table of the worst points, a summary."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.report.loggers import Gallery, count, galleries, logger_step, notice
from lightning_invert.report.tags import tag_of
from lightning_invert.report.words import report_table
from lightning_invert.report.worst_points import to_csv, worst_table

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
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
    """

    def __init__(
        self,
        *,
        histograms: bool,
        figures: Literal["auto"] | bool,
        save_figures: bool | str | Path,
        worst_points: int,
        verbose: bool,
    ) -> None:
        self.histograms = histograms
        self.figures = figures
        self.save_figures = save_figures
        self.worst_points = worst_points
        self.verbose = verbose
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
            self._write_histograms(trainer)
        if not self._arranged:
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
        shown = [gallery for gallery in galleries(trainer) if gallery.histograms]
        for one in self._seen if shown else ():
            if len(one.rank) == 0:
                continue
            log10_cond = one.condition.log10().clamp(max=MAX_LOG10_COND)
            kinds = {
                "log10_cond": count(log10_cond, 0.0, MAX_LOG10_COND),
                "sigma": count(one.singular_values.flatten()),
            }
            if one.complete:
                k = one.full_rank
                kinds["rank"] = count(one.rank, -0.5, k + 0.5, bins=k + 1)
            for name, counts in kinds.items():
                for gallery in shown:
                    gallery.histogram(f"{self._tag(one)}/{name}", counts, self._step)

    @rank_zero_only
    def _arrange(self, trainer: Trainer) -> None:
        charts = {}
        for one in self._seen:
            with_ends = {
                "share at full rank": [f"full_rank_fraction{end}" for end in ("", "_low", "_high")],
                "log10 κ": [f"log10_cond_{part}" for part in ("median", "p05", "p95")],
            }
            bands = ("stable", "moderate", "ill_conditioned", "singular")
            for title, scalars in with_ends.items():
                charts[f"{one.label}: {title}"] = (
                    "Margin",
                    [f"{self._tag(one)}/{s}" for s in scalars],
                )
            shares = [f"{self._tag(one)}/{band}_fraction" for band in bands]
            charts[f"{one.label}: bands of κ"] = ("Multiline", shares)
        for gallery in galleries(trainer):
            gallery.layout(charts)

    @rank_zero_only
    def _draw(self, trainer: Trainer, history: Mapping[str, list[Record]]) -> None:
        begun = time.monotonic()
        shown = [gallery for gallery in galleries(trainer) if gallery.images]
        if shown or self._pictures:
            from lightning_invert.report.figures import map_figures

            try:
                for one in self._seen:
                    figures = map_figures(
                        one,
                        history=history.get(one.label, ()),
                        title=f"{one.label}, step {self._step}",
                    )
                    for name, figure in figures.items():
                        self._publish(shown, figure, one, name)
            except Exception as error:  # noqa: BLE001  # a picture is not worth a training run
                rank_zero_warn(f"InvertibilityCallback could not draw its figures: {error!r}")
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
            path = self._file(self._pictures, one, f"{name}.png")
            path.write_bytes(to_png(figure))

    @rank_zero_only
    def _write_tables(self, trainer: Trainer) -> None:
        try:
            for one in self._seen if self.worst_points else ():
                self._write_table(trainer, one)
        except Exception as error:  # noqa: BLE001  # nor is a table
            rank_zero_warn(f"InvertibilityCallback could not write the worst points: {error!r}")

    def _write_table(self, trainer: Trainer, one: Observation) -> None:
        table = worst_table(one, rows=self.worst_points)
        if self._tables is not None:
            file = self._file(self._tables, one, "worst_points.csv")
            file.write_text(to_csv(table), encoding="utf-8")
        for gallery in galleries(trainer):
            gallery.table(f"{self._tag(one)}/worst_points", table, self._step)

    def _file(self, folder: Path, one: Observation, name: str) -> Path:
        test = "test_" if self._prefix.startswith("test/") else ""
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{test}{one.label}_{name}"

    def _tag(self, one: Observation) -> str:
        return tag_of(one, self._prefix)
