"""What a message advises, as a person would copy it."""

import ast
import textwrap
import warnings

import pytest
import torch
from torch import nn

from lightning_invert.watch import search
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look

CALL = "InvertibilityCallback(maps="


def copied(message):
    """Return the maps that a message advises, or None, and the method that it shows, or None."""
    lines = message.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("  def ")), None)
    if first is not None:
        assert CALL not in message
        names = {}
        exec(textwrap.dedent("\n".join(lines[first : first + 2])), names)  # noqa: S102
        return None, names["invertibility_maps"]
    start = message.index(CALL)
    for end in [i for i, character in enumerate(message) if character == ")" and i > start]:
        try:
            call = ast.parse(message[start : end + 1], mode="eval").body
        except SyntaxError:
            continue
        return ast.literal_eval(call.keywords[0].value), None
    raise AssertionError(message)


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MAX_SECONDS", 1e9)  # the machine may do other work, too
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
