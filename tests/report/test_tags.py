import torch

from lightning_invert.report.tags import tag_of
from lightning_invert.watch.observation import Observation

SIGMA = torch.ones(3, 2)


def seen(name, **known):
    return Observation.of(SIGMA, name=name, **known)


def test_a_tag_names_prefix_dataloader_and_map():
    assert tag_of(seen("f")) == "invertibility/f"
    assert tag_of(seen("f", part="dataloader_1"), "test/invertibility") == (
        "test/invertibility/dataloader_1/f"
    )
