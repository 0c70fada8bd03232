"""The ``lightning-invert`` command: fit, validate, test, predict and analyze."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningCLI

import lightning_invert.datamodules  # noqa: F401  # so that --data knows them by their short names
from lightning_invert.callbacks import PredictionWriter
from lightning_invert.cli import analyze as analyze_command
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["InvertCLI", "main"]

DESCRIPTION = """\
Train a forward surrogate and its inverse together, and watch where they can be inverted.

  lightning-invert fit      --config configs/blast_furnace.yaml
  lightning-invert test     --config configs/blast_furnace.yaml --ckpt_path <checkpoint>
  lightning-invert predict  --config configs/blast_furnace.yaml --ckpt_path <checkpoint>

And measure where any trained map can be inverted:

  lightning-invert analyze  --ckpt <checkpoint> --data measurements.csv
  lightning-invert analyze  --help
"""


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
            parser_kwargs={
                "description": DESCRIPTION,
                "formatter_class": analyze_command.AsWritten,
            },
            args=args,
            **kwargs,
        )

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Add a writer of predictions and a calm progress bar, where the config names none."""
        config = self._get(self.config_init, "trainer")
        callbacks = config.get("callbacks") or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        kinds = {kind for callback in callbacks for kind in type(callback).__mro__}
        if self.subcommand == "predict" and PredictionWriter not in kinds:
            callbacks.append(PredictionWriter())
        if config.get("enable_progress_bar") is not False and ProgressBar not in kinds:
            # Drawn anew for each of these short steps, the bar takes longer than the training.
            callbacks.append(TQDMProgressBar(refresh_rate=50))
        return super().instantiate_trainer(**{**kwargs, "callbacks": callbacks})

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


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: The arguments; by default those of the process.
    """
    given = sys.argv[1:] if args is None else args
    if isinstance(given, list) and given[:1] == ["analyze"]:
        analyze_command.main(given[1:])
    else:
        InvertCLI(args)


if __name__ == "__main__":
    main()
