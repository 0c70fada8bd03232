"""Back-tests against linear programs."""

import dataclasses
import re

import pytest
import torch
from scipy.optimize import linprog

from lightning_invert import Linear, Proposer, Variable
from lightning_invert.proposals.evidence import Evidence

A = torch.tensor([[1.0, -0.5, 0.8, 0.2], [0.3, 0.9, -0.4, 0.6]], dtype=torch.float64)
PRICES = [2.0, 1.0, 0.5, 0.3]
BOUNDS = [-1.0] * 4, [1.5] * 4
INPUTS = [Variable("coal", "kg"), Variable("gas"), Variable("wind"), Variable("heat")]


def linear(x):
    return x @ A.T.to(x)


def points(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 4, generator=generator, dtype=torch.float64) * 2.5 - 1.0


def proposer_of(**options):
    x, val = points(300, 0), points(100, 1)
    evidence = Evidence.of((x, linear(x)), (val, linear(val)), **options)
    outputs = [Variable("rate"), Variable("top gas")]
    return Proposer(linear, evidence=evidence, scale=(1.0, 1.0), inputs=INPUTS, outputs=outputs)


def backtest(x=None, cost=PRICES, proposer=None, **options):
    x = points(8, 2) if x is None else x
    return (proposer or proposer_of()).backtest(x, linear(x), cost, bounds=BOUNDS, **options)


@pytest.mark.parametrize("limit", [None, 0.8])
def test_money_is_that_of_linear_programs(limit):
    x = points(8, 2)
    x = x if limit is None else x[x[:, :2].sum(1) < limit]
    constraints = None if limit is None else {"fuel": Linear({"coal": 1, "gas": 1}, high=limit)}
    result = backtest(x, constraints=constraints)
    torch.testing.assert_close(result.spent, x @ torch.tensor(PRICES).double())
    more = {} if limit is None else {"A_ub": [[1, 1, 0, 0]], "b_ub": [limit]}
    for row, target in enumerate(linear(x)):
        least = linprog(PRICES, A_eq=A.numpy(), b_eq=target.numpy(), bounds=[(-1, 1.5)] * 4, **more)
        # A thousandth of a standard unit is open.
        assert result.proposal.cost[row].item() == pytest.approx(least.fun, abs=0.01)
        assert result.saved[row].item() == pytest.approx(
            result.spent[row].item() - least.fun, abs=0.01
        )
    assert result.cheaper.all()
    # As cheap as can be already.
    again = backtest(result.proposal.inputs, constraints=constraints)
    assert again.saved.abs().max() < 0.01


def test_prices_may_differ_from_row_to_row_whatever_is_left_out():
    x = torch.cat([points(300, 0)[:3], points(4, 2)])
    prices = torch.arange(28.0).reshape(7, 4)
    torch.testing.assert_close(backtest(x, prices).spent, (x * prices)[3:].sum(1))


@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: x.float(), lambda x: (x * 1e6).round() / 1e6]
)
def test_rows_of_the_training_are_told_apart_to_rounding(change):
    old, new = points(300, 0)[5:9], points(3, 2)
    near = points(300, 0)[:1] + 0.01
    x = change(torch.cat([new, old, near]))
    result = backtest(x)
    assert (result.num_known, result.rows.tolist()) == (4, [0, 1, 2, 7])
    assert "4 that the pair knows from its training or trials are left out." in str(result)
    everything = backtest(x, include_known=True)
    assert (everything.num_known, len(everything)) == (4, 8)
    assert "are among them" in str(everything)


def test_rows_that_were_tried_are_known_too_and_other_measurements_are_not():
    proposer, x = proposer_of(), points(6, 2)
    proposer.observe(x[:2], linear(x[:2]))
    assert backtest(x, proposer=proposer).num_known == 2
    assert proposer.backtest(x, linear(x) + 0.1, PRICES, bounds=BOUNDS).num_known == 0


