"""Fits of modules whose forward does something with the rows of a batch."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_invert.callbacks import InvertibilityCallback
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.jacobians.reference import jacobians_by_autograd
from tests.projects import Foreign, fit_project


class OverTime(Foreign):
    """A recurrent network over the first dimension, as is torch's default."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 3)

    def forward(self, x):
        return self.lstm(x)[0]

    def rows(self, x):
        return self(x.transpose(0, 1)).transpose(0, 1)


class Mixing(Foreign):
    def __init__(self, mix):
        super().__init__()
        self.mix = mix

    def forward(self, x):
        return self.mix(self.encoder(x))


def sequences():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 4, 5, generator=generator)
    batch = x, torch.zeros(8, 4, 3)
    return [DataLoader([batch] * 4, batch_size=None) for _ in range(2)]


MIXING = {
    "LSTM over time": (OverTime, sequences),
    "cumsum": (lambda: Mixing(lambda y: y.cumsum(0)), None),
    "a mean of the batch": (lambda: Mixing(lambda y: y - y.mean(0)), None),
    "windows of eight": (lambda: Mixing(lambda y: y - y.roll(8, 0)), None),
}


@pytest.mark.parametrize("maps", [None, {"forward": ""}], ids=["default", "named"])
@pytest.mark.parametrize(("make", "data"), MIXING.values(), ids=MIXING)
def test_a_map_that_mixes_rows_is_a_missing_look_and_said_once(tmp_path, make, data, maps):
    with pytest.warns(UserWarning, match=r"mixes the points.*time.*batch_first") as caught:
        trainer = fit_unwatched_and_watched(tmp_path, make, InvertibilityCallback(maps), data=data)
    assert len([w for w in caught if "mixes the points" in str(w.message)]) == 1
    assert not any("invertibility" in name for name in trainer.callback_metrics)


def test_the_advice_for_rows_that_are_steps_in_time_gives_the_numbers_of_autograd(tmp_path):
    torch.manual_seed(0)
    watch = InvertibilityCallback(
        {"forward": {"module": "rows", "input": lambda batch: batch[0].transpose(0, 1)}}
    )
    module = OverTime()
    fit_project(tmp_path, watch, module=module, data=sequences())
    (observation,) = watch.observations
    jacobians = jacobians_by_autograd(module.rows, observation.inputs).double()
    expected = torch.linalg.svdvals(jacobians)
    torch.testing.assert_close(observation.singular_values, expected, rtol=1e-4, atol=1e-6)
