"""Batches of any kind: shapes that vary, parts that run out or are taken out, loaders that are combined."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader

from lightning_invert import InvertibilityCallback
from lightning_invert.watch.maps import MapError
from tests.callbacks.fits import fit_unwatched_and_watched
from tests.projects import Foreign, fit_project, loader
from tests.watch.reference import jacobians_point_by_point


def told(caught, words):
    return sum(words in str(warning.message) for warning in caught)


def assert_right(observation, function):
    x = observation.inputs
    flat = jacobians_point_by_point(function.eval(), x).reshape(*observation.outputs.shape, -1)
    expected = np.linalg.svd(flat, compute_uv=False)
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-4, atol=1e-6)


def batches(*made):
    """A loader of batches that are made beforehand."""
    return DataLoader(list(made), batch_size=None)


class Project(Foreign):
    """Logs without a look at what its batches hold."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        name = "other_loss" if dataloader_idx else "val_loss"
        self.log(name, self.step(batch), batch_size=1, add_dataloader_idx=False)

    test_step = validation_step


class Pooled(Project):
    """Takes series of any length."""

    def forward(self, x):
        return self.encoder(x.mean(1))


def series(*lengths, rows=8):
    generator = torch.Generator().manual_seed(3)
    return batches(
        *((torch.randn(rows, n, 5, generator=generator), torch.zeros(rows, 3)) for n in lengths)
    )


@pytest.mark.parametrize(
    ("maps", "lengths", "watched", "left_out"),
    [
        (None, (4, 6, 4), 4, 8),
        ({"forward": ""}, (6, 4, 4), 4, 8),
        ({"forward": {"module": "", "input": 0}}, (3, 4, 5, 6, 7, 6), 6, 32),
        (None, (9, 2), 9, 8),
    ],
)
def test_the_most_frequent_shape_is_watched_and_the_others_are_counted(
    tmp_path, maps, lengths, watched, left_out
):
    watch = InvertibilityCallback(maps, figures=False)
    with pytest.warns(UserWarning, match=f"the other {left_out} points are left out") as caught:
        trainer = fit_unwatched_and_watched(
            tmp_path, Pooled, watch, data=lambda: (series(4), series(*lengths))
        )
    assert told(caught, "are left out") == 1
    (observation,) = watch.observations
    assert observation.inputs.shape[1:] == (watched, 5)
    assert observation.num_points == 8 * lengths.count(watched)
    assert_right(observation, trainer.lightning_module)


class Shifted(Project):
    """Takes a context of any length beside its input."""

    def forward(self, x, context):
        return self.encoder(x) + context.mean(1, keepdim=True)

    def step(self, batch):
        return self(batch["x"], batch["c"]).square().mean()


def test_a_context_whose_shape_varies_is_watched_in_its_most_frequent_one(tmp_path):
    made = [{"x": torch.randn(8, 5), "c": torch.randn(8, n)} for n in (2, 7, 7)]
    watch = InvertibilityCallback({"f": {"module": "", "input": "x", "context": "c"}})
    with pytest.warns(UserWarning, match="the other 8 points are left out"):
        fit_unwatched_and_watched(
            tmp_path, Shifted, watch, data=lambda: (batches(*made), batches(*made))
        )
    (observation,) = watch.observations
    offered = {tuple(row) for batch in made[1:] for row in batch["x"].tolist()}
    assert {tuple(row) for row in observation.inputs.tolist()} == offered


class Two(Project):
    """Takes batches of several loaders, of which each may have run out."""

    def step(self, batch):
        parts = batch.values() if isinstance(batch, dict) else [batch]
        return sum(self(part[0]).square().mean() for part in parts if part is not None)


def combined(mode):
    return CombinedLoader({"a": loader(rows=64), "b": loader(rows=32)}, mode)


MODES = {"min_size": 32, "max_size": 32, "max_size_cycle": 64, "sequential": 96}


