"""The miniatures of third-party projects: their maps fit them, before anything watches them."""

import copy
from collections.abc import Mapping

import pytest
from torch import Tensor

from tests.third_party import PROJECTS


def follow(value, path, *module):
    """Follow a path of ``maps``: keys, indices, attributes and callables, in the plainest words."""
    for step in path if isinstance(path, list) else [path]:
        if callable(step):
            takes_module = getattr(step, "__code__", None) and step.__code__.co_argcount == 2
            value = step(value, *module) if takes_module else step(value)
        elif isinstance(step, str) and not (isinstance(value, Mapping) and step in value):
            value = getattr(value, step)
        else:
            value = value[step]
    return value


def parts(batch, selector, module):
    several = isinstance(selector, list) and any(isinstance(path, list) for path in selector)
    return [follow(batch, path, module) for path in (selector if several else [selector])]


def inputs_contexts_output(entry, batch, module):
    """Evaluate one entry of ``maps`` at a batch."""
    entry = entry if isinstance(entry, Mapping) else {"module": entry}
    path = entry.get("module", "")
    function = follow(module, path.split(".")) if path else module
    first = 0 if isinstance(batch, list) else "data"
    inputs = parts(copy.deepcopy(batch), entry.get("input", first), module)
    contexts = parts(batch, entry["context"], module) if "context" in entry else []
    arguments = [follow(batch, entry["within"], module)] if "within" in entry else inputs
    y = function(*arguments, *contexts)
    return inputs, contexts, follow(y, entry["output"]) if "output" in entry else y


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_the_maps_of_a_miniature_fit_it(project):
    module = project.module().eval()
    for batch in project.loader():
        shapes = []
        for entry in (project.maps or {"forward": ""}).values():
            inputs, contexts, y = inputs_contexts_output(entry, batch, module)
            assert all(isinstance(part, Tensor) for part in (*inputs, *contexts))
            assert all(part.is_floating_point() for part in (*inputs, y))
            assert len({len(part) for part in (*inputs, *contexts, y)}) == 1
            shapes.append((sum(part[0].numel() for part in inputs), y[0].numel()))
        assert shapes[0] == project.shape


def test_the_names_differ():
    assert len({project.name for project in PROJECTS}) == len(PROJECTS)
