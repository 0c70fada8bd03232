"""What a miniature of a third-party project consists of."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, default_collate

BATCH = 16
ROWS = 40
"""The last batch is a smaller one."""


@dataclass(frozen=True)
class Project:
    """A project that knows nothing of us, and how it would be watched.

    Attributes:
        name: The project that it is like.
        module: Makes the module, as the project's own code would.
        loader: Makes its batches, the same at each call.
        maps: The maps that its users would watch; ``None`` if the default serves. A list whose
            members could also be the steps of one path has lists for members.
        shape: (n, m) of the first map.
        source: The code that it imitates.
        watched: Whether the callback watches ``forward`` without arguments although there are maps.
        options: Options that its trainer needs.
    """

    name: str
    module: Callable[[], LightningModule]
    loader: Callable[[], DataLoader]
    maps: dict | None
    shape: tuple[int, int] | None
    source: str
    watched: bool = False
    options: dict = field(default_factory=dict)

    @property
    def is_watched_by_default(self):
        return self.watched or self.maps is None


class Numbers:
    """Random numbers that are the same each time."""

    def __init__(self, seed=2):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def below(self, limit, *shape):
        return torch.randint(limit, shape, generator=self.generator)


def batches(rows, collate=default_collate):
    """Batches of rows, in their order."""
    return DataLoader(rows, batch_size=BATCH, collate_fn=collate)


def tuples(*columns):
    """Batches of tuples, made of tensors with a row for each point."""
    return batches(list(zip(*columns, strict=True)))


def normal_rows(*shapes):
    """Batches of tuples of normal numbers, of these shapes for each point."""
    numbers = Numbers()
    return tuples(*(numbers.normal(ROWS, *shape) for shape in shapes))


def perceptron(n, hidden, m, activation=nn.Tanh):
    return nn.Sequential(nn.Linear(n, hidden), activation(), nn.Linear(hidden, m))


def dicts(**columns):
    """Batches of dicts, made of tensors with a row for each point."""
    rows = zip(*columns.values(), strict=True)
    return batches([dict(zip(columns, row, strict=True)) for row in rows])