@pytest.mark.parametrize(
    ("mode", "points", "dataloaders"),
    [*((*mode, "merged") for mode in MODES.items()), ("sequential", 96, "separate")],
)
def test_combined_loaders_are_watched_in_every_mode(tmp_path, mode, points, dataloaders):
    path = 0 if mode == "sequential" else ["b", 0]
    maps = {"f": {"module": "encoder", "input": path}}
    watch = InvertibilityCallback(maps, dataloaders=dataloaders, figures=False)
    trainer = fit_unwatched_and_watched(
        tmp_path, Two, watch, data=lambda: (loader(), combined(mode))
    )
    several = mode == "sequential" and dataloaders == "separate"
    labels = ["f_dataloader_0", "f_dataloader_1"] if several else ["f"]
    assert [observation.label for observation in watch.observations] == labels
    assert sum(observation.num_points for observation in watch.observations) == points
    for observation in watch.observations:
        assert_right(observation, trainer.lightning_module.encoder)
    trainer.test(trainer.lightning_module, combined(mode), verbose=False)
    assert [observation.label for observation in watch.observations] == labels


def rows(first):
    generator = torch.Generator().manual_seed(int(first))
    return torch.randn(8, 5, generator=generator)


ABSENT = {
    "None": lambda: [{"a": rows(0), "b": rows(1)}, {"a": rows(2), "b": None}],
    "no such key": lambda: [{"a": rows(0), "b": rows(1)}, {"a": rows(2)}],
    "None at first": lambda: [{"a": rows(2), "b": None}] * 3 + [{"a": rows(0), "b": rows(1)}],
    "no rows": lambda: [{"a": rows(0), "b": rows(1)}, {"a": rows(2), "b": rows(3)[:0]}],
}


class OfA(Project):
    def step(self, batch):
        return self(batch["a"]).square().mean()


@pytest.mark.parametrize("make", ABSENT.values(), ids=ABSENT)
def test_a_batch_that_lacks_a_part_has_no_points(tmp_path, make):
    watch = InvertibilityCallback({"f": {"module": "encoder", "input": "b"}}, figures=False)
    trainer = fit_unwatched_and_watched(
        tmp_path, OfA, watch, data=lambda: (batches(*make()), batches(*make()))
    )
    (observation,) = watch.observations
    assert {tuple(row) for row in observation.inputs.tolist()} == {
        tuple(row) for row in rows(1).tolist()
    }
    assert_right(observation, trainer.lightning_module.encoder)


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_a_batch_whose_points_cannot_be_taken_is_left_out_and_that_is_said_once(tmp_path, on_error):
    data = batches({"a": rows(0), "b": rows(1)}, {"a": rows(2), "b": rows(3).long()})
    maps = {"f": {"module": "encoder", "input": "b"}}
    watch = InvertibilityCallback(maps, figures=False, on_error=on_error)
    options = {"module": OfA(), "data": (data, data), "max_epochs": 3}
    if on_error == "raise":
        with pytest.raises(MapError, match="int64"):
            fit_project(tmp_path, watch, **options)
        return
    with pytest.warns(UserWarning, match="some batches have no points .*int64") as caught:
        fit_project(tmp_path, watch, **options)
    assert told(caught, "no points") == 1
    assert [look["num_points"] for look in watch.history["f"]] == [8, 8, 8]


def test_it_is_said_once_where_all_batches_lack_a_part(tmp_path):
    data = batches(*[{"a": rows(0), "b": None}] * 3)
    maps = {"f": {"module": "encoder", "input": "b"}, "g": {"module": "encoder", "input": "a"}}
    watch = InvertibilityCallback(maps, figures=False)
    with pytest.warns(UserWarning, match="there are no points for map 'f'") as caught:
        fit_project(tmp_path, watch, module=OfA(), data=(data, data), max_epochs=3)
    assert told(caught, "no points") == 1
    assert [len(looks) for looks in watch.history.values()] == [3]


