import copy
import math

import numpy as np
import pytest
import torch

from lightning_invert import Ensemble, ForwardInverseModule, Interval, SmoothMLP, Variable, solve
from lightning_invert.solver.cost import Near
from tests.projects import Smooth, quiet_trainer
from tests.proposals.process import INPUTS, known, points, scaled, untrained


@pytest.fixture(scope="module")
def pair():
    """A pair that knows a process well."""
    torch.manual_seed(0)
    module = of_members(3, width=32, depth=2)
    x, y = points(1200)
    scaled(module, x, y)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2, fused=True)
    z, wanted = module.scale_x(x).float(), module.scale_y(y).float()
    for _ in range(250):
        members = module.forward_net.members(z)
        loss = (members - wanted).square().mean() + (module.inverse_net(wanted) - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.inputs = INPUTS
    return known(module.eval(), x, y)


@pytest.fixture(scope="module")
def targets():
    return points(60, seed=5)[1]


@pytest.fixture(scope="module")
def proposal(pair, targets):
    return pair.propose(targets)


def ranked(found, name):
    """A column of the proposals and of their alternatives, best first: (N, 1 + S, ...)."""
    return torch.cat((getattr(found, name)[:, None], getattr(found.alternatives, name)), 1)


def exists(found):
    return torch.arange(ranked(found, "residual").shape[1]) <= found.alternatives.count[:, None]


@pytest.mark.slow
def test_what_is_proposed_is_within_bounds_and_leads_to_the_target(pair, proposal, targets):
    low, high = pair.proposer.bounds
    inputs = ranked(proposal, "inputs")[exists(proposal)]
    outputs = ranked(proposal, "outputs")[exists(proposal)]
    assert ((inputs >= low) & (inputs <= high)).all()
    np.testing.assert_allclose(outputs, pair(inputs).detach(), rtol=1e-5, atol=1e-5)
    missed = (pair(proposal.inputs).detach() - targets) / pair.scale_y.std
    np.testing.assert_allclose(missed.norm(dim=1), proposal.residual, atol=1e-5)
    assert proposal.converged.double().mean() > 0.9


def test_it_solves_from_the_inverse_network_and_the_nearest_known_points(pair, proposal, targets):
    x, _ = pair.evidence.rows("train")
    bounds = pair.proposer.bounds
    spread = pair.scale_y.std
    outcomes = pair(bounds.clamp(x)).detach()
    nearest = torch.cdist(targets / spread, outcomes / spread).topk(7, largest=False).indices
    starts = torch.cat([pair.inverse(targets).detach()[:, None], x[nearest]], 1)
    expected = solve(pair, targets, bounds=bounds, starts=starts, progress=False)
    assert torch.equal(expected.alternatives.count, proposal.alternatives.count)
    ours, theirs = ranked(proposal, "inputs"), ranked(expected, "inputs")
    apart = (ours[:, :, None] - theirs[:, None]).abs().amax(3).nan_to_num(torch.inf)
    assert (apart.amin(2)[exists(proposal)] < 1e-9).all()


def test_of_several_that_reach_the_target_the_most_trusted_is_first(proposal):
    assert proposal.alternatives.count.max() > 1
    errors = ranked(proposal, "expected_error")[proposal.converged]
    assert (errors.diff() >= 0)[~errors.diff().isnan()].all()
    trust = ranked(proposal, "trust")[proposal.converged]
    assert (trust.diff() <= 0)[~trust.diff().isnan()].all()


@pytest.mark.parametrize("cost", [[1.0, 0.0, 0.0], Near([0.0, 0.0, 0.0])])
def test_with_a_cost_the_cheapest_is_first(pair, targets, cost):
    found = pair.propose(targets[:20], cost=cost)
    costs = ranked(found, "cost")[found.converged].nan_to_num(torch.inf)
    assert (costs[:, 1:] >= costs[:, :-1]).all()
    assert found.trust.isfinite().all()


def test_in_chunks_it_proposes_the_same(pair, targets, monkeypatch):
    reference = points(60, seed=6)[0]
    whole = pair.propose(targets), pair.propose(targets[:10], cost=Near(reference[:10]))
    monkeypatch.setattr("lightning_invert.solver.solve.points_at_once", lambda n, m: 8 * 7)
    parts = pair.propose(targets), pair.propose(targets[:10], cost=Near(reference[:10]))
    for one, other, atol in zip(parts, whole, (1e-5, 1e-3), strict=True):
        np.testing.assert_allclose(one.inputs, other.inputs, atol=atol)
        np.testing.assert_allclose(one.trust, other.trust, atol=1e-2)


def test_a_fixed_setting_stays_and_moves_for_no_target(pair, targets):
    given = torch.linspace(-1, 1, len(targets), dtype=torch.float64)
    found = pair.propose(targets, fixed={"a": given, 2: 0.5})
    inputs, there = ranked(found, "inputs"), exists(found)
    assert torch.equal(inputs[..., 0][there], given[:, None].expand(there.shape)[there])
    assert (inputs[..., 2][there] == 0.5).all()
    assert (ranked(found, "sensitivity")[there][:, [0, 2]] == 0).all()
    assert not found.at_bound[:, [0, 2]].any()


def test_an_interval_is_reached_anywhere_inside_and_a_free_output_counts_for_nothing(pair):
    within = pair.propose(Interval([[0.5, -torch.inf]], [[1.0, torch.inf]]))
    assert 0.5 - 1e-3 <= within.outputs[0, 0] <= 1.0 + 1e-3
    free = pair.propose([[0.5, torch.nan]])
    assert free.converged.all()
    assert free.trust.isfinite().all()
    both = pair.reliability.expected_error(
        torch.ones(1, 2).double(), free.residual, torch.tensor([[True, True]])
    )
    assert free.expected_error < both
    assert not free.unseen.any()
    assert free.targets.low.tolist() == [[0.5, -torch.inf]]


def test_what_was_never_seen_is_said_to_be(pair):
    found = pair.propose([[50.0, 0.0], [0.0, -50.0], [0.5, 0.5]])
    assert found.unseen.tolist() == [True, True, False]
    assert found.flags["unconverged"].tolist() == [True, True, False]
    assert (found.trust[:2] < 0.01).all()
    assert found.trust[2] > 0.3


def test_without_data_it_proposes_inside_bounds_and_trusts_nothing():
    found = untrained(keep_points=0).propose(torch.zeros(5, 2), bounds=([-2.0] * 3, [2.0] * 3))
    assert (found.inputs.abs() <= 2).all()
    for name in ("trust", "expected_error", "outcome_low", "outcome_high", "far", "unseen"):
        assert getattr(found, name) is None
    assert found.sensitivity.isfinite().all()
    assert {"far", "unseen"}.isdisjoint(found.flags)
    assert [v.name for v in found.input_variables] == ["x0", "x1", "x2"]


@pytest.mark.parametrize("has_data", [False, True])
def test_bounds_may_be_numbers_where_the_settings_are_named_or_data_are_there(has_data):
    pair = known(untrained(), *points(400)) if has_data else untrained(keep_points=0)
    if not has_data:
        pair.inputs = tuple(map(Variable, "abc"))
    assert (pair.propose(torch.zeros(5, 2), bounds=(-0.5, 0.5)).inputs.abs() <= 0.5).all()


def test_with_too_few_validation_points_nothing_is_trusted():
    for num_judged in (29, 30):
        pair = known(untrained(), *points(400), num_judged=num_judged)
        assert (pair.propose(torch.zeros(5, 2)).trust is None) == (num_judged == 29)


def test_bounds_are_the_ranges_of_the_variables_or_else_of_the_data():
    x, y = points(400)
    x[3], y[7] = torch.nan, torch.nan
    pair = known(untrained(), x, y)
    seen = x[200:]
    low, high = pair.proposer.bounds
    np.testing.assert_allclose(low, seen.amin(0))
    np.testing.assert_allclose(high, seen.amax(0))
    pair.inputs = INPUTS
    low, high = pair.proposer.bounds
    np.testing.assert_allclose(low, [-2.0, seen[:, 1].min(), -2.5])
    np.testing.assert_allclose(high, [2.0, seen[:, 1].max(), 2.5])
    without = untrained()
    assert without.proposer.bounds is None
    without.inputs = INPUTS
    assert without.proposer.bounds.closed.tolist() == [True, False, True]
    assert without.proposer.bounds.low.tolist() == [-2.0, -torch.inf, -2.5]


def test_rows_that_are_not_finite_count_for_nothing():
    x, y = points(400)
    holes = x.clone(), y.clone()
    holes[0][300], holes[1][301] = torch.nan, torch.inf
    kept = torch.ones(400, dtype=torch.bool)
    kept[300:302] = False
    pair = untrained()
    expected = known(pair, x[kept], y[kept]).propose(torch.zeros(5, 2))
    found = known(pair, *holes).propose(torch.zeros(5, 2))
    np.testing.assert_allclose(found.inputs, expected.inputs, atol=1e-3)
    np.testing.assert_allclose(found.trust, expected.trust, atol=1e-3)


def test_units_that_float32_does_not_hold_are_kept():
    plain = untrained()
    x, y = points(600)
    shift, width = torch.tensor([1.7e9, 0.0, 1e-6]), torch.tensor([60.0, 1.0, 1e-9])
    seconds = shift + width * x
    outcomes = 1.7e9 + 60.0 * y
    moved = copy.deepcopy(plain)
    scaled(plain, x, y)
    scaled(moved, seconds, outcomes)
    wanted = plain(points(20, seed=5)[0]).detach()
    one = known(plain, x, y).propose(wanted)
    other = known(moved, seconds, outcomes).propose(1.7e9 + 60.0 * wanted)
    np.testing.assert_allclose((other.outputs - 1.7e9) / 60, one.outputs, atol=2e-3)
    np.testing.assert_allclose(other.trust, one.trust, atol=0.02)
    assert other.converged.all()
    half = (other.outcome_high - other.outcome_low) / 60
    np.testing.assert_allclose(half, one.outcome_high - one.outcome_low, rtol=0.05)


def of_members(members, width=8, **options):
    ensemble = Ensemble(SmoothMLP(3, 2, width=width, **options), members=members)
    return ForwardInverseModule(ensemble, SmoothMLP(2, 3, width=width)).eval()


def test_one_member_is_no_ensemble():
    pair = known(of_members(1), *points(400))
    assert pair.propose(torch.zeros(5, 2)).trust.isfinite().all()


def fitted(folder, module=None, **kwargs):
    module, trainer = module or of_members(2), quiet_trainer(folder, **kwargs)
    trainer.fit(module.train(), datamodule=Smooth(rows=300))
    return module, trainer


def test_a_checkpoint_proposes_the_same_to_the_bit(tmp_path):
    module, trainer = fitted(tmp_path)
    trainer.save_checkpoint(tmp_path / "pair.ckpt")
    wanted = Smooth(rows=300).load()[1][:20]
    one = module.propose(wanted)
    other = ForwardInverseModule.load_from_checkpoint(tmp_path / "pair.ckpt").propose(wanted)
    for (name, column), again in zip(one.columns().items(), other.columns().values(), strict=True):
        assert torch.equal(column, again), name
    assert other.input_variables == Smooth.inputs


def test_reliability_is_measured_anew_after_training_and_after_weights_were_loaded(tmp_path):
    module, _ = fitted(tmp_path)
    weights = copy.deepcopy(module.state_dict())
    first = module.reliability
    assert module.reliability is first
    fitted(tmp_path, module, max_epochs=3)
    second = module.reliability
    assert not torch.equal(second.squared_errors, first.squared_errors)
    module.eval()
    module.load_state_dict(weights)
    errors = module(module.evidence.rows("val")[0]).detach() - module.evidence.rows("val")[1]
    expected = (errors / module.scale_y.std).square()
    np.testing.assert_allclose(
        module.reliability.squared_errors[: len(expected)], expected, rtol=1e-9
    )


def test_it_leaves_the_pair_as_it_was(pair, targets):
    pair.train()
    before = copy.deepcopy(pair.state_dict())
    stream = torch.get_rng_state()
    with torch.inference_mode():
        found = pair.propose(targets[:5])
    assert pair.training
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(before[name], now) for name, now in pair.state_dict().items())
    assert not found.inputs.requires_grad
    pair.eval()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_starts": torch.zeros(60, 3)}, TypeError, "`num_starts`"),
        ({"progress": 1}, TypeError, "`progress`"),
        ({"targets": "all"}, TypeError, "`targets`"),
    ],
)
def test_bad_arguments_are_refused_in_words(pair, targets, arguments, error, words):
    with pytest.raises(error, match=words):
        pair.propose(**{"targets": targets, **arguments})


def test_columns_of_a_table_have_a_row_for_each_target(proposal, targets):
    columns = proposal.columns()
    assert all(column.shape == (len(targets),) for column in columns.values())
    assert {"a", "b", "c", "y0_band_low", "y1_band_high", "trust", "far", "a_sensitivity"} <= {
        *columns
    }
    assert len(proposal) == len(targets)
    assert math.isfinite(float(columns["trust"].mean()))
