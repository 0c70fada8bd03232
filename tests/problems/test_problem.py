"""What every known process promises."""

import pytest
import torch

from lightning_invert.problems import KNOWN, BlastFurnace, MultilayerFilm, RobotArm
from lightning_invert.variables import Variable

OTHERS = MultilayerFilm(5, num_wavelengths=7), BlastFurnace(coke_rate=True)
PROBLEMS = [*(problem() for problem in KNOWN.values()), *OTHERS]


@pytest.fixture(params=PROBLEMS, ids=lambda p: f"{p.name}-{len(p.inputs)}-{len(p.outputs)}")
def problem(request):
    return request.param


def scales(problem):
    x = problem.sample(2000, seed=11)
    return x.std(0), problem.forward(x).std(0)


def central_difference(function, x, j, step):
    """To fourth order."""
    by = torch.zeros(x.shape[1], dtype=torch.float64)
    by[j] = step
    near, far = function(x + by) - function(x - by), function(x + 2 * by) - function(x - 2 * by)
    return (8 * near - far) / (12 * step)


def test_points_and_outcomes_have_the_shapes_that_the_variables_say(problem):
    x = problem.sample(20, seed=0)
    y = problem.forward(x)
    assert x.shape == (20, len(problem.inputs))
    assert y.shape == (20, len(problem.outputs))
    assert x.dtype == y.dtype == torch.float64
    assert torch.cat([x, y], 1).isfinite().all()
    names = [v.name for v in (*problem.inputs, *problem.outputs)]
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_the_jacobian_is_that_of_central_differences(problem):
    x = problem.sample(300, seed=5)
    spread, size = scales(problem)
    found = problem.jacobian(x)
    assert found.shape == (300, len(problem.outputs), len(problem.inputs))
    for j in range(len(problem.inputs)):
        step = 3e-4 * spread[j].item()
        expected = central_difference(problem.forward, x, j, step)
        scale = spread[j] / size
        torch.testing.assert_close(found[:, :, j] * scale, expected * scale, rtol=1e-6, atol=3e-8)


def test_second_derivatives_are_those_of_central_differences(problem):
    low, high = problem.bounds
    within = 0.01 * (high - low)  # hydrogen has no temperature below that of its being off
    x = problem.sample(40, seed=6).clamp(low + within, high - within)
    spread, size = scales(problem)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(len(problem.outputs), generator=generator, dtype=torch.float64) / size

    def gradient(at):
        at = at.detach().requires_grad_()
        (found,) = torch.autograd.grad((problem.forward(at) @ weights).sum(), at, create_graph=True)
        return at, found

    at, first = gradient(x)
    for j in range(len(problem.inputs)):
        (second,) = torch.autograd.grad(
            first[:, j].sum(), at, retain_graph=True, materialize_grads=True
        )
        step = 1e-3 * spread[j].item()
        expected = central_difference(lambda z: gradient(z)[1].detach(), x, j, step)
        scale = spread * spread[j]
        torch.testing.assert_close(second * scale, expected * scale, rtol=1e-5, atol=1e-6)


def test_points_depend_on_the_seed_alone_and_leave_the_global_stream_alone(problem):
    first = problem.sample(10, seed=3)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        again = problem.sample(10, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(first, again)
    assert not torch.equal(first, problem.sample(10, seed=4))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_box_holds_most_of_the_prior_and_has_two_ends(problem):
    low, high = problem.bounds
    assert low.isfinite().all()
    assert (low < high).all()
    x = problem.sample(5000, seed=1)
    assert ((x >= low) & (x <= high)).all(1).double().mean() > 0.85


def test_points_in_float32_are_answered_in_float64(problem):
    x = problem.sample(4, seed=0).float()
    torch.testing.assert_close(problem.forward(x), problem.forward(x.double()), rtol=0, atol=0)
    assert problem.jacobian(x).dtype == torch.float64


def test_the_jacobian_comes_without_gradients_switched_on(problem):
    x = problem.sample(4, seed=0)
    expected = problem.jacobian(x)
    with torch.inference_mode():
        assert torch.equal(problem.jacobian(x), expected)


def test_points_of_another_shape_are_refused(problem):
    wide = torch.zeros(3, len(problem.inputs) + 1)
    for x in (wide, wide[0]):
        for answer in (problem.forward, problem.jacobian):
            with pytest.raises(ValueError, match=r"`x` to be of shape \(N, "):
                answer(x)


def test_a_problem_without_a_box_is_open():
    class Open(RobotArm):
        inputs = (Variable("a"), Variable("b", "", 0.0))

    low, high = Open().bounds
    assert low.tolist() == [-float("inf"), 0.0]
    assert high.tolist() == [float("inf")] * 2
