"""After deeptab, pytorch-tabular and mlcolvar: networks of columns."""

from itertools import pairwise

import torch
from lightning.pytorch import LightningModule
from torch import nn

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, batches, dicts, perceptron

NUMBERS, CATEGORIES, TOKEN = 3, 4, 8


class EmbeddingLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_embeddings = nn.ModuleList([nn.Linear(1, TOKEN) for _ in range(NUMBERS)])
        self.cat_embeddings = nn.ModuleList([nn.Embedding(CATEGORIES, TOKEN)])
        self.cls_token = nn.Parameter(torch.zeros(1, 1, TOKEN))

    def forward(self, num_features, cat_features, emb_features):
        cls_tokens = self.cls_token.expand(cat_features[0].size(0), -1, -1)
        cat = [emb(cat_features[i]).squeeze(1) for i, emb in enumerate(self.cat_embeddings)]
        num = [emb(num_features[i]) for i, emb in enumerate(self.num_embeddings)]
        assert emb_features == []
        return torch.cat([cls_tokens, torch.stack(cat, dim=1), torch.stack(num, dim=1)], dim=1)


class FTTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding_layer = EmbeddingLayer()
        layer = nn.TransformerEncoderLayer(TOKEN, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.norm_f = nn.LayerNorm(TOKEN)
        self.tabular_head = nn.Linear(TOKEN, 2)

    def forward(self, *data):
        x = self.embedding_layer(*data)
        return self.tabular_head(self.norm_f(self.encoder(x)[:, 0]))


class TaskModel(Fitted):
    def __init__(self):
        super().__init__()
        self.estimator = FTTransformer()

    def forward(self, num_features, cat_features, embeddings):
        return self.estimator.forward(num_features, cat_features, embeddings)

    def step(self, batch):
        data, labels = batch
        return nn.functional.mse_loss(self(*data), labels)


def deeptab_rows():
    numbers = Numbers()
    num, cat = numbers.normal(ROWS, NUMBERS, 1), numbers.below(CATEGORIES, ROWS, 1)
    y = numbers.normal(ROWS, 2)
    return batches([((list(num[i]), [cat[i]], []), y[i]) for i in range(ROWS)])


class EmbedColumns(nn.Module):
    def __init__(self):
        super().__init__()
        self.cat_embedding = nn.Embedding(CATEGORIES, 2)
        self.normalizing_batch_norm = nn.BatchNorm1d(NUMBERS)

    def forward(self, x):
        continuous = self.normalizing_batch_norm(x["continuous"])
        return torch.cat([continuous, self.cat_embedding(x["categorical"][:, 0])], 1)


class PytorchTabular(Fitted):
    def __init__(self):
        super().__init__()
        self.embedding_layer = EmbedColumns()
        self.backbone = perceptron(NUMBERS + 2, 8, 4, nn.ReLU)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        features = self.backbone(self.embedding_layer(x))
        return {"logits": self.head(features), "backbone_features": features}

    def step(self, batch):
        return nn.functional.mse_loss(self(batch)["logits"], batch["target"])


def pytorch_tabular_rows():
    numbers = Numbers()
    return dicts(
        target=numbers.normal(ROWS, 1),
        continuous=numbers.normal(ROWS, NUMBERS),
        categorical=numbers.below(CATEGORIES, ROWS, 1),
    )


class FeedForward(LightningModule):
    """A LightningModule inside of another one, as in mlcolvar."""

    def __init__(self, layers):
        super().__init__()
        parts = [part for n, m in pairwise(layers) for part in (nn.Linear(n, m), nn.Tanh())]
        self.nn = nn.Sequential(*parts[:-1])

    def forward(self, x):
        return self.nn(x)


class Normalization(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.full((features,), 0.5))
        self.register_buffer("range", torch.full((features,), 2.0))

    def forward(self, x):
        return (x - self.mean) / self.range

    def inverse(self, x):
        return x * self.range + self.mean


class BaseCV(Fitted):
    def __init__(self, blocks):
        super().__init__()
        self.preprocessing = self.postprocessing = None
        self.BLOCKS = blocks

    def forward(self, x):
        return self.forward_cv(x)

    def forward_cv(self, x):
        for b in self.BLOCKS:
            x = getattr(self, b)(x)
        return x


class DeepTDA(BaseCV):
    def __init__(self):
        super().__init__(["norm_in", "nn"])
        self.norm_in, self.nn = Normalization(5), FeedForward([5, 8, 2])

    def step(self, batch):
        z, labels = self.forward_cv(batch["data"]), batch["labels"]
        states = [z[labels == label] for label in (0.0, 1.0)]
        return sum((s.mean(0) - c).square().sum() for s, c in zip(states, (-7.0, 7.0), strict=True))


class AutoEncoderCV(BaseCV):
    def __init__(self):
        super().__init__(["norm_in", "encoder"])
        self.norm_in = Normalization(5)
        self.encoder, self.decoder = FeedForward([5, 8, 2]), FeedForward([2, 8, 5])

    def step(self, batch):
        x = batch["data"]
        return nn.functional.mse_loss(self.norm_in.inverse(self.decoder(self.forward_cv(x))), x)


class Committor(BaseCV):
    """Its loss is of the gradient, in validation too, and leaves gradients switched on."""

    def __init__(self):
        super().__init__(["nn", "sigmoid"])
        self.nn, self.sigmoid = FeedForward([5, 8, 1]), nn.Sigmoid()

    def step(self, batch):
        torch.set_grad_enabled(True)
        x = batch["data"].reshape((batch["data"].shape[0], -1))
        x.requires_grad = True
        q = self.sigmoid(self.nn(x))
        grad = torch.autograd.grad(q, x, torch.ones_like(q), create_graph=True)[0]
        boundary = (q.squeeze(-1) - batch["labels"]).square()
        return (batch["weights"] * grad.square().sum(1) + boundary).mean()


def mlcolvar_rows(*keys):
    numbers = Numbers()
    columns = {
        "data": numbers.normal(ROWS, 5),
        "labels": (torch.arange(ROWS) % 2).float(),
        "weights": torch.ones(ROWS),
    }
    return dicts(**{key: columns[key] for key in keys})


PROJECTS = [
    Project(
        "deeptab-like FT-Transformer",
        TaskModel,
        deeptab_rows,
        {
            "predict": {
                "module": "",
                "input": [[0, 0, i] for i in range(NUMBERS)],
                "within": [0, 0],
                "context": [[0, 1], [0, 2]],
            },
            "tokens": {
                "module": "estimator.encoder",
                "input": {
                    "module": "estimator.embedding_layer",
                    "input": [0, 0],
                    "context": [[0, 1], [0, 2]],
                },
            },
        },
        (NUMBERS, 2),
        "deeptab 2.1.0, data/dataset.py (TabularDataset), training/lightning_module.py (TaskModel), "
        "architectures/ft_transformer.py (FTTransformer), nn/blocks/common.py (EmbeddingLayer)",
    ),
    Project(
        "pytorch-tabular-like MLP",
        PytorchTabular,
        pytorch_tabular_rows,
        {
            "backbone": {
                "module": "backbone",
                "input": {"module": "embedding_layer", "input": []},
            },
            "predict": {"module": "", "input": "continuous", "within": [], "output": "logits"},
        },
        (NUMBERS + 2, 4),
        "pytorch-tabular 1.2.0, tabular_datamodule.py (TabularDataset), models/base_model.py "
        "(BaseModel.forward, compute_head)",
    ),
    Project(
        "mlcolvar-like DeepTDA",
        DeepTDA,
        lambda: mlcolvar_rows("data", "labels"),
        {"cv": {"module": "", "input": "data"}},
        (5, 2),
        "mlcolvar 1.3.1, cvs/cv.py (BaseCV), cvs/supervised/deeptda.py (DeepTDA), "
        "core/nn/feedforward.py (FeedForward), data/dataset.py (DictDataset)",
    ),
    Project(
        "mlcolvar-like autoencoder",
        AutoEncoderCV,
        lambda: mlcolvar_rows("data"),
        None,
        (5, 2),
        "mlcolvar 1.3.1, cvs/unsupervised/autoencoder.py (AutoEncoderCV)",
    ),
    Project(
        "mlcolvar-like committor",
        Committor,
        lambda: mlcolvar_rows("data", "labels", "weights"),
        {"committor": {"module": "", "input": "data"}},
        (5, 1),
        "mlcolvar 1.3.1, cvs/committor/committor.py (Committor.training_step)",
        options={"inference_mode": False},
    ),
]
