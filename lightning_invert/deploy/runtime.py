"""The pinned onnxruntime-web that runs a page's networks."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Runtime", "find_runtime", "online_runtime"]

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
INSTALLED = Path("node_modules", PACKAGE, "dist")
CDN = f"https://cdn.jsdelivr.net/npm/{PACKAGE}@{VERSION}/dist/"
NPM_TIMEOUT = 300
"""Seconds."""


class Runtime(NamedTuple):
    """The two files of onnxruntime-web: an ES module, and the WebAssembly that it runs."""

    script: bytes
    wasm: bytes


def online_runtime() -> dict[str, dict[str, str]]:
    """Return the address and integrity hash of each file."""

    def pinned(name: str) -> dict[str, str]:
        digest = base64.b64encode(bytes.fromhex(SHA256[name])).decode()
        return {"url": CDN + name, "integrity": f"sha256-{digest}"}

    return {"script": pinned(SCRIPT), "wasm": pinned(WASM)}


def find_runtime(folder: str | os.PathLike[str] | None = None, *, fetch: bool = True) -> Runtime:
    """Return the runtime from ``folder``, ``node_modules`` here or above, the cache, or ``npm pack``.

    Its hash is checked. ``npm pack`` runs nothing of it.
    """
    if folder is not None:
        return _runtime_in(Path(folder))
    here, cache = Path.cwd(), cache_folder()
    for place in (*(above / INSTALLED for above in (here, *here.parents)), cache):
        runtime = _read(place)
        if runtime is not None and not _wrong_file(runtime):
            return runtime
    if not fetch:
        raise FileNotFoundError(_remedies("it is neither in `node_modules` nor in the cache"))
    runtime = _fetch()
    _write_to_cache(runtime, cache)
    return runtime


def cache_folder() -> Path:
    """Return the runtime's folder in the user's cache."""
    home = Path.home()
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        configured = os.environ.get("XDG_CACHE_HOME", "")
        root = Path(configured) if os.path.isabs(configured) else home / ".cache"
    return root / "lightning_invert" / f"{PACKAGE}-{VERSION}"


def _runtime_in(folder: Path) -> Runtime:
    places = [folder, folder / "dist", folder / PACKAGE / "dist", folder / INSTALLED]
    runtime = next(filter(None, map(_read, places)), None)
    if runtime is None:
        raise FileNotFoundError(_remedies(f"there is no {SCRIPT} with {WASM} in {folder}"))
    if wrong := _wrong_file(runtime):
        raise ValueError(
            f"Expected argument `runtime` to hold {PACKAGE} {VERSION}, but the hash of {wrong} in "
            f"{folder} is another. Get it with `npm pack {PACKAGE}@{VERSION}`."
        )
    return runtime


def _read(folder: Path) -> Runtime | None:
    try:
        return Runtime((folder / SCRIPT).read_bytes(), (folder / WASM).read_bytes())
    except OSError:
        return None


def _wrong_file(runtime: Runtime) -> str:
    """Return the name of the file whose hash is not the pinned one, or an empty string."""
    for name, content in zip((SCRIPT, WASM), runtime, strict=True):
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            return name
    return ""


def _fetch() -> Runtime:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(_remedies("there is no npm to fetch it with"))
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True, timeout=NPM_TIMEOUT
            )
            (archive,) = Path(folder).glob("*.tgz")
            runtime = _unpack(archive)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, tarfile.TarError) as e:
            lines = (getattr(e, "stderr", "") or str(e)).strip().splitlines()
            why = f": {lines[-1]}" if lines else ""
            raise FileNotFoundError(_remedies(f"`npm pack` could not fetch it{why}")) from e
    if wrong := _wrong_file(runtime):
        raise FileNotFoundError(
            _remedies(f"what `npm pack` fetched has another hash for {wrong}, and was thrown away")
        )
    return runtime


def _unpack(archive: Path) -> Runtime:
    """Read the two files into memory. No path of the archive is followed."""
    contents = []
    with tarfile.open(archive) as package:
        for name in (SCRIPT, WASM):
            member = package.extractfile(f"package/dist/{name}")
            if member is None:
                raise KeyError(name)
            contents.append(member.read())
    return Runtime(*contents)


def _write_to_cache(runtime: Runtime, folder: Path) -> None:
    with suppress(OSError):  # a cache that cannot be written is only slower
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in zip((SCRIPT, WASM), runtime, strict=True):
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(content)
            os.replace(file.name, folder / name)


def _remedies(why: str) -> str:
    return (
        f"Expected {PACKAGE} {VERSION}, which a page computes with, but {why}. One of these helps: "
        f"run `npm install {PACKAGE}@{VERSION}` here; install npm, so that it is fetched once; on a "
        f"machine with npm run `npm pack {PACKAGE}@{VERSION}`, unpack it and give the folder as "
        "`runtime` (--runtime); or build the small page that loads it from the network, with "
        "`online=True` (--online)."
    )
