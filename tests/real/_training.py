"""What the packages have in common that leave the training to their users."""

from lightning.pytorch import Trainer

from tests.projects import Fitted

__all__ = ["Fitted", "fitted"]


def fitted(module, loader, callbacks, options):
    """Fit a module and validate it at the same batches; return it and its trainer."""
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(module, loader, loader)
    return module, trainer
