"""Networks of images: VAEs, an autoencoder, SimCLR after lightly, a flow after anomalib."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, batches, perceptron, tuples

SIDE, LATENT = 8, 4


class ConvolutionalVAE(Fitted):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.fc_mu, self.fc_var = nn.Linear(64, LATENT), nn.Linear(64, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 64),
            nn.Unflatten(1, (4, 4, 4)),
            nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def encode(self, x):
        h = self.features(x)
        return self.fc_mu(h), self.fc_var(h)

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.decoder(z), mu, logvar

    def step(self, batch):
        recon, mu, logvar = self(batch[0])
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()
        return functional.mse_loss(recon, batch[0]) + 0.01 * kl


class BoltsVAE(ConvolutionalVAE):
    """Returns one image, of a code that is drawn."""

    def forward(self, x):
        return self._run_step(x)[1]

    def _run_step(self, x):
        mu, log_var = self.encode(x)
        p, q = Normal(torch.zeros_like(mu), torch.ones_like(mu)), Normal(mu, (log_var / 2).exp())
        z = q.rsample()
        return z, self.decoder(z), p, q

    def step(self, batch):
        _, x_hat, p, q = self._run_step(batch[0])
        return functional.mse_loss(x_hat, batch[0]) + 0.1 * kl_divergence(q, p).mean()


class Autoencoder(Fitted):
    """Of flattened 28 x 28 images."""

    def __init__(self):
        super().__init__()
        self.encoder = perceptron(784, 16, 3, nn.ReLU)
        self.decoder = perceptron(3, 16, 784, nn.ReLU)

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def step(self, batch):
        x, _ = batch
        return functional.mse_loss(self(x), x)


class SimCLR(Fitted):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        self.projection_head = nn.Sequential(
            nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, LATENT)
        )

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def step(self, batch):
        (x0, x1), _, _ = batch
        z0, z1 = (functional.normalize(self(x)) for x in (x0, x1))
        return functional.cross_entropy(z0 @ z1.T / 0.5, torch.arange(len(z0)))


@dataclass
class ImageBatch:
    image: Tensor
    gt_label: Tensor | None = None
    gt_mask: Tensor | None = None
    image_path: list[str] = field(default_factory=list)


class InferenceBatch(NamedTuple):
    pred_score: Tensor | None = None
    pred_label: Tensor | None = None
    anomaly_map: Tensor | None = None
    pred_mask: Tensor | None = None


class FastFlow(nn.Module):
    """Returns something else in training than in validation."""

    def __init__(self):
        super().__init__()
        self.feature_extractor = nn.Conv2d(1, 2, 4, stride=4).requires_grad_(False)
        self.scale = nn.Conv2d(1, 2, 1)

    def forward(self, input_tensor):
        self.feature_extractor.eval()
        one, two = self.feature_extractor(input_tensor).chunk(2, dim=1)
        log_s, t = self.scale(one).chunk(2, dim=1)
        hidden, log_jacobian = torch.cat([one, two * log_s.exp() + t], 1), log_s.sum((1, 2, 3))
        if self.training:
            return [hidden], [log_jacobian]
        anomaly_map = hidden.square().mean(1, keepdim=True)
        return InferenceBatch(anomaly_map.amax((1, 2, 3)), anomaly_map=anomaly_map)


class Anomalib(Fitted):
    def __init__(self):
        super().__init__()
        self.pre_processor, self.model = nn.Hardtanh(-3, 3), FastFlow()

    def forward(self, batch, *args, **kwargs):
        return self.model(self.pre_processor(batch))

    def step(self, batch):
        if not self.training:
            return self.model(batch.image).pred_score.mean()
        (hidden,), (log_jacobian,) = self.model(batch.image)
        return (0.5 * hidden.square().sum((1, 2, 3)) - log_jacobian).mean()


def images(side=SIDE):
    numbers = Numbers()
    return numbers.normal(ROWS, 1, side, side).sigmoid(), numbers.below(10, ROWS)


def lightly_rows():
    x, labels = images()
    rows = [([x[i], x[i].flip(-1)], int(labels[i]), f"{i}.png") for i in range(ROWS)]
    return batches(rows)


def anomalib_rows():
    def collate(rows):
        names = [f"{i}.png" for i in range(len(rows))]
        return ImageBatch(torch.stack(rows), torch.zeros(len(rows)), image_path=names)

    return batches(list(images()[0]), collate)


PIXELS = SIDE * SIDE
VAE_MAPS = {
    "encode": {"module": "encode", "output": 0},
    "decode": {"module": "decoder", "input": {"map": "encode"}},
}

PROJECTS = [
    Project(
        "convolutional VAE",
        ConvolutionalVAE,
        lambda: tuples(*images()),
        VAE_MAPS,
        (PIXELS, LATENT),
        "pytorch/examples, vae/main.py (VAE.forward returns recon, mu, logvar), convolutional",
    ),
    Project(
        "VAE that returns an image",
        BoltsVAE,
        lambda: tuples(*images()),
        VAE_MAPS,
        (PIXELS, LATENT),
        "lightning-bolts 0.7.0, pl_bolts/models/autoencoders/basic_vae/basic_vae_module.py (VAE)",
        watched=True,
    ),
    Project(
        "autoencoder of 784 pixels",
        Autoencoder,
        lambda: tuples(images(28)[0].flatten(1), images(28)[1]),
        None,
        (784, 784),
        "Lightning's own introduction (LitAutoEncoder), with a forward that reconstructs",
    ),
    Project(
        "lightly-like SimCLR",
        SimCLR,
        lightly_rows,
        {
            "embed": {"module": "", "input": [[0, 0]]},
            "backbone": {"module": "backbone", "input": [[0, 1]]},
        },
        (PIXELS, LATENT),
        "lightly 1.6.0, data/dataset.py (LightlyDataset), embedding/_base.py "
        "(BaseEmbedding.training_step), examples/pytorch_lightning/simclr.py",
    ),
    Project(
        "anomalib-like flow",
        Anomalib,
        anomalib_rows,
        {"anomaly": {"module": "", "input": "image", "output": "anomaly_map"}},
        (PIXELS, PIXELS // 16),
        "anomalib 2.7.0, data/dataclasses/torch/image.py (ImageBatch), base.py (InferenceBatch), "
        "models/image/fastflow/torch_model.py (FastflowModel)",
    ),
]
