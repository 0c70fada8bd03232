"""Packages of strangers, which record what is imported and run, and files that name them."""

import io
import pickle
import sys
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def packages(folder):
    """Make packages that record in a list which of them were imported, and what was called."""
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
    """Wrap a pickle as torch does."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.write_record("data.pkl", pickled, len(pickled))
    writer.write_record("version", b"3\n", 2)
    writer.write_end_of_file()
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def crafted(name, *args):
    """Return the bytes of a file that calls ``name`` when it is opened; nothing is imported here."""
    module, _, attribute = name.rpartition(".")
    arguments = b"".join(pickle.dumps(a, 2)[2:-1] for a in args)
    return packed(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"(" + arguments + b"tR.")
