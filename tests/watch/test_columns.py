import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import InvertibilityCallback
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import resolve_maps
from tests.projects import Foreign, fit_project

POSITIVE = "positive, finite number for each column"


def spec(**columns):
    return {"f": {"module": "encoder", **columns}}


WRONG = [
    ({"input_std": torch.ones(5)}, ValueError, "`input_std` and `output_std` of map 'f' .* no `output_std`"),
    ({"output_std": torch.ones(3)}, ValueError, "no `input_std`"),
    ({"input_std": torch.tensor([1.0, 0, 1, 1, 1])}, ValueError, f"`input_std` .*{POSITIVE}.*number 1 .* 0.0"),
    ({"input_std": -torch.ones(5)}, ValueError, f"`input_std` .*{POSITIVE}"),
    ({"output_std": torch.tensor([1, 1, torch.nan])}, ValueError, f"`output_std` .*{POSITIVE}.*number 2 .* nan"),
    ({"output_std": torch.tensor([1, torch.inf, 1])}, ValueError, f"`output_std` .*{POSITIVE}.* inf"),
    ({"input_std": torch.ones(1, 5)}, ValueError, r"`input_std` .*shape \(n,\).*\(1, 5\)"),
    ({"input_std": torch.tensor(2.0)}, ValueError, r"`input_std` .*shape \(n,\).*\(\)"),
    ({"input_std": torch.ones(5, dtype=torch.complex64)}, TypeError, "`input_std` .*numbers"),
    ({"input_std": "one"}, TypeError, "`input_std` .*numbers, but got 'one'"),
    ({"input_names": ["a", "b", "a", "c", "d"]}, ValueError, "`input_names` .* 'a' twice"),
    ({"output_names": ["u"] * 3}, ValueError, "`output_names` .* 'u' 3 times"),
    ({"input_names": "abcde"}, TypeError, "`input_names` .*list of names, but got 'abcde'"),
    ({"input_names": [0, 1, 2, 3, 4]}, TypeError, "`input_names` .*list of names"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "kind", "words"), WRONG)
def test_what_a_map_says_wrongly_of_its_columns_is_named(columns, kind, words):
    with pytest.raises(kind, match=words):
        resolve_maps(spec(**columns), Foreign())


@pytest.mark.parametrize(
    ("n", "m", "words"),
    [(4, 3, "`input_std` .*each of the 5 inputs, but got 4"), (5, 1, "each of the 3 outputs")],
)
def test_too_few_spreads_are_counted(n, m, words, tmp_path):
    maps = spec(input_std=torch.ones(n), output_std=torch.ones(m))
    with pytest.warns(UserWarning, match=words):
        trainer = fit_project(tmp_path, InvertibilityCallback(maps))
    assert trainer.current_epoch == 1
    with pytest.raises(ValueError, match=words):
        observe(resolve_maps(maps, Foreign())[0], torch.randn(6, 5))


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, tuple])
def test_spreads_may_be_any_numbers_and_are_what_is_standardised_by(kind):
    net = nn.Sequential(nn.Linear(3, 2)).double()
    of_x, of_y = [1.0, 2.0, 30.0], [0.5, 4.0]
    maps = {"f": {"module": "0", "input_std": kind(of_x), "output_std": kind(of_y)}}
    (found,) = resolve_maps(maps, net)
    expected = net[0].weight.detach().numpy() * np.array(of_x) / np.array(of_y)[:, None]
    observation = observe(found, torch.randn(1, 3, dtype=torch.float64))
    assert observation.scale == "standardized"
    np.testing.assert_allclose(observation.singular_values[0], np.linalg.svd(expected)[1])
