import builtins
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lightning_invert import LinearPlusNonlinear, ResidualMLP, SmoothMLP
from lightning_invert.deploy import check, export_onnx, onnx_export, page
from lightning_invert.deploy.maps import frozen_copy, physical_map
from lightning_invert.deploy.metadata import describe
from lightning_invert.deploy.runtime import SCRIPT, WASM
from tests.deploy.conftest import until
from tests.deploy.pairs import INPUTS, OUTPUTS, Attention, Changed, normed, off, pair_of, points
from tests.jacobians.reference import jacobians_by_autograd
from tests.proposals.process import untrained

pytestmark = pytest.mark.slow

DOC = Path(__file__).parents[2] / "docs" / "how_to" / "onnx.md"

PAGE = """<!doctype html>
<script type="importmap">{"imports": {"onnxruntime-web": "./ort.wasm.bundle.min.mjs"}}</script>
<script type="module" src="example.mjs"></script>
"""

ENDS = {"forward": ("x", "y"), "inverse": ("y", "x"), "round_trip": ("y", "y_round_trip")}

# Rounding of a time stamp of 1.7e9 s is 1e-8 of its spread of 17 s.
TOLERANCES = {torch.float32: 2e-6, torch.float64: 2e-7}


@pytest.fixture(scope="module", params=TOLERANCES, ids=str)
def exported(request, tmp_path_factory):
    dtype, tolerance = request.param, TOLERANCES[request.param]
    torch.manual_seed(0)
    if dtype == torch.float32:  # rectifiers with dropout, LayerNorm and GELU
        networks = ResidualMLP(3, 2), normed(2, 3)
    else:
        networks = SmoothMLP(3, 2, width=8), LinearPlusNonlinear(2, 3)
    pair = pair_of(*networks, dtype=dtype)
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
def test_networks_of_other_layers_are_exported_too(network, tmp_path):
    pair = pair_of(network(3, 2), nn.Linear(2, 3))
    written = export_onnx(pair, tmp_path / "exported", maps="forward")
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
        found = json.loads(entry.value, parse_constant=pytest.fail)
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


@pytest.mark.parametrize(
    ("network", "dtype", "words"),
    [
        (
            Solving(3, 2),
            torch.float32,
            r"map 'forward' .* ONNX has no operation for aten\._linalg_solve",
        ),
        (
            nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)),
            torch.float64,
            r"map 'forward' .* onnxruntime .* mixes float32 .*`pair\.float\(\)`",
        ),
        (
            Changed(torch.special.erf),
            torch.float64,
            r"map 'forward' .* onnxruntime .* no Erf for this dtype.*`pair\.float\(\)`",
        ),
    ],
    ids=["ONNX", "types", "onnxruntime"],
)
def test_an_operation_that_is_missing_is_named_and_nothing_is_left(network, dtype, words, tmp_path):
    pair = pair_of(network, nn.Linear(2, 3), dtype=dtype)
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


def test_the_example_in_javascript_gives_what_torch_gives(browser, runtime, tmp_path):
    pair = untrained()
    pair.scale_x.fit(torch.tensor([1.7e9, 100.0, 0.5]).double(), torch.tensor([17.0, 40.0, 0.1]))
    pair.scale_y.fit(torch.tensor([8000.0, 400.0]), torch.tensor([500.0, 20.0]))
    files = export_onnx(pair, tmp_path / "exported")
    (snippet,) = re.findall(r"```javascript\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    found = "window.found = [[...y.data], jacobian.dims, [...jacobian.data]]"
    served = {
        "/": (PAGE, "text/html"),
        "/example.mjs": (re.sub(r"console\.log\(.*\)", found, snippet), "text/javascript"),
        f"/{SCRIPT}": (runtime.script, "text/javascript"),
        f"/{WASM}": (runtime.wasm, "application/wasm"),
        "/exported/forward.onnx": (files["forward"].read_bytes(), "application/octet-stream"),
    }

    def answer(route):
        body, kind = served[route.request.url.removeprefix("https://example.test")]
        route.fulfill(body=body, content_type=kind)

    context = browser.new_context()
    page = context.new_page()
    page.route(lambda url: url.startswith("https://example.test"), answer)
    page.goto("https://example.test/")
    until(page, "window.found !== undefined")
    y, dims, jacobian = page.evaluate("window.found")
    context.close()
    x = torch.tensor([[1.7e9 + 12, 120, 0.45]], dtype=torch.float64)
    assert dims == [1, 2, 3]
    np.testing.assert_allclose(y, pair(x)[0].detach(), rtol=1e-5)
    expected = torch.autograd.functional.jacobian(pair, x)[0, :, 0]
    np.testing.assert_allclose(np.reshape(jacobian, (2, 3)), expected, rtol=1e-4)


def test_a_file_carries_the_correction_and_says_what_it_does_not_carry(tmp_path):
    torch.manual_seed(0)
    pair = pair_of(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8), dtype=torch.float64)
    x = points(pair, "forward", 400)
    with torch.no_grad():
        y = pair(x) + 0.01 * pair.scale_y.std * torch.randn(400, 2).double()
    for split, rows in (("train", slice(200)), ("val", slice(200, 360))):
        pair.evidence.add(split, x[rows], y[rows])
    trials = pair.observe(x[360:], y[360:] + pair.scale_y.std * (pair.scale_x(x[360:])[:, :2] + 1))
    assert (len(trials.corrected), trials.alarm is not None) == (2, True)
    frozen, corrected = frozen_copy(pair), pair.proposer.knowledge.surrogate.corrected
    round_trip, at = physical_map(frozen, "round_trip").function, points(pair, "round_trip", 5)
    torch.testing.assert_close(round_trip(at), corrected(pair.inverse(at)))
    assert (round_trip(at) - pair.round_trip(at)).abs().max() > 0.1
    onnx_export._write(physical_map(frozen, "forward"), "", tmp_path / "forward.onnx")
    at, std = points(pair, "forward", 5), pair.scale_y.std
    outputs, jacobians = map(torch.from_numpy, run(tmp_path / "forward.onnx", at))
    torch.testing.assert_close(outputs / std, corrected(at) / std, rtol=1e-9, atol=1e-7)
    slopes = jacobians_by_autograd(corrected, at)
    scale = slopes.abs().amax((0, 1))
    torch.testing.assert_close(jacobians / scale, slopes / scale, rtol=1e-6, atol=1e-7)
    words = describe(pair)["tried"]
    assert words.startswith("40 rows that were tried correct the predictions.")
    assert "process has changed" in words
    text = page._text(describe(pair), {}, online=True, title=None)
    assert f'<p class="warning">{words}</p>' in text
