"""mlcolvar: an autoencoder whose latent space is a collective variable."""

import torch

REQUIREMENTS = ("mlcolvar==1.3.1",)
TRAINED = "AutoEncoderCV"
MAPS = {"encoder": {"module": "encoder", "input": "data"}}


def fit(callbacks, options):
    from lightning.pytorch import Trainer
    from mlcolvar.cvs import AutoEncoderCV
    from mlcolvar.data import DictDataset, DictModule

    data = DictDataset({"data": torch.randn(60, 6)})
    module = AutoEncoderCV([6, 8, 2])
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(module, DictModule(data, lengths=[0.5, 0.5], batch_size=10, shuffle=False))
    return module, trainer


def points(batch, module):
    return batch["data"]


def outputs(module, batch, x):
    return module.encoder(x)
