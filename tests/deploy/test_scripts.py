import re
import shutil
import subprocess
from collections import Counter

import pytest

from lightning_invert.deploy import schema
from lightning_invert.deploy.page import PARTS, joined
from tests.deploy.conftest import missing


def test_no_two_scripts_of_the_page_declare_the_same_name():
    """They become one script, in which a name that is declared twice stops all."""
    declared = re.compile(
        r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", re.MULTILINE
    )
    lists = re.compile(r"^(?:export )?const [\[{] ?([\w, ]+?) ?[\]}]", re.MULTILINE)
    names = Counter()
    for file in PARTS.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        names.update(declared.findall(text))
        names.update(name for names_ in lists.findall(text) for name in names_.split(", "))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", ["page", "worker"])
def test_the_joined_script_is_one_that_an_engine_reads(name, tmp_path):
    program = shutil.which("node") or missing("node")
    script = tmp_path / f"{name}.mjs"
    script.write_text(joined(name), encoding="utf-8")
    read = subprocess.run([program, "--check", script], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr


def test_a_constant_that_python_no_longer_has_is_an_error_at_build(monkeypatch):
    monkeypatch.delitem(schema.CONSTANTS, "MAX_SLOPE")
    with pytest.raises(KeyError, match="MAX_SLOPE"):
        joined("worker")


def test_every_constant_of_the_schema_is_used():
    listed = joined("worker").partition("const CONSTANTS = ")[2].partition(";")[0]
    assert all(f'"{name}"' in listed for name in schema.CONSTANTS)
