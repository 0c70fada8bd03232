"""Proposals whose numbers are known, to be drawn and put into words."""

import torch

from lightning_invert import Proposal, Variable
from lightning_invert.solver.solution import Alternatives
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds

INPUTS = (Variable("h2_<injection>", "kg/t", 0.0, 10.0), Variable("a$\\frac$ & c", "", -5.0, 5.0))
OUTPUTS = (Variable("gas", "°C"), Variable("rate_{$}", "t/d"))


def proposed(inputs, *, others=None, **known):
    """Settings between 0 and 10, and between -5 and 5, whose outcomes are the settings.

    ``others`` (N, S, n) are the alternatives, NaN where a target has none.
    """
    inputs = torch.as_tensor(inputs, dtype=torch.float64)
    count = len(inputs)
    columns = {
        "inputs": inputs,
        "outputs": inputs.clone(),
        "residual": torch.zeros(count, dtype=torch.float64),
        "result": torch.zeros(count, dtype=torch.int64),
        "optimal": torch.ones(count, dtype=torch.bool),
        "at_bound": torch.zeros(inputs.shape, dtype=torch.bool),
        "condition": torch.full((count,), 3.0, dtype=torch.float64),
        "steps": torch.ones(count, dtype=torch.int64),
        "targets": Targets(inputs.clone(), inputs.clone()),
        "bounds": Bounds(
            torch.tensor([0.0, -5.0]).double().expand(count, 2),
            torch.tensor([10.0, 5.0]).double().expand(count, 2),
        ),
        "sensitivity": torch.ones(inputs.shape, dtype=torch.float64),
        "input_variables": INPUTS,
        "output_variables": OUTPUTS,
        "alternatives": alternatives(inputs[:, None][:, :0] if others is None else others),
    }
    return Proposal(**{**columns, **known})


def alternatives(inputs):
    """Alternatives (N, S, n) whose outcomes are the settings."""
    inputs = torch.as_tensor(inputs, dtype=torch.float64)
    found = inputs.isfinite().all(2)
    return Alternatives(
        count=found.sum(1),
        inputs=inputs,
        outputs=inputs.clone(),
        residual=torch.zeros(found.shape, dtype=torch.float64),
        optimal=found,
        at_bound=torch.zeros(inputs.shape, dtype=torch.bool),
        condition=torch.full(found.shape, 3.0, dtype=torch.float64),
        steps=found.long(),
    )


def trusted(inputs, **known):
    """The same, with bands of half a unit to each side and a trust that rises."""
    inputs = torch.as_tensor(inputs, dtype=torch.float64)
    count = len(inputs)
    told = {
        "outcome_low": inputs - 0.5,
        "outcome_high": inputs + 0.5,
        "expected_error": torch.full((count,), 0.1, dtype=torch.float64),
        "trust": torch.linspace(0.1, 0.9, count, dtype=torch.float64),
        "far": torch.zeros(count, dtype=torch.bool),
        "doubtful": torch.zeros(count, dtype=torch.bool),
        "unseen": torch.zeros(count, dtype=torch.bool),
    }
    return proposed(inputs, **{**told, **known})
