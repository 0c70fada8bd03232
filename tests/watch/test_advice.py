"""What is advised has been tried: how often, without a trace, and how it is told."""

import warnings

import pytest
import torch
from torch import nn

from lightning_invert.watch.maps import MapError
from lightning_invert.watch.search import Search
from lightning_invert.watch.watcher import Watcher
from tests.advice import Net, advised, copied, message_of, of_method
from tests.identity import identity_of, state_of
from tests.third_party.containers import DataBatch, TensorDict
from tests.watch.looks import look

X, C, Y = torch.randn(6, 4), torch.randn(6, 2), torch.randn(6, 3)
KINDS = torch.arange(6)[:, None] % 2


def test_an_entry_is_one_line():
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


def test_a_part_of_the_module_is_tried_before_the_forward_has_been_tried_in_every_way():
    module = Net(fails)
    message = message_of(module, {f"x{i}": torch.randn(6, 5) for i in range(40)} | {"last": X})
    assert copied(message)[1] is not None  # the right part is beyond what is tried of either
    batch = {f"x{i}": torch.randn(6, 4) for i in range(40)}
    assert copied(message_of(module, batch))[0] == {"forward": {"module": "net", "input": "x0"}}


@pytest.mark.parametrize(
    "forward",
    [lambda self, x, c, *, missing: x, lambda self, **batch: copied(**batch)],
    ids=["too few", "too many"],
)
def test_a_call_with_other_arguments_is_tried_once_whatever_part_they_are(forward):
    module = of_method(forward)
    del module.net
    message = message_of(module, {f"x{i}": X for i in range(40)})
    assert "1 calls were tried" in message


def test_where_the_forward_serves_nobody_a_part_of_the_module_does_and_the_reason_is_told():
    message = message_of(Net(fails), [X, Y])
    assert copied(message) == ({"forward": {"module": "net", "input": 0}}, None)
    assert "The forward itself does not: {'input': 0}: RuntimeError: a pole." in message


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


class Kinds:
    """Makes a part of a key that it lacks, and has the keys of its parts: PyTorch Geometric's HeteroData."""

    def __init__(self, **kinds):
        self._stores = kinds

    def keys(self):
        return list({key: None for kind in self._stores.values() for key in kind})

    def __getitem__(self, key):
        return self._stores.setdefault(key, {})

    def __getattr__(self, name):
        if name == "_stores":
            raise AttributeError(name)
        return {kind: store[name] for kind, store in self._stores.items() if name in store}


@pytest.mark.parametrize("maps", [None, {"f": {"input": "x"}}, {"f": {"input": ["u", "x"]}}])
def test_a_batch_is_asked_only_for_the_parts_that_it_has(maps):
    batch = Kinds(u={"x": X, "y": Y}, v={"x": C})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        looked = look(Watcher(maps), Net(lambda net, x: net(x)), [batch])
    assert list(batch._stores) == ["u", "v"]
    assert bool(looked) == (maps == {"f": {"input": ["u", "x"]}})
    assert maps or "['u']['x']  a tensor" in "".join(str(w.message) for w in caught)


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


REASONS = ["a long reason " * 2000, "line\n" * 999]
CASES = [*((kind, "a pole") for kind in UNUSUAL), *(("a graph", reason) for reason in REASONS)]


@pytest.mark.parametrize(("kind", "reason"), CASES, ids=lambda text: text[:14])
def test_a_message_is_short_whatever_the_batch_and_the_reason(kind, reason):
    batch, words = UNUSUAL[kind]

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


@pytest.mark.parametrize("named", ["x", "c", "y"])
def test_a_named_map_keeps_its_input_where_that_works(named):
    module = of_method(lambda self, x, c, y: self.net(torch.cat([x, c], 1)) * y)
    with pytest.raises(MapError, match="This works") as raised:
        look(
            Watcher({"mine": {"input": named}}, on_error="raise"),
            module,
            [{"y": Y, "c": C, "x": X}],
        )
    shown = str(raised.value).split("  maps=")[1].splitlines()[0]
    assert copied(f"InvertibilityCallback(maps={shown})")[0]["mine"]["input"] == named


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
