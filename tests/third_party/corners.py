"""What any project may do: tiny modules, each with one habit that is hard on who watches it."""

from functools import partial

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchmetrics import MeanMetric

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, dicts, normal_rows, perceptron

IN, OUT, TOKENS, WIDTH = 5, 3, 4, 6


class WithoutForward(Fitted):
    def __init__(self):
        super().__init__()
        self.net = perceptron(IN, 8, OUT)

    def step(self, batch):
        return functional.mse_loss(self.net(batch[0]), batch[1])


class Tiny(Fitted):
    def __init__(self):
        super().__init__()
        self.net = perceptron(IN, 8, OUT)

    def forward(self, x):
        return self.net(x)


class InPlace(Tiny):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(IN, OUT))


class Checkpointed(Tiny):
    def __init__(self, use_reentrant):
        super().__init__()
        self.stem, self.use_reentrant = nn.Linear(IN, IN), use_reentrant

    def forward(self, x):
        x = self.stem(x)
        if not x.requires_grad:
            return self.net(x)
        return checkpoint(self.net, x, use_reentrant=self.use_reentrant)


class Metered(Tiny):
    def __init__(self):
        super().__init__()
        self.size = MeanMetric()

    def forward(self, x):
        y = self.net(x)
        self.size.update(y.norm(dim=1).detach())
        return y


class Counting(Tiny):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("running_mean", torch.zeros(OUT))

    def forward(self, x):
        y = self.net(x)
        self.calls += 1
        self.running_mean.lerp_(y.detach().mean(0), 0.1)
        return y


class MCDropout(Tiny):
    def forward(self, x):
        return self.net(functional.dropout(x, 0.5, training=True))


class ToDistribution(Tiny):
    def forward(self, x):
        return Normal(self.net(x), torch.ones(OUT))

    def step(self, batch):
        return -self(batch[0]).log_prob(batch[1]).mean()


class ToDict(Tiny):
    def forward(self, x):
        features = self.net[:2](x)
        return {"loss": None, "logits": self.net[2](features), "features": features}

    def step(self, batch):
        return functional.mse_loss(self(batch[0])["logits"], batch[1])


class ToComplex(Tiny):
    def forward(self, x):
        return torch.fft.rfft(self.net(x))

    def step(self, batch):
        return (self(batch[0]) - torch.fft.rfft(batch[1])).abs().mean()


class Conditional(Tiny):
    def __init__(self):
        super().__init__()
        self.film = nn.Linear(OUT, IN)

    def forward(self, x, c):
        return self.net(x * self.film(c))

    def step(self, batch):
        return functional.mse_loss(self(*batch), batch[1])


class LossOfEach(Tiny):
    def forward(self, x):
        return self.net(x).square().mean(1)

    def step(self, batch):
        return self(batch[0]).mean()


class LossOfBatch(Tiny):
    def forward(self, batch):
        return functional.mse_loss(self.net(batch[0]), batch[1])

    def step(self, batch):
        return self(batch)


class LanguageModel(Fitted):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, WIDTH)
        self.blocks = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True)
        self.lm_head = nn.Linear(WIDTH, 10)

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, labels=None):
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        logits = self.lm_head(self.blocks(x, src_key_padding_mask=attention_mask == 0))
        if labels is None:
            return {"logits": logits}
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}

    def step(self, batch):
        return self(**batch)["loss"]


def sentences():
    ids = Numbers().below(10, ROWS, TOKENS)
    return dicts(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids)


EMBEDDINGS = {"module": "embed", "input": "input_ids"}
NET = {"net": {"module": "net", "input": 0}}


def corner(name, module, source, maps=None, shape=(IN, OUT), *, loader=None, watched=False):
    loader = loader or (lambda: normal_rows([IN], [OUT]))
    return Project(name, module, loader, maps, shape, source, watched)


PROJECTS = [
    corner("input changed in place", InPlace, "torchvision's nn.ReLU(inplace=True), put first"),
    corner(
        "reentrant checkpoint",
        partial(Checkpointed, use_reentrant=True),
        "mmsegmentation, models/backbones/resnet.py (Bottleneck.forward: with_cp), whose "
        "checkpoint is reentrant: torch.autograd.grad raises in it, unless it is replaced meanwhile",
        {"stem": "stem"},
        (IN, IN),
        watched=True,
    ),
    corner(
        "checkpoint",
        partial(Checkpointed, use_reentrant=False),
        "mmsegmentation, the same, as torch recommends it now",
    ),
    corner("metric updated in forward", Metered, "torchmetrics, its guide on Lightning"),
    corner(
        "buffers updated in forward",
        Counting,
        "the codebook usage and running means of vector-quantize-pytorch, lucidrains",
    ),
    corner("dropout that is always on", MCDropout, "MC dropout: F.dropout(x, training=True)"),
    corner(
        "forward to a distribution",
        ToDistribution,
        "Gaussian heads of probabilistic regression",
        {"mean": {"module": "", "output": "loc"}},
    ),
    corner(
        "forward to a dict",
        ToDict,
        "transformers' ModelOutput",
        {"logits": {"module": "", "output": "logits"}},
    ),
    corner(
        "forward to complex numbers",
        ToComplex,
        "spectra: torch.fft in forward",
        {"spectrum": {"module": "", "output": torch.view_as_real}},
        (IN, 4),
    ),
    corner(
        "forward of two tensors",
        Conditional,
        "conditional networks: forward(x, c)",
        {"forward": {"module": "", "input": 0, "context": 1}},
    ),
    corner(
        "no forward",
        WithoutForward,
        "Lightning's own LitAutoEncoder example",
        NET,
    ),
    corner(
        "forward to a loss of each point",
        LossOfEach,
        "energy-based models: forward(x) of shape (N,)",
        shape=(IN, 1),
    ),
    corner(
        "forward of a batch to its loss",
        LossOfBatch,
        "a habit of training scripts: forward(batch) is the loss",
        NET,
    ),
    corner(
        "language model",
        LanguageModel,
        "transformers 4, modeling_gpt2.py (GPT2LMHeadModel.forward), trained as self(**batch)",
        {
            "blocks": {"module": "blocks", "input": EMBEDDINGS},
            "logits": {
                "module": "",
                "input": EMBEDDINGS,
                "argument": "inputs_embeds",
                "context": {"attention_mask": "attention_mask"},
                "output": "logits",
            },
        },
        (TOKENS * WIDTH, TOKENS * WIDTH),
        loader=sentences,
    ),
]
