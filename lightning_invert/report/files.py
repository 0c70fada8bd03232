"""Files that people keep: whole or not at all, and never outside their folder."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path

__all__ = ["file_name", "replace_file"]

MAX_NAME_LENGTH = 100
"""In characters; a file system takes 255 bytes, and a figure's name comes after it."""


def file_name(label: str) -> str:
    """Make a label the beginning of a file's name that is safe, and of no other label.

    Args:
        label: Of a map, say: any text.

    Returns:
        The label if it is safe; else what is safe of it and a digest of the whole, so that two
        labels never share a file.

    Example:
        >>> file_name("round_trip"), file_name("a/b")
        ('round_trip', 'a_b-c14cddc0')
    """
    safe = re.sub(r"[^\w.-]", "_", label).lstrip(".")[:MAX_NAME_LENGTH]
    if safe == label and safe:
        return label
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"


def replace_file(path: Path, data: bytes | str) -> None:
    """Write a file beside and rename it, so that an error leaves the former one as it was.

    Args:
        path: The file; its folder is made if need be.
        data: Its content; text is written in UTF-8.

    Raises:
        OSError: If it cannot be written. Then nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
