import torch

from lightning_invert.report.tags import scalars_by_tag, tag_of
from lightning_invert.watch.observation import Observation

SIGMA = torch.ones(3, 2)


def seen(name, **known):
    return Observation.of(SIGMA, name=name, **known)


def test_a_tag_names_prefix_dataloader_and_map():
    assert tag_of(seen("f")) == "invertibility/f"
    assert tag_of(seen("f", part="dataloader_1"), "test/invertibility") == (
        "test/invertibility/dataloader_1/f"
    )


def test_one_round_trip_has_its_errors_without_its_name_several_have_them_with_it():
    error = {"consistency_error": 0.5}
    one, two = seen("a", round_trip_errors=error), seen("b", round_trip_errors=error)
    assert scalars_by_tag([one, seen("f")])["invertibility/consistency_error"] == 0.5
    both = scalars_by_tag([one, two])
    assert both["invertibility/a/consistency_error"] == 0.5
    assert both["invertibility/b/consistency_error"] == 0.5
    assert "invertibility/consistency_error" not in both
