"""The miniatures of third-party projects: that they work before anything watches them."""

import copy
from collections.abc import Mapping

import pytest
from torch import Tensor

from tests.projects import quiet_trainer
from tests.third_party import PROJECTS

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)


@each_project
def test_a_miniature_trains_by_itself(project, tmp_path):
    trainer = quiet_trainer(tmp_path, **project.also)
    trainer.fit(project.module(), project.loader(), project.loader())
    assert trainer.global_step == len(project.loader())
    assert trainer.callback_metrics["val_loss"].isfinite()


def follow(whole, path, *rest):
    """What the grammar of ``maps`` means, in the plainest words."""
    for step in path if isinstance(path, list) else [path]:
        if callable(step):
            takes_module = getattr(step, "__code__", None) and step.__code__.co_argcount == 2
            whole = step(whole, *rest) if takes_module else step(whole)
        elif isinstance(step, str) and not (isinstance(whole, Mapping) and step in whole):
            whole = getattr(whole, step)
        else:
            whole = whole[step]
    return whole


def parts(batch, some, module):
    several = isinstance(some, list) and any(isinstance(part, list) for part in some)
    return [follow(batch, part, module) for part in (some if several else [some])]


def values(entry, batch, module):
    """The inputs of a map at a batch, what stays fixed, and the output."""
    entry = entry if isinstance(entry, Mapping) else {"module": entry}
    path = entry.get("module", "")
    function = follow(module, path.split(".")) if path else module
    first = 0 if isinstance(batch, list) else "data"
    inputs = parts(copy.deepcopy(batch), entry.get("input", first), module)
    contexts = parts(batch, entry["context"], module) if "context" in entry else []
    whole = [follow(batch, entry["within"], module)] if "within" in entry else inputs
    y = function(*whole, *contexts)
    return inputs, contexts, follow(y, entry["output"]) if "output" in entry else y


@each_project
def test_the_maps_of_a_miniature_fit_it(project):
    module = project.module().eval()
    for batch in project.loader():
        shapes = []
        for entry in (project.maps or {"forward": ""}).values():
            inputs, contexts, y = values(entry, batch, module)
            assert all(isinstance(part, Tensor) for part in (*inputs, *contexts))
            assert all(part.is_floating_point() for part in (*inputs, y))
            assert len({len(part) for part in (*inputs, *contexts, y)}) == 1
            shapes.append((sum(part[0].numel() for part in inputs), y[0].numel()))
        assert shapes[0] == project.shape


def test_the_names_differ():
    assert len({project.name for project in PROJECTS}) == len(PROJECTS)
