import sys

import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from tests.cli.commands import save_pair
from tests.projects import Smooth


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-invert"])
    yield
    sys.modules.pop("mine", None)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint of a pair that was fitted to smooth data; nobody writes to it."""
    torch.manual_seed(0)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))
    return save_pair(tmp_path_factory.mktemp("fitted") / "pair.ckpt", pair, Smooth(), max_epochs=20)


@pytest.fixture
def own(tmp_path):
    """A checkpoint of networks of a user's module ``mine``, which is imported no more."""
    (tmp_path / "mine.py").write_text("import torch\nclass Net(torch.nn.Linear): pass\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        from mine import Net
    save_pair(tmp_path / "own.ckpt", ForwardInverseModule(Net(3, 2), Net(2, 3)), Smooth())
    del sys.modules["mine"]
    return "own.ckpt"
