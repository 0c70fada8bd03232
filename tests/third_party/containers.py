"""Batches that are no tuple and no dict of tensors: graphs, TensorDicts, labelled pairs, keywords."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.projects import Fitted
from tests.subclasses import sized
from tests.third_party.project import (
    ROWS,
    Numbers,
    Project,
    batches,
    dicts,
    normal_rows,
    perceptron,
)

IN, OUT, PAST, FUTURE = 4, 3, 6, 2


class Regressor(Fitted):
    def __init__(self, n=IN, m=OUT):
        super().__init__()
        self.net = perceptron(n, 8, m)

    def forward(self, x):
        return self.net(x)


class Solver(Regressor):
    """PINA: a batch is a list of pairs of a condition's name and its points."""

    def step(self, batch):
        losses = [functional.mse_loss(self(p["input"]), p["target"]) for _, p in batch]
        return sum(losses)


def pairs(collate, *shape):
    """Batches that a function makes of inputs of a shape, and of outputs."""
    numbers = Numbers()
    rows = list(zip(numbers.normal(ROWS, *shape), numbers.normal(ROWS, OUT), strict=True))
    return batches(rows, lambda rows: collate(*map(torch.stack, zip(*rows, strict=True))))


def pina_rows():
    return pairs(lambda x, y: [("data", {"input": x, "target": y})], IN)


class SimpleFeedForward(Fitted):
    """GluonTS: the parameters of a distribution, and the location and scale of the series."""

    def __init__(self):
        super().__init__()
        self.model = perceptron(PAST, 8, 2 * FUTURE)

    def forward(self, past_target):
        scale = past_target.abs().mean(dim=1, keepdim=True)
        loc, spread = self.model(past_target / scale).chunk(2, dim=1)
        return (loc, functional.softplus(spread)), torch.zeros_like(scale), scale

    def step(self, batch):
        (loc, spread), _, scale = self(batch["past_target"])
        distribution = torch.distributions.Normal(loc * scale, spread * scale)
        return -distribution.log_prob(batch["future_target"]).mean()


def gluonts_rows():
    numbers = Numbers()
    return dicts(
        feat_static_cat=numbers.below(3, ROWS, 1),
        feat_static_real=torch.zeros(ROWS, 1),
        past_time_feat=numbers.normal(ROWS, PAST),
        past_target=numbers.normal(ROWS, PAST).abs() + 1,
        past_observed_values=torch.ones(ROWS, PAST),
        future_target=numbers.normal(ROWS, FUTURE),
    )


class Storage(dict):
    """Of a graph's tensors, out of sight: PyTorch Geometric keeps all of them in `_store`."""


