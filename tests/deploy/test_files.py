import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.deploy import build_page, export_onnx
from tests.deploy.pairs import off, pair_of, points
from tests.projects import Smooth, quiet_trainer


def linear_pair(**options):
    return pair_of(nn.Linear(3, 2), nn.Linear(2, 3), **options)


def state(pair):
    return (
        {name: (value.tolist(), value.dtype) for name, value in pair.state_dict().items()},
        {name: weight.requires_grad for name, weight in pair.named_parameters()},
        {name: part.training for name, part in pair.named_modules()},
        torch.get_rng_state().tolist(),
        random.getstate(),
        str(np.random.get_state()),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.slow
def test_the_pair_and_the_random_streams_are_afterwards_as_they_were(dtype, tmp_path):
    pair = pair_of(ResidualMLP(3, 2, width=4), nn.Linear(2, 3), dtype=dtype).train()
    pair.forward_net.head.weight.requires_grad_(False)
    pair.forward_net.hidden.eval()
    before = state(pair)
    # It works where gradients are off, too.
    with torch.inference_mode(dtype == torch.float64):
        export_onnx(pair, tmp_path / "exported")
    assert state(pair) == before


@pytest.mark.slow
def test_a_pair_is_exported_right_after_its_fit(tmp_path):
    pair = ForwardInverseModule(ResidualMLP(3, 2, width=4), ResidualMLP(2, 3, width=4))
    trainer = quiet_trainer(tmp_path)
    trainer.fit(pair, datamodule=Smooth())
    written = export_onnx(pair, tmp_path / "exported", maps="forward")
    x = points(pair, "forward", 5)
    found = InferenceSession(written["forward"]).run(None, {"x": x.numpy()})
    assert off(pair, "forward", x, *found) < 2e-6
    assert pair.trainer is trainer


@pytest.mark.slow
def test_an_existing_folder_is_not_touched_and_folders_above_are_made(tmp_path):
    existing = tmp_path / "a" / "exported"
    existing.mkdir(parents=True)
    (existing / "forward.onnx").write_text("mine")
    written = export_onnx(linear_pair(), str(existing), maps=["forward"])
    assert written["forward"] == tmp_path / "a" / "exported-1" / "forward.onnx"
    assert (existing / "forward.onnx").read_text() == "mine"
    assert {path.name for path in existing.parent.iterdir()} == {"exported", "exported-1"}
    assert written["forward"].parent.stat().st_mode == existing.stat().st_mode


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(file, content):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(linear_pair(), tmp_path / "exported")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("folder", "kind", "words"),
    [
        (3, TypeError, "argument `folder` to be a string, but got 3"),
        ("", ValueError, "argument `folder` to be a string that is not empty"),
        *(
            (folder, ValueError, "`folder` to be the path of a folder to make")
            for folder in (".", "..")
        ),
    ],
)
def test_what_is_no_folder_is_refused(folder, kind, words):
    with pytest.raises(kind, match=words):
        export_onnx(linear_pair(), folder)


def test_maps_that_are_named_are_written_alone(tmp_path):
    files = export_onnx(linear_pair(), tmp_path / "exported", maps="inverse")
    assert list(files) == ["inverse"]
    assert list((tmp_path / "exported").iterdir()) == [files["inverse"]]
    with pytest.raises(
        ValueError, match="`maps` to be 'forward', 'inverse' or 'round_trip', but got 'backward'"
    ):
        export_onnx(linear_pair(), tmp_path / "exported", maps=["backward"])


class Locked(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("a lock")


@pytest.mark.parametrize(
    ("pair", "kind", "words"),
    [
        (lambda: nn.Linear(3, 2), TypeError, "`pair` to be a ForwardInverseModule, but got Linear"),
        (
            lambda: ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3)),
            ValueError,
            r"neither statistics nor names of x: fit it, or write `pair\.inputs = ",
        ),
        (ForwardInverseModule, ValueError, "`forward_net` to be an nn.Module, but it is None"),
        (
            lambda: linear_pair(dtype=torch.bfloat16),
            ValueError,
            r"compute in float32 or float64, but it has weights in torch\.bfloat16.*pair\.float",
        ),
        (
            lambda: pair_of(Locked(3, 2), nn.Linear(2, 3)),
            TypeError,
            "one that can be copied, but it cannot: a lock",
        ),
    ],
    ids=["module", "columns", "networks", "dtype", "copy"],
)
@pytest.mark.parametrize(
    "write", [export_onnx, partial(build_page, online=True)], ids=["onnx", "page"]
)
def test_what_is_no_trained_pair_is_refused(write, pair, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        write(pair(), tmp_path / "exported")
    assert not list(tmp_path.iterdir())
