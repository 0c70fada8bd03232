"""What is advised has been tried: in which order, how often, without a trace, and how it is told."""

import warnings

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, Normal

from lightning_invert.watch.maps import MapError
from lightning_invert.watch.search import Search
from lightning_invert.watch.watcher import Watcher
from tests.advice import copied
from tests.identity import identity_of, state_of
from tests.third_party.containers import DataBatch, TensorDict
from tests.watch.looks import look

X, C, Y = torch.randn(6, 4), torch.randn(6, 2), torch.randn(6, 3)
KINDS = torch.arange(6)[:, None] % 2


class Net(nn.Module):
    """Calls a function with itself and the arguments."""

    def __init__(self, function=None, n=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n, 8), nn.Tanh(), nn.Linear(8, 3))
        self.function = function

    def forward(self, *arguments):
        return self.function(self.net, *arguments)


def message_of(module, batch, **options):
    watcher = Watcher(**options)
    with pytest.warns(UserWarning, match="not clear what to watch") as caught:
        assert look(watcher, module, [batch]) == []
    (message,) = (str(warning.message) for warning in caught)
    return message.replace("Watcher(", "InvertibilityCallback(")


def advised(module, batch):
    """Return the entry that is advised, after it was watched; None for a method."""
    maps, method = copied(message_of(module, batch))
    if method is not None:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Watcher: map 'forward' gives another output each time")
        (observation,) = look(Watcher(maps, on_error="raise"), module, [batch])
    assert (observation.singular_values > 0).any()
    return maps["forward"]


def of_method(forward):
    """A module whose forward has the signature of a function of a net and the arguments."""

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(6, 3)

        def cat(self, x, c):
            return self.net(torch.cat([x, c], 1))

    Module.forward = forward
    return Module()


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


