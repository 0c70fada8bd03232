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


@pytest.mark.parametrize(("make", "data"), MIXING.values(), ids=MIXING)
def test_a_map_that_mixes_rows_is_a_missing_look_and_said_once(tmp_path, make, data):
    maps = None if data else {"forward": ""}
    with pytest.warns(UserWarning, match=r"(?s)mixes the points.*time.*batch_first") as caught:
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


class Sized(Foreign):
    """A forward that takes batches of 16, as all of this fit are."""

    def __init__(self, sized):
        super().__init__()
        self.sized, self.gru = sized, nn.GRU(5, 5, batch_first=True)
        self.register_buffer("state", torch.randn(16, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.sized(self, x)))

    def plain(self, x):
        return self.head(torch.tanh(x))

    def with_context(self, x, y):
        return self(x) * y

    def back(self, y):
        return y.view(16, 3).repeat(1, 2)[:, :5]

    def step(self, batch):
        return nn.functional.mse_loss(self(batch[0]), batch[1])


def only(is_taken):
    def sized(_, x):
        assert is_taken(len(x)), f"a batch of {len(x)}"
        return x

    return sized


def recurrent(module, x):
    return x + 0 * module.gru(x[:, None], x.new_zeros(1, 16, 5))[0][:, 0]


SIZED = {
    "view": lambda _, x: x.view(16, -1),
    "initial state": recurrent,
    "a state that is added": lambda module, x: x + 0 * module.state,
    "positions": lambda module, x: x + 0 * module.state[torch.arange(len(x))],
    "groups": lambda _, x: x.reshape(-1, 16, 5).flatten(0, 1),
    "exactly 16": only(lambda n: n == 16),
    "at most 16": only(lambda n: n <= 16),
    "even": only(lambda n: n % 2 == 0),
    "at least 10": only(lambda n: n >= 10),
}
ENTRIES = {
    "default": None,
    "named": {"forward": ""},
    "context": {"forward": {"module": "with_context", "input": 0, "context": 1}},
    "truth and reach": {
        "forward": {
            "module": "",
            "input": 0,
            "truth": "plain",
            "reach": {"inverse": "back", "outcomes": 1},
        }
    },
}


@pytest.mark.parametrize(
    ("sized", "entry"),
    [*((sized, "default") for sized in SIZED.values()), *((SIZED["view"], e) for e in ENTRIES)],
    ids=[*SIZED, *ENTRIES],
)
def test_a_map_that_takes_only_its_batch_size_is_watched(tmp_path, sized, entry):
    steps = 2 if entry == "truth and reach" else None
    watch = InvertibilityCallback(
        ENTRIES[entry],
        precision="float64" if entry == "named" else "native",
        num_points=40,
        reachable_steps=steps,
    )
    trainer = fit_unwatched_and_watched(tmp_path, lambda: Sized(sized), watch, max_epochs=1)
    (observation,) = watch.observations
    assert observation.num_points == 40
    if entry != "context":
        jacobians = jacobians_by_autograd(
            trainer.lightning_module.plain, observation.inputs.float()
        )
        expected = torch.linalg.svdvals(jacobians).double()
        torch.testing.assert_close(observation.singular_values, expected, rtol=1e-4, atol=1e-6)
    if steps:
        assert observation.scalars["jacobian_error_p95"] < 1e-5
        assert 0 <= observation.scalars["reachable_fraction"] <= 1