@pytest.mark.parametrize("empty", [0, 1])
def test_a_dataloader_without_points_is_said_once(tmp_path, empty):
    parts = [batches({"a": rows(0), "b": rows(1)}), batches({"a": rows(2), "b": rows(3)})]
    parts[empty] = batches({"a": rows(4), "b": None})

    watch = InvertibilityCallback(
        {"f": {"module": "encoder", "input": "b"}}, dataloaders="separate", figures=False
    )
    with pytest.warns(UserWarning, match=f"no points of dataloader_{empty}") as caught:
        fit_project(tmp_path, watch, module=OfA(), data=(parts[1 - empty], parts), max_epochs=3)
    assert told(caught, "no points") == 1
    assert list(watch.history) == [f"f_dataloader_{1 - empty}"]


def of_dicts():
    return [{"x": rows(i), "y": rows(10 + i)} for i in range(3)]


class Changing(Project):
    """Changes its batch in every step; what it is given is a copy each time."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return {key: part.clone() for key, part in batch.items()}

    def forward(self, x, y=0.0):
        return self.encoder(x) + (y if isinstance(y, float) else y.mean(1, keepdim=True))

    def step(self, batch):
        x, y = self.change(batch)
        return (self(x) - y.mean()).square().mean()


CHANGES = {
    "pop": lambda batch: (batch.pop("x"), batch.pop("y")),
    "del": lambda batch: (batch["x"], batch.__getitem__("y"), batch.clear())[:2],
    "another shape": lambda batch: (batch["x"], batch["y"].unsqueeze_(2)),
    "a list in its place": lambda batch: (
        batch["x"],
        torch.stack(batch.setdefault("z", [batch["y"]])),
    ),
}


@pytest.mark.parametrize(
    ("change", "sanity_checks"),
    [*((change, 0) for change in CHANGES.values()), (CHANGES["pop"], 2)],
    ids=[*CHANGES, "pop, tried"],
)
def test_parts_are_those_of_the_batch_before_a_step_changes_it(tmp_path, change, sanity_checks):
    watch = InvertibilityCallback({"f": {"module": "", "input": "x", "context": "y"}})
    trainer = fit_unwatched_and_watched(
        tmp_path,
        lambda: Changing(change),
        watch,
        data=lambda: (batches(*of_dicts()), batches(*of_dicts())),
        num_sanity_val_steps=sanity_checks,
    )
    (observation,) = watch.observations
    assert observation.num_points == 24
    assert_right(observation, trainer.lightning_module.encoder)
    trainer.validate(trainer.lightning_module, batches(*of_dicts()), verbose=False)
    assert watch.observations[0].num_points == 24


class Adding(Project):
    """Puts a part into its batch where a hook or a step is."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def add(self, batch, where):
        if where == self.where:
            batch["z"] = 2 * batch["x"]

    def on_validation_batch_start(self, batch, batch_idx, dataloader_idx=0):
        self.add(batch, "hook")

    def step(self, batch):
        self.add(batch, "step")
        return self(batch["x"]).square().mean()

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return dict(batch)


@pytest.mark.parametrize("where", ["hook", "step"])
def test_a_part_that_is_put_into_the_batch_is_watched(tmp_path, where):
    watch = InvertibilityCallback({"f": {"module": "encoder", "input": "z"}}, figures=False)
    data = lambda: (batches(*of_dicts()), batches(*of_dicts()))
    trainer = fit_unwatched_and_watched(tmp_path, lambda: Adding(where), watch, data=data)
    offered = {tuple(row) for batch in of_dicts() for row in (2 * batch["x"]).tolist()}
    assert {tuple(row) for row in watch.observations[0].inputs.tolist()} == offered
    assert_right(watch.observations[0], trainer.lightning_module.encoder)


class Casting(Project):
    """Keeps its batches in few bits, and makes more of them in its step."""

    def step(self, batch):
        return self(batch["x"].float()).square().mean()


HALVES = {
    "float16": [torch.float16],
    "bfloat16": [torch.bfloat16],
    "several": [torch.float64, torch.float32, torch.float16],
    "the coarsest first": [torch.float16, torch.float32],
}


