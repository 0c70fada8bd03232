"""In which order the ways to call a function are tried: which entry is advised."""

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, Normal

from tests.advice import Net, advised, of_method
from tests.third_party.containers import DataBatch

X, C, Y = torch.randn(6, 4), torch.randn(6, 2), torch.randn(6, 3)
KINDS = torch.arange(6)[:, None] % 2


def handed_on(x, c, then=torch.cat):
    return then([x, c], 1)


SIGNATURES = {
    "by names, in another order": (
        lambda self, c, x: self.cat(x, c),
        {"x": X, "y": Y, "c": C},
        {"input": "c", "context": {"x": "x"}},
    ),
    "by names, the input behind": (
        lambda self, kinds, x: self.cat(x, kinds.expand(-1, 2)),
        {"x": X, "kinds": KINDS},
        {"input": "x", "argument": "x", "context": {"kinds": "kinds"}},
    ),
    "by names, deep in the batch": (
        lambda self, x, c: self.cat(x, c),
        ({"x": X, "c": C}, Y),
        {"input": [0, "x"], "context": {"c": [0, "c"]}},
    ),
    "in order, the input behind": (
        lambda self, kinds, x: self.cat(x, kinds.expand(-1, 2)),
        (KINDS, X, Y),
        {"input": 1, "argument": 1, "context": 0},
    ),
    "forward(**batch)": (
        lambda self, **batch: self.cat(batch["x"], batch["c"]),
        {"x": X, "c": C},
        {"input": "x", "argument": "x", "context": {"c": "c"}},
    ),
    "forward(*batch)": (
        lambda self, *batch: self.cat(batch[0], batch[1]),
        [X, C],
        {"input": 0, "context": 1},
    ),
    "forward(*batch) of more than it takes": (
        lambda self, *batch: self.cat(*batch[:2]),
        [X, C, Y],
        {"input": 0, "context": 1},
    ),
    "a wrapper of names": (
        lambda self, *args, **kwargs: self.net(handed_on(*args, **kwargs)),
        {"y": Y, "x": X, "c": C},
        {"input": "x", "argument": "x", "context": {"c": "c"}},
    ),
    "a wrapper of positions": (
        lambda self, *args: self.net(handed_on(*args)),
        {"x": X, "c": C, "y": Y, "mask": KINDS},
        {"input": "x", "context": "c"},
    ),
    "an optional context that is needed": (
        lambda self, x, c=None: self.cat(x, c),
        [X, C],
        {"input": 0, "context": 1},
    ),
    "the batch": (
        lambda self, batch: self.cat(batch["x"], batch["c"]),
        {"target": Y, "x": X, "c": C},
        {"input": "x", "within": []},
    ),
    "a list": (
        lambda self, parts: self.cat(*parts),
        {"parts": [X, C], "target": Y},
        {"input": [["parts", 0], ["parts", 1]], "within": "parts"},
    ),
    "a list of single rows, each of which is a point": (
        lambda self, rows: [self.cat(row, row[:, :2]) for row in rows],
        {"rows": [*X[:, None]], "ids": list("abcdef")},
        {"input": ["rows", 0], "within": "rows", "output": 0},
    ),
    "a dictionary in a tuple": (
        lambda self, batch: self.cat(batch[0]["x"], batch[0]["c"]),
        ({"y": Y, "x": X, "c": C}, None),
        {"input": [0, "x"], "within": []},
    ),
    "a graph by its keys": (
        lambda self, x, edge_index: self.cat(x, x[:, :2]) + 0 * edge_index.sum(),
        DataBatch(edge_index=torch.zeros(2, 9).long(), x=X),
        None,  # whose sampled rows would not be those that the edges point to
    ),
    "targets come last": (
        lambda self, v: self.cat(v, v[:, :2]),
        {"label": torch.randn(6, 4), "sample_weight": torch.randn(6, 4), "target_2": X, "z": X},
        {"input": "z"},
    ),
}


