"""MONAI: an autoencoder of images that are MetaTensors."""

import torch
from torch import nn

REQUIREMENTS = ("monai==1.6.1",)
TRAINED = "AutoEncoder of a dict of MetaTensors"
MAPS = {"encode": {"module": "net.encode", "input": "image"}}


def fit(callbacks, options):
    from lightning.pytorch import LightningModule, Trainer
    from monai.data import DataLoader, Dataset, MetaTensor
    from monai.networks.nets import AutoEncoder

    class Images(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = AutoEncoder(
                spatial_dims=2, in_channels=1, out_channels=1, channels=(2, 4), strides=(2, 2)
            )

        def forward(self, image):
            return self.net(image)

        def step(self, batch):
            return nn.functional.mse_loss(self(batch["image"]), batch["image"])

        def training_step(self, batch, batch_idx):
            return self.step(batch)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.step(batch), batch_size=8)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    images = Dataset([{"image": MetaTensor(torch.randn(1, 8, 8))} for _ in range(24)])
    module = Images()
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(module, DataLoader(images, batch_size=8), DataLoader(images, batch_size=8))
    return module, trainer


def points(batch, module):
    return batch["image"].as_tensor()


def outputs(module, batch, x):
    return module.net.encode(x).flatten(1)
