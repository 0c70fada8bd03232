"""A pair keeps linear constraints as it keeps its variables."""

import pytest
import torch

from lightning_invert import Constraint, ForwardInverseModule, Linear, SmoothMLP, solve
from lightning_invert.cli.main import main
from lightning_invert.pair.checkpoint import unpack_variables
from lightning_invert.pair.pair import Pair
from tests.cli.commands import refusal, save_pair
from tests.pair.fitting import fit
from tests.projects import Smooth

RULES = {"mix": {"wind": 1, "heat": 2.0, "low": 1500, "high": 1560}}
KEPT = (Linear({"wind": 1, "heat": 2.0}, 1500, 1560, "mix"),)


def untrained():
    return ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    save_pair(folder / "pair.ckpt", untrained(), Smooth(constraints=RULES), max_epochs=1)
    return ForwardInverseModule.load_from_checkpoint(folder / "pair.ckpt")


def mix(x):
    return (x[..., 0] + 2 * x[..., 1]).nan_to_num(1550)


def kept(x):
    return bool(((mix(x) >= 1500 - 1e-6) & (mix(x) <= 1560 + 1e-6)).all())


@pytest.mark.slow
def test_what_it_proposes_keeps_them_unless_others_are_given(pair):
    assert pair.constraints == KEPT
    y = pair.evidence.rows("val")[1][:8]
    plain = pair.propose(y)
    assert plain.constraint_names == ("mix",)
    assert kept(plain.inputs)
    assert kept(solve(pair, y, bounds=pair.proposer.bounds).inputs)
    assert kept(pair.trade_off(y, {"wind": -1.0}, widths=(0, 0.1)).inputs)
    assert kept(pair.windows(plain, 0.1).inputs_at_high)
    assert kept(pair.backtest(*(part[:8] for part in pair.evidence.rows("val")), {"wind": -1.0}).proposal.inputs)  # fmt: skip
    for none in ((), {}):
        assert not kept(pair.propose(y, constraints=none).inputs)
    assert pair.propose(y, constraints=Linear({"wind": 1}, high=9e3)).constraint_names == ("wind <= 9000",)  # fmt: skip


def test_they_may_be_set_changed_and_kept_by_a_second_fit(tmp_path):
    pair = untrained()
    pair.constraints = Linear({0: 1}, high=1200)
    fit(pair, tmp_path)  # its data have none
    assert pair.constraints == (Linear({0: 1}, high=1200),)
    pair.constraints = [Linear({"load": 1}, high=0.5), Linear({"wind": 1}, low=600)]
    save_pair(tmp_path / "pair.ckpt", pair)
    again = ForwardInverseModule.load_from_checkpoint(tmp_path / "pair.ckpt")
    assert again.constraints == pair.constraints
    pair.constraints = ()
    assert pair.propose({"gas": 400}).constraint_names == ()


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (Constraint(lambda x: x[:, 0], high=1), "`constraints.0.` to be a Linear.* holds no function.*`propose`"),
        ({"a": {"wnd": 1, "high": 3}}, "'a'.*weights` to be keyed by one of .*'wnd'.* mean 'wind'"),
        ({"a": {"wind": 1}}, "'a'.* to have an end"),
        ({"a": {"wind": 1, "low": 3, "high": 1}}, "low=3 and high=1"),
        ({"a": {"wind": 1, "high": 300}}, "none keeps 'a'"),
        ({"a": {"wind": "much", "high": 300}}, "weights` to be a finite number"),
        ({"a": {"high": 3}}, "weights` to hold a number"),
        ({"a": 3}, "'a'.* to be a Linear"),
        ("fuel", "`constraints` to be a Linear"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_before_the_first_step(constraints, words, tmp_path):
    for set_them in (lambda p: fit(p, tmp_path, Smooth(constraints=constraints)), given_to(constraints)):  # fmt: skip
        pair = untrained()
        with pytest.raises((TypeError, ValueError), match=words) as caught:
            set_them(pair)
        assert "\n" not in str(caught.value)


def given_to(constraints):
    def give(pair):
        pair.pair.name_columns(Smooth.inputs, Smooth.outputs)
        pair.constraints = constraints

    return give


@pytest.mark.parametrize(
    "damaged", [[3], [[{"x": 1}]], [[{"a": 1}, None, float("nan"), "n"]], [[{"a": 1}, 0, 1, 7]],
                [[{"a": [1]}, 0, 1, ""]], {"a": 1}, [["a", 0, 1, ""]]]
)  # fmt: skip
def test_damaged_ones_of_a_file_are_said_to_be_damaged(damaged):
    section = {"inputs": [["a", "", 0.0, 1.0]], "outputs": [["b"]], "constraints": damaged}
    with pytest.raises(ValueError, match="constraints, but they are damaged"):
        unpack_variables({"lightning_invert": {"variables": section}}, Pair())


@pytest.mark.slow
def test_the_commands_take_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, y = Smooth().load()
    rows = [",".join(map(str, row)) for row in torch.cat([x, y], 1).tolist()]
    (tmp_path / "a.csv").write_text("\n".join(["wind,heat,load,rate,gas", *rows]))
    words = ["a.csv", "--inputs", "wind,heat,load", "--outputs", "rate,gas", "--max_epochs", "1"]
    rule = "{mix: {wind: 1, heat: 2, low: 1500, high: 1560}}"
    main(["fit", *words, "--constraints", rule, "--enable_progress_bar", "false"])
    capsys.readouterr()
    file = str(next(tmp_path.rglob("*.ckpt")))
    assert ForwardInverseModule.load_from_checkpoint(file).constraints[0].name == "mix"
    solved = ["solve", "--targets", "{gas: 400}", "--ckpt", file, "--figures", "false"]
    main([*solved, "--cost", "{wind: -1}"])
    assert "Binding constraints: 'mix'" in capsys.readouterr().out
    main([*solved, "--cost", "{wind: -1}", "--constraints", "{}"])
    assert "Binding" not in capsys.readouterr().out
    main(["validate", "a.csv", "--ckpt", file, "--enable_progress_bar", "false"])
    assert "mean 'wind'" in refusal("fit", *words, "--constraints", "{a: {wnd: 1, high: 3}}")
