"""The ``lightning-invert`` command: fit, validate, test, predict, analyze, solve and export."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import lightning_invert.datamodules  # noqa: F401  # so that --data knows them by their short names
from lightning_invert.callbacks import InvertibilityCallback, PredictionWriter
from lightning_invert.cli import analyze, export, solve
from lightning_invert.cli.errors import in_one_line
from lightning_invert.cli.options import ALLOW, AsWritten, listed
from lightning_invert.pair.checkpoint import read_checkpoint
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["InvertCLI", "main"]

DESCRIPTION = """\
Train a forward surrogate and its inverse together, and watch where they can be inverted.

  lightning-invert fit      --config blast_furnace
  lightning-invert test     --config blast_furnace --ckpt_path <checkpoint>
  lightning-invert predict  --config blast_furnace --ckpt_path <checkpoint>
  lightning-invert fit      --data TabularDataModule --data.file measurements.csv ...

--config takes a file or the name of a config that is in the package.
In fit, validate and test an InvertibilityCallback watches, whether callbacks are named or not.

And measure where any trained map can be inverted:

  lightning-invert analyze  --ckpt <checkpoint> --data measurements.csv
  lightning-invert analyze  --help

And propose settings for wanted outcomes:

  lightning-invert solve    --ckpt <checkpoint> --targets wanted.csv
  lightning-invert solve    --help

And take a trained pair elsewhere:

  lightning-invert export   --ckpt <checkpoint> --to onnx
"""

FIT = """\
Train the pair on --data. An InvertibilityCallback watches, whether callbacks are named or not.
"""

CONFIGS = Path(__file__).parents[1] / "configs"


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
            # A checkpoint says nothing of how it is to be made: its classes are packed and judged.
            load_from_checkpoint_support=False,
            parser_kwargs={
                "description": DESCRIPTION,
                "formatter_class": AsWritten,
                "fit": {"description": FIT},
            },
            args=args,
            **kwargs,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Let ``--config`` take the name of a packaged config."""
        if args is None:
            # Not handed on as `args`: beside those of the process Lightning warns of a mistake.
            self.config = parser.parse_args(_with_packaged_configs(sys.argv[1:]))
        else:
            given = _with_packaged_configs(args) if isinstance(args, list) else args
            super().parse_arguments(parser, given)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--allow``."""
        parser.add_argument("--allow", type=str | None, default=None, help=ALLOW)
        parser.link_arguments("allow", "model.allow", compute_fn=listed)

    def _parse_ckpt_path(self) -> None:
        """Look at the checkpoint, but take no setting from it.

        Lightning's own would import what the file's hyperparameters name, and put them in place of
        what the user says.
        """
        settings = self.config[self.config.subcommand]
        path = settings.get("ckpt_path")
        if path and path not in ("best", "last", "hpc") and not path.startswith("registry"):
            read_checkpoint(path)
        if "weights_only" in settings:
            settings.weights_only = True  # at a URL, Lightning would run what it holds

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add what watches or writes, and a calm progress bar, where the config names none."""
        config = self._get(self.config_init, "trainer")
        callbacks = config.get("callbacks") or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        kinds = {kind for callback in callbacks for kind in type(callback).__mro__}
        if self.subcommand == "predict":
            if PredictionWriter not in kinds:
                callbacks.append(PredictionWriter())
        elif InvertibilityCallback not in kinds:
            # The first, so that those which act on what is seen find it seen.
            callbacks.insert(0, InvertibilityCallback())
        if config.get("enable_progress_bar") is not False and ProgressBar not in kinds:
            # Drawn anew for each of these short steps, the bar takes longer than the training.
            callbacks.append(TQDMProgressBar(refresh_rate=50))
        return super().instantiate_trainer(**{**kwargs, "callbacks": callbacks})

    def _run_subcommand(self, subcommand: str) -> None:
        """Name the checkpoint where it is what is wrong."""
        with in_one_line(subcommand, self.config[subcommand].get("ckpt_path")):
            super()._run_subcommand(subcommand)

    def before_validate(self) -> None:
        """Refuse to judge networks that were never trained."""
        self._need_checkpoint()

    def before_test(self) -> None:
        """Refuse to judge networks that were never trained."""
        self._need_checkpoint()

    def before_predict(self) -> None:
        """Refuse to predict with networks that were never trained."""
        self._need_checkpoint()

    def after_fit(self) -> None:
        """Say where everything is."""
        trainer = self.trainer
        folder = trainer.log_dir  # all processes have to ask
        if not trainer.is_global_zero:
            return
        if trainer.loggers:
            print(f"Logs:       tensorboard --logdir {folder}")
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if best:
            print(f"Checkpoint: {best}")

    def _need_checkpoint(self) -> None:
        if not self.config[self.subcommand].get("ckpt_path"):
            raise SystemExit(
                f"lightning-invert {self.subcommand}: expected --ckpt_path to name the checkpoint "
                "of a trained pair; without one the networks would be untrained."
            )


def _with_packaged_configs(args: Sequence[str]) -> list[str]:
    """Put in place of ``--config NAME`` the file of that name that is in the package."""
    mapped = list(args)
    for i, word in enumerate(mapped):
        if word.startswith("--config="):
            mapped[i] = f"--config={_config(word.removeprefix('--config='))}"
        elif i and mapped[i - 1] in ("-c", "--config"):
            mapped[i] = _config(word)
    return mapped


def _config(given: str) -> str:
    # What looks like a path, or like YAML, is the parser's to judge.
    if not re.fullmatch(r"\w[\w-]*", given) or Path(given).is_file():
        return given
    packaged = {path.stem: str(path) for path in sorted(CONFIGS.glob("*.yaml"))}
    if given not in packaged:
        raise SystemExit(
            f"lightning-invert: expected --config to be a file or one of {', '.join(packaged)}, "
            f"but got {given!r}."
        )
    return packaged[given]


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: The arguments; by default those of the process.
    """
    given = sys.argv[1:] if args is None else args
    words = given if isinstance(given, list) else []
    if words[:1] == ["analyze"]:
        analyze.main(words[1:])
    elif words[:1] == ["solve"]:
        solve.main(words[1:])
    elif words[:1] == ["export"]:
        export.main(words[1:])
    else:
        with in_one_line(next((word for word in words if word in InvertCLI.subcommands()), "")):
            InvertCLI(args)


if __name__ == "__main__":
    main()
