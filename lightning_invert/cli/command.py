"""A command that is a function: its arguments are the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser

from lightning_invert.cli.errors import in_one_line
from lightning_invert.cli.options import AsWritten

__all__ = ["run_command"]


def run_command(
    name: str, description: str, function: Callable[..., None], args: Sequence[str]
) -> None:
    """Read the options of a command and run it; bad input ends it with one line.

    Args:
        name: As it is called, like ``solve``.
        description: What ``--help`` says first.
        function: What it does. Its arguments and their docstring are the options.
        args: What comes after the name.
    """
    parser = ArgumentParser(
        prog=f"lightning-invert {name}", description=description, formatter_class=AsWritten
    )
    parser.add_function_arguments(function)
    settings = parser.parse_args(list(args))
    with in_one_line(name):
        function(**settings.as_dict())
