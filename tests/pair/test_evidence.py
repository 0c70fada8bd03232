"""A pair keeps rows of its data, also in its checkpoint."""

import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from tests.projects import Smooth, quiet_trainer


def pair(**kwargs):
    return ForwardInverseModule(SmoothMLP(3, 2, width=8), SmoothMLP(2, 3, width=8), **kwargs)


def fit(module, folder, rows=200, **kwargs):
    trainer, data = quiet_trainer(folder, **kwargs), Smooth(rows=rows)
    trainer.fit(module, datamodule=data)
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader()}
    return trainer, {split: loader.dataset[:] for split, loader in loaders.items()}


def sorted_rows(x):
    return x[x[:, 0].argsort()]


def test_a_fit_keeps_the_rows_of_its_splits_and_a_second_fit_new_ones(tmp_path):
    module = pair()
    for rows in (200, 100):
        _, splits = fit(module, tmp_path, rows, max_epochs=2)
        for split, (x, y) in splits.items():
            held = module.evidence.rows(split)
            assert torch.equal(sorted_rows(held[0]), sorted_rows(x.double()))
            assert torch.equal(sorted_rows(held[1]), sorted_rows(y.double()))


@pytest.mark.parametrize("keep_points", [20, 0])
def test_a_fit_keeps_no_more_rows_than_it_may_and_a_resumed_one_the_same(tmp_path, keep_points):
    module, resumed = pair(keep_points=keep_points), pair(keep_points=keep_points)
    trainer, _ = fit(module, tmp_path, max_epochs=2)
    file = tmp_path / "pair.ckpt"
    trainer.save_checkpoint(file)
    quiet_trainer(tmp_path, max_epochs=3).fit(resumed, datamodule=Smooth(), ckpt_path=file)
    loaded = ForwardInverseModule.load_from_checkpoint(file)
    for split in ("train", "val"):
        rows = [pair.evidence.rows(split) for pair in (module, resumed, loaded)]
        if keep_points:
            assert [len(x) for x, _ in rows] == [20] * 3
            assert all(torch.equal(x, rows[0][0]) for x, _ in rows)
        else:
            assert rows == [None] * 3
    without = ForwardInverseModule.load_from_checkpoint(file, keep_points=0)
    assert without.evidence.rows("train") is None
