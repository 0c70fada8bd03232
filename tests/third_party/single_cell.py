"""After scvi-tools: a VAE of gene counts, wrapped in a training plan."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal, Poisson, kl_divergence
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from tests.projects import Fitted
from tests.third_party.project import BATCH, ROWS, Numbers, Project

GENES, LATENT, BATCHES = 8, 3, 2


class Layers(nn.Module):
    def __init__(self, n_in, n_out, n_cat_list, dropout_rate):
        super().__init__()
        self.n_cat_list = n_cat_list
        linear = nn.Linear(n_in + sum(n_cat_list), n_out)
        norm = nn.BatchNorm1d(n_out, momentum=0.01, eps=0.001)
        self.fc_layers = nn.Sequential(linear, norm, nn.ReLU(), nn.Dropout(dropout_rate))

    def forward(self, x, *cat_list):
        pairs = zip(self.n_cat_list, cat_list, strict=False)
        one_hot = [functional.one_hot(cat.squeeze(-1), n) for n, cat in pairs]
        return self.fc_layers(torch.cat((x, *one_hot), dim=-1))


class Encoder(nn.Module):
    def __init__(self, n_input, n_output, n_cat_list, n_hidden=16):
        super().__init__()
        self.encoder = Layers(n_input, n_hidden, n_cat_list, dropout_rate=0.1)
        self.mean_encoder = nn.Linear(n_hidden, n_output)
        self.var_encoder = nn.Linear(n_hidden, n_output)

    def forward(self, x, *cat_list):
        q = self.encoder(x, *cat_list)
        dist = Normal(self.mean_encoder(q), (self.var_encoder(q).exp() + 1e-4).sqrt())
        return dist, dist.rsample()


class Decoder(nn.Module):
    def __init__(self, n_input, n_output, n_cat_list, n_hidden=16):
        super().__init__()
        self.px_decoder = Layers(n_input, n_hidden, n_cat_list, dropout_rate=0.0)
        self.px_scale_decoder = nn.Sequential(nn.Linear(n_hidden, n_output), nn.Softmax(dim=-1))
        self.px_dropout_decoder = nn.Linear(n_hidden, n_output)

    def forward(self, dispersion, z, library, *cat_list):
        px = self.px_decoder(z, *cat_list)
        px_scale = self.px_scale_decoder(px)
        return px_scale, None, torch.exp(library) * px_scale, self.px_dropout_decoder(px)


@dataclass
class LossOutput:
    loss: Tensor
    reconstruction_loss: Tensor
    kl_local: Tensor


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.dispersion = "gene"
        self.px_r = nn.Parameter(torch.randn(GENES))
        self.z_encoder = Encoder(GENES, LATENT, [BATCHES])
        self.decoder = Decoder(LATENT, GENES, [BATCHES])

    def inference(self, x, batch_index, cont_covs=None, cat_covs=None, n_samples=1):
        library = torch.log(x.sum(1)).unsqueeze(1)
        qz, z = self.z_encoder(torch.log1p(x), batch_index)
        return {"z": z, "qz": qz, "ql": None, "library": library}

    def generative(self, z, library, batch_index, cont_covs=None, cat_covs=None, y=None):
        px_rate = self.decoder(self.dispersion, z, library, batch_index, y)[2]
        pz = Normal(torch.zeros_like(z), torch.ones_like(z))
        return {"px": Poisson(px_rate), "pl": None, "pz": pz}

    def loss(self, tensors, inference_outputs, generative_outputs, kl_weight=1.0):
        kl = kl_divergence(inference_outputs["qz"], generative_outputs["pz"]).sum(dim=-1)
        reconstruction = -generative_outputs["px"].log_prob(tensors["X"]).sum(-1)
        return LossOutput((reconstruction + kl_weight * kl).mean(), reconstruction, kl)

    def forward(
        self, tensors, get_inference_input_kwargs=None, loss_kwargs=None, compute_loss=True
    ):
        inferred = self.inference(tensors["X"], tensors["batch"], tensors.get("cont_covs"))
        generated = self.generative(
            inferred["z"], inferred["library"], tensors["batch"], y=tensors["labels"]
        )
        if not compute_loss:
            return inferred, generated
        return inferred, generated, self.loss(tensors, inferred, generated, **loss_kwargs or {})


class TrainingPlan(Fitted):
    def __init__(self, module):
        super().__init__()
        self.module = module
        self.loss_kwargs = {"kl_weight": 0.5}

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs, get_inference_input_kwargs={"full_forward_pass": True})

    def step(self, batch):
        _, _, scvi_loss = self.forward(batch, loss_kwargs=self.loss_kwargs)
        return scvi_loss.loss


class Cells(Dataset):
    """A batch is looked up at once."""

    def __init__(self):
        numbers = Numbers()
        self.data = {
            "X": numbers.below(20, ROWS, GENES).float() + 1,
            "batch": numbers.below(BATCHES, ROWS, 1),
            "labels": torch.zeros(ROWS, 1, dtype=torch.int64),
        }

    def __len__(self):
        return ROWS

    def __getitem__(self, indexes):
        return {key: column[indexes] for key, column in self.data.items()}


def loader():
    cells = Cells()
    sampler = BatchSampler(SequentialSampler(cells), BATCH, drop_last=False)
    return DataLoader(cells, sampler=sampler, batch_size=None)


LIBRARY = {"module": "module.inference", "input": "X", "context": "batch", "output": "library"}

PROJECTS = [
    Project(
        "scVI-like VAE",
        lambda: TrainingPlan(VAE()),
        loader,
        {
            "encode": {
                "module": "module.z_encoder",
                "input": ["X", "log1p()"],
                "context": "batch",
                "output": [0, "loc"],
            },
            "decode": {
                "module": "module.generative",
                "input": {"map": "encode"},
                "context": [LIBRARY, ["batch"]],
                "output": ["px", "mean"],
            },
        },
        (GENES, LATENT),
        "scvi-tools 1.4.2, scvi/module/_vae.py (VAE), scvi/nn/_base_components.py (Encoder, "
        "DecoderSCVI), scvi/train/_trainingplans.py (TrainingPlan), "
        "scvi/data/_anntorchdataset.py",
    )
]
