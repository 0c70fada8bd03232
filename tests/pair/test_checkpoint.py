import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_invert import LinearDecayAlpha, ResidualMLP
from lightning_invert.pair.checkpoint import pack, unpack


class Bent(nn.Module):
    """A network of a user's own, with what such networks hold."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Conv1d(3, 3, 1))
        self.bend = functional.gelu
        self.register_buffer("grid", torch.arange(3.0), persistent=False)


@pytest.mark.parametrize(
    "network", [ResidualMLP(7, 4), Bent(), nn.LSTM(3, 4), nn.TransformerEncoderLayer(8, 2)]
)
def test_a_network_comes_back_as_it_was(network):
    again = unpack(pack(network))
    assert repr(again) == repr(network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    for name, tensor in network.named_buffers():
        assert torch.equal(again.get_buffer(name), tensor)


def test_a_schedule_comes_back_as_it_was():
    assert unpack(pack(LinearDecayAlpha(0.2, 10))) == LinearDecayAlpha(0.2, 10)


def test_the_bytes_pass_the_restricted_loader():
    buffer = io.BytesIO()
    torch.save({"part": pack(ResidualMLP(7, 4))}, buffer)
    buffer.seek(0)
    assert isinstance(unpack(torch.load(buffer, weights_only=True)["part"]), ResidualMLP)


def test_what_cannot_be_kept_is_named():
    network = nn.Linear(2, 2)
    network.bend = lambda x: x
    with pytest.raises(TypeError, match="Linear cannot be kept in a checkpoint"):
        pack(network)


class Mischief:
    def __reduce__(self):
        return print, ("this must not run",)


def test_nothing_but_networks_and_schedules_is_let_in(capsys):
    with pytest.raises(TypeError, match=r"builtins\.print"):
        pack(Mischief())
    buffer = io.BytesIO()
    torch.save(Mischief(), buffer)
    harmful = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
    with pytest.raises((TypeError, pickle.UnpicklingError)):
        unpack(harmful)
    assert "must not run" not in capsys.readouterr().out
