import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lightning_invert import batched_jacobian
from lightning_invert.jacobians.lanczos import probe_jacobians


def orthonormal(rows, columns, generator):
    a = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(a).Q


def built(sigma, m, n, seed=0):
    """A linear map with known singular values, and its matrix."""
    generator = torch.Generator().manual_seed(seed)
    k = min(m, n)
    a = (orthonormal(m, k, generator) * sigma) @ orthonormal(n, k, generator).T
    return (lambda x: x @ a.T), a


def zeros(points, n):
    return torch.zeros(points, n, dtype=torch.float64)


def exact(a):
    """What NumPy's SVD says that `probe_jacobians` estimates, for matrices (N, m, n)."""
    sigma = np.linalg.svd(np.asarray(a), compute_uv=False)
    squares = (sigma**2).sum(-1)
    return sigma, {
        "frobenius": np.sqrt(squares),
        "stable_rank": squares / sigma[..., 0] ** 2,
        "participation_ratio": squares**2 / (sigma**4).sum(-1),
    }


def within(found, truth, errors=3.0):
    """Where each estimate is within so many standard errors of the truth."""
    values = {name: getattr(found, name).numpy() for name in truth}
    scale = {name: getattr(found, f"{name}_error").numpy() for name in truth}
    scale["frobenius"] = scale["frobenius"] * values["frobenius"]
    return {
        name: np.abs(values[name] - truth[name]) <= errors * scale[name] + 1e-6 * truth[name]
        for name in truth
    }


def bottleneck(n=300, inside=64):
    return nn.Sequential(nn.Linear(n, inside), nn.Tanh(), nn.Linear(inside, n)).double()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    decades=st.floats(0, 8),
    zero=st.integers(0, 50),
    steps=st.integers(1, 20),
    probes=st.integers(3, 6),
    size=st.sampled_from([1e-30, 1.0, 1e30]),
    seed=st.integers(0, 2**16),
)
def test_the_bounds_of_probes_hold(shape, decades, zero, steps, probes, size, seed):
    k = min(shape)
    sigma = size * torch.logspace(0, -decades, k, dtype=torch.float64)
    sigma[k - min(zero, k - 1) :] = 0
    function, _ = built(sigma, *shape, seed)
    found = probe_jacobians(function, zeros(2, shape[1]), probes=probes, steps=steps)
    rounding = 1e-13 * size
    assert (found.sigma_max <= sigma[0] + rounding).all()
    nearest = (sigma[None] - found.sigma_max[:, None]).abs().amin(1)
    assert (nearest <= found.sigma_max_error + rounding).all()
    assert (found.sigma_min_bound >= sigma[-1] - rounding).all()
    kappa = sigma[0] / sigma[-1]
    assert (found.cond_lower_bound <= kappa * (1 + 1e-13 * kappa)).all()
    for rank in (found.stable_rank, found.participation_ratio):
        assert ((rank >= 1) & (rank <= k)).all()
    assert found.complete == (steps >= k)
    if found.complete:
        for name, value in exact((torch.diag(sigma) / size)[None])[1].items():
            value = value * (size if name == "frobenius" else 1)
            np.testing.assert_allclose(getattr(found, name), np.repeat(value, 2), rtol=1e-9)
    if (sigma[-1] == 0) and (sigma > 0).sum() < min(steps, k):
        assert (found.sigma_min_bound == 0).all()
        assert found.cond_lower_bound.isinf().all()


SPECTRA = {
    "flat": torch.ones(300),
    "one stands out": torch.cat([torch.tensor([30.0]), torch.ones(299)]),
    "slowly falling": torch.logspace(0, -1, 300),
    "falling": torch.logspace(0, -4, 300),
    "like 1/i": 1.0 / torch.arange(1, 301),
    "deficient": torch.cat([torch.linspace(2, 1, 60), torch.zeros(240)]),
    "few": torch.cat([torch.linspace(2, 1, 5), torch.zeros(295)]),
}


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, (300, 400)) for name in SPECTRA), ("falling", (400, 300))], ids=str
)
def test_the_truth_is_within_three_standard_errors_at_nine_points_of_ten(name, shape):
    sigma = SPECTRA[name].double()
    function, a = built(sigma, *shape)
    found = probe_jacobians(function, zeros(200, shape[1]))
    _, truth = exact(a)
    for quantity, good in within(found, truth).items():
        assert good.mean() >= 0.9, quantity
    # That is worth something: the errors are small.
    assert found.frobenius_error.median() < 0.06
    assert (found.stable_rank_error / found.stable_rank).median() < 0.25
    assert (found.participation_ratio_error / found.participation_ratio).median() < 0.1


