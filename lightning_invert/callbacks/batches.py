"""Batches of validation: one beforehand, and whether they join those of several dataloaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_invert.watch.isolation import isolated

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["is_merged", "peek"]


def peek(trainer: Trainer, pl_module: LightningModule) -> Any:
    """Return a batch of validation, if one can be had without a trace that stands for all."""
    trainer.fit_loop.epoch_loop.val_loop.setup_data()
    loader: Any = trainer.val_dataloaders
    loader = loader[0] if isinstance(loader, list | tuple) and len(loader) == 1 else loader
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return None
    state = loader.generator and loader.generator.get_state()
    with isolated(pl_module):
        batch = next(iter(loader), None)
        if batch is not None:
            batch = trainer.precision_plugin.convert_input(batch)
            batch = pl_module._on_before_batch_transfer(batch, dataloader_idx=0)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
    if state is not None:
        loader.generator.set_state(state)
    return batch


def is_merged(trainer: Trainer) -> bool:
    """Tell whether a batch joins those of several dataloaders."""
    loops = {"validate": trainer.validate_loop, "test": trainer.test_loop}
    loop = loops.get(trainer.state.fn or "", trainer.fit_loop.epoch_loop.val_loop)
    # Nothing public tells it.
    mode = getattr(getattr(loop, "_combined_loader", None), "_mode", "sequential")
    return mode != "sequential"
