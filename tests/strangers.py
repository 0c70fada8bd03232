"""What comes from strangers: packages that say what was done with them, and files that name them."""

import io
import pickle
import sys
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def packages(folder):
    """Packages that say in a list what of theirs was imported, and what was made of it."""
    body = (
        "import sys\n"
        "from os import system\n"
        "from torch import nn\n"
        "from lightning_invert import ForwardInverseModule\n"
        "sys.told.append(__name__)\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, n=2):\n"
        "        sys.told.append(n)\n"
        "        super().__init__(n, n)\n"
        "class Plain: pass\n"
        "def run(*args):\n"
        "    sys.told.append(args)\n"
    )
    names = ("stranger", "stranger_evil", "torch_evil", "lightning_invert_evil")
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(body)
        (folder / name / "nets.py").write_text(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "told", [], raising=False)
        patch.syspath_prepend(folder)
        yield sys.told
    for module in [module for module in sys.modules if module.partition(".")[0] in names]:
        del sys.modules[module]


def packed(pickled):
    """A pickle in the wrapping that torch gives it."""
    held = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(held)
    writer.write_record("data.pkl", pickled, len(pickled))
    writer.write_record("version", b"3\n", 2)
    writer.write_end_of_file()
    return torch.frombuffer(bytearray(held.getvalue()), dtype=torch.uint8)


def crafted(name, *args):
    """The bytes of a file that calls ``name`` when it is opened, without importing it here."""
    module, _, attribute = name.rpartition(".")
    arguments = b"".join(pickle.dumps(a, 2)[2:-1] for a in args)
    return packed(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"(" + arguments + b"tR.")
