import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import nn

from lightning_invert import solve
from lightning_invert.jacobians.spectrum import Effort
from lightning_invert.jacobians.work import flops_of
from lightning_invert.watch.findings.reach import TOLERANCE, Reach, read_bounds
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observation import observe
from lightning_invert.watch.parts import parse_part
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.watcher import Watcher
from tests.identity import state_of
from tests.solver.maps import network, uniform
from tests.watch.looks import look


def ask(function, inverse, x, y, *, bounds=None, steps=10, scale=(1.0, 1.0), **options):
    root = function if isinstance(function, nn.Module) else nn.Module()
    spec = {"module": function, "reach": {"inverse": inverse, "outcomes": 1, "bounds": bounds}}
    (watched,) = resolve_maps({"f": spec}, root, reachable_steps=steps)
    n, m = x[0].numel(), y.shape[1]
    stds = {"input_std": scale[0] * torch.ones(n), "output_std": scale[1] * torch.ones(m)}
    watched = replace(watched, **stds)
    observation = observe(watched, x, outcomes=y, **options)
    return observation.findings["reach"], observation.scalars


IDENTITY, ZERO = lambda z: 1 * z, lambda y: 0 * y


def test_of_a_linear_map_those_are_reached_whose_inputs_are_in_the_box():
    matrix = torch.tensor([[2.0, 1.0], [0.5, 1.5]], dtype=torch.float64)
    ticks = torch.linspace(-0.525, 1.425, 40, dtype=torch.float64)  # 20 of 40 are in the box
    x = torch.cartesian_prod(ticks, ticks)
    far = lambda y: 9 * torch.ones_like(y)
    reach, scalars = ask(lambda z: z @ matrix.T, far, x, x @ matrix.T, bounds=(0.0, 1.0), steps=50)
    inside = ((x >= 0) & (x <= 1)).all(1)
    assert torch.equal(reach.reached, inside)
    assert scalars["reachable_fraction"] == inside.double().mean() == 0.25


def test_distances_are_the_least_inside_the_box_in_standard_units():
    rng = np.random.default_rng(0)
    matrix, y = rng.normal(size=(2, 4)), 2 * rng.normal(size=(60, 2))
    spread = 3.0
    least = [(2 * lsq_linear(matrix, row, (-1, 1), tol=1e-14).cost) ** 0.5 / spread for row in y]
    at = torch.as_tensor(matrix)
    x = uniform(60, 4, seed=1)
    options = {"bounds": (-1.0, 1.0), "steps": 50, "scale": (0.5, spread)}
    zero = lambda y: y.new_zeros(len(y), 4)
    reach, _ = ask(lambda z: z @ at.T, zero, x, torch.as_tensor(y), **options)
    reached = np.array(least) < 1e-6
    assert 10 < reached.sum() < 50
    assert reach.reached[reached].all()
    np.testing.assert_allclose(reach.distance[~reached], np.array(least)[~reached], rtol=1e-4)


def test_a_step_of_the_solver_counts_for_one():
    # From a distance r, damping d leaves r d / (1 + d): the first step does with d = 0.01.
    y = torch.tensor([[0.009], [0.5], [1.0], [1.02], [50.0]], dtype=torch.float64)
    x = torch.zeros(5, 1, dtype=torch.float64)
    (one, _), (two, _) = (
        ask(IDENTITY, ZERO, x, y, bounds=(-99.0, 99.0), steps=steps) for steps in (1, 2)
    )
    assert one.reached.tolist() == [True, True, True, False, False]
    torch.testing.assert_close(
        one.distance, torch.cat((y[:1, 0], y[1:, 0] * 0.01 / 1.01)), rtol=1e-6, atol=0
    )
    assert two.reached.all()


def test_without_bounds_the_box_is_the_range_of_the_inputs():
    x = torch.tensor([[1.0], [3.0], [2.0], [2.5]], dtype=torch.float64)
    y = torch.tensor([[1.5], [3.5], [0.5], [3.005]], dtype=torch.float64)
    reach, _ = ask(IDENTITY, ZERO, x, y)
    assert reach.reached.tolist() == [True, False, False, True]
    reach, _ = ask(IDENTITY, ZERO, x, y, bounds=(None, 9.0))
    assert reach.reached.tolist() == [True, True, False, True]


def test_what_is_reached_is_reached_by_solve():
    net, inverse = network(5, 3, gain=1.6), network(3, 5, seed=1)
    x = uniform(300, 5, seed=2)
    y = 1.3 * net(x).detach()
    reach, _ = ask(net, inverse, x, y, bounds=(-1.0, 1.0), steps=10)
    start = inverse(y).detach().clamp(-1, 1)
    options = {"max_steps": 10, "tolerance": TOLERANCE, "scale": (1.0, 1.0)}
    solved = solve(net, y, bounds=(-1.0, 1.0), starts=start, **options)
    reached = reach.reached
    assert 0.3 < reached.double().mean() < 0.95
    assert solved.converged[reached].all()
    # With as many steps again, with care, it reaches a few more.
    assert not reached[solved.converged & (solved.steps > 10)].any()
    assert torch.equal(solved.residual[reached], reach.distance[reached])


