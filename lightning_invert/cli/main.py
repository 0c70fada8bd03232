"""The command ``lightning-invert``: it loads torch and Lightning only for a command that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lightning_invert import __version__
from lightning_invert.arguments import suggest
from lightning_invert.cli.help import MODEL, OVERVIEW, RUN

__all__ = ["main"]

LIGHTNING_COMMANDS = {
    "fit": "Train a pair on a table.",
    "validate": "Measure a trained pair's errors on the validation rows of a table.",
    "test": "Measure a trained pair's errors on the test rows of a table.",
    "predict": "Write a trained pair's predictions for all rows of a table.",
}
OWN_COMMANDS = ("analyze", "solve", "backtest", "observe", "export")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with these arguments, by default with those of the process."""
    words = list(sys.argv[1:] if args is None else args)
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "help", "-V", "--version"):
        _show(f"lightning-invert {__version__}" if command in ("-V", "--version") else OVERVIEW)
        raise SystemExit(0 if words else 2)
    if command in OWN_COMMANDS:
        from lightning_invert.cli.options import run_command

        run_command(command, words[1:])
        return
    names = ("demo", *LIGHTNING_COMMANDS, *OWN_COMMANDS)
    if not command.startswith("-") and command not in names:
        hint = suggest(command, names)
        raise SystemExit(
            f"lightning-invert: expected a command, one of {', '.join(names)}, but got "
            f"{command!r}.{hint}"
        )
    demo = command == "demo"
    if demo:
        words[0] = command = "fit"
    if command in LIGHTNING_COMMANDS and words[1:] in (["-h"], ["--help"]):
        _show(_help_of(command))
        raise SystemExit(0)
    if demo:
        words[1:1] = ["--config", "blast_furnace"]
    if words[1:] == ["--help", "all"]:
        words.pop()
    from lightning_invert.cli.errors import exit_on_bad_input
    from lightning_invert.cli.silence import without_advertisements

    with without_advertisements(), exit_on_bad_input(command if command in names else ""):
        from lightning_invert.cli.fit import InvertCLI

        InvertCLI(words)


def _show(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has read enough; the interpreter would flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help_of(command: str) -> str:
    fits, does = command == "fit", LIGHTNING_COMMANDS[command]
    if command != "predict":
        does += "\nAn InvertibilityCallback watches it, whatever callbacks you name."
    return RUN.format(
        command=command,
        does=does,
        columns="--inputs flow,pressure --outputs yield" if fits else "--ckpt pair.ckpt",
        ckpt="" if fits else " --ckpt pair.ckpt",
        of_ckpt="checkpoint of a fit to resume" if fits else "checkpoint of the trained pair",
        of_data="" if fits else "\n  For a table the defaults are those of the checkpoint's fit.",
        model=MODEL if fits else "",
    )


if __name__ == "__main__":
    main()
