import torch

from lightning_invert.report.tags import tag_of
from lightning_invert.watch.observation import Observation

SIGMA = torch.ones(3, 2)


def seen(name, **known):
    return Observation.of(SIGMA, name=name, **known)


def test_a_tag_names_prefix_dataloader_map_and_scalar():
    assert tag_of(seen("f"), "rank") == "invertibility/f/rank"
    assert tag_of(seen("f", part="dataloader_1"), "rank", "test/invertibility") == (
        "test/invertibility/dataloader_1/f/rank"
    )
