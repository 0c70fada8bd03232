"""MONAI: an autoencoder of images that are MetaTensors."""

import torch
from torch import nn

from tests.real._training import Fitted, fitted

REQUIREMENTS = ("monai==1.6.1",)
TRAINED = "AutoEncoder of a dict of MetaTensors"
MAPS = {"encode": {"module": "net.encode", "input": "image"}}


def fit(callbacks, options):
    from monai.data import DataLoader, Dataset, MetaTensor
    from monai.networks.nets import AutoEncoder

    class Images(Fitted):
        def __init__(self):
            super().__init__()
            self.net = AutoEncoder(
                spatial_dims=2, in_channels=1, out_channels=1, channels=(2, 4), strides=(2, 2)
            )

        def forward(self, image):
            return self.net(image)

        def step(self, batch):
            return nn.functional.mse_loss(self(batch["image"]), batch["image"])

    images = Dataset([{"image": MetaTensor(torch.randn(1, 8, 8))} for _ in range(24)])
    return fitted(Images(), DataLoader(images, batch_size=8), callbacks, options)


def points(batch, module):
    return batch["image"].as_tensor()


def outputs(module, batch, x):
    return module.net.encode(x).flatten(1)
