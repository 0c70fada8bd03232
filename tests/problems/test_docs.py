"""docs/evidence/problems.md runs as it stands."""

import re
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from docs import problem_map
from lightning_invert.datamodules import PairDataModule
from lightning_invert.problems import KNOWN

TEXT = (Path(__file__).parents[2] / "docs" / "evidence" / "problems.md").read_text(encoding="utf-8")


def test_the_config_is_valid():
    (snippet,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    parser = ArgumentParser()
    parser.add_subclass_arguments(PairDataModule, "data")
    given = parser.parse_object(yaml.safe_load(snippet))
    data = parser.instantiate_classes(given).data
    assert len(data.problem.inputs) == 5


def test_every_problem_is_described():
    assert set(re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE)) == set(KNOWN)


@pytest.mark.slow
def test_the_table_of_condition_numbers_is_what_its_script_prints():
    rows = [line.rsplit("|", 2)[0] for line in problem_map.table().splitlines()[2:]]
    assert [row for row in rows if row not in TEXT] == []
