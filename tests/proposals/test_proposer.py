import copy

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import Proposer, Variable
from lightning_invert.problems import Sine
from lightning_invert.proposals.evidence import Evidence
from tests.proposals.process import known, points, scaled, untrained
from tests.solver.maps import network

SINE = Sine()
UNIT = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double()


def surrogate(x):
    """The sine problem in its closed form, with an error of 0.02 at most that varies slowly."""
    return SINE.forward(x) + 0.02 * torch.sin(2 * x.sum(1, keepdim=True))


def evidence_of(function, low, high, count=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(2 * count, len(low), generator=generator, dtype=torch.float64)
    x = low + (high - low) * share
    with torch.no_grad():
        y = function(x)
    return Evidence.of(train=(x[:count], y[:count]), val=(x[count:], y[count:]))


@pytest.fixture(scope="module")
def proposer():
    return Proposer(surrogate, evidence=evidence_of(SINE.forward, *UNIT), inputs=SINE.inputs)


def test_bands_hold_validation_points_and_what_the_process_answers(proposer):
    x, y = proposer.evidence.rows("val")
    proposal = proposer.propose(y[:200], bounds=UNIT.unbind())
    assert proposal.converged.double().mean() > 0.95
    true = SINE.forward(proposal.inputs)
    inside = (true >= proposal.outcome_low) & (true <= proposal.outcome_high)
    assert inside.double().mean() > 0.85
    known_x, known_y = proposer.evidence.rows("train")
    unit, reliability = known_y.std(0), proposer.reliability
    points = (x - known_x.mean(0)) / known_x.std(0)
    half, _ = reliability.half_width(points, reliability.sigma(points))
    assert ((surrogate(x) - y).abs() <= half * unit).all(1).double().mean() >= 0.9
    accurate = ((true - y[:200]).abs() <= reliability.accuracy * unit).double().mean()
    assert abs(float(proposal.trust.mean()) - float(accurate)) < 0.15


def test_names_ranges_and_fixed_inputs_come_from_the_variables():
    inputs = [Variable("a", "m", -0.5, 0.5), Variable("b")]
    proposer = Proposer(
        surrogate, evidence=evidence_of(SINE.forward, *UNIT), inputs=inputs, outputs=[Variable("y")]
    )
    known, _ = proposer.evidence.rows("train")
    assert proposer.bounds.low.tolist() == [-0.5, known[:, 1].min().item()]
    proposal = proposer.propose([[0.3], [0.5]], fixed={"b": 0.2})
    assert (proposal.inputs[:, 1] == 0.2).all()
    assert (proposal.inputs[:, 0].abs() <= 0.5).all()
    assert [*proposal.columns()][:4] == ["certified", "a", "b", "y"]


def test_an_inverse_is_one_more_start_and_members_are_heard():
    asked = []

    def inverse(y):
        asked.append(len(y))
        return torch.zeros(len(y), 2).to(y)

    def members(x):
        asked.append("members")
        return torch.stack([surrogate(x), SINE.forward(x)])

    evidence = evidence_of(SINE.forward, *UNIT)
    plain = Proposer(surrogate, evidence=evidence).propose([[0.4]])
    full = Proposer(surrogate, evidence=evidence, inverse=inverse, members=members).propose([[0.4]])
    assert {1, "members"} <= set(asked)
    assert plain.converged.all()
    assert full.converged.all()
    assert not torch.equal(full.expected_error, plain.expected_error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plain_module_in_physical_units_proposes_in_its_own_dtype(dtype):
    class Physical(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(3, 2, dtype=dtype)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return 1000 + 50 * self.dropout(self.net((x - 300) / 10))

    module = Physical().train()
    exact = copy.deepcopy(module).eval()
    low, high = torch.full((3,), 290.0).double(), torch.full((3,), 310.0).double()
    evidence = evidence_of(lambda x: exact(x.to(dtype)).double() + 0.5, low, high)
    proposer = Proposer(module, evidence=evidence)
    proposal = proposer.propose(evidence.rows("val")[1][:20])
    assert module.training
    assert proposal.inputs.dtype == dtype
    assert proposal.converged.double().mean() > 0.9
    assert ((proposal.inputs >= 290 - 1e-3) & (proposal.inputs <= 310 + 1e-3)).all()
    # Off by half a unit everywhere, and so are nine of ten bands wide.
    true = exact(proposal.inputs).detach() + 0.5
    inside = (true >= proposal.outcome_low) & (true <= proposal.outcome_high)
    assert inside.all(1).double().mean() >= 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["names", "tensor"])
def test_a_function_that_calls_a_network_is_given_the_network_s_dtype(dtype, form):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)
    x = torch.rand(100, 2)
    y = net(x.to(dtype)).detach() + 0.01 * torch.randn(100, 2)
    options = {
        "evidence": Evidence.of(train=(x[:50], y[:50]), val=(x[50:], y[50:])),
        "outputs": [Variable("rate"), Variable("gas")],
    }
    targets = {"rate": y[:3, 0].tolist()} if form == "names" else y[:3].clone()
    proposal = Proposer(lambda x: net(x), **options).propose(targets)
    expected = Proposer(net, **options).propose(targets)
    assert proposal.converged.tolist() == expected.converged.tolist()
    assert proposal.converged.any()
    close = {"rtol": 1e-3, "atol": 1e-3, "check_dtype": False}
    torch.testing.assert_close(proposal.outputs, net(proposal.inputs.to(dtype)), **close)
    torch.testing.assert_close(proposal.residual, expected.residual, **close)


def test_a_scale_sets_the_units_of_residuals_and_errors(proposer):
    scaled = Proposer(surrogate, evidence=proposer.evidence, scale=([1.0, 1.0], [100.0]))
    proposal = scaled.propose([[5.0]], bounds=UNIT.unbind())
    torch.testing.assert_close(
        proposal.residual, (proposal.outputs - 5.0).abs()[:, 0].double() / 100
    )


def test_names_the_argument_that_is_wrong():
    x = torch.zeros(5, 2)
    with pytest.raises(TypeError, match="`function`"):
        Proposer(3, evidence=Evidence(0))
    with pytest.raises(TypeError, match="`evidence` to be an Evidence"):
        Proposer(surrogate, evidence=None)
    for name, value in [("scale", 3), ("scale", (1.0,)), ("inverse", 3), ("members", x)]:
        with pytest.raises(TypeError, match=f"`{name}` to be "):
            Proposer(surrogate, evidence=Evidence(0), **{name: value})
    with pytest.raises(ValueError, match="`bounds`, because"):
        Proposer(surrogate, evidence=Evidence(0)).propose([[0.3]])
    with pytest.raises(ValueError, match="`val` to be inputs"):
        Evidence.of(train=(x, x), val=(x, x[:3]))


def test_it_is_the_pair_s_proposer_for_the_pair_s_function():
    pair = untrained()
    x, y = points(400)
    scaled(pair, x, y)
    known(pair, x, y)
    targets = pair(points(20, seed=5)[0]).detach()
    alone = Proposer(
        lambda x: pair.forward(x), evidence=pair.evidence, inverse=pair.inverse,
        scale=(pair.scale_x.std, pair.scale_y.std),
    )  # fmt: skip
    ours, theirs = alone.propose(targets), pair.propose(targets)
    for (name, one), other in zip(ours.columns().items(), theirs.columns().values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9, err_msg=name)
