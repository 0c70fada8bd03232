"""Show observations: scalars, histograms, figures, a table of the worst points, a summary."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lightning_invert.arguments import check_choice, expected_but_got
from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.report.files import file_name, replace_file
from lightning_invert.report.loggers import KINDS, Guard, count, galleries, logger_step
from lightning_invert.report.tags import charts, chosen_scalars, tag_of, worst_of_maps
from lightning_invert.report.words import report_table
from lightning_invert.report.worst_points import to_csv, worst_table
from lightning_invert.watch.numerals import counted
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations
from lightning_invert.watch.quantities import capped_log10, to_numpy
from lightning_invert.watch.voice import Voice

__all__ = ["Display"]

DRAWING_SHARE = 0.01
"""Share of the time of fit that ``figures="auto"`` may spend on drawing before its end."""

FIRST_DRAWING_SECONDS = 1.0
"""Assumed cost of a map's figures until they have been timed once."""

SECONDS_IN_HASTE = 1.0
"""After which no further map is drawn where an exception ends the run."""

WORST_POINTS = 20
"""Rows of the table of the worst points."""

FOLDER = "invertibility"

FIGURES = ("evolution", "fragile_zones")
"""What ``figures="auto"`` draws of a map: whether it gets worse, and where."""


class Display:
    """Show observations through a trainer's loggers and on disk, as its callback is asked to."""

    def __init__(
        self,
        *,
        figures: Literal["auto", "all"] | bool,
        save_figures: bool | str | Path,
        scalars: Literal["essential", "all"],
        on_error: Literal["warn", "raise"],
        voice: Voice,
    ) -> None:
        if not isinstance(save_figures, bool | str | Path) or save_figures == "":
            raise TypeError(
                expected_but_got("save_figures", "True, False or a folder", save_figures)
            )
        self.figures = check_choice("figures", figures, ("auto", "all", True, False))
        self.save_figures = save_figures
        self.scalars = check_choice("scalars", scalars, ("essential", "all"))
        self._guard = Guard(voice, on_error)
        self._start(None, None)

    def _start(self, pictures: Path | None, tables: Path | None) -> None:
        """Set the folders of a run, and clear what the run before left."""
        self._pictures, self._tables = pictures, tables
        self._observations = self._drawn = Observations()
        self._prefix, self._step, self._when = "", 0, ""
        # What `trainer.validate` and `trainer.test` return and print, and what comes into it.
        self._returned: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._has_layout = self._has_tables = self._has_summary = False
        self._began = time.monotonic()
        self._seconds_drawing = self._seconds_of_last = 0.0

    def begin(self, trainer: Trainer) -> None:
        """Begin a run: find out where files go, and say once what the loggers cannot show.

        Every process has to ask for the folder of the logs.
        """
        log_folder = self._log_folder(trainer)
        self._guard.forget()
        pictures = None
        if self.save_figures is True:
            pictures = (log_folder or Path(trainer.default_root_dir)) / FOLDER
        elif self.save_figures:
            pictures = Path(self.save_figures)
        self._start(pictures, pictures or (log_folder / FOLDER if log_folder else None))
        for gallery in galleries(trainer, self._guard) if self.figures is not False else ():
            missing = " or ".join(
                KINDS[kind] for kind in ("histogram", "image") if not gallery.can(kind)
            )
            if missing and gallery.name != "DummyLogger":
                message = f"{gallery.name} gets the scalars, but cannot show {missing}."
                self._guard.voice.info(message, once=message)

    @rank_zero_only
    def declare(self, trainer: Trainer, module: LightningModule) -> None:
        """Declare the hyperparameters by which loggers compare runs, before Lightning does."""
        for gallery in galleries(trainer, self._guard):
            gallery.show("declare", trainer, module)

    @rank_zero_only
    def start(self, trainer: Trainer) -> None:
        """Leave the loggers as they were before :meth:`declare`, once Lightning has declared."""
        for gallery in galleries(trainer, self._guard):
            gallery.start()

    def log(self, trainer: Trainer, scalars: Mapping[str, float], prefix: str) -> None:
        """Give the trainer the scalars, and the loggers those that are chosen for them, outside fit all.

        Not by `log_dict`, which takes 0.3 ms for each scalar and lets a logger that refuses one end the
        run: as Lightning's own LearningRateMonitor does it.
        """
        is_fitting = trainer.state.fn == "fit"
        chosen = chosen_scalars(scalars, self.scalars if is_fitting else "all")
        values = torch.tensor([*scalars.values()], dtype=torch.float64, device="cpu")
        tensors = dict(zip(scalars, values, strict=True))
        trainer.callback_metrics.update(tensors)
        trainer.logged_metrics.update({tag: tensors[tag] for tag in chosen})
        if not is_fitting:
            loop = trainer.test_loop if trainer.testing else trainer.validate_loop
            self._returned = [
                (outputs, tensors) for outputs in getattr(loop, "_logged_outputs", ())
            ]
        shown = {**worst_of_maps(chosen, prefix), **chosen, "epoch": trainer.current_epoch}
        for gallery in galleries(trainer, self._guard):
            gallery.scalars(shown, logger_step(trainer))

    def show(
        self,
        trainer: Trainer,
        observations: Observations,
        *,
        prefix: str,
    ) -> None:
        """Write the histograms of a look, and draw it if it is time to."""
        is_fitting = trainer.state.fn == "fit"
        self._observations = observations.finite()
        self._has_tables = self._has_summary = False
        self._prefix, self._step = prefix, logger_step(trainer)
        self._when = f"epoch {trainer.current_epoch}, step {self._step}" if is_fitting else ""
        with self._guard("could not count its histograms"):
            self._write_histograms(trainer)
        # Outside fit a curve is a point; and the charts of the fit before would be gone.
        if is_fitting and not self._has_layout and trainer.is_global_zero:
            self._has_layout = True
            for gallery in galleries(trainer, self._guard):
                gallery.show("layout", charts(self._observations, prefix))
        if self.figures is True or (
            self.figures and (not is_fitting or self._may_draw(len(observations)))
        ):
            self._draw(trainer)

    def finish(self, trainer: Trainer, *, in_haste: bool = False) -> None:
        """Write the table of the last look and draw it, unless that is done; loggers are still open."""
        while self._returned:
            outputs, tensors = self._returned.pop()
            outputs.update(tensors)
        self._write_tables(trainer)
        if self.figures is not False and self._drawn is not self._observations:
            self._draw(trainer, in_haste=in_haste)

    @rank_zero_only
    def sum_up(self, later: int = 0) -> None:
        """Log the summary of the last look, once; ``later`` validations came after it."""
        if not self._observations or self._has_summary:
            return
        self._has_summary = True
        with self._guard("could not sum up"):
            rank_zero_info(report_table(self._observations))
        if self._when:
            after = f"; {counted(later, 'later validation')} not watched" if later else ""
            rank_zero_info(f"The last look: {self._when}{after}.")
        if self._pictures is not None and self._drawn:
            rank_zero_info(f"Figures: {self._pictures}")

    def _may_draw(self, maps: int) -> bool:
        """Tell whether this drawing and the one at the end keep to their share of the time."""
        each = self._seconds_of_last if self._drawn else FIRST_DRAWING_SECONDS * maps
        elapsed = time.monotonic() - self._began
        return self._seconds_drawing + 2 * each <= DRAWING_SHARE * elapsed

    def _log_folder(self, trainer: Trainer) -> Path | None:
        """Return the folder of the first logger, if other files may lie there: TensorBoard's or CSV's."""
        folder = trainer.log_dir
        kinds = {cls.__name__ for logger in trainer.loggers[:1] for cls in type(logger).__mro__}
        return Path(folder) if folder and kinds & {"TensorBoardLogger", "CSVLogger"} else None

    @rank_zero_only
    def _write_histograms(self, trainer: Trainer) -> None:
        shown = [gallery for gallery in galleries(trainer, self._guard) if gallery.can("histogram")]
        for observation in self._observations if shown else ():
            if len(observation.rank) == 0:
                continue
            sigma = count(observation.singular_values.flatten())
            kinds = {"sigma_max": sigma}
            if observation.formed:
                log10_cond = capped_log10(to_numpy(observation.condition))
                k = observation.full_rank
                kinds = {
                    "log10_cond": count(log10_cond, 0.0, MAX_LOG10_COND),
                    "sigma": sigma,
                    "rank": count(observation.rank, -0.5, k + 0.5, bins=k + 1),
                }
            for name, counts in kinds.items():
                tag = tag_of(observation, name, f"{self._prefix}_histograms")
                for gallery in shown:
                    gallery.show("histogram", tag, counts, self._step)

    @rank_zero_only
    def _draw(self, trainer: Trainer, in_haste: bool = False) -> None:
        began = time.monotonic()
        left_out = []
        names = FIGURES if self.figures == "auto" else None
        shown = [gallery for gallery in galleries(trainer, self._guard) if gallery.can("image")]
        for number, observation in enumerate(self._observations if shown or self._pictures else ()):
            # As long as the maps before have taken: the first is drawn in any case.
            elapsed = time.monotonic() - began
            if in_haste and number and elapsed * (number + 1) / number > SECONDS_IN_HASTE:
                left_out.append(observation.label)
                continue
            with self._guard("could not draw its figures"):
                from lightning_invert.report.figures import map_figures, to_image, to_png

                looks = self._observations.history.get(observation.label, ())
                title = f"{observation.label}, step {self._step}"
                options: Any = {"history": looks, "title": title, "names": names}
                for name, figure in map_figures(observation, **options).items():
                    # Once for a width: that is most of what drawing costs.
                    widths = {g.width for g in shown} | ({None} if self._pictures else set())
                    images = {width: to_image(figure, width) for width in widths}
                    tag = tag_of(observation, name, f"{self._prefix}_figures")
                    for gallery in shown:
                        gallery.show("image", tag, images[gallery.width], self._step)
                    if self._pictures is not None:
                        with self._guard("could not save its figures"):
                            self._save(
                                self._pictures, observation, f"{name}.png", to_png(images[None])
                            )
        self._seconds_of_last = time.monotonic() - began
        self._seconds_drawing += self._seconds_of_last
        self._drawn = self._observations
        if left_out:
            of_maps = ", ".join(map(repr, left_out))
            self._guard.voice.info(f"the figures of {of_maps} were left out, to end in time.")

    @rank_zero_only
    def _write_tables(self, trainer: Trainer) -> None:
        observations = () if self._has_tables else self._observations
        self._has_tables = True
        for observation in observations:
            with self._guard("could not tabulate the worst points"):
                table = worst_table(observation, rows=WORST_POINTS)
                if self._tables is not None:
                    with self._guard("could not write the worst points"):
                        self._save(self._tables, observation, "worst_points.csv", to_csv(table))
                tag = tag_of(observation, "worst_points", self._prefix)
                for gallery in galleries(trainer, self._guard):
                    gallery.show("table", tag, table, self._step)

    def _save(self, folder: Path, observation: Observation, name: str, data: str | bytes) -> None:
        test = "test_" if self._prefix.startswith("test/") else ""
        replace_file(folder / f"{test}{file_name(observation.label)}_{name}", data)
