"""The commands ``fit``, ``validate``, ``test`` and ``predict``: LightningCLI for a pair."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import lightning_invert.datamodules  # noqa: F401  # so that --data knows their short names
from lightning_invert.callbacks import InvertibilityCallback, PredictionWriter
from lightning_invert.cli.checkpoint import run_of
from lightning_invert.cli.errors import exit_on_bad_input
from lightning_invert.cli.next_steps import export_step, print_next, solve_step
from lightning_invert.cli.options import ALLOW, AsWritten, Names, OneLineErrors, listed
from lightning_invert.cli.words import ASK_FOR_CKPT, short_options, words_of_parser
from lightning_invert.pair.checkpoint import read_checkpoint
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["InvertCLI"]

FIT = """\
Train a pair on a table. An InvertibilityCallback watches it, whatever callbacks you name.
"""

RECORD = {"events", "config", "hparams"}
"""What a logger and the settings write before a run begins."""


class FitParser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, whose errors are one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the line; without any data it asks for a table."""
        if re.search(r"required: (\w+\.)?data$|LightningDataModule'?:\s+Option", message):
            message = (
                "Expected a table, as in lightning-invert fit measurements.csv --inputs a,b "
                "--outputs c, or --config and a YAML file"
            )
        super().error(message, ex)

    def option_names(self) -> list[str]:
        """Return what a misspelt option may be near to, without its group, too."""
        return [*super().option_names(), "--version", *(f"--{name}" for name in short_options())]


class InvertCLI(LightningCLI):
    """LightningCLI for a ForwardInverseModule on any data module."""

    def __init__(self, args: ArgsType = None, **kwargs: Any) -> None:
        super().__init__(
            ForwardInverseModule,
            LightningDataModule,
            subclass_mode_data=True,
            seed_everything_default=42,
            # A second run into the same folder replaces the record of the first's settings.
            save_config_kwargs={"overwrite": True},
            # A checkpoint does not decide how it is made: its classes are packed and checked.
            load_from_checkpoint_support=False,
            parser_kwargs={
                "prog": "lightning-invert",
                "formatter_class": AsWritten,
                "fit": {"description": FIT},
            },
            parser_class=FitParser,
            args=args,
            **kwargs,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the words as people write them."""
        words = sys.argv[1:] if args is None else args
        if isinstance(words, list):
            # Lightning's own method warns of them beside the arguments of the process.
            self.config = parser.parse_args(words_of_parser(words))
        else:
            super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--allow``."""
        parser.add_argument("--allow", type=Names | None, default=None, help=ALLOW)
        parser.link_arguments("allow", "model.allow", compute_fn=listed)

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint, but take no setting from it.

        Lightning's own method imports what the file's hyperparameters name, and prefers them to
        the user's settings.
        """
        settings = self.config[self.config.subcommand]
        path = settings.get("ckpt_path")
        if path and path not in ("best", "last", "hpc") and not path.startswith("registry"):
            read_checkpoint(path)
        if "weights_only" in settings:
            settings.weights_only = True  # at a URL, Lightning would run what it holds

    def before_instantiate_classes(self) -> None:
        """Let ``validate`` and ``test`` log to the run of the checkpoint, and ``predict`` write there.

        A checkpoint that lies elsewhere has no run, and none is made.
        """
        if self.subcommand == "fit":
            return
        settings = self.config[self.subcommand]
        if "verbose" in settings:
            settings.verbose = False  # of some 80 rows; those that matter are printed below
        run = run_of(settings.get("ckpt_path"))
        settings.trainer.default_root_dir = str(run or Path())
        self.save_config_callback = None  # the run's own stays
        logger = settings.trainer.logger
        has_folder = getattr(logger, "class_path", "").endswith(
            (".TensorBoardLogger", ".CSVLogger")
        )
        if self.subcommand == "predict" or logger in (None, True) or (has_folder and run is None):
            settings.trainer.logger = False
        elif has_folder and run is not None:
            run = run if len(run.parts) > 1 else run.absolute()
            arguments = logger.init_args
            arguments.save_dir, arguments.name = str(run.parents[1]), run.parent.name
            arguments.version = run.name

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add the callback that watches or writes and a calm progress bar, if none is named."""
        config = self._get(self.config_init, "trainer")
        callbacks = config.get("callbacks") or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        kinds = {kind for callback in callbacks for kind in type(callback).__mro__}
        if self.subcommand == "predict":
            if PredictionWriter not in kinds:
                callbacks.append(PredictionWriter())
        elif InvertibilityCallback not in kinds:
            # First, so that callbacks which act on an observation find it.
            callbacks.insert(0, InvertibilityCallback())
        if config.get("enable_progress_bar") is not False and ProgressBar not in kinds:
            # A bar that is drawn anew for each short step takes longer than the training.
            callbacks.append(TQDMProgressBar(refresh_rate=50))
        return super().instantiate_trainer(**{**kwargs, "callbacks": callbacks})

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command; name the checkpoint in an error that comes from it."""
        ckpt = self.config[subcommand].get("ckpt_path")
        if subcommand != "fit" and not ckpt:
            raise SystemExit(f"lightning-invert {subcommand}: {ASK_FOR_CKPT}")
        with _no_record_of_a_failed_start(self.trainer), exit_on_bad_input(subcommand, ckpt):
            super()._run_subcommand(subcommand)
        if self.trainer.is_global_zero and subcommand != "fit":
            self._print_accuracy("val" if subcommand == "validate" else subcommand)
            print_next(solve_step(ckpt, self.model))

    def after_fit(self) -> None:
        """Print where the run is, and what to do next."""
        trainer = self.trainer
        folder = trainer.log_dir  # all processes have to ask
        if not trainer.is_global_zero:
            return
        if trainer.loggers and folder:
            print(f"Charts:     tensorboard --logdir {shlex.quote(folder)} (open CUSTOM SCALARS)")
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best:
            print(f"Checkpoint: {best}")
            print_next(solve_step(best, self.model), export_step(best))

    def _print_accuracy(self, stage: str) -> None:
        """Print R² and the mean absolute error of each outcome."""
        found = self.trainer.callback_metrics
        rows = [("outcome", "R²", "mean absolute error")]
        for variable in self.model.outputs or ():
            if (r2 := found.get(f"{stage}/r2/{variable.name}")) is not None:
                error = f"{found[f'{stage}/mae/{variable.name}']:.6g} {variable.unit}"
                rows.append((variable.name, f"{r2:.6g}", error))
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows if len(rows) > 1 else ():
            print("  ".join(cell.ljust(n) for cell, n in zip(row, wide, strict=True)).rstrip())


@contextmanager
def _no_record_of_a_failed_start(trainer: Trainer) -> Iterator[None]:
    """Remove what a run that fails before its first step leaves, if that is only settings."""
    folder = Path(getattr(trainer.logger, "log_dir", None) or "")
    has_record = trainer.is_global_zero and folder != Path()
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    before = {*folder.rglob("*")} if has_record else set()
    try:
        yield
    except SystemExit:
        new = {*folder.rglob("*")} - before if has_record else set()
        files = [path for path in new if path.is_file()]
        if trainer.global_step == 0 and {path.name.partition(".")[0] for path in files} <= RECORD:
            for path in files:
                path.unlink()
            with suppress(OSError):  # of folders that hold more by now
                for part in [*sorted(new - {*files}, reverse=True), *made]:
                    part.rmdir()
        raise
