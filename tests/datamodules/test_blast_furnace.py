import pytest
import torch

from lightning_invert.datamodules import BlastFurnaceDataModule
from lightning_invert.problems.blast_furnace import INPUTS, sample_inputs


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
    index = [v.name for v in INPUTS].index(name)
    column, variable = sample_inputs(20_000, seed=1)[:, index], INPUTS[index]
    assert column.mean().item() == pytest.approx(mean, rel=0.2)
    assert column.std().item() == pytest.approx(spread, rel=0.2)
    assert variable.low <= column.min()
    assert column.max() <= variable.high


def test_hydrogen_has_a_temperature_only_where_it_is_blown():
    x = sample_inputs(1000, seed=1)
    assert ((x[:, 0] == 0) == (x[:, 4] == 0)).all()


def test_points_depend_on_the_seed_alone_and_leave_the_global_stream_alone():
    before = torch.get_rng_state()
    assert torch.equal(sample_inputs(10, seed=3), sample_inputs(10, seed=3))
    assert not torch.equal(sample_inputs(10, seed=3), sample_inputs(10, seed=4))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_the_stated_share_of_each_output_s_spread():
    clean, noisy = (BlastFurnaceDataModule(noise=noise).load()[1] for noise in (0.0, 0.05))
    share = (noisy - clean).std(0) / clean.std(0)
    torch.testing.assert_close(share, torch.full((4,), 0.05).double(), rtol=0.05, atol=0)


def test_without_noise_the_data_are_the_true_function():
    data = BlastFurnaceDataModule(num_points=100, noise=0.0)
    x, y = data.load()
    torch.testing.assert_close(data.true_forward(x), y)


def test_the_reference_split_is_four_to_one_and_the_test_is_on_other_points():
    data = BlastFurnaceDataModule()
    sizes = [len(loader().dataset) for loader in (data.train_dataloader, data.val_dataloader)]
    assert sizes == [4000, 1000]
    test = data.test_dataloader().dataset.inputs
    assert len(test) == 1000
    known = {tuple(row) for row in data.load()[0].tolist()}
    assert not known & {tuple(row) for row in test.tolist()}


def test_every_variable_has_a_unit():
    assert all(v.unit for v in (*BlastFurnaceDataModule.inputs, *BlastFurnaceDataModule.outputs))


@pytest.mark.parametrize(
    "options", [{"num_points": 0}, {"num_test_points": 0}, {"noise": -0.1}, {"noise": float("nan")}]
)
def test_names_the_argument_that_is_wrong(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`"):
        BlastFurnaceDataModule(**options)
