"""One HTML file for an operator: the pair, the solver and their runtime."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_invert.arguments import check_flag, check_text
from lightning_invert.deploy.maps import check_pair
from lightning_invert.deploy.metadata import describe
from lightning_invert.deploy.onnx_export import export_onnx
from lightning_invert.deploy.runtime import CDN, VERSION, find_runtime, online_runtime
from lightning_invert.deploy.schema import CONSTANTS
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["PARTS", "build_page", "joined"]

PARTS = Path(__file__).with_name("page")

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|async)", re.MULTILINE)
_CONSTANTS = re.compile(r"^const \{ ([^}]*) \} = CONSTANTS;$", re.MULTILINE)
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def build_page(
    pair: ForwardInverseModule,
    file: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | None = None,
    online: bool = False,
    title: str | None = None,
    prices: Mapping[Any, float] | None = None,
    backtest: Mapping[str, Any] | None = None,
) -> Path:
    """Write one HTML file in which a pair predicts and proposes, in any browser, from disk.

    It opens by a double click, without network, server or installation: it holds the networks with their
    Jacobians, the solver and onnxruntime-web. A content security policy forbids every connection. An
    operator sets inputs and sees the outcome, the Jacobian and its condition number, or enters targets
    and gets settings for them.

    Args:
        pair: A trained pair; it stays as it is.
        file: The file to write. An existing one is replaced.
        runtime: Folder with the pinned version of onnxruntime-web: its npm package, its ``dist``, or the
            folder above its ``node_modules``. Default: ``node_modules`` here, then the user's cache,
            which ``npm pack`` fills once.
        online: Write a small page that loads onnxruntime-web from a public address, pinned by its hash,
            each time it is opened.
        title: Title of the page. Default: the numbers of settings and outcomes.
        prices: Prices of the settings by name, with which the page begins.
        backtest: Summary of a back-test to show, from :meth:`.Backtest.summary`.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If the runtime cannot be found or fetched. The message says what to do.
        ImportError: If onnx, onnxscript or onnxruntime is missing.
        OSError: If the file cannot be written.
        TypeError: If ``online``, ``title`` or a price has the wrong type.
        ValueError: If a network cannot be exported, or ``runtime`` is another version.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from lightning_invert import ForwardInverseModule, Variable
        >>> pair = ForwardInverseModule(nn.Linear(2, 1), nn.Linear(1, 2), standardize=False)
        >>> pair.inputs = (Variable("wind", "m/s", 0.0, 9.0), Variable("pitch", "°", 0.0, 30.0))
        >>> pair.outputs = (Variable("power", "kW"),)
        >>> page = build_page(pair, Path(tempfile.mkdtemp(), "turbine.html"), online=True)
        >>> page.name, page.read_text(encoding="utf-8").startswith("<!doctype html>")
        ('turbine.html', True)
    """
    check_flag("online", online)
    if title is not None:
        check_text("title", title)
    target = Path(file)
    if target.is_dir():
        raise IsADirectoryError(
            f"Expected argument `file` to name a file, like page.html, but {target} is a folder."
        )
    check_pair(pair)
    metadata = describe(pair, prices=prices, backtest=backtest)
    runtime_files = None if online else find_runtime(runtime)  # first: the export takes longer
    with tempfile.TemporaryDirectory() as folder:
        networks = export_onnx(pair, Path(folder, "onnx"), maps=("forward", "inverse"))
        files = {name: file.read_bytes() for name, file in networks.items()}
    if runtime_files is not None:
        files |= {"runtime-script": runtime_files.script, "runtime-wasm": runtime_files.wasm}
    text = _text(metadata, files, online=online, title=title)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")
    return target


def _text(
    metadata: Mapping[str, Any], files: Mapping[str, bytes], *, online: bool, title: str | None
) -> str:
    script, style = joined("page"), _read("page.css")
    if title is None:
        title = f"{len(metadata['inputs'])} settings → {len(metadata['outputs'])} outcomes"
    note = metadata["tried"]
    parts = {
        "policy": _policy(script, style, online=online),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "built": html.escape(f"lightning_invert, with onnxruntime-web {VERSION}"),
        "note": f'<p class="warning">{html.escape(note)}</p>' if note else "",
        "page": _json({"title": title, "online": online_runtime() if online else None}),
        "metadata": _json(metadata),
        "worker": _json(joined("worker")),
        "files": "\n".join(
            f'<script type="application/octet-stream" id="{name}">{_packed(content)}</script>'
            for name, content in files.items()
        ),
    }
    # In one pass, so that a slot inside a part stays text.
    return _SLOT.sub(lambda slot: parts[slot[1]], _read("page.html"))


def joined(*names: str) -> str:
    """Return modules of the page, each after those that it imports, as one: a page imports none.

    ``CONSTANTS`` in it holds the constants of the Python solver that they name.
    """
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        text = _read(f"{name}.js")
        for imported in _IMPORT.findall(text):
            if imported not in texts:
                add(imported)
        texts[name] = _EXPORT.sub("", _IMPORT.sub("", text))

    for name in names:
        add(name)
    script = "\n".join(texts.values())
    used = [name for part in _CONSTANTS.findall(script) for name in part.split(", ")]
    return f"\nconst CONSTANTS = {json.dumps({name: CONSTANTS[name] for name in used})};\n{script}"


def _policy(script: str, style: str, *, online: bool) -> str:
    """Return the content security policy: this script, the runtime (``blob:``) and no connection."""

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    connect = CDN if online else "'none'"
    return (
        f"default-src 'none'; script-src {hashed(script)} blob: 'wasm-unsafe-eval'; "
        f"worker-src blob:; style-src {hashed(style)}; connect-src {connect}; base-uri 'none'; form-action 'none'"
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
