import torch

from lightning_invert.datamodules import BlastFurnaceDataModule


def test_noise_is_the_stated_share_of_each_output_s_spread():
    clean, noisy = (BlastFurnaceDataModule(noise=noise).load()[1] for noise in (0.0, 0.05))
    share = (noisy - clean).std(0) / clean.std(0)
    torch.testing.assert_close(share, torch.full((4,), 0.05).double(), rtol=0.05, atol=0)


def test_without_noise_the_data_are_the_true_function():
    data = BlastFurnaceDataModule(num_points=100, noise=0.0)
    x, y = data.load()
    torch.testing.assert_close(data.problem.forward(x), y)


def test_the_reference_split_is_four_to_one_and_the_test_is_on_other_points():
    data = BlastFurnaceDataModule()
    sizes = [len(loader().dataset) for loader in (data.train_dataloader, data.val_dataloader)]
    assert sizes == [4000, 1000]
    test = data.test_dataloader().dataset.inputs
    assert len(test) == 1000
    known = {tuple(row) for row in data.load()[0].float().tolist()}
    assert not known & {tuple(row) for row in test.tolist()}


def test_every_variable_has_a_unit():
    assert all(v.unit for v in (*BlastFurnaceDataModule.inputs, *BlastFurnaceDataModule.outputs))
