import io
import pickle
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_invert import LinearDecayAlpha, ResidualMLP
from lightning_invert.pair.checkpoint import pack, read_checkpoint, unpack, unpack_variables
from lightning_invert.pair.pair import Pair
from tests.strangers import crafted, packed


class Bent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Conv1d(3, 3, 1))
        self.bend = functional.gelu
        self.register_buffer("grid", torch.arange(3.0), persistent=False)


NAMES = ("celu", "elu", "gelu", "hardswish", "leaky_relu", "logsigmoid", "mish", "relu", "selu")
NAMES += ("sigmoid", "silu", "softmax", "softplus", "softsign", "tanh", "tanhshrink")


@pytest.mark.parametrize(
    "network", [ResidualMLP(7, 4), Bent(), nn.LSTM(3, 4), nn.TransformerEncoderLayer(8, 2)]
)
def test_a_network_comes_back_as_it_was(network):
    again = unpack(pack(network), allow=[__name__])
    assert repr(again) == repr(network)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    for name, tensor in network.named_buffers():
        assert torch.equal(again.get_buffer(name), tensor)


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_of_torch_comes_back(name):
    network = nn.Linear(2, 2)
    network.bend = getattr(functional, name)
    assert unpack(pack(network)).bend is network.bend


def test_the_bytes_pass_the_restricted_loader_and_a_schedule_comes_back():
    buffer = io.BytesIO()
    torch.save({"part": pack(LinearDecayAlpha(0.2, 10))}, buffer)
    buffer.seek(0)
    assert unpack(torch.load(buffer, weights_only=True)["part"]) == LinearDecayAlpha(0.2, 10)


class Mischief:
    def __reduce__(self):
        return print, ("this must not run",)


def test_what_cannot_be_packed_is_named():
    network = nn.Linear(2, 2)
    network.bend = lambda x: x
    with pytest.raises(TypeError, match="Linear cannot be kept in a checkpoint"):
        pack(network)
    with pytest.raises(TypeError, match=r"builtins\.print"):
        pack(Mischief())


FORBIDDEN = (
    "stranger.run", "stranger.Net", "stranger.nets.Net", "torch_evil.Net",
    "lightning_invert_evil.Net", "antigravity.fly", "venv.__main__.main", "os.system",
    "builtins.exec", "builtins.getattr", "importlib.import_module", "torch.hub.load",
    "torch.load", "torch.nn.DataParallel", "torch.nn.parallel.data_parallel.DataParallel",
    "torch.nn.parallel.distributed.DistributedDataParallel",
    "torch.nn.modules.module.register_module_forward_hook",
    "torch.nn.modules.container.OrderedDict", "torch.nn.functional.importlib.import_module",
    "torch.nn.functional.handle_torch_function", "torch.nn.functional.boolean_dispatch",
    "torch.nn.utils.parametrize.register_parametrization", "torch.nnevil.Linear",
    "torch.ao.nn.qat.Linear", "lightning_invert.ForwardInverseModule",
    "lightning_invert.pair.module.ForwardInverseModule", "lightning_invert.cli.main.main",
    "lightning_invert.analyze", "lightning_invert.pair.checkpoint.read_checkpoint",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "allow"),
    [
        *((name, []) for name in FORBIDDEN),
        ("stranger_evil.Net", ["stranger"]),
        ("stranger.Net", ["stranger.nets", "stranger.Ne", "tranger"]),
        (".stranger.Net", ["stranger"]),
        ("stranger..Net", ["stranger"]),
    ],
)
def test_what_is_not_allowed_is_neither_imported_nor_run(name, allow, strangers):
    before = set(sys.modules)
    with pytest.raises((TypeError, ValueError)):
        unpack(crafted(name, "harm"), allow)
    assert strangers == []
    assert set(sys.modules) == before


def test_the_error_says_what_to_write():
    with pytest.raises(TypeError, match=r"`allow=\['stranger.Net'\]`, or `--allow stranger.Net`"):
        unpack(crafted("stranger.Net", 3))