class DataBatch:
    """PyTorch Geometric: several graphs as one; keys, attributes, and the graph of an index."""

    def __init__(self, **store):
        self.__dict__["_store"] = Storage(store)

    def __getattr__(self, name):
        if name in self.__dict__.get("_store", ()):
            return self._store[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def keys(self):
        return list(self._store)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self._store[key]
        return DataBatch(x=self.x[self.batch == key])

    def __len__(self):
        return len(self._store)

    def to(self, device):
        return DataBatch(**{key: value.to(device) for key, value in self._store.items()})


class GraphNetwork(Fitted):
    """The other way of the tutorials of PyTorch Geometric: forward(data)."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Linear(IN, 8), nn.Linear(8, OUT)

    def forward(self, data):
        source, target = data.edge_index
        h = self.conv(data.x).tanh()
        h = h + torch.zeros_like(h).index_add(0, target, h[source])
        return self.head(torch.zeros(len(data.y), 8).index_add(0, data.batch, h))

    def step(self, batch):
        return functional.mse_loss(self(batch), batch.y)


def graphs():
    nodes = 3

    def collate(x, y):
        first = torch.arange(len(x))[:, None] * nodes
        source, target = first + torch.arange(nodes), (first + 1).repeat(1, nodes)
        edges = torch.stack([source.flatten(), target.flatten()])
        batch = torch.arange(len(x)).repeat_interleave(nodes)
        return DataBatch(x=x.flatten(0, 1), edge_index=edges, y=y, batch=batch)

    return pairs(collate, nodes, IN)


class TensorDict:
    """Iterates over rows, not keys, and has no truth: like tensordict's."""

    def __init__(self, source):
        self._tensordict = dict(source)

    def keys(self):
        return self._tensordict.keys()

    def __getitem__(self, index):
        if isinstance(index, str):
            return self._tensordict[index]
        return TensorDict({key: value[index] for key, value in self._tensordict.items()})

    def __len__(self):
        return len(next(iter(self._tensordict.values())))

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        raise RuntimeError("Converting a tensordict to boolean value is not permitted")

    def __repr__(self):
        return "TensorDict(fields={...})" * 99

    def to(self, device):
        return TensorDict({key: value.to(device) for key, value in self._tensordict.items()})


class Reinforce(Regressor):
    """RL4CO: the policy takes the state of the environment, a TensorDict."""

    def forward(self, td):
        return {
            "reward": self.net(td["locs"].flatten(1)).sum(1),
            "logits": self.net(td["locs"].flatten(1)),
        }

    def step(self, batch):
        return self(batch)["reward"].mean()


def tensordicts():
    locs = Numbers().normal(ROWS, IN // 2, 2)
    return batches(
        list(locs),
        lambda rows: TensorDict({"locs": torch.stack(rows), "demand": torch.ones(len(rows), 2)}),
    )


class Bert(Fitted):
    """Transformers: trained as self(**batch), with a mask of floating numbers."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(10, 8), nn.Linear(8, OUT)

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        if input_ids is None:
            raise ValueError("You have to specify either input_ids or inputs_embeds")
        mask = attention_mask / attention_mask.sum(1, keepdim=True)
        logits = self.head((self.embed(input_ids) * mask[..., None]).sum(1))
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return OrderedDict(loss=loss, logits=logits)

    def step(self, batch):
        return self(**batch)["loss"]


def sentences():
    numbers = Numbers()
    ids = numbers.below(10, ROWS, 5)
    return dicts(input_ids=ids, attention_mask=torch.ones(ROWS, 5), labels=numbers.below(OUT, ROWS))


class KeywordsAlone(Regressor):
    """A forward without positional arguments, of a batch that is its keywords."""

    def __init__(self):
        super().__init__(IN + 2)

    def forward(self, *, features, condition):
        return self.net(torch.cat([features, condition], dim=1))

    def step(self, batch):
        x = {key: batch[key] for key in ("features", "condition")}
        return functional.mse_loss(self(**x), batch["target"])


def keywords():
    numbers = Numbers()
    return dicts(
        target=numbers.normal(ROWS, OUT),
        condition=numbers.normal(ROWS, 2),
        features=numbers.normal(ROWS, IN),
    )


class Monai(Fitted):
    """MONAI: a dict of images that are a subclass of Tensor, and of what is known of them."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, OUT))

    def forward(self, x):
        return self.net(x)

    def step(self, batch):
        return functional.mse_loss(self(batch["image"]), batch["label"])


def monai_rows():
    def collate(image, label):
        names = [f"{i}.nii" for i in range(len(image))]
        return {"label": label, "image": sized(image), "meta": {"filename": names, "affine": None}}

    return pairs(collate, 1, 4, 4)


class OptionalContext(Regressor):
    """A flow whose context has a default, and is needed all the same."""

    def __init__(self):
        super().__init__(IN + 2, IN)

    def forward(self, x, c=None):
        return x + self.net(torch.cat([x, c], dim=1))

    def step(self, batch):
        return self(*batch).square().mean()


@dataclass
class Readings:
    pressure: Tensor
    flow: Tensor


@dataclass
class Plant:
    quality: Tensor
    readings: Readings


class OfReadings(Regressor):
    """Dataclasses in dataclasses; returns dictionaries in dictionaries."""

    def forward(self, readings):
        x = torch.cat([readings.pressure, readings.flow], dim=1)
        return {"aux": None, "heads": {"quality": self.net(x)}}

    def step(self, batch):
        return functional.mse_loss(self(batch.readings)["heads"]["quality"], batch.quality)


def plants():
    return pairs(lambda x, y: Plant(y, Readings(x[:, :1], x[:, 1:])), IN)


def plant_outputs(batch):
    return torch.cat([batch.readings.pressure, batch.readings.flow], dim=1)


def locations(batch):
    return batch["locs"].flatten(1)


PROJECTS = [
    Project(
        "PINA-like solver",
        Solver,
        pina_rows,
        {"solution": {"module": "", "input": [0, 1, "input"]}},
        (IN, OUT),
        "pina-mathlab 0.3.2, data/data_module.py (Collator), solver/supervised_solver",
    ),
    Project(
        "GluonTS-like SimpleFeedForward",
        SimpleFeedForward,
        gluonts_rows,
        {"forecast": {"module": "", "input": "past_target", "output": [0, 1]}},
        (PAST, FUTURE),
        "gluonts 0.17.0, torch/model/simple_feedforward/module.py (SimpleFeedForwardModel.forward)",
    ),
    Project(
        "PyG-like graph network of data",
        GraphNetwork,
        graphs,
        {"head": {"module": "head", "input": {"module": "conv", "input": "x"}}},
        (8, OUT),
        "torch_geometric 2.8.1, data/batch.py (Batch.keys, Batch.__getitem__), forward(data)",
    ),
    Project(
        "RL4CO-like policy",
        Reinforce,
        tensordicts,
        {"logits": {"module": "net", "input": locations}},
        (IN, OUT),
        "rl4co 0.7.0, models/rl/reinforce (REINFORCE), on tensordict (TensorDict)",
    ),
    Project(
        "BERT with a mask of floating numbers",
        Bert,
        sentences,
        {
            "head": {
                "module": "head",
                "input": lambda batch, module: module.embed(batch["input_ids"][:, 0]),
            }
        },
        (8, OUT),
        "transformers 5.24.0, models/bert/modeling_bert.py (BertForSequenceClassification.forward)",
    ),
    Project(
        "forward of keywords alone",
        KeywordsAlone,
        keywords,
        {
            "net": {
                "input": "features",
                "argument": "features",
                "context": {"condition": "condition"},
            }
        },
        (IN, OUT),
        "forward(self, *, ...), called as self(**batch)",
    ),
    Project(
        "MONAI-like network",
        Monai,
        monai_rows,
        {"image": {"module": "", "input": "image"}},
        (16, OUT),
        "MONAI 1.6.1, data/meta_tensor.py (MetaTensor), transforms of dictionaries",
    ),
    Project(
        "flow with an optional context",
        OptionalContext,
        lambda: normal_rows([IN], [2]),
        {"flow": {"module": "", "input": 0, "context": 1}},
        (IN, IN),
        "forward(x, c=None), which is given c: nflows, normflows",
    ),
    Project(
        "dataclasses in dataclasses",
        OfReadings,
        plants,
        {"quality": {"module": "net", "input": plant_outputs}},
        (IN, OUT),
        "batches and outputs that are nested",
    ),
]
