import numpy as np
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


def test_the_coke_rate_is_a_fifth_outcome_where_it_is_asked_for():
    furnace, x = BlastFurnace(coke_rate=True), PROBLEM.sample(200, seed=2)
    y, (h2, coal, gas) = furnace.forward(x).numpy(), x[:, :3].T.numpy()
    np.testing.assert_array_equal(y[:, :4], PROBLEM.forward(x).numpy())
    spare = (468 - 2.1 * h2 - 0.9 * coal - 1.05 * gas - 230) / 25
    np.testing.assert_allclose(y[:, 4], 230 + 25 * np.logaddexp(0, spare), rtol=1e-7)
    assert [furnace.outputs[4].label, len(PROBLEM.outputs)] == ["coke_rate [kg/tHM]", 4]
