import copy
import pickle

import pytest
import torch

from lightning_invert.sampling import StreamSample
from tests.processes import gathering


def feed(sample, rows, batch):
    for part in rows.split(batch):
        sample.add({"x": part, "index": part[:, :1]})
    return sample


def test_keeps_every_point_when_there_are_fewer_than_asked():
    rows = torch.randn(10, 3)
    kept = feed(StreamSample(50, seed=0), rows, 4).rows()["x"]
    assert sorted(kept[:, 0].tolist()) == sorted(rows[:, 0].tolist())


def test_never_keeps_more_than_asked_and_no_point_twice():
    kept = feed(StreamSample(50, seed=0), torch.arange(1000.0)[:, None], 16).rows()["x"]
    assert len(kept) == len(kept.unique()) == 50


def test_rows_of_all_tensors_stay_together():
    rows = feed(StreamSample(20, seed=0), torch.randn(500, 3), 7).rows()
    assert torch.equal(rows["x"][:, :1], rows["index"])


@pytest.mark.parametrize("batch", [1, 16, 999])
def test_does_not_depend_on_the_batches(batch):
    rows = torch.arange(1000.0)[:, None]
    expected = feed(StreamSample(50, seed=3), rows, 1000).rows()["x"]
    assert torch.equal(feed(StreamSample(50, seed=3), rows, batch).rows()["x"], expected)


def test_every_position_has_the_same_chance():
    rows = torch.arange(40.0)[:, None]
    counts = torch.zeros(40)
    for seed in range(500):
        counts[feed(StreamSample(10, seed=seed), rows, 8).rows()["x"][:, 0].long()] += 1
    # Chi-square with 39 degrees of freedom (drawn without replacement: even less spread).
    expected = 500 * 10 / 40
    assert ((counts - expected) ** 2 / expected).sum() < 72.1  # the 99.9 % quantile


def test_global_random_stream_is_not_touched():
    before = torch.get_rng_state()
    feed(StreamSample(10, seed=0), torch.zeros(100, 1), 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sizes", [(700, 300), (30, 970), (10, 20), (1000, 0), (0, 5), (0, 0)])
def test_samples_of_processes_merge_into_one_that_each_of_them_has(sizes):
    parts = torch.arange(float(sum(sizes)))[:, None].split(sizes)
    samples = [
        feed(StreamSample(50, seed=seed), part, 16) if len(part) else StreamSample(50, seed=seed)
        for seed, part in enumerate(parts)
    ]
    keys = torch.cat([sample.state_dict()["keys"] for sample in samples]).sort().values[:50]
    gathering(len(samples), lambda rank, gather: samples[rank].merge(gather))
    first, second = samples
    assert torch.equal(first._keys, keys)
    assert torch.equal(second._keys, keys)
    if sum(sizes):
        assert torch.equal(first.rows()["x"], second.rows()["x"])
        assert torch.equal(first.rows()["x"][:, :1], first.rows()["index"])
    else:
        assert first.rows() == second.rows() == {}


def test_tensors_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"'x': 3, 'y': 4"):
        StreamSample(10, seed=0).add({"x": torch.zeros(3, 1), "y": torch.zeros(4, 1)})


def test_a_sample_goes_on_from_its_state():
    rows = torch.randn(600, 3)
    unbroken = feed(StreamSample(50, seed=0), rows, 16).rows()["x"]
    broken = feed(StreamSample(50, seed=0), rows[:304], 16)
    resumed = StreamSample(50, seed=0)
    resumed.load_state_dict(broken.state_dict())
    assert torch.equal(feed(resumed, rows[304:], 16).rows()["x"], unbroken)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda sample: pickle.loads(pickle.dumps(sample))]
)
def test_a_copy_goes_on_with_the_same_stream(copied):
    sample = feed(StreamSample(8, seed=3), torch.randn(40, 3), 10)
    other, further = copied(sample), torch.randn(40, 3)
    expected = feed(sample, further, 10).rows()
    torch.testing.assert_close(feed(other, further, 10).rows(), expected, rtol=0, atol=0)
