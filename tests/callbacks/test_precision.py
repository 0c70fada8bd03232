import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import DoublePrecision, Precision
from torch import nn
from torch.utils.data import default_collate

from lightning_invert import InvertibilityCallback, analyze
from lightning_invert.watch.surroundings import AS_IT_IS, Surroundings, surroundings_of
from lightning_invert.watch.watcher import Watcher
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.projects import Foreign, fit_project, loader
from tests.watch.looks import look
from tests.watch.reference import spectra_point_by_point


class Makes(Foreign):
    """Has a part that makes a tensor in its forward, in the dtype that is the default there."""

    def __init__(self, how):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))
        self.how = how
        self.recurrent = nn.LSTM(2, 3, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return HOW[self.how](self, self.encoder(x))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)  # Adam overflows in float16


def _recurrent(self, z):
    states = torch.zeros(1, len(z), 3), torch.zeros(1, len(z), 3)
    return self.recurrent(z.reshape(-1, 2, 2), states)[0][:, -1]


HOW = {
    "zeros": lambda self, z: torch.addmm(torch.zeros(len(z), 3), z, self.head.weight.T),
    "eye": lambda self, z: self.head(z @ torch.eye(4)),
    "recurrent": _recurrent,
    "literal": lambda self, z: (
        torch.tensor([[1.0, 2.0, 0.5, 1.0]]).mm((self.head.weight * 1).T) * self.head(z)
    ),
    "grid": lambda self, z: self.head(z).mm(torch.linspace(0, 1, 9).reshape(3, 3)),
}


@pytest.mark.parametrize(
    ("precision", "how"),
    [
        *(("64-true", how) for how in HOW),
        ("bf16-true", "zeros"),
        ("16-true", "recurrent"),
        ("bf16-true", "eye"),
    ],
)
def test_a_forward_makes_tensors_of_the_dtype_that_it_has_in_training(tmp_path, precision, how):
    maps = None if how == "eye" else {"f": ""}
    watch = InvertibilityCallback(maps, num_points=16, figures=False, on_error="raise")
    trainer = fit_unwatched_and_watched(
        tmp_path, lambda: Makes(how), watch, precision=precision, max_epochs=1
    )
    (observation,) = watch.observations
    module = trainer.lightning_module.double().eval()
    torch.set_default_dtype(torch.float64)
    try:
        expected = spectra_point_by_point(module, observation.inputs.double())
    finally:
        torch.set_default_dtype(torch.float32)
    eps = torch.finfo({"6": torch.float64, "b": torch.bfloat16, "1": torch.half}[precision[0]]).eps
    found = observation.singular_values.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * eps * expected.max())
    assert observation.condition_limit == 1 / (eps * 5)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_a_batch_of_validation_is_converted_before_a_map_is_tried_on_it(tmp_path, precision):
    class Forms(Makes):
        def training_step(self, batch, batch_idx):
            return self.step(batch["both"])

    data = [loader(collate_fn=lambda rows: {"both": default_collate(rows)}), loader()]
    watch = InvertibilityCallback({"f": {"module": "", "input": 0}}, figures=False)
    options = {"precision": precision, "num_sanity_val_steps": 0}
    fit_project(tmp_path, watch, module=Forms("eye"), data=data, **options)
    assert watch.observations


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_code_that_takes_the_parts_of_a_map_makes_tensors_as_in_training(tmp_path, precision):
    spec = {
        "module": "encoder",
        "input": lambda batch: batch[0] @ torch.eye(5),
        "output": lambda y: y @ torch.eye(3),
    }
    watch = InvertibilityCallback({"f": spec}, figures=False, on_error="raise")
    fit_project(tmp_path, watch, precision=precision)
    assert watch.observations[0].shape == (3, 5)


class WithInverse(Makes):
    def __init__(self):
        super().__init__("eye")
        self.inverse = nn.Linear(3, 5)

    def propose(self, y):
        return self.inverse(y @ torch.eye(3))


def test_an_inverse_makes_tensors_as_in_training(tmp_path):
    maps = {"f": {"module": "", "reach": {"inverse": "propose", "outcomes": 1}}}
    watch = InvertibilityCallback(maps, reachable_steps=2, figures=False, on_error="raise")
    fit_project(tmp_path, watch, module=WithInverse(), precision="64-true")
    assert "reachable_fraction" in watch.observations[0].scalars


CASTS = {
    "hidden": lambda self, x: self.b(torch.tanh(self.a(x)).to(torch.bfloat16)),
    "input": lambda self, x: self.b(torch.tanh(self.a(x.bfloat16()))),
    "recurrent": lambda self, x: self.b(self.c(self.a(x).to(torch.bfloat16)[:, None])[0][:, 0]),
    "insists": lambda self, x: self.b(_insist(self.a(x))),
}


def _insist(z):
    if z.dtype != torch.bfloat16:
        raise TypeError("only bfloat16")
    return z


class CastsByHand(Foreign):
    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(8, 3), nn.GRU(8, 8, batch_first=True)
        self.how = how

    def forward(self, x):
        return CASTS[self.how](self, x)

    def step(self, batch):
        return nn.functional.mse_loss(self(batch[0]).float(), batch[1])


