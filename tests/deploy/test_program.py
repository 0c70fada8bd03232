import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lightning_invert import ForwardInverseModule, SmoothMLP, Variable
from lightning_invert.deploy.maps import frozen_copy, physical_map
from lightning_invert.deploy.program import trace
from tests.deploy.pairs import Changed, forward_map, off, pair_of, points

pytestmark = pytest.mark.slow


class Recurrent(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.cell = nn.GRU(1, 4, batch_first=True)
        self.head = nn.Linear(4, m)

    def forward(self, x):
        return self.head(self.cell(x[..., None])[0][:, -1])


KINDS = {
    "batch norm": lambda: nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Softplus(), nn.Linear(8, 2)
    ),
    "strided and grouped convolutions, there and back": lambda: nn.Sequential(
        nn.Linear(3, 14), nn.Unflatten(1, (2, 7)), nn.Conv1d(2, 4, 3, stride=3, groups=2),
        nn.Tanh(), nn.ConvTranspose1d(4, 2, 3, stride=2, padding=1, output_padding=1),
        nn.Conv1d(2, 2, 2, dilation=2), nn.Flatten(), nn.LazyLinear(2),
    ),
    "an image": lambda: nn.Sequential(
        nn.Linear(3, 30), nn.Unflatten(1, (1, 5, 6)), nn.Conv2d(1, 2, (2, 3), stride=(2, 1)),
        nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(2),
    ),
    "activations": lambda: nn.Sequential(
        nn.Linear(3, 8), nn.ELU(), nn.Linear(8, 8), nn.Hardswish(), nn.PReLU(), nn.Linear(8, 2)
    ),
    "transformer": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1)), nn.Linear(1, 4),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(12, 2),
    ),
    "recurrent": lambda: Recurrent(3, 2),
    "parametrized": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8)), nn.Tanh(), nn.Linear(8, 2)
    ),
    "one that ignores its input": lambda: nn.Sequential(nn.Linear(3, 2), Constant()),
}  # fmt: skip


class Constant(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :1], torch.ones_like(x[:, 1:])], 1)


@pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
def test_jacobians_of_all_kinds_of_networks_are_autograds(network):
    fast = torch.backends.mha.get_fastpath_enabled()
    made = network()
    made(torch.zeros(2, 3))  # lazy ones find their size
    pair = pair_of(made, nn.Linear(2, 3), dtype=torch.float64)
    program = trace(physical_map(frozen_copy(pair), "forward")).module()
    for rows in (1, 7, 31):
        x = points(pair, "forward", rows)
        assert off(pair, "forward", x, *(part.detach() for part in program(x))) < 1e-7
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_units_beyond_float32_are_kept():
    pair = pair_of(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8))
    for scale, std in ((pair.scale_x, [1e-60, 1e39, 1.0]), (pair.scale_y, [1e39, 1e-60])):
        scale.fit(torch.zeros(len(std)), torch.tensor(std, dtype=torch.float64))
    for name in ("forward", "inverse", "round_trip"):
        program = trace(physical_map(frozen_copy(pair), name)).module()
        x = points(pair, name, 9)
        assert off(pair, name, x, *(part.detach() for part in program(x))) < 2e-6


def test_columns_as_many_as_the_points_that_are_traced_are_no_trap():
    n = 31
    pair = ForwardInverseModule(nn.Linear(n, n), nn.Tanh(), standardize=False)
    pair.inputs = pair.outputs = tuple(Variable(f"v{i}") for i in range(n))
    x = torch.randn(4, n, dtype=torch.float64)
    y, jacobian = trace(physical_map(frozen_copy(pair), "forward")).module()(x)
    weight, bias = pair.forward_net.weight.double(), pair.forward_net.bias.double()
    torch.testing.assert_close(y, x @ weight.T + bias, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(jacobian, weight.expand(4, n, n), rtol=0, atol=1e-7)
    y, jacobian = trace(physical_map(frozen_copy(pair), "inverse")).module()(x)
    torch.testing.assert_close(y, x.tanh(), rtol=1e-12, atol=0)
    slopes = torch.diag_embed(1 - x.tanh().square())
    torch.testing.assert_close(jacobian, slopes, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            partial(Changed, lambda y: y if y.sum() > 0 else -y),
            r"depends on its inputs .*`torch\.where`",
        ),
        (partial(Changed, lambda y: y.reshape(31, 2)), r"batches of one size only"),
        (partial(Changed, lambda y: y.detach()), r"carry no gradient .*`detach`"),
        (
            partial(Changed, lambda y: torch.from_numpy(y.detach().numpy())),
            r"numpy\(\) is not supported",
        ),
        (partial(nn.Linear, 3, 4), r"shape \(N, 4\) where the pair knows 2 columns|size of tensor"),
        (lambda: torch.compile(nn.Linear(3, 2)), r"dynamo-optimized"),
    ],
    ids=["branch", "size", "detach", "numpy", "columns", "compiled"],
)
def test_what_cannot_be_traced_is_refused_with_the_cause_in_one_line(network, words):
    with pytest.raises(ValueError, match=rf"Expected the map 'forward' .*({words})") as error:
        trace(forward_map(network()))
    assert "\n" not in str(error.value)


def test_a_weight_that_is_changed_afterwards_is_not_in_the_program():
    pair = pair_of(nn.Linear(3, 2), nn.Linear(2, 3))
    program = trace(physical_map(frozen_copy(pair), "forward")).module()
    x = points(pair, "forward", 4)
    before, _ = program(x)
    weights = copy.deepcopy(pair.state_dict())
    with torch.no_grad():
        pair.forward_net.weight.mul_(2)
    assert torch.equal(program(x)[0], before)
    torch.testing.assert_close(functional_call(pair, weights, (x,)), before)