@pytest.mark.parametrize(("forward", "batch", "entry"), SIGNATURES.values(), ids=SIGNATURES)
def test_arguments_are_found_by_their_names_and_their_order(forward, batch, entry):
    assert advised(of_method(forward), batch) == entry


def noisy(y):
    return y + torch.randn_like(y)


OUTPUTS = {
    "a distribution": (lambda y: Normal(y, y.exp()), "loc"),
    "one that has a mean alone": (lambda y: Independent(Normal(y, y.exp()), 1), "mean"),
    "one that has no mean": (lambda y: Categorical(logits=y), "logits"),
    "a dictionary in a tuple": (lambda y: (None, {"loss": y.sum(), "y": y}), [1, "y"]),
    "complex numbers": (lambda y: torch.fft.rfft(y), "real"),
    "one number a row, and more": (lambda y: (y.sum(1), y), 1),
    "one number a row alone": (lambda y: (y.argmax(1), y.sum(1)), 1),
    "NaN first": (lambda y: (y.detach() * y * torch.nan, y), 1),
    "one that does not depend on the input": (lambda y: (torch.ones_like(y), 0 * y, y), 2),
    "noise first": (lambda y: [noisy(y), y], 1),
    "noise alone": (lambda y: [noisy(y)], 0),
    "of as many rows as the batch has": (lambda y: (y.sum(), y.view(6, 3)), 1),
    "rows that mix first": (lambda y: {"a": y - y.mean(0), "b": y}, "b"),
}


@pytest.mark.parametrize(("returned", "output"), OUTPUTS.values(), ids=OUTPUTS)
def test_of_what_is_returned_the_first_part_that_can_be_watched_is_named(returned, output):
    entry = advised(Net(lambda net, x: returned(net(x))), [X, Y])
    assert entry == {"input": 0, "output": output}


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.embed = nn.Linear(4, 3), nn.Embedding(2, 4)

    def forward(self, ids):
        return self.body(self.embed(ids[:, 0]))


class TokensOrNumbers(Tokens):
    def forward(self, ids=None, mask=None, inputs_embeds=None):
        return {"y": self.body(self.embed(ids) if inputs_embeds is None else inputs_embeds) * mask}


class OfTriples(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = TokensOrNumbers()
        self.model.forward = lambda ids=None, inputs_embeds=None, **others: TokensOrNumbers.forward(
            self.model, ids, torch.ones(1), inputs_embeds
        )

    def forward(self, batch):
        ids, _, _ = batch
        return self.model(ids)


INTEGERS = {
    "numbers of an image": (
        Net(lambda net, image: net(image.flatten(1) / 255)),
        (torch.arange(24).view(6, 2, 2).byte(), KINDS[:, 0]),
        {"input": [0, "float()"]},
    ),
    "counts, by their name": (
        Net(lambda net, counts: net(counts.float().log1p())),
        {"counts": torch.arange(24).view(6, 4), "labels": KINDS},
        {"input": ["counts", "float()"]},
    ),
    "places in a tuple, which are no names": (
        OfTriples(),
        (KINDS, KINDS + 1, KINDS),
        {
            "module": "model",
            "input": {"module": "model.embed", "input": 0},
            "argument": "inputs_embeds",
            "output": "y",
        },
    ),
    "the part behind": (
        Tokens(),
        [KINDS],
        {"module": "body", "input": {"module": "embed", "input": 0}},
    ),
    "the usual name": (
        TokensOrNumbers(),
        {"mask": KINDS[..., None] + 1, "ids": KINDS, "labels": KINDS},
        {
            "input": {"module": "embed", "input": "ids"},
            "argument": "inputs_embeds",
            "context": {"mask": "mask"},
            "output": "y",
        },
    ),
}


@pytest.mark.parametrize(("module", "batch", "entry"), INTEGERS.values(), ids=INTEGERS)
def test_of_integers_their_embeddings_are_watched(module, batch, entry):
    assert advised(module, batch) == entry
