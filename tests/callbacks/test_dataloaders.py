import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import batched_jacobian
from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import Foreign, loader, quiet_trainer


class SeveralLoaders(Foreign):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        super().test_step(batch, batch_idx)


def far_away(rows):
    x = 3 + torch.randn(rows, 5, generator=torch.Generator().manual_seed(5))
    return DataLoader(TensorDataset(x, torch.zeros(rows, 3)), batch_size=16)


def medians(module, *parts):
    """The reference: NumPy's median of NumPy's condition numbers."""
    x = torch.cat([batch[0] for part in parts for batch in part])
    jacobian = batched_jacobian(module.eval(), x).detach().numpy()
    return np.median(np.linalg.cond(jacobian))


def fitted(folder, **options):
    module, parts = SeveralLoaders(), [loader(rows=48), far_away(32)]
    watch = InvertibilityCallback(num_points=100, **options)
    trainer = quiet_trainer(folder, callbacks=[watch])
    trainer.fit(module, loader(), parts)
    return module, parts, trainer


def test_merged_dataloaders_are_one_set_of_points(tmp_path):
    module, parts, trainer = fitted(tmp_path)
    found = trainer.callback_metrics["invertibility/forward/cond_median"].item()
    assert found == pytest.approx(medians(module, *parts), rel=1e-4)


@pytest.mark.filterwarnings("ignore:It is recommended to use:UserWarning")
@pytest.mark.slow
def test_separate_dataloaders_have_tags_and_figures_of_their_own(tmp_path, caplog):
    folder = tmp_path / "figures"
    module, parts, trainer = fitted(tmp_path, dataloaders="separate", save_figures=folder)
    for number, part in enumerate(parts):
        found = trainer.callback_metrics[f"invertibility/dataloader_{number}/forward/cond_median"]
        assert found.item() == pytest.approx(medians(module, part), rel=1e-4)
        assert (folder / f"forward_dataloader_{number}_fragile_zones.png").exists()
    assert "invertibility/forward/cond_median" not in trainer.callback_metrics
    assert "forward_dataloader_1" in caplog.text
    trainer.test(module, parts, verbose=False)
    found = trainer.callback_metrics["test/invertibility/dataloader_1/forward/cond_median"]
    assert found.item() == pytest.approx(medians(module, parts[1]), rel=1e-4)


def test_one_dataloader_needs_no_number(tmp_path):
    watch = InvertibilityCallback(dataloaders="separate")
    trainer = quiet_trainer(tmp_path, callbacks=[watch])
    trainer.fit(Foreign(), loader(), loader())
    assert "invertibility/forward/cond_median" in trainer.callback_metrics
