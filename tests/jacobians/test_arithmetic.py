import pytest
import torch
from torch import nn

from lightning_invert import Thresholds, analyze
from lightning_invert.jacobians.arithmetic import coarsest_dtype

BF16, HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float16, torch.float32, torch.float64
TABLE = torch.linspace(-1, 1, 4).to(BF16)


class CoarseInside(torch.autograd.Function):
    """Shows no coarse dtype outside of itself."""

    @staticmethod
    def forward(ctx, x):
        return x.to(BF16).float()

    @staticmethod
    def backward(ctx, slope):
        return slope.to(BF16).float()


@torch.autocast("cpu", BF16)
def decorated(net, x):
    return net(x)


def in_region(net, x, dtype=BF16):
    with torch.autocast("cpu", dtype):
        return net(x)


def beside(net, x):
    net.seen = x.to(BF16).norm()
    return net(x)


def straight_through(net, x):
    z = net(x)
    return z + (z.to(BF16).float() - z).detach()


PATHS = {
    "plain": (SINGLE, lambda net, x: net(x)),
    "region": (BF16, lambda net, x: in_region(net, x).float()),
    "float16 region": (HALF, lambda net, x: in_region(net, x, HALF).float()),
    "decorator": (BF16, lambda net, x: decorated(net, x).float()),
    "round trip": (HALF, lambda net, x: net(x.half().float())),
    "float8": (torch.float8_e4m3fn, lambda net, x: net(x).to(torch.float8_e4m3fn).float()),
    "own operation": (BF16, lambda net, x: CoarseInside.apply(net(x))),
    "complex": (HALF, lambda net, x: torch.view_as_real(torch.view_as_complex(
        net(x).half().reshape(-1, 2, 2))).flatten(1).float()),
    "sum in bfloat16": (BF16, lambda net, x: (net(x).to(BF16) + TABLE).float()),
    "table added": (SINGLE, lambda net, x: net(x) + TABLE),
    "table looked up": (SINGLE, lambda net, x: net(x) * TABLE[torch.zeros(len(x), 4).long()].float()),
    "beside": (SINGLE, beside),
    "detached": (SINGLE, lambda net, x: net(x) * x.detach().to(BF16).sigmoid()),
    "straight through": (SINGLE, straight_through),
    "masked": (SINGLE, lambda net, x: net(x).masked_fill(torch.eye(len(x), 4) > 0, 0.0)),
    "fine inside": (SINGLE, lambda net, x: net(x.double().float()).double()),
}  # fmt: skip


def narrow(dtype=SINGLE):
    """A network 4 -> 1 -> 4: its Jacobian is of rank 1."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 4)).to(dtype)


X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("path", PATHS)
def test_the_coarsest_dtype_between_inputs_and_outputs_is_found(path):
    expected, function = PATHS[path]
    assert coarsest_dtype(lambda x: function(narrow(), x), X[:2]) == expected


@pytest.mark.parametrize(
    ("expected", "function"),
    [
        (DOUBLE, lambda net, x: net(x)),
        (DOUBLE, lambda net, x: net(x).masked_fill(torch.eye(len(x), 4) > 0, 0.0)),
        (DOUBLE, lambda net, x: torch.where(x > 0, net(x), 0.0).clamp(min=-1)),
        (SINGLE, lambda net, x: net(x).float().double()),
        (BF16, lambda net, x: in_region(net.float(), x.float()).double()),
        (BF16, lambda net, x: net(x).to(BF16)),
    ],
)
def test_the_coarsest_dtype_of_a_map_in_float64_is_found(expected, function):
    assert coarsest_dtype(lambda x: function(narrow(DOUBLE), x), X[:2].double()) == expected


def test_points_in_bfloat16_have_a_jacobian_in_it():
    assert coarsest_dtype(lambda x: narrow()(x.float()), X[:2].to(BF16)) == BF16


def test_a_map_without_a_gradient_has_no_arithmetic():
    assert coarsest_dtype(lambda x: x.detach(), X[:2]) is None


@pytest.mark.parametrize("path", [path for path, (dtype, _) in PATHS.items()
                                  if dtype in (BF16, HALF)])  # fmt: skip
def test_rounding_is_no_rank(path):
    dtype, function = PATHS[path]
    observation = analyze(Path(narrow(), function), X)
    assert observation.arithmetic == dtype
    assert observation.scalars["full_rank_fraction"] == 0
    assert observation.scalars["unresolved_fraction"] == 1
    assert (observation.rank == 1).all()


@pytest.mark.parametrize("path", [path for path in PATHS if path != "masked"])
def test_what_is_resolved_counts(path):
    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    nn.init.orthogonal_(net.weight)
    scalars = analyze(Path(net, PATHS[path][1]), X).scalars
    assert (scalars["unresolved_fraction"], scalars["full_rank_fraction"]) == (0, 1)


class Path(nn.Module):
    def __init__(self, net, function):
        super().__init__()
        self.net, self.function = net, function
        self.table = nn.Parameter(TABLE)  # takes no part

    def forward(self, x):
        return self.function(self.net, x)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_coarse_rounding_is_no_rank_in_any_units(scale):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), nn.Linear(2, 4))
    observation = analyze(lambda x: scale * in_region(net, x).float(), X)
    assert (observation.rank == 2).all()


@pytest.mark.parametrize(
    ("dtype", "sigma", "thresholds"),
    [
        (SINGLE, [1.0, 1e-3, 2e-5, 9e-6], {}),
        (SINGLE, [10.0, 1e-5], {"rank_atol": 1e-6}),  # κ = 1e6
        (SINGLE, [1e4, 1.0, 1e-3, 1e-4], {}),  # units of very different size: κ = 1e8
        (SINGLE, [3e6, 2e-5], {}),
        (DOUBLE, [1.0, 1e-14], {"rank_atol": 1e-15, "singular_floor": 1e-15}),  # κ = 1e14
        (DOUBLE, [1e9, 1e-3, 1.1e-5, 1e-13], {}),
        (DOUBLE, [1e9, 1e-8], {"rank_atol": 1e-9}),
        (DOUBLE, [1.0, 1e-3, 1e-6], {"rank_rtol": 1e-2}),
        (BF16, [1.0, 0.04], {}),  # above 4 ε
    ],
)
def test_the_thresholds_alone_decide_on_what_is_resolved(dtype, sigma, thresholds):
    scales = torch.tensor(sigma, dtype=dtype)
    x, thresholds = torch.ones(8, len(sigma), dtype=dtype), Thresholds(**thresholds)
    observation = analyze(lambda x: x * scales, x, thresholds=thresholds, scale="physical")
    exact = scales.double().numpy()
    limit = max(thresholds.rank_atol, thresholds.rank_rtol * exact[0])
    assert (observation.rank == int((exact > limit).sum())).all()
    smallest = exact[-1]
    kappa = exact[0] / smallest if smallest >= thresholds.singular_floor else float("inf")
    assert observation.condition.numpy() == pytest.approx(kappa, rel=1e-9)


def test_what_computes_in_float64_whatever_surrounds_it_is_resolved_as_such():
    net = narrow()
    observation = analyze(Path(net, lambda net, x: in_region(net, x)), X, precision="float64")
    assert observation.arithmetic == DOUBLE
    bent = analyze(Path(net, lambda net, x: net(x.to(BF16).to(x.dtype))), X, precision="float64")
    assert (bent.arithmetic, bent.condition_limit) == (BF16, 1 / (2**-7 * 4))
