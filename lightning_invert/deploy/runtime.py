"""The pinned onnxruntime-web that a page runs its networks in: found, or fetched once, and checked."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Runtime", "find_runtime", "online_runtime"]

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
CDN = f"https://cdn.jsdelivr.net/npm/{PACKAGE}@{VERSION}/dist/"
NPM_TIMEOUT = 300
"""Seconds that a fetch may take."""


class Runtime(NamedTuple):
    """The two files of onnxruntime-web that a page holds.

    Attributes:
        script: An ES module.
        wasm: What it runs, WebAssembly.
    """

    script: bytes
    wasm: bytes


def online_runtime() -> dict[str, dict[str, str]]:
    """Return where the two files are on the network, each with its integrity hash.

    Example:
        >>> online_runtime()["script"]["url"]
        'https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/ort.wasm.bundle.min.mjs'
    """

    def pinned(name: str) -> dict[str, str]:
        digest = base64.b64encode(bytes.fromhex(SHA256[name])).decode()
        return {"url": CDN + name, "integrity": f"sha256-{digest}"}

    return {"script": pinned(SCRIPT), "wasm": pinned(WASM)}


def find_runtime(folder: str | os.PathLike[str] | None = None, *, fetch: bool = True) -> Runtime:
    """Return the runtime of a page, in the version that is pinned, checked by its hash.

    Args:
        folder: Where its files are: a copy of the npm package, its ``dist``, or what holds a
            ``node_modules``. By default it is looked for in ``node_modules`` of the working
            directory and above it, then in the user's cache.
        fetch: Whether it may be fetched into the cache with ``npm pack``, which runs nothing of it.

    Raises:
        FileNotFoundError: If it is nowhere and cannot be fetched. The message says what to do.
        ValueError: If the files in ``folder`` are not those of the pinned version.
    """
    if folder is not None:
        return _given(Path(folder))
    cache = cache_folder()
    for place in (*_places(Path.cwd()), cache):
        if (found := _read(place)) is not None and not _wrong(found):
            return found
    if not fetch:
        raise FileNotFoundError(_missing("it is neither in `node_modules` nor in the cache"))
    fetched = _fetched()
    _keep(fetched, cache)
    return fetched


def cache_folder() -> Path:
    """Return the folder of the user's cache that the runtime is kept in."""
    home = Path.home()
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        given = os.environ.get("XDG_CACHE_HOME", "")
        root = Path(given) if os.path.isabs(given) else home / ".cache"
    return root / "lightning_invert" / f"{PACKAGE}-{VERSION}"


def _given(folder: Path) -> Runtime:
    places = [folder, folder / "dist", folder / PACKAGE / "dist", *_places(folder, above=False)]
    found = next((found for place in places if (found := _read(place)) is not None), None)
    if found is None:
        raise FileNotFoundError(_missing(f"there is no {SCRIPT} with {WASM} in {folder}"))
    if wrong := _wrong(found):
        raise ValueError(
            f"Expected argument `runtime` to hold {PACKAGE} {VERSION}, but the hash of {wrong} in "
            f"{folder} is another. Get it with `npm pack {PACKAGE}@{VERSION}`."
        )
    return found


def _places(folder: Path, *, above: bool = True) -> Iterator[Path]:
    for at in (folder, *(folder.parents if above else ())):
        yield at / "node_modules" / PACKAGE / "dist"


def _read(folder: Path) -> Runtime | None:
    try:
        return Runtime((folder / SCRIPT).read_bytes(), (folder / WASM).read_bytes())
    except OSError:
        return None


def _wrong(runtime: Runtime) -> str:
    """Return the name of the file that is not the pinned one."""
    for name, content in zip((SCRIPT, WASM), runtime, strict=True):
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            return name
    return ""


def _fetched() -> Runtime:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(_missing("there is no npm to fetch it with"))
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True, timeout=NPM_TIMEOUT
            )
            (archive,) = Path(folder).glob("*.tgz")
            fetched = _unpacked(archive)
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, tarfile.TarError) as e:
            told = (getattr(e, "stderr", "") or str(e)).strip().splitlines()
            why = f": {told[-1]}" if told else ""
            raise FileNotFoundError(_missing(f"`npm pack` could not fetch it{why}")) from e
    if wrong := _wrong(fetched):
        raise FileNotFoundError(
            _missing(f"what `npm pack` fetched has another hash for {wrong}, and was thrown away")
        )
    return fetched


def _unpacked(archive: Path) -> Runtime:
    """Read the two files, and no other, into memory: no path of the archive is followed."""
    contents = []
    with tarfile.open(archive) as package:
        for name in (SCRIPT, WASM):
            member = package.extractfile(f"package/dist/{name}")
            if member is None:
                raise KeyError(name)
            contents.append(member.read())
    return Runtime(*contents)


def _keep(runtime: Runtime, folder: Path) -> None:
    """Write the files to the cache; where that cannot be done, they are fetched again next time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in zip((SCRIPT, WASM), runtime, strict=True):
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(content)
            os.replace(file.name, folder / name)
    except OSError:
        return


def _missing(why: str) -> str:
    return (
        f"Expected {PACKAGE} {VERSION}, which a page computes with, but {why}. One of these helps: "
        f"run `npm install {PACKAGE}@{VERSION}` here; install npm, so that it is fetched once; on a "
        f"machine with npm run `npm pack {PACKAGE}@{VERSION}`, unpack it and give the folder as "
        "`runtime` (--runtime); or build the small page that loads it from the network, with "
        "`online=True` (--online)."
    )
