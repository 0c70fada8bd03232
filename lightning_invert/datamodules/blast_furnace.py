"""The reference problem: a blast furnace with hydrogen injection, 7 settings -> 4 outcomes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.utils.data import DataLoader

from lightning_invert.datamodules.pair import PairDataModule, PairDataset, Variable
from lightning_invert.problems.furnace_balance import true_forward

__all__ = ["INPUTS", "OUTPUTS", "BlastFurnaceDataModule", "sample_inputs"]

INPUTS = (
    Variable("h2_injection", "kg/tHM", 0.0, 100.0),
    Variable("pulverised_coal", "kg/tHM", 0.0, 300.0),
    Variable("natural_gas", "kg/tHM", 0.0, 300.0),
    Variable("o2_fraction", "% of the blast", 21.0, 40.0),
    Variable("h2_temperature", "°C", 0.0, 1500.0),
    Variable("hot_blast_temperature", "°C", 1200.0, 1500.0),
    Variable("wind_rate", "thousand Nm³/h", 150.0, 250.0),
)
OUTPUTS = (
    Variable("top_gas_temperature", "°C"),
    Variable("hot_metal_temperature", "°C"),
    Variable("production_rate", "t/day"),
    Variable("adiabatic_flame_temperature", "°C"),
)

# Of each input: in which share of the operating points it is used at all, and the two parameters of
# a beta distribution over its range there. They give the means and spreads of the reference data.
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
_COLD = 25.0  # °C: of H2 that is not preheated
_COLDEST_FLAME = 1700.0  # °C: below which no operator would let the flame fall


def sample_inputs(num_points: int, *, seed: int) -> Tensor:
    """Return operating points as a plant would choose them.

    Each input has the mean and spread of the reference data inside its range. Injectants are off in
    a share of the points, and more oxygen is blown where more is injected, as operators do to hold
    the flame; points whose flame would fall below 1700 °C all the same are drawn again.

    Args:
        num_points: How many.
        seed: The same seed gives the same points.

    Returns:
        Shape (num_points, 7), float64, in the order and units of ``INPUTS``.

    Example:
        >>> sample_inputs(5, seed=0).shape
        torch.Size([5, 7])
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        drawn = [torch.zeros(0, len(INPUTS), dtype=torch.float64)]
        while sum(map(len, drawn)) < num_points:
            x = _draw(num_points)
            drawn.append(x[true_forward(x)[:, 3] >= _COLDEST_FLAME])
    return torch.cat(drawn)[:num_points]


def _draw(num_points: int) -> Tensor:
    columns = {}
    for variable in INPUTS:
        assert variable.low is not None
        assert variable.high is not None
        a, b = torch.tensor(_BETA[variable.name], dtype=torch.float64)
        value = variable.low + (variable.high - variable.low) * Beta(a, b).sample((num_points,))
        used = torch.rand(num_points) < _USED.get(variable.name, 1.0)
        columns[variable.name] = torch.where(used, value, variable.low)
    h2, warm = columns["h2_injection"], columns["h2_temperature"]
    columns["h2_temperature"] = torch.where(h2 > 0, warm.clamp(min=_COLD), 0.0)
    injected = 2.0 * h2 + columns["natural_gas"] + 0.5 * columns["pulverised_coal"]
    # The values of the oxygen keep their distribution; only who gets which is decided here.
    order = (injected / 100.0 + torch.rand(num_points)).argsort().argsort()
    columns["o2_fraction"] = columns["o2_fraction"].sort().values[order]
    return torch.stack([columns[variable.name] for variable in INPUTS], dim=1)


class BlastFurnaceDataModule(PairDataModule):
    """Operating points of a blast furnace by mass and heat balances.

    The model and its sources are described in docs/blast_furnace.md. Its true Jacobian is
    available by autograd through :meth:`true_forward`.

    Args:
        num_points: Points for training and validation.
        num_test_points: Further points, drawn afresh, for the test.
        noise: Standard deviation of the Gaussian measurement noise on each output, as a share of
            the output's own spread; 0 for none.
        data_seed: Seed of points and noise.
        batch_size: Rows a training batch.
        eval_batch_size: Rows a batch of validation, test and prediction.
        val_fraction: Share of the points held out for validation, in (0, 1).
        seed: Seed of the split.
        num_workers: Worker processes of each loader.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> data = BlastFurnaceDataModule(num_points=100)
        >>> x, y = next(iter(data.train_dataloader()))
        >>> x.shape, y.shape
        (torch.Size([16, 7]), torch.Size([16, 4]))
    """

    inputs = INPUTS
    outputs = OUTPUTS

    def __init__(
        self,
        num_points: int = 5000,
        num_test_points: int = 1000,
        noise: float = 0.01,
        data_seed: int = 0,
        batch_size: int = 16,
        eval_batch_size: int = 1024,
        val_fraction: float = 0.2,
        seed: int = 42,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_fraction=val_fraction,
            seed=seed,
            num_workers=num_workers,
        )
        for name, number in {"num_points": num_points, "num_test_points": num_test_points}.items():
            if number < 1:
                raise ValueError(f"Expected argument `{name}` to be at least 1, but got {number}.")
        if not 0 <= noise < float("inf"):
            raise ValueError(f"Expected argument `noise` to be at least 0, but got {noise}.")
        self.save_hyperparameters()
        self.num_points = num_points
        self.num_test_points = num_test_points
        self.noise = noise
        self.data_seed = data_seed

    def true_forward(self, x: Tensor) -> Tensor:
        """Return the outcomes without noise: (*, 7) -> (*, 4), physical units.

        Differentiable; in float64 for inputs in float64.
        """
        return true_forward(x)

    def load(self) -> tuple[Tensor, Tensor]:
        """Return the points for training and validation: x (N, 7) and measured y (N, 4)."""
        x, y = self._measure(self.num_points + self.num_test_points)
        return x[: self.num_points], y[: self.num_points]

    def test_dataloader(self) -> DataLoader[Tensor]:
        """Return the points drawn for the test."""
        self.setup()
        x, y = self._measure(self.num_points + self.num_test_points)
        dtype = torch.get_default_dtype()
        assert self._splits is not None
        self._splits["test"] = PairDataset(
            x[self.num_points :].to(dtype), y[self.num_points :].to(dtype)
        )
        return self._loader("test", batch_size=self.eval_batch_size)

    def _measure(self, count: int) -> tuple[Tensor, Tensor]:
        x = sample_inputs(count, seed=self.data_seed)
        with torch.no_grad():
            y = true_forward(x)
        generator = torch.Generator().manual_seed(self.data_seed + 1)
        error = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        return x, y + self.noise * y.std(0) * error
