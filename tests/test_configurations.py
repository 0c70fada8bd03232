"""Lists and dictionaries of a configuration, such as Hydra's, mean the same as Python's own."""

import pickle
from collections.abc import Mapping, Sequence

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_invert import (
    Ensemble,
    ForwardInverseModule,
    InvertibilityCallback,
    Thresholds,
    analyze,
    solve,
)
from lightning_invert.arguments import to_builtin
from lightning_invert.datamodules import TabularDataModule
from lightning_invert.pair.allowed_classes import check_allow
from lightning_invert.pair.settings import AdamSettings
from lightning_invert.watch.findings.reach import read_bounds
from tests.projects import Foreign, fit_project


class Listed(Sequence):
    """A list that is none."""

    def __init__(self, *parts):
        self._parts = parts

    def __getitem__(self, index):
        return self._parts[index]

    def __len__(self):
        return len(self._parts)

    def __repr__(self):
        return f"Listed{self._parts}"


class Named(Mapping):
    """A dictionary that is none."""

    def __init__(self, parts):
        self._parts = parts

    def __getitem__(self, key):
        return self._parts[key]

    def __iter__(self):
        return iter(self._parts)

    def __len__(self):
        return len(self._parts)


def configured(value):
    """Return a value with other lists and dictionaries in it."""
    if isinstance(value, dict):
        return Named({key: configured(part) for key, part in value.items()})
    return Listed(*map(configured, value)) if isinstance(value, list) else value


MAPS = {
    "f": {
        "module": "encoder",
        "input": [0],
        "input_names": list("abcde"),
        "output_names": list("uvw"),
        "input_std": [1.0, 2.0, 1.0, 1.0, 3.0],
        "output_std": [1.0, 2.0, 4.0],
    },
    "g": {"module": "", "input": [[0]], "reach": {"inverse": "back", "outcomes": [1]}},
}
BOUNDS = [[[-2.0] * 5, [2.0] * 5], [None, [2.0, None, 2.0, 2.0, None]], [None, 3.0], None]


class WithInverse(Foreign):
    def __init__(self):
        super().__init__()
        self.back = nn.Linear(3, 5)


def fit(folder, maps, **options):
    torch.manual_seed(0)
    watch = InvertibilityCallback(maps, figures=False, reachable_steps=1, **options)
    saved = ModelCheckpoint(folder, "last")
    options = {"max_epochs": 3, "enable_checkpointing": True}
    trainer = fit_project(folder, watch, saved, module=WithInverse(), **options)
    return trainer, watch, saved


@pytest.mark.parametrize("bounds", BOUNDS)
def test_maps_may_come_from_a_configuration(tmp_path, bounds):
    maps = {**MAPS, "g": {**MAPS["g"], "reach": {**MAPS["g"]["reach"], "bounds": bounds}}}
    trainer, watch, _ = fit(tmp_path / "a", maps, every_n_validations=[1])
    other, same, saved = fit(tmp_path / "b", configured(maps), every_n_validations=Listed(1))
    assert same.history == watch.history
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert {name: value.item() for name, value in other.callback_metrics.items()} == metrics
    assert same.state_key == watch.state_key
    assert torch.load(saved.best_model_path, weights_only=True)
    assert pickle.loads(pickle.dumps(same.watcher.maps)) == maps


def of_module(maps):
    class Own(Foreign):
        def invertibility_maps(self):
            return maps

    return Own()


def test_a_module_may_take_its_maps_from_a_configuration(tmp_path):
    maps = {"f": {"module": "encoder", "input": [0]}}
    for given in (maps, configured(maps)):
        watch = InvertibilityCallback(figures=False)
        fit_project(tmp_path, watch, module=of_module(given))
        assert list(watch.history) == ["f"]


NET = nn.Linear(3, 2)
BOX, TARGETS = [[-9.0] * 3, [9.0] * 3], [[0.1, 0.2], [0.3, 0.4]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"bounds": BOX},
        {"bounds": [[None, -9.0, None], [9.0] * 3], "starts": [[0.0] * 3] * 2},
        {"starts": [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]},
        {"bounds": BOX, "scale": [[1.0, 2.0, 3.0], [1.0, 2.0]]},
        {"bounds": BOX, "fixed": {0: 0.5}},
        {"bounds": BOX, "fixed": {1: [0.5, 0.25]}},
    ],
)
def test_the_solver_takes_what_a_configuration_holds(arguments):
    expected = solve(NET, TARGETS, **arguments)
    arguments = {name: configured(value) for name, value in arguments.items()}
    assert torch.equal(solve(NET, configured(TARGETS), **arguments).inputs, expected.inputs)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda bands: Thresholds(bands=bands), [10.0, 1e3]),
        (lambda betas: AdamSettings(betas=betas), [0.8, 0.9]),
        (check_allow, ["my_package"]),
        (lambda names: analyze(NET, torch.zeros(2, 3), inputs=names).input_names, ["a", "b", "c"]),
        (lambda bounds: [end.tolist() for end in read_bounds("bounds", bounds)], [[0.0], [1.0]]),
        (lambda networks: [id(net) for net in Ensemble(networks).networks], [NET, nn.Linear(3, 2)]),
        (lambda adam: ForwardInverseModule(NET, nn.Linear(2, 3), adam=adam).adam, {"betas": [0.8, 0.9]}),
    ],
)  # fmt: skip
def test_other_arguments_take_what_a_configuration_holds(make, value):
    assert make(configured(value)) == make(value)


def test_a_checkpoint_holds_plain_lists(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,b,c\n" + "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(40)))
    data = TabularDataModule(file, Listed("a", "b"), Listed("c"), units=Named({"a": "K"}))
    module = ForwardInverseModule(nn.Linear(2, 1), nn.Linear(1, 2), allow=Listed("torch"))
    trainer = fit_project(tmp_path, module=module, data=(data,))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")

    def kinds(value):
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, list | tuple):
            return {type(value).__module__.partition(".")[0]}
        return {kind for part in value for kind in kinds(part)}

    content = torch.load(tmp_path / "saved.ckpt", weights_only=False)
    assert "tests" not in kinds(content)


def test_what_is_no_list_stays_what_it_is():
    for value in ("text", b"bytes", torch.zeros(2), NET, 1.0, None, range, nn.ModuleList([NET])):
        assert to_builtin(value) is value
    assert to_builtin(configured({"a": [1, {"b": ["c"]}]})) == {"a": [1, {"b": ["c"]}]}
    assert to_builtin((Listed(1), Listed(2))) == ([1], [2])
