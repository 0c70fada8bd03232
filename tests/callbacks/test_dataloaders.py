import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import Foreign, fit_project, loader
from tests.watch.reference import jacobians_point_by_point


class SeveralLoaders(Foreign):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        super().test_step(batch, batch_idx)


def far_away(rows):
    x = 3 + torch.randn(rows, 5, generator=torch.Generator().manual_seed(5))
    return DataLoader(TensorDataset(x, torch.zeros(rows, 3)), batch_size=16)


def median_in_numpy(module, *parts):
    x = torch.cat([batch[0] for part in parts for batch in part])
    return np.median(np.linalg.cond(jacobians_point_by_point(module.eval(), x)))


def fitted(folder, **options):
    module, parts = SeveralLoaders(), [loader(rows=48), far_away(32)]
    watch = InvertibilityCallback(num_points=100, **options)
    trainer = fit_project(folder, watch, module=module, data=(loader(), parts))
    return module, parts, trainer


@pytest.mark.filterwarnings("ignore:It is recommended to use:UserWarning")
@pytest.mark.slow
def test_separate_dataloaders_have_tags_and_figures_of_their_own(tmp_path, caplog):
    folder = tmp_path / "figures"
    module, parts, trainer = fitted(tmp_path, dataloaders="separate", save_figures=folder)
    for number, part in enumerate(parts):
        median = trainer.callback_metrics[f"invertibility/dataloader_{number}/forward/cond_median"]
        assert median.item() == pytest.approx(median_in_numpy(module, part), rel=1e-4)
        assert (folder / f"forward_dataloader_{number}_fragile_zones.png").exists()
    assert "invertibility/forward/cond_median" not in trainer.callback_metrics
    assert "forward_dataloader_1" in caplog.text
    trainer.test(module, parts, verbose=False)
    median = trainer.callback_metrics["test/invertibility/dataloader_1/forward/cond_median"]
    assert median.item() == pytest.approx(median_in_numpy(module, parts[1]), rel=1e-4)


def test_one_dataloader_needs_no_number(tmp_path):
    trainer = fit_project(tmp_path, InvertibilityCallback(dataloaders="separate"))
    assert "invertibility/forward/cond_median" in trainer.callback_metrics
