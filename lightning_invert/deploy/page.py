"""One HTML file that an operator opens: the pair, the solver and all that they need."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_invert.deploy.runtime import CDN, VERSION, find_runtime, online_runtime

__all__ = ["page_of"]

PARTS = Path(__file__).with_name("page")

SCRIPTS = (
    "numbers",
    "spectrum",
    "solver",
    "model",
    "state",
    "trust",
    "elements",
    "csv",
    "settings",
    "conditioning",
    "whatif",
    "outcomes",
    "wanted",
    "find",
    "page",
)
"""Each after those that it imports."""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|async)", re.MULTILINE)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def page_of(
    networks: Mapping[str, bytes],
    metadata: Mapping[str, Any],
    *,
    runtime: str | os.PathLike[str] | None = None,
    online: bool = False,
    title: str | None = None,
) -> str:
    """Return the text of a page of exported networks.

    Args:
        networks: ONNX of ``forward`` and of ``inverse``, each with its Jacobian.
        metadata: Of the pair: what its columns are, and the thresholds.
        runtime: As in :func:`build_page`.
        online: Likewise.
        title: Likewise.
    """
    script, style = joined(SCRIPTS), _read("page.css")
    files = dict(networks)
    if not online:
        found = find_runtime(runtime)
        files |= {"runtime-script": found.script, "runtime-wasm": found.wasm}
    if title is None:
        title = f"{len(metadata['inputs'])} settings → {len(metadata['outputs'])} outcomes"
    parts = {
        "policy": policy(script, style, online=online),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "built": html.escape(f"lightning_invert, with onnxruntime-web {VERSION}"),
        "page": _json({"title": title, "online": online_runtime() if online else None}),
        "metadata": _json(metadata),
        "files": "\n".join(
            f'<script type="application/octet-stream" id="{name}">{_packed(content)}</script>'
            for name, content in files.items()
        ),
    }
    # In one pass: what is put in is not looked at again.
    return _SLOT.sub(lambda slot: parts[slot[1]], _read("page.html"))


def joined(names: tuple[str, ...]) -> str:
    """Return scripts as one module: they are modules, and one file has no others to import from."""
    texts = (_EXPORT.sub("", _IMPORT.sub("", _read(f"{name}.js"))) for name in names)
    return "\n" + "\n".join(texts)


def policy(script: str, style: str, *, online: bool) -> str:
    """Return the content security policy: no script but this one and the runtime, and no connection.

    The runtime is a module that the page makes an address for, ``blob:``; WebAssembly is compiled,
    and text never is.
    """

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    connect = CDN if online else "'none'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashed(script)} blob: 'wasm-unsafe-eval'",
            f"style-src {hashed(style)}",
            f"connect-src {connect}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _read(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _json(value: Any) -> str:
    """Write JSON in which nothing ends a script element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
