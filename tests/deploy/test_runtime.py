import base64
import hashlib
import io
import os
import stat
import tarfile

import pytest

from lightning_invert.deploy import runtime as module
from lightning_invert.deploy.runtime import SCRIPT, WASM, cache_folder, find_runtime, online_runtime

CONTENT = {SCRIPT: b"export const env = {};", WASM: b"\0asm"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Files of two words, pinned as if they were the runtime; an empty folder, cache and path."""
    pinned = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(module, "SHA256", pinned)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    work = tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return tmp_path


def laid(folder, content=CONTENT):
    folder.mkdir(parents=True)
    for name, text in content.items():
        (folder / name).write_bytes(text)
    return folder


def npm_that_packs(folder, content):
    """An npm whose archive holds what is given."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"package/../../evil": b"evil", **content}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    (folder / "packed.tgz").write_bytes(packed.getvalue())
    (folder / "bin").mkdir()
    npm = folder / "bin" / "npm"
    npm.write_text(
        f"#!/bin/sh\necho $@ >> {folder}/calls\n/bin/cp {folder}/packed.tgz runtime.tgz\n"
    )
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


ARCHIVED = {f"package/dist/{name}": content for name, content in CONTENT.items()}


@pytest.mark.parametrize(
    "where", ["", "dist", "node_modules/onnxruntime-web/dist", "onnxruntime-web/dist"]
)
def test_a_folder_may_be_the_files_the_package_or_what_holds_it(nowhere, where):
    laid(nowhere / "given" / where)
    assert find_runtime(nowhere / "given").script == CONTENT[SCRIPT]


@pytest.mark.parametrize("where", ["work/deep", "work"])
def test_it_is_found_in_node_modules_here_or_above(nowhere, where):
    laid(nowhere / where / "node_modules" / "onnxruntime-web" / "dist")
    assert find_runtime(fetch=False).wasm == CONTENT[WASM]


def test_it_is_fetched_once_and_then_taken_from_the_cache(nowhere):
    npm_that_packs(nowhere, ARCHIVED)
    assert find_runtime() == find_runtime() == (CONTENT[SCRIPT], CONTENT[WASM])
    assert (nowhere / "calls").read_text().splitlines() == [
        f"pack --ignore-scripts --silent onnxruntime-web@{module.VERSION}"
    ]
    assert sorted(os.listdir(cache_folder())) == sorted(CONTENT)
    assert not list(nowhere.rglob("evil"))


def test_another_version_in_node_modules_is_passed_over(nowhere):
    laid(
        nowhere / "work" / "node_modules" / "onnxruntime-web" / "dist", {**CONTENT, WASM: b"other"}
    )
    laid(cache_folder())
    assert find_runtime(fetch=False).wasm == CONTENT[WASM]


def test_another_version_that_is_given_is_an_error(nowhere):
    laid(nowhere / "given", {**CONTENT, WASM: b"other"})
    with pytest.raises(ValueError, match="the hash of ort-wasm"):
        find_runtime(nowhere / "given")


def test_an_archive_with_another_hash_is_thrown_away(nowhere):
    npm_that_packs(nowhere, {**ARCHIVED, f"package/dist/{SCRIPT}": b"alert(1)"})
    with pytest.raises(FileNotFoundError, match="another hash for ort"):
        find_runtime()
    assert not cache_folder().exists()


def test_an_error_says_what_helps(nowhere):
    (nowhere / "given").mkdir()
    for call, why in (
        (lambda: find_runtime(nowhere / "given"), "there is no ort.wasm"),
        (lambda: find_runtime(fetch=False), "neither in `node_modules` nor in the cache"),
        (find_runtime, "there is no npm"),
    ):
        with pytest.raises(FileNotFoundError, match=why) as raised:
            call()
        for word in ("npm install onnxruntime-web@", "npm pack", "--runtime", "--online"):
            assert word in str(raised.value)


def test_what_is_loaded_from_the_network_is_pinned_by_the_same_hash():
    for name, one in zip((SCRIPT, WASM), online_runtime().values(), strict=True):
        assert one["url"].endswith(f"@{module.VERSION}/dist/{name}")
        kind, _, digest = one["integrity"].partition("-")
        assert (kind, base64.b64decode(digest).hex()) == ("sha256", module.SHA256[name])
