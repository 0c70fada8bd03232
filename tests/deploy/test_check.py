import pytest
import torch
from torch import nn

from lightning_invert import ResidualMLP
from lightning_invert.deploy.check import check
from lightning_invert.deploy.program import trace
from tests.deploy.pairs import Changed, forward_map


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    one = forward_map(ResidualMLP(3, 2))
    return one, trace(one).module()


def test_a_program_that_is_right_passes(traced):
    check(*traced, "forward.onnx")


def wrong_at(size):
    return lambda x, y, jacobian: (y, jacobian * (1 + 1e-3 * (len(x) == size)))


FAULTS = {
    "outputs": (lambda x, y, j: (y + torch.tensor([5.0, 0.0]), j), "outputs are off by"),
    "Jacobian": (lambda x, y, j: (y, j * 1.001), "Jacobian is off by 1.0e-03"),
    "one point": (wrong_at(1), "at 1 points its Jacobian is off by"),
    "seventeen points": (wrong_at(17), "at 17 points its Jacobian is off by"),
    "transposed": (lambda x, y, j: (y, j.mT), r"at 1 points it .* \(1, 2\) and \(1, 3, 2\)"),
    "NaN": (lambda x, y, j: (y, j / 0 * 0), "Jacobian is off by inf"),
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_what_is_off_by_more_than_rounding_is_an_error(fault, words, traced):
    one, program = traced
    with pytest.raises(RuntimeError, match=rf"forward\.onnx to compute .* {words}"):
        check(one, lambda x: fault(x, *program(x)), "forward.onnx")


def test_a_kink_at_one_of_the_points_is_no_error(traced):
    one, program = traced
    calls = []

    def kinked(x):
        calls.append(len(x))
        y, jacobian = program(x)
        return (y, jacobian * 2) if len(calls) == 3 else (y, jacobian)

    check(one, kinked, "forward.onnx")
    assert calls == [1, 3, 17, 1, 3, 17]


@pytest.mark.parametrize(
    "change",
    [lambda y: y - y.mean(), lambda y: nn.functional.dropout(y, training=True)],
    ids=["mixing", "random"],
)
def test_rows_that_depend_on_each_other_or_on_chance_are_found(change):
    one = forward_map(Changed(change))
    with pytest.raises(RuntimeError, match="depend on each other, or does a network draw at ran"):
        check(one, trace(one).module(), "forward.onnx")
