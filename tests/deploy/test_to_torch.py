import json

import pytest
import torch

from lightning_invert import ResidualMLP, SmoothMLP, batched_jacobian
from lightning_invert.deploy import export_torch
from lightning_invert.deploy.metadata import describe
from tests.deploy.pairs import off, pair_of, points


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    pair = pair_of(SmoothMLP(3, 2, width=16), ResidualMLP(2, 3))
    return pair, export_torch(pair, tmp_path_factory.mktemp("made") / "exported")


@pytest.mark.parametrize("name", ["forward", "inverse", "round_trip"])
def test_programs_give_the_map_and_autograds_jacobian_in_physical_units(name, exported):
    pair, files = exported
    extra = {"lightning_invert": ""}
    program = torch.export.load(files[name], extra_files=extra).module()
    for rows in (1, 2, 40):
        x = points(pair, name, rows)
        outputs, jacobian = program(x)
        assert (outputs.dtype, jacobian.dtype) == (torch.float64, torch.float64)
        assert off(pair, name, x, outputs.detach(), jacobian.detach()) < 2e-6
    assert json.loads(extra["lightning_invert"]) == describe(pair, name)


def test_what_a_program_gives_can_be_differentiated_again(exported):
    pair, files = exported
    program = torch.export.load(files["forward"]).module()
    x = points(pair, "forward", 5)
    again = batched_jacobian(lambda x: program(x)[0], x)
    torch.testing.assert_close(again, program(x)[1].detach(), rtol=1e-4, atol=1e-12)


def test_programs_tell_nothing_of_where_they_were_made(exported):
    _, files = exported
    for file in files.values():
        data = file.read_bytes()
        assert not any(word in data for word in (b".py", b"/tmp", b"site-packages"))
