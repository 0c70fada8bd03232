"""The commands ``fit``, ``validate``, ``test`` and ``predict``: LightningCLI for a pair."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import lightning_invert.datamodules  # noqa: F401  # so that --data knows their short names
from lightning_invert.callbacks import InvertibilityCallback, PredictionWriter
from lightning_invert.cli.errors import exit_on_bad_input
from lightning_invert.cli.options import ALLOW, AsWritten, Names, OneLineErrors, listed, split_names
from lightning_invert.pair.checkpoint import read_checkpoint
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["InvertCLI"]

FIT = """\
Train the pair on --data. An InvertibilityCallback watches, whether or not you name callbacks.
"""

RECORD = {"events", "config", "hparams"}
"""What a logger and the settings write before a run begins."""

CONFIGS = Path(__file__).parents[1] / "configs"


class FitParser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, whose errors are one line."""


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
        """Let ``--config`` take the name of a packaged config, and columns be written as ``a,b``."""
        words = sys.argv[1:] if args is None else args
        if isinstance(words, list):
            # Lightning's own method warns of them beside the arguments of the process.
            self.config = parser.parse_args(_as_parser_reads(words))
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
        """Log to the run of the checkpoint, where the logger has a folder, a name and a version."""
        settings = self.config[self.subcommand]
        checkpoints = Path(settings.get("ckpt_path") or "").parent
        if self.subcommand == "fit" or checkpoints.name != "checkpoints":
            return
        run = checkpoints.parent.absolute()
        place = {"save_dir": str(run.parents[1]), "name": run.parent.name, "version": run.name}
        arguments = getattr(settings.trainer.logger, "init_args", {})
        if all(name in arguments for name in place):
            for name, value in place.items():
                arguments[name] = value
            self.save_config_callback = None  # the run's own stays

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
            raise SystemExit(
                f"lightning-invert {subcommand}: expected --ckpt_path to name the checkpoint of a "
                "trained pair; without one the networks would be untrained."
            )
        with (
            _no_record_of_a_failed_start(self.trainer),
            exit_on_bad_input(subcommand, ckpt, prefix="data."),
        ):
            super()._run_subcommand(subcommand)

    def after_fit(self) -> None:
        """Print where logs and checkpoint are."""
        trainer = self.trainer
        folder = trainer.log_dir  # all processes have to ask
        if not trainer.is_global_zero:
            return
        if trainer.loggers:
            print(f"Logs:       tensorboard --logdir {folder}")
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best:
            print(f"Checkpoint: {best}")
            print(f"Next:       lightning-invert export --ckpt {shlex.quote(best)} --to page")


@contextmanager
def _no_record_of_a_failed_start(trainer: Trainer) -> Iterator[None]:
    """Remove the new folder of a run that fails before its first step and holds only settings."""
    folder = getattr(trainer.logger, "log_dir", None)
    parents = [] if folder is None else [Path(folder), *Path(folder).parents]
    made = [part for part in parents if not part.exists()] if trainer.is_global_zero else []
    try:
        yield
    except SystemExit:
        files = [path for path in made[0].rglob("*") if path.is_file()] if made else []
        if trainer.global_step == 0 and {path.name.partition(".")[0] for path in files} <= RECORD:
            with suppress(OSError):  # of folders that hold more by now
                for part in made:
                    shutil.rmtree(part) if part == made[0] else part.rmdir()
        raise


def _as_parser_reads(args: Sequence[str]) -> list[str]:
    """Replace ``--config NAME`` by the packaged file of that name, and ``a,b`` by a list of columns."""
    words: list[str] = []
    for word in args:
        option, equals, value = word.partition("=")
        if not equals:
            option, value = (words[-1] if words else ""), word
        if option in ("-c", "--config"):
            value = _config_file(value)
        elif option in ("--data.inputs", "--data.outputs") and value[:1] not in ("[", "-"):
            value = json.dumps(split_names(value))
        words.append(f"{option}={value}" if equals else value)
    return words


def _config_file(name: str) -> str:
    # The parser judges what looks like a path or like YAML.
    if not re.fullmatch(r"\w[\w-]*", name) or Path(name).is_file():
        return name
    packaged = {path.stem: str(path) for path in sorted(CONFIGS.glob("*.yaml"))}
    if name not in packaged:
        raise SystemExit(
            f"lightning-invert: expected --config to be a file or one of {', '.join(packaged)}, "
            f"but got {name!r}."
        )
    return packaged[name]