def test_a_mean_over_points_is_not_off_to_one_side():
    function, a = built(SPECTRA["falling"].double(), 300, 400)
    found = probe_jacobians(function, zeros(400, 400))
    _, truth = exact(a)
    for name in ("frobenius", "participation_ratio"):
        estimates = getattr(found, name)
        off = (estimates.mean() - truth[name]).abs()
        assert off <= 4 * estimates.std() / 20 + 1e-3 * truth[name]


def test_the_starts_of_points_differ_and_do_not_depend_on_chunks(monkeypatch):
    function, _ = built(SPECTRA["falling"].double(), 300, 400)
    found = probe_jacobians(function, zeros(6, 400))
    assert len(found.frobenius.unique()) == 6
    monkeypatch.setattr("lightning_invert.jacobians.lanczos.MAX_NUMBERS_AT_ONCE", 1)
    again = probe_jacobians(function, zeros(6, 400))
    torch.testing.assert_close(again.participation_ratio, found.participation_ratio)
    other = probe_jacobians(function, zeros(6, 400), seed=1)
    assert (other.frobenius != found.frobenius).all()


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16, 50),
    )


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("network", "shape"), [(bottleneck, (300,)), (convolutions, (3, 16, 16))])
def test_probes_of_a_network_are_as_good_as_its_jacobian(network, shape, dtype, slack):
    net, x = network().double().eval(), torch.randn(20, *shape, dtype=torch.float64)
    sigma, truth = exact(batched_jacobian(net, x).detach())
    with torch.no_grad():
        found = probe_jacobians(net.to(dtype), x.to(dtype))
    assert all(value.dtype == torch.float64 for value in found[:-1])
    assert (found.sigma_max.numpy() <= sigma[:, 0] * (1 + slack)).all()
    assert (found.sigma_max.numpy() >= sigma[:, 0] * 0.9).all()
    assert (found.sigma_min_bound.numpy() >= sigma[:, -1] - slack).all()
    for quantity, good in within(found, truth).items():
        assert good.mean() >= 0.9, quantity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_rank_below_the_number_of_steps_is_seen(dtype):
    net = bottleneck(inside=4).to(dtype)
    found = probe_jacobians(net, torch.randn(5, 300, dtype=dtype))
    assert (found.sigma_min_bound == 0).all()
    assert found.cond_lower_bound.isinf().all()
    assert (found.participation_ratio <= 4.001).all()


def test_a_nan_spoils_the_probes_of_its_point_alone():
    net = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 30))
    x = torch.randn(3, 30)
    clean = probe_jacobians(net, x)
    x[1, 4] = torch.nan
    for value, expected in zip(probe_jacobians(net, x)[:-1], clean[:-1], strict=True):
        assert value[1].isnan()
        torch.testing.assert_close(value[[0, 2]], expected[[0, 2]])


def test_a_map_that_ignores_its_input_has_rank_0():
    found = probe_jacobians(lambda x: 0 * x, torch.randn(3, 50))
    for value in (found.sigma_max, found.frobenius, found.stable_rank, found.participation_ratio):
        assert (value == 0).all()
    assert found.cond_lower_bound.isinf().all()


def test_the_starts_are_no_part_of_a_network_drawn_with_the_same_seed():
    torch.manual_seed(0)
    net = bottleneck()
    found = probe_jacobians(net, torch.zeros(200, 300, dtype=torch.float64), seed=0)
    truth = np.linalg.norm(batched_jacobian(net, torch.zeros(1, 300).double()).detach())
    np.testing.assert_allclose(found.frobenius.mean(), truth, rtol=0.02)


def test_probes_leave_random_stream_gradients_and_inputs_alone():
    net, x = nn.Linear(50, 60), torch.zeros(3, 50)
    state = torch.get_rng_state()
    probe_jacobians(net, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.weight.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"probes": 2}, r"`probes` .* 2"),
        ({"steps": 0}, r"`steps` .* 0"),
        ({}, "at least one point"),
    ],
)
def test_names_the_argument_of_probes_that_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        probe_jacobians(torch.sin, torch.zeros(3 if arguments else 0, 5), **arguments)
