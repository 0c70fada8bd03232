"""The solver on least-squares problems that it was not made for, from one start."""

import pytest
import torch

from lightning_invert import batched_jacobian, solve
from tests.solver.classic import PROBLEMS

ELSEWHERE = {"Bard", "Beale", "Jennrich-Sampson", "Meyer"}
"""From ten times as far these lead onto a plain that falls without end, where no search gets far."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("boxed", [False, True])
def test_comes_to_a_published_minimum_and_calls_optimal_what_is(name, boxed):
    problem = PROBLEMS[name]
    begin = torch.tensor([problem.start], dtype=torch.float64)
    if boxed or name not in ELSEWHERE:
        begin = torch.cat([begin, 10 * begin])
    ends = (problem.low, problem.high) if boxed else (-torch.inf, torch.inf)
    low, high = (torch.as_tensor(end).double().expand(begin.shape[1]) for end in ends)
    wanted = torch.zeros_like(problem(begin))
    found = solve(problem, wanted, bounds=(low, high), starts=begin, tolerance=1e-9, max_steps=400)
    for square in found.residual.square().tolist():
        least = problem.boxed if boxed else problem.least
        assert any(square == pytest.approx(value, rel=1e-3, abs=1e-14) for value in least)
    assert found.optimal.all()

    x, stopped = found.inputs, ~found.converged
    jacobian, missing = batched_jacobian(problem, x), problem(x)
    slopes = (jacobian * missing[:, :, None]).sum(1)
    cosines = slopes / jacobian.norm(dim=1) / missing.norm(dim=1, keepdim=True)
    free = (x > low) | (slopes < 0)
    free &= (x < high) | (slopes > 0)
    assert (cosines * free)[stopped].abs().le(1e-4).all()
    for point in x[stopped]:
        curvature = torch.autograd.functional.hessian(
            lambda z: problem(z[None]).square().sum(), point
        )
        inside = (point > low) & (point < high)
        roots = curvature.diagonal().abs().sqrt()
        scaled = (curvature / roots / roots[:, None])[inside][:, inside]
        assert (torch.linalg.eigvalsh(scaled) >= -1e-9).all()