@pytest.mark.parametrize("allow", ["stranger", "stranger.nets", "stranger.nets.Net"])
def test_what_is_allowed_by_name_is_imported_and_made(allow, strangers):
    assert type(unpack(crafted("stranger.nets.Net", 3), [allow])).__name__ == "Net"
    assert strangers == ["stranger", "stranger.nets", 3]


@pytest.mark.parametrize("name", ["run", "Plain", "system", "ForwardInverseModule", "sys"])
def test_of_a_allowed_package_only_its_own_networks_and_schedules_are_made(name, strangers):
    with pytest.raises(TypeError, match="no network or schedule that an allowed module defines"):
        unpack(crafted(f"stranger.{name}"), ["stranger"])
    assert strangers == ["stranger"]


def test_anything_else_is_made_if_it_is_named_in_full(strangers):
    assert type(unpack(crafted("stranger.Plain"), ["stranger.Plain"])).__name__ == "Plain"


def test_what_is_allowed_and_missing_is_named():
    with pytest.raises(TypeError, match=r"'nowhere.Net', which cannot be imported"):
        unpack(crafted("nowhere.Net"), ["nowhere"])


def test_an_admitted_class_is_no_way_to_what_is_not_admitted(strangers):
    # A network whose attributes, hooks among them, are set to whatever the file names.
    made = b"ctorch.nn.modules.linear\nIdentity\n)\x81"
    state = b"}X\x07\x00\x00\x00forwardcstranger\nrun\ns"
    with pytest.raises(TypeError, match=r"'stranger.run'"):
        unpack(packed(b"\x80\x02" + made + state + b"b."))
    assert strangers == []


def test_what_torch_s_layers_and_ours_need_is_admitted_from_any_version():
    # Where a public class lived has changed: what counts is that it is ours.
    for module in ("", ".networks", ".pair.networks"):
        network = unpack(crafted(f"lightning_invert{module}.ResidualMLP", 3, 2))
        assert isinstance(network, ResidualMLP)


@pytest.mark.parametrize(
    "damaged",
    [
        *(pack(nn.Linear(3, 2))[:cut] for cut in (0, 1, 10, 200, -1, -30)),
        [1, 2],
        packed(b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81."),  # without its pieces
    ],
)
def test_damaged_bytes_are_said_to_be_damaged(damaged):
    with pytest.raises(ValueError, match="it is damaged"):
        unpack(damaged)


class Foreign:
    pass


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (b"", "cannot be read"),
        (b"no zip at all", "cannot be read"),
        (pickle.dumps(Mischief()), "cannot be read"),
        ([1, 2], "lacks `state_dict`"),
        ({"state_dict": 3}, "lacks `state_dict`"),
        ({"state_dict": {}}, "or `pytorch-lightning_version`"),
        ({"state_dict": {}, "hyper_parameters": [1]}, "lacks `state_dict`"),
        ({"state_dict": {}, "hyper_parameters": {"a": Foreign()}}, r"it needs '\S*Foreign'"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(held, words, tmp_path, capsys):
    path = tmp_path / "some.ckpt"
    if isinstance(held, bytes):
        path.write_bytes(held)
    else:
        torch.save(held, path)
    with pytest.raises(ValueError, match=words) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)
    assert "weights_only" not in str(raised.value)
    assert "must not run" not in capsys.readouterr().out


def test_a_missing_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file 'nothing\.ckpt'"):
        read_checkpoint("nothing.ckpt")


@pytest.mark.parametrize(
    "damaged", [{"inputs": 3}, {"inputs": [(1, 2)]}, {"inputs": [("a", "", 0, 1, "12")]}, 3]
)
def test_damaged_variables_are_said_to_be_damaged(damaged):
    checkpoint = {"lightning_invert": {"variables": damaged}}
    with pytest.raises(ValueError, match="damaged"):
        unpack_variables(checkpoint, Pair())