INTEGERS = {
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


def test_an_entry_is_one_line_unless_it_is_very_long():
    keys = [f"argument_{i}" for i in range(20)]
    forward = {}
    exec(f"def f(self, {', '.join(keys)}): return self.cat(argument_0, argument_1[:, :2])", forward)  # noqa: S102
    module = of_method(forward["f"])
    batch = dict.fromkeys(keys, X)
    assert list(advised(module, batch)["context"]) == keys[1:]
    assert len(message_of(module, batch).splitlines()) <= 40
    blanks = {f"{'a key with many blanks ' * 9}{i}": X for i in range(3)}
    assert len(advised(Net(lambda net, xs: net(sum(xs[k] for k in blanks))), blanks)["input"]) > 99
    maps = [
        line
        for line in message_of(Net(lambda net, x: net(x["x"])), {"x": X, "c": C}).splitlines()
        if "maps=" in line
    ]
    assert maps == ["  InvertibilityCallback(maps={'forward': {'input': 'x', 'within': []}})"]


def test_further_outputs_are_told_in_a_line():
    module = Net(lambda net, x: {f"y{i}": net(x) for i in range(9)})
    assert "returns ['y1'], ['y2'], ['y3'], ['y4'], ['y5'], ['y6'] and 2 more" in message_of(
        module, [X]
    )


def fails(*_):
    raise RuntimeError("a pole")


def test_where_the_forward_serves_nobody_a_part_of_the_module_does_and_the_reason_is_told():
    message = message_of(Net(fails), [X, Y])
    assert copied(message) == ({"forward": {"module": "net", "input": 0}}, None)
    assert "The forward itself does not: forward(batch[0]): RuntimeError: a pole." in message


class Leaving(nn.Module):
    """Leaves something everywhere, also in its batch, and fails."""

    def __init__(self):
        super().__init__()
        self.norm, self.cache, self.calls = nn.BatchNorm1d(4), {}, 0

    def forward(self, batch):
        self.calls += 1
        self.cache[self.calls] = torch.rand(1)
        self.norm(batch["x"])
        batch["x"] += 1
        batch["new"] = batch["list"].append(1)
        raise RuntimeError("a pole")


def test_a_try_leaves_no_trace_in_the_module_the_batch_and_the_random_stream():
    module, x = Leaving().train(), X.clone()
    batch = {"x": x, "list": [], "c": C}
    before = identity_of(module), state_of(module), torch.get_rng_state()
    message_of(module, batch)
    assert (identity_of(module), state_of(module)) == before[:2]
    assert (module.cache, module.calls, module.training) == ({}, 0, True)
    assert torch.equal(torch.get_rng_state(), before[2])
    assert list(batch) == ["x", "list", "c"]
    assert (batch["list"], batch["x"] is x, torch.equal(x, X)) == ([], True, True)


def test_what_is_tried_warns_of_nothing():
    def warns(net, x):
        warnings.warn("a habit", stacklevel=1)
        return net(x), x

    module = Net(warns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watcher = Watcher()
        under_way = watcher.begin(module)
        under_way.offer([X])
        own = len(caught)
        under_way.read()
    assert [str(w.message)[:7] for w in caught[own:]].count("Watcher") == 1
    assert sum("a habit" in str(w.message) for w in caught) <= 4  # the look's own


class Secretive:
    """Raises whatever it is asked."""

    def keys(self):
        raise RuntimeError("no")

    def __getitem__(self, key):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


class Slotted:
    __slots__ = ("x",)


UNUSUAL = {
    "many keys": ({f"key_{i}": X for i in range(500)}, "and more"),
    "long keys": ({"k" * 500: KINDS, "l" * 500: KINDS}, "kkk..."),
    "a TensorDict": (TensorDict({"locs": KINDS, "demand": Y}), r"['locs']  a tensor"),
    "a graph": (DataBatch(x=X, edge_index=KINDS), r"['edge_index']  a tensor"),
    "names of files": ([X.long(), [f"{i}.png" for i in range(999)]], "a list of length 999 (str)"),
    "many tensors": ([[KINDS] * 999], "and more"),
    "deep": ([[[[[[[X]]]]]]], "a list of length 1"),
    "a text": ("text" * 9999, "the batch itself:  a str"),
    "a number": (7, "the batch itself:  a int"),
    "what says nothing of itself": (Secretive(), "the batch itself:  a Secretive"),
    "slots without values": (Slotted(), "the batch itself:  a Slotted"),
    "keys that no list can name": ({(1, 2): X, None: X}, "a tensor"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "shape (0, 4)"),
}


@pytest.mark.parametrize(("batch", "words"), UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("reason", ["a pole", "a long reason " * 2000, "line\n" * 999])
def test_a_message_is_short_whatever_the_batch_and_the_reason(batch, words, reason):
    class Module(nn.Module):
        def forward(self, batch, missing):
            raise RuntimeError(reason)

    message = message_of(Module(), batch)
    lines = message.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120 + len("InvertibilityCallback") - len("Watcher")
    assert words in message
    assert "training goes on" in message
    assert copied(message)[1] is not None
    assert "'<" not in message


@pytest.mark.parametrize("wrong", [{"input": 0}, {"input": "x"}], ids=["no output", "no such key"])
def test_a_named_map_that_fails_is_told_what_works(wrong):
    module, expected = Net(lambda net, x: {"y": net(x)}), {"input": 0, "output": "y"}
    with pytest.raises(MapError, match="This works") as raised:
        look(Watcher({"mine": wrong}, on_error="raise"), module, [[X, Y]])
    with pytest.warns(UserWarning, match="This works") as warned:
        look(Watcher({"mine": wrong}), module, [[X, Y]], raises="none")
    for message in (str(raised.value), str(warned[0].message)):
        shown = message[message.index("  maps=") + 2 :].splitlines()[0]
        better, _ = copied(f"InvertibilityCallback({shown})")
        assert better == {"mine": expected}
    assert len(look(Watcher(better, on_error="raise"), module, [[X, Y]])) == 1


@pytest.mark.parametrize("entry", [lambda x: None, "net"], ids=["another function", "itself"])
def test_a_named_map_is_not_advised(entry, monkeypatch):
    watcher = Watcher({"f": entry})
    monkeypatch.setattr(watcher, "_inspect", fails)  # the map itself works
    with pytest.warns(UserWarning, match="'f' cannot be watched") as caught:
        look(watcher, Net(), [[X, Y]])
    assert not any("This works" in str(w.message) for w in caught)


def test_several_processes_try_nothing_because_they_might_wait_for_each_other(monkeypatch):
    monkeypatch.delattr(Search, "run")
    under_way = Watcher().begin(Net(fails), gather=lambda mine: [mine, mine])
    under_way.offer([X, Y])
    with pytest.warns(UserWarning, match="(?s)several processes.*def invertibility_maps") as caught:
        assert under_way.read() == []
    assert sum("not clear" in str(w.message) for w in caught) == 1