def test_words_say_who_judges_and_what_may_be_known():
    kept = backtest(proposer=proposer_of(num_points=100))
    assert "it does not keep all its training rows, so others may be known, too" in str(kept)
    plain = backtest()
    assert "others may be known" not in str(plain)
    assert "as the pair predicts, which is too kind (in" in str(plain)
    assert "  rate: 100 %, 100 %, 100 % (100 %, 100 %, 100 %)" in str(plain)
    spent, cost = plain.spent, plain.proposal.cost
    assert (
        f"Spent: mean {spent.mean():.4g}, median {spent.median():.4g}. Would be: mean {cost.mean():.4g}"
        in str(plain)
    )
    true = backtest(truth=lambda x: linear(x) * torch.tensor([1.03, 1.2]))
    assert "by the true process" in str(true)
    assert "  rate: 0 %, 100 %, 100 % (100 %" in str(true)
    assert "  top gas: 0 %, 0 %, 0 % (100 %" in str(true)
    torch.testing.assert_close(true.columns()["true/rate"], true.proposal.outputs[:, 0] * 1.03)


def test_what_is_not_reached_saves_nothing():
    x = points(4, 2)
    result = proposer_of().backtest(
        x, linear(x) + torch.tensor([[0.0, 0.0]] * 3 + [[50.0, 0.0]]), PRICES, bounds=BOUNDS
    )
    assert result.saved.isnan().tolist() == [False] * 3 + [True]
    assert "Cheaper: 75 % of all rows" in str(result)
    assert "of the 3 rows whose outcomes are reached" in str(result)


def test_the_table_has_history_and_proposals_and_a_result_cannot_be_changed():
    result = backtest()
    columns = result.columns()
    assert list(columns)[:9] == [
        "history/row", "history/coal", "history/gas", "history/wind", "history/heat", "history/rate",
        "history/top gas", "history/spent", "history/saved",
    ]  # fmt: skip
    assert torch.equal(columns["cost"], result.proposal.cost)
    assert result.units()["history/coal"] == result.units()["coal"] == "kg"
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.spent = None


def test_each_row_is_drawn_and_certified_ones_are_filled():
    result = backtest()
    (axes,) = result.figures()["backtest"].axes
    drawn = {part.get_gid(): part.get_offsets() for part in axes.collections}
    certified = result.proposal.certified
    assert 0 < len(drawn["certified"]) == certified.sum()
    expected = torch.stack([result.spent, result.proposal.cost], 1)[certified]
    torch.testing.assert_close(torch.tensor(drawn["certified"].data), expected)


X = points(3, 2)


@pytest.mark.parametrize(
    ("x", "y", "cost", "options", "words"),
    [
        (X, linear(X), None, {}, "`cost` to be prices"),
        (X, linear(X), {"cole": 1}, {}, "'cole'.*coal"),
        (X[:, :3], linear(X), PRICES, {}, r"`x` to be of shape \(N, 4\).*\(3, 3\)"),
        (X, linear(X)[:, :1], PRICES, {}, r"`y` to be of shape \(N, 2\)"),
        (X[:0], linear(X)[:0], PRICES, {}, "`x` to have rows"),
        (X, linear(X).fill_(torch.nan), PRICES, {}, "`y` to be finite, but row 0"),
        (X, linear(X), PRICES, {"truth": 3}, "`truth` to be a function"),
        (
            X,
            linear(X),
            PRICES,
            {"truth": lambda x: x},
            r"`truth` to return shape \(3, 2\).*\(3, 4\)",
        ),
        (X, linear(X), PRICES, {"include_known": 1}, "`include_known` to be True or False"),
        (points(300, 0), linear(points(300, 0)), PRICES, {}, "all 300 are"),
    ],
)
def test_bad_input_is_named(x, y, cost, options, words):
    with pytest.raises((TypeError, ValueError)) as raised:
        proposer_of().backtest(x, y, cost, **options)
    assert re.search(words, str(raised.value)), raised.value
    assert "\n" not in str(raised.value)
