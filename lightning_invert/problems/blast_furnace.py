"""A blast furnace with hydrogen injection: prior, bounds and true map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta

from lightning_invert.arguments import check_flag
from lightning_invert.problems.furnace_balance import outcomes
from lightning_invert.problems.problem import Problem
from lightning_invert.variables import Variable

__all__ = ["BlastFurnace"]

# For each input: the share of operating points that use it, and the two parameters of a beta
# distribution over its range there. They give the means and spreads of the reference data.
_USED = {"h2_injection": 0.6, "pulverised_coal": 0.25, "natural_gas": 0.65}
_BETA = {
    "h2_injection": (1.40, 5.33),
    "pulverised_coal": (0.78, 2.36),
    "natural_gas": (1.44, 5.36),
    "o2_fraction": (1.23, 3.84),
    "h2_temperature": (0.74, 1.71),
    "hot_blast_temperature": (2.46, 0.64),
    "wind_rate": (1.19, 1.24),
}
_COLD = 25.0  # °C: H2 that is not preheated
_COLDEST_FLAME = 1700.0  # °C: no operator lets the flame fall below


class BlastFurnace(Problem):
    r"""Run a blast furnace with hydrogen injection, 7 -> 4, or 7 -> 5 with the coke rate.

    It solves the mass and heat balances of :mod:`~lightning_invert.problems.furnace_balance`;
    docs/explanations/blast_furnace.md derives them and gives the sources. Prior: points as a plant
    chooses them. Each input has the mean and spread of the reference data inside its range.
    Injectants are off in a share of the points. Oxygen rises with injection, to hold the flame;
    points whose flame still falls below 1700 °C are drawn again. Bounds: the ranges of the reference
    data.

    The furnace is well conditioned in most of its domain, and fragile at an edge that the data reach:
    where the top gas is so cold that it only dries the burden, its temperature depends on no
    setting, and :math:`\kappa` grows beyond all bounds.

    Args:
        coke_rate: Whether the coke rate is a fifth outcome.

    Example:
        >>> furnace = BlastFurnace()
        >>> x = torch.tensor([[12.5, 18.6, 41.3, 25.6, 900.0, 1400.0, 199.0]])
        >>> [round(value) for value in furnace.forward(x)[0].tolist()]
        [91, 1520, 5066, 2226]
        >>> BlastFurnace(coke_rate=True).forward(x)[0, 4].round().item()
        382.0
    """

    name = "blast_furnace"
    inputs = (
        Variable("h2_injection", "kg/tHM", 0.0, 100.0),
        Variable("pulverised_coal", "kg/tHM", 0.0, 300.0),
        Variable("natural_gas", "kg/tHM", 0.0, 300.0),
        Variable("o2_fraction", "% of the blast", 21.0, 40.0),
        Variable("h2_temperature", "°C", 0.0, 1500.0, matters_if=("h2_injection", ">", 0)),
        Variable("hot_blast_temperature", "°C", 1200.0, 1500.0),
        Variable("wind_rate", "thousand Nm³/h", 150.0, 250.0),
    )
    outputs: tuple[Variable, ...] = (
        Variable("top_gas_temperature", "°C"),
        Variable("hot_metal_temperature", "°C"),
        Variable("production_rate", "t/day"),
        Variable("adiabatic_flame_temperature", "°C"),
    )

    def __init__(self, coke_rate: bool = False) -> None:
        if check_flag("coke_rate", coke_rate):
            self.outputs = (*self.outputs, Variable("coke_rate", "kg/tHM"))

    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw operating points until enough of them have a flame."""
        # torch's beta distribution draws from the global stream alone: it is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            drawn = [torch.zeros(0, len(self.inputs), dtype=torch.float64)]
            while sum(map(len, drawn)) < num_points:
                x = self._candidates(num_points)
                drawn.append(x[outcomes(x)[:, 3] >= _COLDEST_FLAME])
        return torch.cat(drawn)[:num_points]

    def outcomes(self, x: Tensor) -> Tensor:
        """Solve the balances."""
        return outcomes(x)[:, : len(self.outputs)]

    def _candidates(self, num_points: int) -> Tensor:
        columns = {}
        for variable in self.inputs:
            assert variable.low is not None
            assert variable.high is not None
            a, b = torch.tensor(_BETA[variable.name], dtype=torch.float64)
            value = variable.low + (variable.high - variable.low) * Beta(a, b).sample((num_points,))
            used = torch.rand(num_points, dtype=torch.float32) < _USED.get(variable.name, 1.0)
            columns[variable.name] = torch.where(used, value, variable.low)
        h2, warm = columns["h2_injection"], columns["h2_temperature"]
        columns["h2_temperature"] = torch.where(h2 > 0, warm.clamp(min=_COLD), 0.0)
        injected = 2.0 * h2 + columns["natural_gas"] + 0.5 * columns["pulverised_coal"]
        # The oxygen keeps its distribution; only its order among the points changes.
        luck = torch.rand(num_points, dtype=torch.float32)
        order = (injected / 100.0 + luck).argsort().argsort()
        columns["o2_fraction"] = columns["o2_fraction"].sort().values[order]
        return torch.stack([columns[variable.name] for variable in self.inputs], dim=1)
