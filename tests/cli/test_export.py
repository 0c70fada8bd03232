import sys

import numpy as np
import onnxruntime
import pytest
from torch import nn

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.cli.main import main
from tests.deploy.pairs import off, points
from tests.projects import Smooth, quiet_trainer

OWN = """
import torch

class Net(torch.nn.Linear):
    pass
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("mine", None)


def saved(folder, *networks):
    pair = ForwardInverseModule(*networks)
    trainer = quiet_trainer(folder)
    trainer.fit(pair, datamodule=Smooth())
    trainer.save_checkpoint(folder / "pair.ckpt")
    return pair


@pytest.mark.slow
def test_a_checkpoint_becomes_onnx_files(tmp_path, capsys):
    pair = saved(tmp_path, ResidualMLP(3, 2, width=8), nn.Linear(2, 3))
    capsys.readouterr()
    main(["export", "--ckpt", "pair.ckpt", "--to", "onnx"])
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{name}: exported/{name}.onnx" for name in ("forward", "inverse", "round_trip")
    ]
    assert not err
    x = points(pair, "round_trip", 9)
    session = onnxruntime.InferenceSession("exported/round_trip.onnx")
    assert off(pair, "round_trip", x, *session.run(None, {"y": x.numpy()})) < 2e-6


@pytest.mark.slow
def test_a_checkpoint_of_own_networks_becomes_files_where_they_are_allowed(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    sys.path.insert(0, "")
    import mine

    sys.path.remove("")
    saved(tmp_path, mine.Net(3, 2), mine.Net(2, 3))
    del sys.modules["mine"]
    given = ["export", "--ckpt", "pair.ckpt", "--to", "onnx", "--folder", "made/here"]
    with pytest.raises(SystemExit, match=r"export: pair\.ckpt: .*--allow mine\.Net"):
        main(given)
    assert "mine" not in sys.modules
    main([*given, "--allow", "mine"])
    y, jacobian = onnxruntime.InferenceSession("made/here/forward.onnx").run(
        None, {"x": np.zeros((4, 3))}
    )
    assert (y.shape, jacobian.shape) == ((4, 2), (4, 2, 3))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--ckpt", "none.ckpt", "--to", "onnx"], "export: .*there is no file 'none.ckpt'"),
        (["--ckpt", "bad.ckpt", "--to", "page"], "export: .*'bad.ckpt' to be a checkpoint"),
    ],
)
def test_bad_input_ends_with_one_line(args, words, tmp_path):
    (tmp_path / "bad.ckpt").write_text("nonsense")
    with pytest.raises(SystemExit, match=words) as ended:
        main(["export", *args])
    assert "\n" not in str(ended.value)


def test_help_lists_the_kinds_of_files(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    assert "{onnx,page}" in capsys.readouterr().out
