from tests.projects import Smooth, quiet_trainer


def fit(pair, folder, data=None, *, ckpt_path=None, **options):
    """Fit a pair to smooth data, for an epoch where ``options`` say no more, and return the trainer."""
    trainer = quiet_trainer(folder, **options)
    trainer.fit(pair, datamodule=data or Smooth(), ckpt_path=ckpt_path)
    return trainer


def saved(pair, folder, data=None, **options):
    """Fit a pair and return the path of its checkpoint."""
    path = folder / "pair.ckpt"
    fit(pair, folder, data, **options).save_checkpoint(path)
    return path
