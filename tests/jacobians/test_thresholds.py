import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from lightning_invert import Thresholds, condition_number, numerical_rank
from lightning_invert.jacobians.thresholds import BAND_NAMES

SIGMA = torch.tensor(
    [[3.0, 1e-3, 2e-5], [3.0, 1e-3, 5e-6], [3.0, 2.0, 1e-13], [3.0, 0.0, 0.0]], dtype=torch.float64
)


def test_rank_and_condition_are_those_of_the_functions_with_the_thresholds_filled_in():
    thresholds = Thresholds(rank_atol=1e-4, rank_rtol=0.1, singular_floor=1e-5)
    assert torch.equal(thresholds.rank(SIGMA), numerical_rank(SIGMA, atol=1e-4, rtol=0.1))
    assert torch.equal(thresholds.condition(SIGMA), condition_number(SIGMA, floor=1e-5))


def test_the_defaults_are_those_of_the_reference():
    sigma = SIGMA.numpy()
    assert Thresholds().rank(SIGMA).tolist() == (sigma > 1e-5).sum(1).tolist()
    cond = Thresholds().condition(SIGMA).numpy()
    np.testing.assert_allclose(cond[:2], sigma[:2, 0] / sigma[:2, 2])
    assert np.isinf(cond[2:]).all()
    kappa = torch.tensor([99.9, 100.0, 1e4, 10001.0, math.inf, math.nan])
    names = ["stable", "moderate", "moderate", "ill-conditioned", "singular", "nonfinite"]
    assert [BAND_NAMES[i] for i in Thresholds().band(kappa)] == names


def test_they_cannot_be_changed_and_are_equal_by_value():
    assert Thresholds(bands=[10.0, 20.0]) == Thresholds(bands=(10.0, 20.0))
    assert hash(Thresholds(bands=[10.0, 20.0])) == hash(Thresholds(bands=(10.0, 20.0)))
    with pytest.raises(FrozenInstanceError):
        Thresholds().rank_atol = 1.0
