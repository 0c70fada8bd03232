"""Attributes that cannot be copied and batches of tensor subclasses harm no fit."""

import threading

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from lightning_invert import InvertibilityCallback, batched_jacobian
from tests.identity import state_of
from tests.projects import Foreign, loader, quiet_trainer


class Labelled(torch.Tensor):
    """A subclass that loses its label to `detach`, and then cannot be cloned, sliced or joined."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.detach:
            labelled = [arg for arg in args if isinstance(arg, Labelled)]
            assert all(hasattr(arg, "label") for arg in labelled), "a label is lost"
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func is not torch.Tensor.detach and isinstance(result, Labelled):
            result.label = "gas"
        return result


class Sized(torch.Tensor):
    """A subclass, like those of medical images, whose `new_empty` takes a tuple alone."""

    def new_empty(self, size, **kwargs):
        assert isinstance(size, tuple | torch.Size)
        return super().new_empty(size, **kwargs)


def labelled(x):
    x = x.as_subclass(Labelled)
    x.label = "gas"
    return x


def sized(x):
    return x.as_subclass(Sized)


class Subclassed:
    """Rows of a subclass, one batch in all."""

    def __init__(self, make):
        self.make = make

    def __call__(self, rows):
        xs, ys = zip(*rows, strict=True)
        return self.make(torch.stack(xs)), torch.stack(ys)


class OfNumbers(Foreign):
    """A project that takes the numbers of its batches alone."""

    def forward(self, x):
        return super().forward(x.as_subclass(torch.Tensor))


class Holding(Foreign):
    """A project that holds a value as an attribute."""

    def __init__(self, value):
        super().__init__()
        self.value = value


@pytest.mark.parametrize(
    "make",
    [lambda: labelled(torch.zeros(3)), lambda: [labelled(torch.zeros(3))], threading.Lock],
    ids=["a tensor subclass", "a list of them", "a lock"],
)
def test_a_value_that_cannot_be_copied_leaves_the_project_its_own_log(tmp_path, make):
    logged = []
    for callbacks in ([], [InvertibilityCallback()]):
        torch.manual_seed(0)
        module = Holding(make())
        stopping = EarlyStopping("val_loss", patience=10)
        trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[*callbacks, stopping])
        trainer.fit(module, loader(), loader())
        assert trainer.current_epoch == 3
        assert "log" not in vars(module)
        metrics = trainer.callback_metrics
        own = {k: float(v) for k, v in metrics.items() if not k.startswith("invertibility")}
        logged.append((own, state_of(module)))
    assert logged[0] == logged[1]
    assert "val_loss" in logged[0][0]


@pytest.mark.parametrize("maps", [None, {"forward": {"module": "", "input": 0}}])
@pytest.mark.parametrize("make", [labelled, sized])
def test_a_batch_of_a_tensor_subclass_is_watched_and_ends_no_fit(tmp_path, make, maps):
    rows = loader().dataset
    data = DataLoader(rows, batch_size=64, collate_fn=Subclassed(make))
    states = []
    for callbacks in ([], [watch := InvertibilityCallback(maps)]):
        torch.manual_seed(0)
        module = OfNumbers()
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks)
        torch.manual_seed(1)
        trainer.fit(module, data, data)
        states.append(state_of(module))
    assert states[0] == states[1]
    (observation,) = watch.observations

    module.eval()
    points = observation.inputs
    jacobians = [torch.autograd.functional.jacobian(module, x[None])[0, :, 0] for x in points]
    expected = torch.linalg.svdvals(torch.stack(jacobians).double())
    torch.testing.assert_close(observation.singular_values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [labelled, sized])
@pytest.mark.parametrize("mode", ["reverse", "forward", "auto"])
def test_a_tensor_subclass_has_the_jacobian_of_its_numbers(make, mode):
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)
    expected = batched_jacobian(net, x)
    torch.testing.assert_close(batched_jacobian(net, make(x), mode=mode), expected)
    assert type(batched_jacobian(net, make(x), mode=mode)) is torch.Tensor


def test_what_fails_when_points_are_put_together_is_said_once_and_ends_no_fit(
    tmp_path, monkeypatch
):
    def fails(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("lightning_invert.watch.points.Points.to", fails)
    module = Foreign()
    trainer = quiet_trainer(tmp_path, callbacks=[InvertibilityCallback()])
    with pytest.warns(UserWarning, match="cannot be watched|not clear what to watch"):
        trainer.fit(module, loader(), loader())
    assert "val_loss" in trainer.callback_metrics