def test_outcomes_that_are_not_finite_do_not_count_and_proposals_that_are_not_reach_nothing():
    y = torch.tensor([[0.5], [torch.nan], [torch.inf], [0.7], [-0.1]], dtype=torch.float64)
    x = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    broken = lambda y: torch.where(y < 0, torch.nan, y)
    reach, scalars = ask(IDENTITY, broken, x, y)
    assert reach.distance.isnan().tolist() == [False, True, True, False, False]
    assert scalars["reachable_fraction"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("precision", ["native", "float64"])
def test_a_network_of_float32_is_asked_for_outcomes_of_float64(precision):
    net, inverse = network(3, 2, dtype=torch.float32), network(2, 3, dtype=torch.float32)
    root = nn.ModuleDict({"net": net, "inverse": inverse})
    x = uniform(50, 3, seed=0)
    y = net(x.float()).detach().double()
    spec = {"module": "net", "reach": {"inverse": "inverse", "outcomes": 1}}
    (watched,) = resolve_maps({"f": spec}, root, reachable_steps=20)
    found = observe(watched, x, outcomes=y, precision=precision)
    assert found.scalars["reachable_fraction"] > 0.9
    assert found.scale == "physical"


def test_points_of_any_shape_are_moved():
    x = uniform(20, 2, 3, seed=0)[:, None]
    half = lambda z: z.flatten(1)[:, ::2] ** 3
    back = lambda y: torch.zeros(len(y), 1, 2, 3).double()
    reach, _ = ask(half, back, x, half(x), bounds=(-1.0, 1.0), steps=50)
    # At 0 the slope is 0: no step leads anywhere.
    assert torch.equal(reach.distance, half(x).norm(dim=1))
    back = lambda y: torch.full((len(y), 1, 2, 3), 0.5).double()
    reach, _ = ask(half, back, x, half(x), bounds=(-1.0, 1.0), steps=50)
    assert reach.reached.double().mean() > 0.3


def test_of_fewer_outcomes_the_others_are_not_told():
    x = uniform(20, 2, seed=0)
    reach, scalars = ask(lambda z: 2 * z, lambda y: y, x, 2 * x[:5], bounds=(-1.0, 1.0))
    assert reach.distance.isnan().tolist() == [False] * 5 + [True] * 15
    assert scalars["reachable_fraction"] == 1


def test_an_inverse_of_another_shape_is_refused_in_words():
    x = uniform(5, 2, seed=0)
    with pytest.raises(MapError, match=r"its 2 outputs and to propose its 2 inputs, .* proposes 1"):
        ask(lambda z: 2 * z, lambda y: y[:, :1], x, x)
    with pytest.raises(MapError, match=r"because of its reach: expected `bounds` .* got \(3,\)"):
        ask(lambda z: 2 * z, lambda y: y, x, x, bounds=([0.0] * 3, None))
    with pytest.raises(MapError, match="because of its reach: ZeroDivisionError"):
        ask(lambda z: 2 * z, lambda y: y / (1 // 0), x, x)


def test_sharded_weights_are_refused_in_words():
    net = nn.Linear(2, 2).double()
    net.weight.full_tensor = None
    with pytest.raises(MapError, match=r"sharded over processes.* `reachable_steps=None`"):
        ask(net, lambda y: y, uniform(5, 2, seed=0), uniform(5, 2, seed=1))


def both(dtype=torch.float32):
    return nn.ModuleDict({"net": network(4, 3, dtype=dtype), "back": network(3, 4, dtype=dtype)})


MAPS = {"f": {"module": "net", "input": 0, "reach": {"inverse": "back", "outcomes": 1}}}
BATCH = (uniform(100, 4, seed=0).float(), uniform(100, 3, seed=1).float())


def test_outcomes_stay_with_their_points():
    watcher = Watcher(MAPS, reachable_steps=5, num_points=20)
    module = both()
    for _ in range(2):
        batches = ([part[rows : rows + 7] for part in BATCH] for rows in range(0, 100, 7))
        (found,) = look(watcher, module, batches)
    which = (found.inputs[:, None] == BATCH[0]).all(2).float().argmax(1)
    (watched,) = resolve_maps(MAPS, module, reachable_steps=5)
    again = observe(watched, found.inputs, outcomes=BATCH[1][which])
    assert torch.equal(found.findings["reach"].distance, again.findings["reach"].distance)


def test_an_inverse_from_elsewhere_is_in_evaluation_mode_and_left_as_it_was():
    back = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 4))
    before = state_of(back)
    maps = {"f": {**MAPS["f"], "reach": {"inverse": back, "outcomes": 1}}}
    first, second = (
        look(Watcher(maps, reachable_steps=3), both(), [BATCH])[0].findings["reach"].distance
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert all(part.training for part in back.modules())
    assert state_of(back) == before


def test_the_steps_keep_to_the_bound_on_work_and_what_is_too_much_is_said(caplog):
    caplog.set_level("INFO")
    net = both()["net"]
    # An evaluation and three passes; Gram matrix and eigenvalues: see `jacobians.work`.
    a_point = 4 * flops_of(net, BATCH[0]) + 4 * 3 * 4 * 3 + 20 * 3**3
    for affordable, told in ((100, 0), (200, 50), (400, 100)):
        bound = {"num_points": 100, "max_work": affordable * a_point}
        (found,) = look(Watcher(MAPS, reachable_steps=3, **bound), both(), [BATCH])
        assert found.num_points == 100
        reach = found.findings.get("reach")
        assert (0 if reach is None else (~reach.distance.isnan()).sum()) == told
    assert caplog.text.count("`reachable_fraction` of map 'f' is not computed") == 1


def test_of_a_jacobian_that_is_not_formed_it_is_not_tried():
    (watched,) = resolve_maps(MAPS, both(), reachable_steps=5)
    effort = Effort(formed=False, probes=3, steps=3)
    found = observe(watched, BATCH[0], outcomes=BATCH[1], effort=effort)
    assert list(found.findings) == ["probes"]


INPUTS = torch.tensor([[1.0, -2.0], [3.0, 5.0], [math.nan, math.inf]])


def bounded(bounds):
    return Reach("f", None, parse_part("outcomes", 1), *read_bounds("bounds", bounds))


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        (None, [1, -2], [3, 5]),
        ((0.0, 4.0), [0, 0], [4, 4]),
        (([0, None], [None, 4]), [0, -2], [3, 4]),
        (([math.nan, 0.0], None), [1, 0], [3, 5]),
        ((-math.inf, math.inf), [-math.inf] * 2, [math.inf] * 2),
        ((torch.tensor([9.0, -9.0]), None), [9, -9], [9, 5]),  # all inputs are below the first
        ((None, [0.5, 9.0]), [0.5, -2], [0.5, 9]),
    ],
)
def test_an_end_that_is_not_known_is_that_of_the_finite_inputs(bounds, low, high):
    ends = bounded(bounds).box(INPUTS)
    for end, expected in zip(ends, (low, high), strict=True):
        torch.testing.assert_close(end, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    "bounds", ["ab", 3, (1,), ("a", "b"), ([[0.0]], 1.0), ([0.0, 0.0], [1.0] * 3), (1.0, 0.0)]
)
def test_what_are_no_bounds_is_refused_by_name(bounds):
    with pytest.raises((TypeError, ValueError), match=r"Expected argument `f.bounds` to be a pair"):
        read_bounds("f.bounds", bounds)


