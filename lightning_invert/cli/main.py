"""The command ``lightning-invert``: it loads torch and Lightning only for a command that runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from lightning_invert import __version__
from lightning_invert.arguments import suggest

__all__ = ["main"]

DESCRIPTION = """\
Train a forward surrogate and its inverse together, and watch where they can be inverted.

  fit       train a pair
  validate  judge a trained pair on the validation data
  test      judge a trained pair on the test data
  predict   write a table of its predictions
  analyze   measure where a trained map can be inverted, at all points of a file
  solve     propose settings for target outcomes
  export    write a trained pair to ONNX or to a page for a browser

  lightning-invert fit      --config blast_furnace
  lightning-invert fit      --data TabularDataModule --data.file measurements.csv ...
  lightning-invert test     --config blast_furnace --ckpt_path pair.ckpt
  lightning-invert predict  --config blast_furnace --ckpt_path pair.ckpt
  lightning-invert analyze  --ckpt pair.ckpt --data measurements.csv
  lightning-invert solve    --ckpt pair.ckpt --targets targets.csv
  lightning-invert export   --ckpt pair.ckpt --to onnx

--config takes a file, or the name of a config in the package.
In fit, validate and test an InvertibilityCallback watches, whether or not you name callbacks.

  lightning-invert COMMAND --help   options of a command
  lightning-invert --version        version
"""

LIGHTNING_COMMANDS = ("fit", "validate", "test", "predict")
OWN_COMMANDS = ("analyze", "solve", "export")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, by default with those of the process."""
    words = list(sys.argv[1:] if args is None else args)
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "--version"):
        print(DESCRIPTION if command != "--version" else f"lightning-invert {__version__}")
        raise SystemExit(0 if words else 2)
    if command in OWN_COMMANDS:
        importlib.import_module(f"lightning_invert.cli.{command}").main(words[1:])
        return
    names = (*LIGHTNING_COMMANDS, *OWN_COMMANDS)
    if not command.startswith("-") and command not in names:
        hint = suggest(command, names)
        raise SystemExit(
            f"lightning-invert: expected a command, one of {', '.join(names)}, but got "
            f"{command!r}.{hint}"
        )
    from lightning_invert.cli.errors import exit_on_bad_input
    from lightning_invert.cli.fit import InvertCLI

    with exit_on_bad_input(next((word for word in words if word in names), "")):
        InvertCLI(None if args is None else words)


if __name__ == "__main__":
    main()
