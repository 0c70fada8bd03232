import numpy as np
import pytest
import torch

from lightning_invert import batched_jacobian, condition_number, numerical_rank, singular_values
from lightning_invert.problems import MultilayerFilm
from lightning_invert.problems.multilayer_film import (
    reflectance_and_transmittance,
    refractive_index,
)

PROBLEM = MultilayerFilm()
WAVELENGTHS = PROBLEM.wavelengths


def by_waves(indices, thicknesses, wavelengths):
    """Waves to and fro through interfaces and films, one stack and one wavelength at a time."""
    answers = np.empty((2, len(thicknesses), len(wavelengths)))
    for p, films in enumerate(thicknesses):
        for k, wavelength in enumerate(wavelengths):
            n = indices[:, k]
            waves = np.eye(2, dtype=complex)
            for j in range(len(n) - 1):
                r = (n[j] - n[j + 1]) / (n[j] + n[j + 1])
                t = 2 * n[j] / (n[j] + n[j + 1])
                waves = waves @ np.array([[1, r], [r, 1]]) / t
                if j < len(films):
                    phase = 2 * np.pi * n[j + 1] * films[j] / wavelength
                    waves = waves @ np.diag([np.exp(-1j * phase), np.exp(1j * phase)])
            answers[0, p, k] = abs(waves[1, 0] / waves[0, 0]) ** 2
            answers[1, p, k] = (n[-1] / n[0]).real / abs(waves[0, 0]) ** 2
    return answers


def condition(problem, x):
    return condition_number(singular_values(problem.jacobian(x)))


@pytest.mark.parametrize("absorption", [0.0, 0.03])
def test_light_goes_as_waves_through_the_interfaces_do(absorption):
    x = PROBLEM.sample(10, seed=0)
    indices = PROBLEM.indices.to(torch.complex128)
    indices[1:-1] += 1j * absorption
    found = reflectance_and_transmittance(indices, x, WAVELENGTHS)
    expected = by_waves(indices.numpy(), x.numpy(), WAVELENGTHS.numpy())
    np.testing.assert_allclose(torch.stack(found), expected, rtol=1e-11, atol=1e-13)
    lost = 1 - found[0] - found[1]
    if absorption:
        assert (lost > 0.01).all()
    else:
        torch.testing.assert_close(lost, torch.zeros_like(lost), rtol=0, atol=1e-13)
        torch.testing.assert_close(PROBLEM.forward(x), found[0])


@pytest.mark.parametrize("pairs", [1, 2, 4, 9])
def test_a_quarter_wave_stack_reflects_as_its_closed_form_says(pairs):
    high, low, glass = 2.6, 1.46, 1.52
    indices = torch.tensor([[1.0], *([[high], [low]] * pairs), [glass]])
    thicknesses = 600 / 4 / indices[1:-1].T.double()
    found, _ = reflectance_and_transmittance(indices, thicknesses, torch.tensor([600.0]))
    admittance = glass * (high / low) ** (2 * pairs)
    expected = ((1 - admittance) / (1 + admittance)) ** 2
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_a_half_wave_film_is_not_seen():
    indices = torch.tensor([[1.0], [2.6], [1.52]], dtype=torch.float64)
    half = torch.tensor([[0.5 * 600 / 2.6], [0.0]], dtype=torch.float64)
    found, _ = reflectance_and_transmittance(indices, half, torch.tensor([600.0]))
    bare = (0.52 / 2.52) ** 2
    torch.testing.assert_close(found, torch.full((2, 1), bare).double())


@pytest.mark.parametrize(
    ("material", "index"),
    [
        ("SiO2", 1.45846),  # refractiveindex.info
        ("N-BK7", 1.51680),  # n_d of SCHOTT's data sheet
        ("TiO2", (5.913 + 0.2441 / (0.5876**2 - 0.0803)) ** 0.5),  # DeVore's own form
    ],
)
def test_refractive_indices_are_the_published_ones(material, index):
    found = refractive_index(material, torch.tensor([587.6], dtype=torch.float64))
    assert found.item() == pytest.approx(index, abs=1e-5)


def test_without_a_film_its_neighbours_are_one():
    x = PROBLEM.sample(50, seed=1)
    full = singular_values(PROBLEM.jacobian(x))
    assert (numerical_rank(full) == 8).all()
    x[:, 3] = 0.0
    jacobian = PROBLEM.jacobian(x)
    torch.testing.assert_close(jacobian[:, :, 2], jacobian[:, :, 4])
    assert (numerical_rank(singular_values(jacobian), atol=1e-12) == 7).all()


def test_the_condition_number_grows_as_one_over_the_thickness_of_a_thin_film():
    x = PROBLEM.sample(50, seed=1)
    found = []
    for thickness in (0.01, 0.001):
        x[:, 3] = thickness
        found.append(condition(PROBLEM, x))
    ten = torch.full((50,), 10.0).double()
    torch.testing.assert_close(found[1] / found[0], ten, rtol=0.05, atol=0)


def test_the_film_that_glass_resembles_is_the_hardest_to_tell():
    jacobian = PROBLEM.jacobian(PROBLEM.sample(500, seed=2))
    weakest = torch.linalg.svd(jacobian, full_matrices=False).Vh[:, -1] ** 2
    assert weakest.mean(0)[-1] > 0.7
    seen = torch.linalg.vector_norm(jacobian, dim=1).median(0).values
    assert seen[-1] < 0.05 * seen[:-1].min()


@pytest.mark.slow
def test_each_further_pair_of_films_makes_it_worse():
    medians = []
    for layers in (2, 4, 8, 16):
        problem = MultilayerFilm(layers)
        medians.append(condition(problem, problem.sample(100, seed=3)).median().item())
    assert medians == sorted(medians)
    assert medians[-1] > 100 * medians[0]


def test_a_mirror_for_green_light_is_among_the_worst():
    at = torch.tensor([500.0], dtype=torch.float64)
    high, low = (500.0 / 4 / refractive_index(m, at) for m in ("TiO2", "SiO2"))
    mirror = torch.stack([high, low] * 4, dim=1)
    low_end, high_end = PROBLEM.bounds
    assert ((low_end <= mirror) & (mirror <= high_end)).all()
    assert condition(PROBLEM, mirror) > 1e5
    typical = condition(PROBLEM, PROBLEM.sample(500, seed=4))
    assert (typical < 1e5).double().mean() > 0.99


def test_between_equal_media_a_symmetric_stack_has_half_the_rank():
    """Light does not tell a stack from its mirror image: two films move the spectrum alike."""
    films = [refractive_index(("TiO2", "SiO2")[i % 2], WAVELENGTHS) for i in range(7)]
    air = torch.ones_like(WAVELENGTHS)
    indices = torch.stack([air, *films, air])
    half = MultilayerFilm(4).sample(20, seed=5)
    symmetric = torch.cat([half, half[:, :3].flip(1)], dim=1)
    jacobian = batched_jacobian(
        lambda x: reflectance_and_transmittance(indices, x, WAVELENGTHS)[0], symmetric
    )
    assert (numerical_rank(singular_values(jacobian), atol=1e-12) == 4).all()
