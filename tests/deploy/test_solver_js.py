import json

import numpy as np
import pytest
import torch

from lightning_invert.deploy.metadata import describe
from lightning_invert.deploy.page import joined
from lightning_invert.solver.bounded_step import bounded_step

pytestmark = pytest.mark.slow


@pytest.fixture
def page(browser):
    context = browser.new_context()
    opened = context.new_page()
    names = "{ singularValues, numericalRank, conditionNumber, bandOf, boundedStep, readNumber, shown, ended, trustOf, knownOf }"
    source = joined("numbers", "solver", "reliability", "known") + f"\nwindow.numerics = {names};"
    opened.add_script_tag(content=source, type="module")
    opened.wait_for_function("window.numerics")
    yield opened
    context.close()


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (1, 6), (6, 1), (12, 30)])
def test_singular_values_are_those_of_numpy(page, shape):
    matrices = np.random.default_rng(0).normal(size=(5, *shape))
    matrices[1] *= 10.0 ** -np.arange(shape[1])
    matrices[2, -1] = matrices[2, 0]
    found = page.evaluate("all => all.map(numerics.singularValues)", matrices.tolist())
    expected = np.linalg.svd(matrices, compute_uv=False)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14 * expected.max())


def test_a_jacobian_of_zeros_has_no_rank_and_is_singular(page):
    sigma = page.evaluate("numerics.singularValues([[0, 0, 0], [0, 0, 0]])")
    assert sigma == [0, 0]
    told = f"[numerics.numericalRank({sigma}, 1e-5), numerics.bandOf(numerics.conditionNumber({sigma}, 1e-12), [100, 1e4])]"
    assert page.evaluate(told) == [0, "singular"]


@pytest.mark.parametrize(
    ("condition", "band"),
    [(99.9, "stable"), (100, "moderate"), (1e4, "moderate"), (10001, "ill-conditioned")],
)
def test_bands_begin_and_end_where_they_do_in_python(page, condition, band):
    assert page.evaluate(f"numerics.bandOf({condition}, [100, 1e4])") == band


