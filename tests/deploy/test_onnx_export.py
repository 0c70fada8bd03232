import builtins
import json

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lightning_invert import (
    LinearPlusNonlinear,
    ResidualMLP,
    SmoothMLP,
)
from lightning_invert.deploy import check, export_onnx, onnx_export
from tests.deploy.pairs import INPUTS, OUTPUTS, Attention, normed, off, pair_of, points

pytestmark = pytest.mark.slow

ENDS = {"forward": ("x", "y"), "inverse": ("y", "x"), "round_trip": ("y", "y_round_trip")}

# Rounding of a time stamp of 1.7e9 s is 1e-8 of its spread of 17 s.
KINDS = {
    "rectifiers with dropout, LayerNorm and GELU": (
        lambda: (ResidualMLP(3, 2), normed(2, 3)),
        torch.float32,
        2e-6,
    ),
    "in float64": (
        lambda: (SmoothMLP(3, 2, width=8), LinearPlusNonlinear(2, 3)),
        torch.float64,
        2e-7,
    ),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def exported(request, tmp_path_factory):
    networks, dtype, tolerance = request.param
    torch.manual_seed(0)
    pair = pair_of(*networks(), dtype=dtype)
    return pair, export_onnx(pair, tmp_path_factory.mktemp("made") / "exported"), tolerance


def run(file, x):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return session.run(None, {given.name: x.numpy()})


@pytest.mark.parametrize("name", ENDS)
def test_files_give_the_map_and_autograds_jacobian_in_physical_units(name, exported):
    pair, written, tolerance = exported
    for rows in (1, 2, 40):
        x = points(pair, name, rows)
        assert off(pair, name, x, *run(written[name], x)) < tolerance


def convolving(n, m):
    return nn.Sequential(
        nn.Unflatten(1, (1, n)), nn.Conv1d(1, 2, 2, stride=2), nn.Mish(), nn.Flatten(),
        nn.Linear(2, m),
    )  # fmt: skip


@pytest.mark.parametrize("network", [Attention, convolving])
def test_networks_of_other_layers_are_exported_too(network, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAP_NAMES", ("forward",))
    pair = pair_of(network(3, 2), nn.Linear(2, 3))
    written = export_onnx(pair, tmp_path / "exported")
    x = points(pair, "forward", 5)
    assert off(pair, "forward", x, *run(written["forward"], x)) < 2e-6


def test_files_are_named_and_typed_as_promised_and_stand_alone(exported):
    _, written, _ = exported
    assert list(written) == list(ENDS)
    assert {file.name for file in written["forward"].parent.iterdir()} == {
        "forward.onnx", "inverse.onnx", "round_trip.onnx",
    }  # fmt: skip
    for name, (given, found) in ENDS.items():
        session = onnxruntime.InferenceSession(written[name])
        ends = [*session.get_inputs(), *session.get_outputs()]
        assert [end.name for end in ends] == [given, found, "jacobian"]
        assert {end.type for end in ends} == {"tensor(double)"}
        assert all(end.shape[0] == "batch" for end in ends)
        model = onnx.load(written[name])
        onnx.checker.check_model(model, full_check=True)


def test_metadata_are_one_entry_of_strict_json_whatever_the_names_are(exported):
    _, written, _ = exported
    for name, columns in (("forward", (INPUTS, OUTPUTS)), ("inverse", (OUTPUTS, INPUTS))):
        (entry,) = onnx.load(written[name]).metadata_props
        assert entry.key == "lightning_invert"

        def refuse(constant):
            raise AssertionError(constant)

        found = json.loads(entry.value, parse_constant=refuse)
        assert found["map"] == name
        for side, variables in zip(("inputs", "outputs"), columns, strict=True):
            assert [(one["name"], one["unit"]) for one in found[side]] == [v[:2] for v in variables]


def test_files_tell_nothing_of_where_they_were_made(exported):
    _, written, _ = exported
    for file in written.values():
        data = file.read_bytes()
        assert not any(word in data for word in (b".py", b"stack_trace", b"fx_node", b"/tmp"))


class Solving(nn.Linear):
    def forward(self, x):
        matrix = x[:, :, None] * x[:, None, :] + torch.eye(x.shape[1])
        return super().forward(torch.linalg.solve(matrix, x[:, :, None])[:, :, 0])


class Erf(nn.Linear):
    def forward(self, x):
        return torch.special.erf(super().forward(x))


@pytest.mark.parametrize(
    ("network", "dtype", "words"),
    [
        (Solving, torch.float32, r"map 'forward' .* ONNX has no operation for aten\._linalg_solve"),
        (
            lambda n, m: nn.Sequential(nn.Linear(n, m), nn.LayerNorm(m)),
            torch.float64,
            r"map 'forward' .* onnxruntime .* mixes numbers of float32 .*`pair\.float\(\)`",
        ),
        (Erf, torch.float64, r"map 'forward' .* onnxruntime .* none for Erf .*`pair\.float\(\)`"),
    ],
    ids=["ONNX", "types", "onnxruntime"],
)
def test_an_operation_that_is_missing_is_named_and_nothing_is_left(network, dtype, words, tmp_path):
    pair = pair_of(network(3, 2), nn.Linear(2, 3), dtype=dtype)
    with pytest.raises(ValueError, match=words) as error:
        export_onnx(pair, tmp_path / "exported")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_is_an_error_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setitem(check.TOLERANCES, torch.float32, -1.0)
    pair = pair_of(SmoothMLP(3, 2, width=8), nn.Linear(2, 3))
    with pytest.raises(RuntimeError, match=r"forward\.onnx to compute what the pair does, but at "):
        export_onnx(pair, tmp_path / "exported")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_what_is_not_installed_is_said_with_the_remedy(missing, tmp_path, monkeypatch):
    original = builtins.__import__

    def fail(name, *args, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ImportError, match=rf"'{missing}'.*pip install lightning_invert\[deploy\]"):
        export_onnx(pair_of(nn.Linear(3, 2), nn.Linear(2, 3)), tmp_path / "exported")
    assert not list(tmp_path.iterdir())
