"""zuko: a conditional flow, whose transform is a method of two lines."""

import torch

REQUIREMENTS = ("zuko==1.6.0",)
TRAINED = "NSF, forward(x, c) is the log density"
MAPS = {"latent": {"module": "latent", "input": 0, "context": 1}}


def fit(callbacks, options):
    import zuko
    from lightning.pytorch import LightningModule, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    class Flow(LightningModule):
        def __init__(self):
            super().__init__()
            self.flow = zuko.flows.NSF(3, 2, transforms=2, hidden_features=(8,))

        def forward(self, x, c):
            return self.flow(c).log_prob(x)

        def latent(self, x, c):
            return self.flow(c).transform(x)

        def training_step(self, batch, batch_idx):
            return -self(*batch).mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", -self(*batch).mean())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    data = TensorDataset(torch.randn(48, 3), torch.randn(48, 2))
    module = Flow()
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(module, DataLoader(data, batch_size=16), DataLoader(data, batch_size=16))
    return module, trainer


def points(batch, module):
    return batch[0]


def outputs(module, batch, x):
    return module.flow(batch[1][: len(x)]).transform(x)
