"""Proposals whose numbers are known, to be drawn and put into words."""

import torch

from lightning_invert import Proposal, Variable

INPUTS = (Variable("h2_<injection>", "kg/t", 0.0, 10.0), Variable("a$\\frac$ & c", "", -5.0, 5.0))
OUTPUTS = (Variable("gas", "°C"), Variable("rate_{$}", "t/d"))


def proposed(inputs, **known):
    """Settings between 0 and 10, and between -5 and 5, whose outcomes are the settings."""
    inputs = torch.as_tensor(inputs, dtype=torch.float64)
    count = len(inputs)
    columns = {
        "inputs": inputs,
        "outputs": inputs.clone(),
        "residual": torch.zeros(count, dtype=torch.float64),
        "converged": torch.ones(count, dtype=torch.bool),
        "optimal": torch.ones(count, dtype=torch.bool),
        "at_bound": torch.zeros(inputs.shape, dtype=torch.bool),
        "cost": None,
        "condition": torch.full((count,), 3.0, dtype=torch.float64),
        "steps": torch.ones(count, dtype=torch.int64),
        "target_low": inputs.clone(),
        "target_high": inputs.clone(),
        "box_low": torch.tensor([0.0, -5.0]).double().expand(count, 2),
        "box_high": torch.tensor([10.0, 5.0]).double().expand(count, 2),
        "sensitivity": torch.ones(inputs.shape, dtype=torch.float64),
        "input_variables": INPUTS,
        "output_variables": OUTPUTS,
    }
    return Proposal(**{**columns, **known})


def calibrated(inputs, **known):
    """The same, with bands of half a unit to each side and a trust that rises."""
    inputs = torch.as_tensor(inputs, dtype=torch.float64)
    count = len(inputs)
    told = {
        "outcome_low": inputs - 0.5,
        "outcome_high": inputs + 0.5,
        "expected_error": torch.full((count,), 0.1, dtype=torch.float64),
        "trust": torch.linspace(0.1, 0.9, count, dtype=torch.float64),
        "far": torch.zeros(count, dtype=torch.bool),
        "unseen": torch.zeros(count, dtype=torch.bool),
    }
    return proposed(inputs, **{**told, **known})
