import pytest
import torch

from lightning_invert.watch.point_sample import MAX_COUNTED, MAX_KINDS, PointSample
from lightning_invert.watch.points import Points
from tests.processes import gathering


def points(number, width, rows=4):
    """Points of a width, whose first column is the number of their batch."""
    return Points.of([torch.full((rows, width), float(number))])


def filled(*widths, num_points=50):
    sample = PointSample(num_points, seed=0)
    for number, width in enumerate(widths):
        sample.add(points(number, width))
    return sample


def numbers(sampled):
    return sorted({int(number) for number in sampled.points.inputs[:, 0]})


@pytest.mark.parametrize(
    ("widths", "chosen", "left_out"),
    [
        ((3, 3, 3), [0, 1, 2], 0),
        ((5, 3, 3), [1, 2], 4),
        ((3, 5), [0], 4),
        (range(1, 30), [0], 112),
        ((*range(1, 30), 99, 99), [30], 116),
        (([7, *range(100, 100 + 3 * MAX_KINDS)] * 3), [0, 25, 50], 288),
    ],
)
def test_the_most_frequent_shape_is_chosen_and_the_rest_counted(widths, chosen, left_out):
    sampled = filled(*widths).choose(None)
    assert numbers(sampled) == chosen
    assert sampled.num_left_out == left_out


def test_a_sample_of_one_shape_is_uniform_and_no_larger_than_asked():
    counts = torch.zeros(40)
    for seed in range(100):
        sample = PointSample(10, seed=seed)
        for number in range(40):
            sample.add(points(number, 3, rows=1))
            sample.add(points(number, 2 + number % 2, rows=1))
        chosen = sample.choose(None).points.inputs[:, 0].long()
        assert len(chosen) == 10
        counts[chosen] += 1
    # Odd numbers came twice. Chi-square with 39 degrees of freedom: the 99.9 % quantile.
    expected = torch.where(torch.arange(40) % 2 == 1, 2.0, 1.0) * 1000 / 60
    assert ((counts - expected) ** 2 / expected).sum() < 72.1


def test_memory_is_bounded_whatever_the_shapes():
    sample = filled(*range(1, 3 * MAX_COUNTED), *[7] * 9)
    assert len(sample._counts) <= MAX_COUNTED
    assert len(sample._kept) <= MAX_KINDS
    assert sample.choose(None).points.inputs.shape == (40, 7)
    assert sample.choose(None).num_left_out == 4 * (3 * MAX_COUNTED - 2)


@pytest.mark.parametrize(
    ("widths", "width", "left_out"),
    [
        (((3, 3), (5, 5, 5)), 5, 8),
        (((3, 3, 4), (4, 4, 5)), 4, 12),
        (((), (5, 3, 3)), 3, 4),
        (((3, 5), (5, 3)), 3, 8),
        ((range(1, 30), (40, 41, 40)), 40, 120),
        (((3,), ()), 3, 0),
    ],
)
def test_processes_choose_the_same_points_of_one_shape(widths, width, left_out):
    samples, chosen = [filled(*own) for own in widths], {}

    def choose(rank, gather):
        chosen[rank] = samples[rank].choose(gather)

    gathering(len(samples), choose)
    first, second = chosen[0], chosen[1]
    assert torch.equal(first.points.inputs, second.points.inputs)
    assert first.points.frame == second.points.frame
    assert first.points.inputs.shape[1] == width
    assert first.num_left_out == second.num_left_out == left_out


def test_processes_without_points_agree_on_none():
    samples, chosen = [PointSample(5, seed=rank) for rank in range(2)], {}
    gathering(2, lambda rank, gather: chosen.update({rank: samples[rank].choose(gather)}))
    assert chosen == {0: None, 1: None}


def test_points_of_the_same_width_that_are_joined_of_other_parts_are_of_another_shape():
    sample = PointSample(5, seed=0)
    for first, second in ((2, 3), (3, 2), (3, 2)):
        sample.add(Points.of([torch.zeros(4, first), torch.ones(4, second)]))
    sampled = sample.choose(None)
    assert [tuple(shape) for shape in sampled.points.frame.shapes] == [(3,), (2,)]
    assert sampled.points.inputs[0].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert sampled.num_left_out == 4