@pytest.mark.parametrize("how", CASTS)
def test_what_casts_by_hand_is_watched_under_the_trainers_autocast(tmp_path, how):
    maps = None if how == "input" else {"f": ""}
    watch = InvertibilityCallback(maps, num_points=16, figures=False, on_error="raise")
    trainer = fit_unwatched_and_watched(
        tmp_path, lambda: CastsByHand(how), watch, precision="bf16-mixed", max_epochs=1
    )
    (observation,) = watch.observations
    assert observation.condition_limit == 1 / (2**-7 * 5)
    module = trainer.lightning_module.eval()
    with torch.autocast("cpu", torch.bfloat16):
        expected = spectra_point_by_point(module, observation.inputs)
    np.testing.assert_allclose(
        observation.singular_values, expected, rtol=0, atol=0.05 * expected.max()
    )


class OfTwoDtypes(Foreign):
    def __init__(self, dtype):
        super().__init__()
        self.first, self.both = nn.Linear(5, 4).to(dtype), nn.Bilinear(5, 3, 4).to(dtype)
        self.head, self.inner = nn.Linear(4, 3), dtype

    def forward(self, x):
        x = x.to(self.inner)
        return self.head((self.first(x) + self.both(x, x[:, :3])).float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_part_of_another_dtype_than_its_batch_is_watched(tmp_path, dtype):
    maps = {"first": "first", "both": {"module": "both", "input": 0, "context": 1}, "all": ""}
    watch = InvertibilityCallback(maps, num_points=64, figures=False, on_error="raise")
    trainer = fit_unwatched_and_watched(tmp_path, lambda: OfTwoDtypes(dtype), watch)
    module = trainer.lightning_module.double()
    weights = module.first.weight, module.both.weight.detach()
    y = loader().dataset.tensors[1].double()
    expected = [
        np.linalg.svd(weights[0].detach(), compute_uv=False)[None],
        np.linalg.svd(torch.einsum("oij,nj->noi", weights[1], y), compute_uv=False),
    ]
    for observation, sigma in zip(watch.observations, expected, strict=False):
        found = np.sort(observation.singular_values, axis=0)
        eps = max(torch.finfo(dtype).eps, 1e-7)
        np.testing.assert_allclose(found - np.sort(sigma, axis=0), 0, atol=16 * eps * sigma.max())


def test_without_need_there_is_no_autocast(tmp_path):
    watch = InvertibilityCallback(num_points=16, figures=False)
    trainer = fit_project(tmp_path, watch, precision="bf16-mixed")
    (observation,) = watch.observations
    expected = spectra_point_by_point(trainer.lightning_module.eval(), observation.inputs)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-4, atol=1e-7)
    assert observation.condition_limit == 1 / (2**-23 * 5)


@pytest.mark.parametrize(
    ("how", "precision"),
    [("zeros", "32-true"), ("recurrent", "bf16-true"), ("eye", "64-true"), ("grid", "16-true")],
)
def test_in_float64_what_a_forward_makes_follows(tmp_path, how, precision):
    watch = InvertibilityCallback(precision="float64", figures=False, on_error="raise")
    trainer = fit_project(tmp_path, watch, module=Makes(how), precision=precision)
    (observation,) = watch.observations
    module = trainer.lightning_module.double().eval()
    torch.set_default_dtype(torch.float64)
    try:
        expected = spectra_point_by_point(module, observation.inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-12, atol=1e-14)


class OfTheUser(Precision):
    """Counts how often each of its contexts is entered and left, and fails if it is told to."""

    def __init__(self, fails=False):
        self.fails, self.count = fails, 0

    def forward_context(self):
        if self.fails:
            raise RuntimeError("not now")
        self.count += 1
        return DoublePrecision().forward_context()


def test_a_plugins_context_is_read_and_nothing_is_evaluated_in_it():
    plugin = OfTheUser()
    assert surroundings_of(plugin.forward_context, "cpu") == Surroundings(torch.float64)
    assert plugin.count == 1
    assert surroundings_of(OfTheUser(fails=True).forward_context, "cpu") is AS_IT_IS
    assert torch.get_default_dtype() == torch.float32
    autocast = surroundings_of(lambda: torch.autocast("cpu", torch.float16), "cpu")
    assert autocast == Surroundings(None, torch.float16)


def test_a_watcher_takes_surroundings_without_lightning():
    torch.manual_seed(0)
    module = Makes("zeros").double()
    surroundings = Surroundings(torch.float64)
    batches = [torch.randn(10, 5, dtype=torch.float64)]
    (observation,) = look(Watcher(), module, batches, surroundings=surroundings)
    assert observation.arithmetic == torch.float64
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("how", ["zeros", "recurrent"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_was_trained_so_is_analysed_outside_of_a_trainer(dtype, how):
    torch.manual_seed(0)
    module = Makes(how).to(dtype).eval()
    x = torch.randn(20, 5)
    observation = analyze(module, x)
    torch.set_default_dtype(dtype)
    try:
        expected = spectra_point_by_point(module, x.to(dtype))
    finally:
        torch.set_default_dtype(torch.float32)
    found, eps = observation.singular_values, torch.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * eps * expected.max())
