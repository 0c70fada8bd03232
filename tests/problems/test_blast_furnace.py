import pytest

from lightning_invert.problems import BlastFurnace

PROBLEM = BlastFurnace()


@pytest.mark.parametrize(
    ("name", "mean", "spread"),
    [
        ("h2_injection", 12.5, 15.2),
        ("pulverised_coal", 18.6, 45.3),
        ("natural_gas", 41.3, 46.6),
        ("o2_fraction", 25.6, 3.3),
        ("h2_temperature", 272, 363),
        ("hot_blast_temperature", 1438, 60),  # the reference's 157 leaves the range of 300
        ("wind_rate", 199, 27),
    ],
)
def test_inputs_have_the_mean_and_spread_of_the_reference_and_keep_to_their_range(
    name, mean, spread
):
    index = [v.name for v in PROBLEM.inputs].index(name)
    column, variable = PROBLEM.sample(20_000, seed=1)[:, index], PROBLEM.inputs[index]
    assert column.mean().item() == pytest.approx(mean, rel=0.2)
    assert column.std().item() == pytest.approx(spread, rel=0.2)
    assert variable.low <= column.min()
    assert column.max() <= variable.high


def test_hydrogen_has_a_temperature_only_where_it_is_blown():
    x = PROBLEM.sample(1000, seed=1)
    assert ((x[:, 0] == 0) == (x[:, 4] == 0)).all()