@pytest.mark.parametrize("shape", [(4, 7), (3, 3), (5, 2)])
def test_a_bounded_step_is_that_of_the_package(page, shape):
    m, n = shape
    draw = np.random.default_rng(1)
    count = 60
    jacobian = draw.normal(size=(count, m, n))
    low = 2 * draw.normal(size=(count, m))
    high = low + np.where(draw.random((count, m)) < 0.5, 0.0, draw.random((count, m)))
    free = draw.random((count, m)) < 0.2
    free[:, 0] = False
    low, high = np.where(free, -np.inf, low), np.where(free, np.inf, high)
    jacobian[free] = 0.0
    walls = np.stack((-draw.random((count, n)), draw.random((count, n))))
    walls[:, draw.random((count, n)) < 0.2] = 0.0
    damping = 10.0 ** draw.uniform(-6, 0, count)
    expected = bounded_step(
        torch.from_numpy(jacobian),
        (torch.from_numpy(low), torch.from_numpy(high)),
        (torch.from_numpy(walls[0]), torch.from_numpy(walls[1])),
        torch.from_numpy(damping),
    ).step
    cases = list(zip(jacobian, low, high, *walls, damping, strict=True))
    texts = [json.dumps([part.tolist() for part in case]) for case in cases]
    code = """texts => texts.map((text) => {
        const [j, low, high, least, most, damping] = JSON.parse(
            text.replaceAll("-Infinity", "-1e999").replaceAll("Infinity", "1e999"));
        return numerics.boundedStep(j, [low, high], [least, most], damping).step;
    })"""
    np.testing.assert_allclose(page.evaluate(code, texts), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("12.5", 12.5),
            (" -3 ", -3),
            ("−3", -3),
            ("–3", -3),
            ("1e3", 1000),
            (".5", 0.5),
            ("7.", 7),
        ),
        *(("99,9", 99.9), ("−3,25", -3.25), (",5", 0.5), ("7,", 7), ("1,5e3", 1500), ("+2", 2)),
        # No thousands look like this.
        *(("0,125", 0.125), ("1234,567", 1234.567), ("1,2345", 1.2345), ("1,23", 1.23)),
    ],
)
def test_a_number_is_read_as_it_is_written(page, text, value):
    assert page.evaluate("text => numerics.readNumber(text)", text) == {"value": value}


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("99,9 %", "%", 99.9), ("99.9%", "", 99.9), ("5 %", "mol-%", 5), ("-7,5 °C", "°C", -7.5),
        ("1e3 m3/h", "m³/h", 1000), ("12 kg*m^2", "kg·m²", 12), ("5 1/s", "1/s", 5), ("7. t / d", "t/d", 7),
        # Another unit is another number.
        ("5 %", "t/d", None), ("5 kg", "t", None), ("5 mW", "MW", None), ("5 kg", "", None), ("%", "%", None),
        ("1,234 t", "t", None), ("1 234 t", "t", None), ("5 t t", "t", None),
    ],
)  # fmt: skip
def test_a_number_may_have_its_own_unit_behind_it(page, text, unit, value):
    read = page.evaluate("([text, unit]) => numerics.readNumber(text, unit)", [text, unit])
    assert read.get("value") == value
    assert ("error" in read) == (value is None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((text, "Write a number here.") for text in ("", "  ")),
        *(
            (text, f"“{text}” is not a number. Write one like 12.5.")
            for text in ("abc", "NaN", "Infinity", "0x10", "--3", "12.5 kg", "99,9x", ",", "e5")
        ),
        *(
            (text, f"“{text}” is not a number. Write one without signs of thousands, like 1234.5.")
            for text in (
                "1.234,5",
                "1,234.5",
                "1 234,5",
                "1\u202f234",
                "1'234.5",
                "1.234.567",
                "1,,2",
            )
        ),
        ("1,234", "“1,234” can be read in two ways. Write 1.234 or 1234."),
        ("-12,345", "“-12,345” can be read in two ways. Write -12.345 or -12345."),
        ("1e400", "This number is too large to work with."),
    ],
)
def test_what_is_no_number_gets_words(page, text, words):
    assert page.evaluate("text => numerics.readNumber(text)", text) == {"error": words}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        # To a hundredth of its spread.
        ("shown(1520.123, 45)", "1520.1"),
        ("shown(1700000030.25, 17)", "1700000030.3"),
        ("shown(1e-6, 1e-8)", "1.0000e\u22126"),
        ("shown(-0.0001, 1)", "0.00"),
        ("shown(0, 1)", "0.00"),
        # The end of a range has no empty digits.
        *((f"ended({text}, 2)", text) for text in ("100", "1500", "0", "39.4", "10")),
    ],
)
def test_a_number_is_shown_in_as_many_digits_as_it_needs(page, call, text):
    assert page.evaluate(f"numerics.{call}") == text


def test_bands_trust_and_what_is_alike_are_those_of_python(page, trusted):
    draw = torch.Generator().manual_seed(9)
    stretch = torch.linspace(0.3, 3, 60, dtype=torch.float64)[:, None]
    x = trusted.scale_x.inverse(stretch * torch.randn(60, 5, generator=draw, dtype=torch.float64))
    shift = torch.randn(60, 3, generator=draw, dtype=torch.float64)
    with torch.no_grad():
        y = trusted(x)
    target = y + 0.1 * shift * trusted.scale_y.std
    reliability = trusted.proposer.knowledge.measure(512, members=False)
    z = trusted.scale_x(x)
    sigma = reliability.sigma(z)
    half, beyond = reliability.half_width(z, sigma)
    everything = torch.ones_like(y, dtype=torch.bool)
    error = reliability.expected_error(sigma, (0.1 * shift).norm(dim=1), everything)
    code = """([about, cases]) => cases.map(([x, y, target]) =>
        numerics.trustOf(numerics.knownOf(about), x, y, { low: target, high: target }))"""
    cases = [[part.tolist() for part in case] for case in zip(x, y, target, strict=True)]
    found = page.evaluate(code, [describe(trusted), cases])

    def told(name):
        return torch.tensor([one[name] for one in found])

    reach = half * trusted.scale_y.std
    for name, expected in (("low", y - reach), ("high", y + reach)):
        np.testing.assert_allclose((told(name) - y) / reach, (expected - y) / reach, rtol=1e-4)
    np.testing.assert_allclose(told("expectedError"), error, rtol=1e-4)
    np.testing.assert_allclose(told("trust"), reliability.trust(error, everything), atol=1e-4)
    for name, place in (("doubtful", 0), ("far", 1)):
        assert torch.equal(told(name), beyond[:, place] > 0)
        assert 0 < told(name).sum() < 60
    assert torch.equal(told("alike"), (beyond <= 0).all(1))
    assert {one["words"] for one in found} == {
        "all three outcomes lie inside nine times out of ten"
    }
