import re

import numpy as np
import pytest
import torch

from lightning_invert import ForwardInverseModule, Proposer, SmoothMLP, Variable
from lightning_invert.proposals.evidence import Evidence
from tests.proposals.process import known, points, scaled

OUTPUTS = (Variable("rate", "t/h"), Variable("heat", "K"))


def process(x, moisture=0.0):
    y = torch.stack([x[:, 0] + x[:, 1].sin(), x[:, 2] * (1 + 0.3 * x[:, 0])], 1)
    return y + moisture * torch.tensor([1.0, 0.0]) * (1 + 0.2 * x[:, :1])


def inputs(count, seed):
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)).double() - 1


def measured(x, seed, moisture=0.0):
    noise = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(seed)).double()
    return process(x, moisture) + 0.01 * noise


@pytest.fixture
def proposer():
    rows = [(x := inputs(300, seed), measured(x, seed)) for seed in (0, 1)]
    return Proposer(process, evidence=Evidence.of(*rows), outputs=OUTPUTS)


TARGETS = torch.tensor([[0.3, 0.2], [-0.5, 0.1], [1.2, -0.3]]).double()


def distance(proposer, moisture):
    proposal = proposer.propose(TARGETS, progress=False)
    return float((process(proposal.inputs, moisture) - TARGETS).norm(dim=1).max())


def test_after_a_change_an_alarm_is_raised_and_proposals_reach_their_targets_again(proposer):
    for seed in range(2, 5):
        trials = proposer.observe(x := inputs(10, seed), measured(x, seed))
        assert trials.alarm is None
    assert proposer.correction is None
    assert distance(proposer, 0.3) > 0.2
    trials = proposer.observe(x := inputs(10, 5), measured(x, 5, 0.3))
    assert int(trials.inside.sum()) == 0
    assert 30 <= trials.alarm <= 36
    assert trials.since == 30
    assert trials.corrected == OUTPUTS[:1]
    assert trials.corrected_error.median() < 0.2 * trials.error.median()
    assert distance(proposer, 0.3) < 0.05
    for seed in range(6, 9):
        trials = proposer.observe(x := inputs(10, seed), measured(x, seed, 0.3))
        assert trials.inside.sum() >= 8
    assert (trials.num_rows, trials.since) == (70, 30)
    assert distance(proposer, 0.3) < 0.03
    words = str(trials)
    assert "10 rows tried, 70 so far." in words
    assert "ALARM at row" in words
    assert "from about row 31 on" in words
    assert "Corrected near the tried rows: rate." in words
    assert "at most 5 %" in words


def test_rows_are_judged_by_the_bands_as_they_were_before(proposer):
    x = inputs(40, 2)
    y = measured(x, 2, 0.02)
    before = proposer.propose(TARGETS, progress=False)
    proposal_there = proposer.knowledge.expect(x).half * proposer.surrogate.units[1]
    expected = ((y - process(x)).abs() <= proposal_there).all(1)
    trials = proposer.observe(x, y)
    assert torch.equal(trials.inside, expected)
    assert torch.equal(proposer.evidence.missed, ~expected)
    torch.testing.assert_close(trials.predicted, process(x))
    unit = proposer.evidence.rows("train")[1].std(0)
    told = np.sqrt(np.mean(((y - process(x)) / unit).numpy() ** 2, axis=1))
    np.testing.assert_allclose(trials.error, told, rtol=1e-4)  # F runs in float32
    assert proposer.propose(TARGETS, progress=False).outcome_low.ne(before.outcome_low).all()


@pytest.mark.slow
def test_tried_rows_recalibrate_the_bands(proposer):
    """The noise has become thrice as large: after enough rows the bands hold nine of ten again."""
    rows = [
        (x := inputs(40, seed), process(x) + 3 * (measured(x, seed) - process(x)))
        for seed in range(2, 12)
    ]
    inside = [float(proposer.observe(*row).inside.double().mean()) for row in rows]
    assert inside[0] < 0.6
    assert sum(inside[-4:]) / 4 > 0.75


def test_where_nothing_was_tried_nothing_changes_to_the_bit():
    torch.manual_seed(0)
    x, y = points(600)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8)).eval()
    scaled(pair, x, y)
    known(pair, x, y)
    first = pair.propose(y[:5], progress=False)
    pair.evidence.load_state_dict(pair.evidence.state_dict())
    pair.proposer.reset()
    second = pair.propose(y[:5], progress=False)
    for name, column in first.columns().items():
        assert torch.equal(column, second.columns()[name]), name
    assert pair.proposer.knowledge.surrogate is pair.proposer.surrogate


