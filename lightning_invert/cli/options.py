"""Options that several commands share."""

from __future__ import annotations

import argparse

from jsonargparse import DefaultHelpFormatter

__all__ = ["ALLOW", "AsWritten", "listed"]

ALLOW = (
    "Packages, modules and classes, separated by commas, that a checkpoint may have imported and "
    "run. Without it, only torch's layers and this package's own networks and schedules."
)


class AsWritten(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leave the lines of a description as they are."""


def listed(text: str | None) -> list[str]:
    """Return the parts of a text that are separated by commas.

    Example:
        >>> listed("a, b"), listed(None)
        (['a', 'b'], [])
    """
    return [part.strip() for part in text.split(",")] if text else []