@pytest.mark.parametrize("dtypes", HALVES.values(), ids=HALVES)
def test_batches_of_another_dtype_are_watched_as_they_are_cast(tmp_path, dtypes):
    maps = None if len(dtypes) == 1 else {"forward": {"module": "encoder", "input": "x"}}
    made = lambda: batches(*({"x": rows(i).to(dtype)} for i, dtype in enumerate(dtypes)))
    watch = InvertibilityCallback(maps, figures=False)
    trainer = fit_unwatched_and_watched(tmp_path, Casting, watch, data=lambda: (made(), made()))
    (observation,) = watch.observations
    assert observation.num_points == 8 * len(dtypes)
    assert observation.arithmetic == torch.float32
    observation = replace(observation, inputs=observation.inputs.float())
    assert_right(observation, trainer.lightning_module.encoder)


def test_points_are_those_that_forward_saw_where_a_step_changes_them_in_place(tmp_path):
    class InPlace(Changing):
        def step(self, batch):
            return self(batch["x"].sub_(5)).square().mean()

    watch = InvertibilityCallback({"f": {"module": "encoder", "input": "x"}}, figures=False)
    data = lambda: (batches(*of_dicts()), batches(*of_dicts()))
    fit_unwatched_and_watched(tmp_path, lambda: InPlace(None), watch, data=data)
    seen = {tuple(row) for batch in of_dicts() for row in batch["x"].sub(5).tolist()}
    assert {tuple(row) for row in watch.observations[0].inputs.tolist()} == seen


def test_no_batch_is_held_longer_than_it_lives(tmp_path, request):
    alive, counts = weakref.WeakSet(), []
    gc.freeze()  # of what is older, nothing is asked
    request.addfinalizer(gc.unfreeze)
    Batch = type("Batch", (dict,), {"__hash__": object.__hash__})

    class Watching(OfA):
        def on_validation_batch_start(self, batch, batch_idx):
            gc.collect()
            alive.add(batch)
            counts.append(len(alive))

        def transfer_batch_to_device(self, batch, device, dataloader_idx):
            return batch

    def collate(parts):
        return Batch(a=torch.stack(parts), b=torch.stack(parts).long())

    data = DataLoader(list(torch.randn(64, 5)), batch_size=8, collate_fn=collate)
    maps = {"f": {"module": "encoder", "input": "a"}, "g": {"module": "encoder", "input": "b"}}
    with pytest.warns(UserWarning, match="map 'g'"):
        fit_project(tmp_path, InvertibilityCallback(maps), module=Watching(), data=(data, data))
    without = list(counts)
    counts.clear()
    fit_project(tmp_path, module=Watching(), data=(data, data))
    assert without == counts


class Fetching(Foreign):
    """Takes its batches from the loader itself."""

    def validation_step(self, dataloader_iter):
        batch, _, _ = next(dataloader_iter)
        self.log("val_loss", self.step(batch), batch_size=16)


@pytest.mark.filterwarnings("ignore:(You are using the|Found) `dataloader_iter`")
def test_a_step_that_fetches_its_batches_is_watched_at_all_of_them(tmp_path):
    watch = InvertibilityCallback({"f": "encoder"}, figures=False)
    fit_project(tmp_path, watch, module=Fetching(), data=(loader(), loader(rows=48)))
    assert len({tuple(row) for row in watch.observations[0].inputs.tolist()}) == 48


class Graph(Project):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 3)

    def forward(self, x, edges):
        return self.out(x).index_add(0, edges[1], self.out(x)[edges[0]])

    def step(self, batch):
        return self(batch["x"], batch["edges"]).square().mean()


def test_a_graph_is_told_that_its_edges_are_no_rows(tmp_path):
    edges = torch.tensor([[0, 1, 11], [1, 2, 0]])
    data = batches(*({"x": torch.randn(12, 5), "edges": edges} for _ in range(2)))
    watch = InvertibilityCallback({"f": {"module": "", "input": "x", "context": "edges"}})
    with pytest.warns(UserWarning, match="Edges mix the nodes of a graph"):
        fit_project(tmp_path, watch, module=Graph(), data=(data, data))
