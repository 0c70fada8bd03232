import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

import lightning_invert

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parent.parent
SLOW = {"tensorboard", "polars", "onnx"}
HEAVY = {"matplotlib", "lightning", "torchmetrics", "torch", *SLOW}


def run(*command, stderr=subprocess.PIPE, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": stderr}
    return subprocess.run(command, check=True, text=True, timeout=300, **pipes, **kwargs).stdout


@pytest.mark.parametrize("door", ["callbacks", "configs", "datamodules"])
def test_doors_at_the_front_lead_to_the_package_s_own_folders(door):
    link = ROOT / door
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / "lightning_invert" / door


@pytest.mark.slow
def test_an_import_loads_nothing_heavy_that_it_does_not_need():
    imports = {
        "import lightning_invert": HEAVY,
        "import lightning_invert.cli.main": HEAVY,
        "import lightning_invert.tables": HEAVY,
        "from lightning_invert import batched_jacobian, singular_values": HEAVY - {"torch"},
        "import lightning_invert.cli.fit, lightning_invert.cli.solve": SLOW,
    }
    code = "import sys\n" + "\n".join(
        f"{line}\nprint({line!r}, sorted({heavy} & set(sys.modules)))"
        for line, heavy in imports.items()
    )
    assert run(sys.executable, "-c", code).splitlines() == [f"{line} []" for line in imports]


METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = METADATA["project"]["optional-dependencies"]
# Not "bench": it is for one benchmark, which is no test.
REQUIREMENTS = [
    *METADATA["build-system"]["requires"], *METADATA["project"]["dependencies"], *EXTRAS["dev"]
]  # fmt: skip


@pytest.mark.parametrize("requirement", sorted(set(REQUIREMENTS)))
def test_a_lower_bound_is_the_version_that_make_test_lowest_runs(requirement):
    name, lowest = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
    pins = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(rf"^{name}==(.*)$", pins, re.MULTILINE)
    assert Version(pinned) == Version(lowest)


def test_the_tests_run_with_what_the_extra_deploy_brings():
    assert {*EXTRAS["deploy"], *EXTRAS["excel"]} <= set(EXTRAS["dev"])


@pytest.mark.parametrize("name", lightning_invert.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert getattr(lightning_invert, name).__doc__
    assert name in dir(lightning_invert)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lightning_invert.nonsense


def test_the_version_has_one_source_that_others_follow():
    assert "version" in METADATA["project"]["dynamic"]
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = re.findall(
        r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert cited == [lightning_invert.__version__] == changes[:1]


NO_SOURCE = (".git", ".venv*", ".*_cache", "__pycache__", "build", "runs", "_build", "made")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folders with a wheel and an sdist, built twice from copies that are elsewhere."""
    folders = []
    for _ in range(2):
        source = tmp_path_factory.mktemp("source") / "clone"
        shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*NO_SOURCE))
        run(sys.executable, "-m", "build", "--no-isolation", "-o", source / "dist", source)
        folders.append(source / "dist")
    return folders


@pytest.fixture(scope="module")
def wheel(built):
    (wheel,) = built[0].glob("*.whl")
    return wheel


@pytest.mark.slow
def test_what_is_built_twice_is_the_same_and_is_what_an_index_takes(built):
    first, second = (sorted(folder.iterdir()) for folder in built)
    assert [file.suffix for file in first] == [".whl", ".gz"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    run(sys.executable, "-m", "twine", "check", "--strict", *first)


@pytest.mark.slow
def test_a_wheel_installs_all_of_the_package_and_nothing_else(wheel):
    files = (file for file in (ROOT / "lightning_invert").rglob("*") if file.is_file())
    expected = {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_what_a_wheel_installs_works_without_the_clone(wheel, tmp_path):
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    # Its dependencies are those of this interpreter; the package itself comes from the wheel alone.
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", site]
    run(*pip, wheel)
    here = {"cwd": work, "env": {**os.environ, "PYTHONPATH": str(site)}}
    code = "import lightning_invert as package; print(package.__file__)"
    assert Path(run(sys.executable, "-c", code, **here)).is_relative_to(site)
    options = "--trainer.max_epochs 1 --trainer.enable_progress_bar false --data.num_points 100"
    command = [site / "bin" / "lightning-invert", "fit", "--config", "blast_furnace"]
    assert "right-invertible" in run(*command, *options.split(), stderr=subprocess.STDOUT, **here)
    assert list(work.rglob("*.ckpt"))
