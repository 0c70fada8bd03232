"""Write files whole or not at all, under names that never lead out of their folder."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path

__all__ = ["file_name", "replace_file"]

MAX_NAME_LENGTH = 100
"""Characters of a label that are used: a file system takes 255 bytes, and more of a name follows."""


def file_name(label: str) -> str:
    """Return the label if it is safe as a file's name, else its safe characters and a digest.

    Two labels never share a name.
    """
    safe = re.sub(r"[^\w.-]", "_", label).lstrip(".")[:MAX_NAME_LENGTH]
    if safe == label and safe:
        return label
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{digest}"


def replace_file(path: Path, data: bytes | str) -> None:
    """Write a file, and its folder if need be; an error leaves the former file as it was."""
    # Under another name first.
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
