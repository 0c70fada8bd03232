"""PINA: a physics-informed solver, which keeps labelled tensors and differentiates in its step."""

from tests.real.pina import MAPS, REQUIREMENTS, outputs, points, trained

__all__ = ["MAPS", "REQUIREMENTS", "TRAINED", "fit", "outputs", "points"]

TRAINED = "PINN of the Poisson problem"


def fit(callbacks, options):
    from pina.model import FeedForward
    from pina.problem.zoo import Poisson2DSquareProblem
    from pina.solver import PINN

    problem = Poisson2DSquareProblem()
    problem.discretise_domain(48, "random")
    return trained(PINN(problem, FeedForward(2, 1, inner_size=8, n_layers=1)), callbacks, options)