def test_the_solver_sees_the_slope_of_the_correction(proposer):
    proposer.observe(x := inputs(40, 2), measured(x, 2, 0.5))
    corrected = proposer.knowledge.surrogate.corrected
    at = inputs(4, 9).requires_grad_()
    slopes = torch.stack(
        [torch.func.jacrev(lambda x: corrected(x[None])[0])(row) for row in at.detach()]
    )
    numerical = torch.stack([
        (corrected(at.detach() + step) - corrected(at.detach() - step)) / 2e-6
        for step in 1e-6 * torch.eye(3).double()
    ], 2)  # fmt: skip
    torch.testing.assert_close(slopes, numerical, rtol=1e-6, atol=1e-7)
    plain = torch.stack(
        [torch.func.jacrev(lambda x: process(x[None])[0])(row) for row in at.detach()]
    )
    assert (slopes - plain).abs().max() > 0.05
    proposal = proposer.propose(TARGETS, progress=False)
    assert proposal.converged.all()
    torch.testing.assert_close(proposal.outputs, corrected(proposal.inputs))


def test_a_checkpoint_keeps_what_was_tried():
    torch.manual_seed(0)
    x, y = points(600)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8)).eval()
    scaled(pair, x, y)
    known(pair, x, y)
    pair.observe(x[:20], y[:20] + 1)
    other = ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8)).eval()
    other.load_state_dict(pair.state_dict())
    checkpoint = {}
    pair.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    for side, kept in zip((x, y + 1), other.evidence.rows("tried"), strict=True):
        assert torch.equal(side[:20], kept)
    here, there = (p.propose(y[:5], progress=False).columns() for p in (pair, other))
    for name, column in here.items():
        assert torch.equal(column, there[name]), name
    assert repr(other).endswith("validation, 20 tried.")


def test_evidence_keeps_the_last_rows_and_all_judgements():
    evidence = Evidence(5)
    for begin in (0, 4):
        x = torch.arange(begin, begin + 4).double()[:, None]
        evidence.add_tried(x, 2 * x, x[:, 0] > 5)
    assert evidence.rows("tried")[0][:, 0].tolist() == [3, 4, 5, 6, 7]
    assert evidence.missed.tolist() == [False] * 6 + [True] * 2
    evidence.begin()
    assert evidence.rows("tried") is None
    assert len(evidence.missed) == 0


ROWS = torch.zeros(2, 3).double()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (ROWS[0], ROWS[:, :2], "`x` to be of shape (N, 3), a row for each trial, but got (3,)"),
        (ROWS[:, :2], ROWS[:, :2], "`x` to be of shape (N, 3)"),
        (ROWS, ROWS, "`y` to be of shape (N, 2)"),
        (ROWS, ROWS[:1, :2], "`y` to be of shape (N, 2), a row for each trial, but got (1, 2)"),
        (ROWS, [[1.0, 2.0], [1.0, float("nan")]], "`y` to be finite, but row 1 has [1.0, nan]"),
        (ROWS + torch.inf, ROWS[:, :2], "`x` to be finite, but row 0"),
        (ROWS[:0], ROWS[:0, :2], "from 1 to 4096 rows"),
        (torch.zeros(5000, 3), torch.zeros(5000, 2), "from 1 to 4096 rows, as many as are kept"),
        ("rows", ROWS[:, :2], "`x` to be numbers"),
    ],
)
def test_rows_that_are_none_are_refused_and_nothing_is_learnt(proposer, x, y, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        proposer.observe(x, y)
    assert proposer.evidence.rows("tried") is None


def test_a_pair_that_keeps_no_rows_says_so():
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8), keep_points=0)
    with pytest.raises(ValueError, match="Fit the pair, with `keep_points` above 0"):
        pair.observe(ROWS, ROWS[:, :2])


def test_without_enough_validation_rows_nothing_is_judged():
    x = inputs(60, 0)
    y = measured(x, 0)
    proposer = Proposer(process, evidence=Evidence.of((x[:50], y[:50]), (x[50:], y[50:])))
    trials = proposer.observe(x := inputs(10, 1), measured(x, 1, 0.5))
    assert (trials.inside, trials.alarm) == (None, None)
    assert "fewer than 30 validation points" in str(trials)
    assert "larm" not in str(trials)