def test_ends_for_other_inputs_are_refused():
    with pytest.raises(MapError, match=r"of shape \(2,\) each, but got \(3,\)"):
        bounded(([0.0] * 3, None)).box(INPUTS)


LAYERS = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"reach": "inverse"}, r"`maps\['f'\]\['reach'\]` to be a mapping {'inverse'"),
        ({"reach": {"inverse": "1"}}, "to have the keys 'inverse' and 'outcomes'"),
        ({"reach": {"inverse": "1", "outcomes": 1, "box": 2}}, r"\['inverse', 'outcomes', 'box'\]"),
        ({"reach": {"inverse": 3, "outcomes": 1}}, r"\['inverse'\]` to be a path"),
        ({"reach": {"inverse": "9", "outcomes": 1}}, r"\['inverse'\]` to be the path .* got '9'"),
        ({"reach": {"inverse": "1", "outcomes": 2.5}}, r"\['outcomes'\]` to be an index"),
        ({"reach": {"inverse": "1", "outcomes": 1}, "context": 2}, "no `context` beside `reach`"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused_by_name(spec, words):
    with pytest.raises((TypeError, ValueError), match=words):
        resolve_maps({"f": {"module": "0", **spec}}, LAYERS, reachable_steps=3)


def test_outcomes_that_are_not_there_are_said():
    maps = {"f": {"module": "0", "reach": {"inverse": "1", "outcomes": "y"}}}
    (watched,) = resolve_maps(maps, LAYERS, reachable_steps=3)
    with pytest.raises(MapError, match=r"because of its reach: .*a dict with the keys"):
        watched.question(Reach).take({"x": torch.zeros(3, 2)}, None)
    with pytest.raises(MapError, match=r"of shape \(N, m\), but got a tensor of dtype torch.int64"):
        watched.question(Reach).take({"y": torch.zeros(3, 2, dtype=torch.int64)}, None)
