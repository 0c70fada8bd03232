from dataclasses import replace

import torch

from lightning_invert.report.tags import tag_of
from lightning_invert.watch.observation import Observation


def test_a_tag_names_prefix_dataloader_map_and_scalar():
    observation = Observation.of(torch.ones(3, 2), name="f", part="dataloader_1")
    assert tag_of(replace(observation, part=""), "rank") == "invertibility/f/rank"
    tag = tag_of(observation, "rank", "test/invertibility")
    assert tag == "test/invertibility/dataloader_1/f/rank"
