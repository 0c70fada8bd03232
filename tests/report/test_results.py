import pytest
import torch

from lightning_invert.doorway import figures_of, html_of, save_figures_of, words_of
from lightning_invert.watch.observation import Observation

OBSERVATION = Observation.of(torch.tensor([[2.0, 1.0]]), name="a/b")


@pytest.mark.parametrize("show", [figures_of, words_of, html_of])
def test_what_cannot_be_shown_is_named(show):
    with pytest.raises(TypeError, match=r"(of|for) a dict"):
        show({})


def test_an_observation_shows_itself_through_the_doorway(tmp_path):
    assert "a/b" in words_of(OBSERVATION)
    names = ["rank_histogram"]
    assert list(figures_of(OBSERVATION, names=names, title="t")) == names
    (file,) = save_figures_of(OBSERVATION, tmp_path, names=names)
    assert file.name == "a_b-c14cddc0_rank_histogram.png"
    assert file.parent == tmp_path
