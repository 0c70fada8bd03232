import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import (
    ForwardInverseModule,
    Interval,
    Near,
    ResidualMLP,
    Standardize,
    Variable,
    batched_jacobian,
    solve,
)
from lightning_invert.solver.solution import Result
from tests.solver.maps import network, uniform

NAN, INF = math.nan, math.inf
NET = network(5, 3, gain=1.5)
BOX = (-torch.ones(5).double(), torch.ones(5).double())


def targets(count, seed=1, net=NET, n=5):
    with torch.no_grad():
        return net(uniform(count, n, seed=seed))


def missing(outputs, low, high):
    return np.linalg.norm(
        np.maximum(0, np.maximum(np.nan_to_num(low - outputs), np.nan_to_num(outputs - high))),
        axis=1,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m"), [(7, 4), (4, 4), (3, 6), (5, 1), (1, 1)])
def test_reaches_what_can_be_reached_inside_the_box(n, m, dtype):
    net = network(n, m, gain=1.5, dtype=dtype)
    y = net(uniform(40, n, seed=1).to(dtype)).detach()
    found = solve(net, y, bounds=(-1.0, [1.0] * n))
    assert found.inputs.dtype == found.outputs.dtype == dtype
    assert (found.inputs.abs() <= 1).all()
    assert found.converged.float().mean() >= 0.97
    with torch.no_grad():
        torch.testing.assert_close(found.outputs, net(found.inputs))
    expected = missing(found.outputs.numpy(), y.numpy(), y.numpy())
    np.testing.assert_allclose(found.residual, expected, rtol=1e-4, atol=1e-6)
    assert (found.converged == (found.residual <= 1e-3)).all()


def test_values_intervals_and_free_outputs_mix_for_each_target():
    y = targets(4)
    low, high = y.clone(), y.clone()
    low[1], high[1] = y[1] - 0.1, y[1] + 0.1
    low[2, 0], high[2, 0] = -INF, NAN  # free
    low[2, 1], high[2, 1] = NAN, y[2, 1] - 0.2  # at most
    low[3, 2], high[3, 2] = y[3, 2], INF  # at least
    found = solve(NET, Interval(low, high), bounds=BOX)
    assert found.converged.all()
    closed = torch.nan_to_num(low, nan=-INF), torch.nan_to_num(high, nan=INF, posinf=INF)
    np.testing.assert_allclose(
        missing(found.outputs.numpy(), *(end.numpy() for end in closed)), found.residual, atol=1e-12
    )


def test_fixed_inputs_stay_and_others_find_the_way():
    y, value = targets(20), torch.linspace(-0.5, 0.5, 20).double()
    found = solve(NET, y, bounds=BOX, fixed={0: 0.25, 4: value})
    assert (found.inputs[:, 0] == 0.25).all()
    assert (found.inputs[:, 4] == value).all()
    assert not found.at_bound[:, [0, 4]].any()
    free = solve(NET, y, bounds=BOX)
    assert found.converged.sum() <= free.converged.sum()
    assert found.converged.any()


def test_condition_is_of_what_may_move_and_of_what_is_wanted():
    y = targets(10)
    y[:5, 1] = NAN
    found = solve(NET, y, bounds=BOX, fixed={2: 0.1}, scale=(1.0, 1.0))
    jacobian = batched_jacobian(NET, found.inputs)[:, :, [0, 1, 3, 4]].numpy()
    expected = [np.linalg.cond(j[[0, 2]] if i < 5 else j) for i, j in enumerate(jacobian)]
    np.testing.assert_allclose(found.condition, expected, rtol=1e-6)


def test_residuals_and_conditions_are_in_the_units_of_the_scale():
    y, d, s = 3 * targets(8), torch.arange(1.0, 6).double(), torch.tensor([0.5, 1.0, 2.0]).double()
    found = solve(NET, y, bounds=BOX, scale=(d.tolist(), s.tolist()))
    torch.testing.assert_close(found.residual, ((found.outputs - y) / s).norm(dim=1))
    scaled = batched_jacobian(NET, found.inputs) * d / s[:, None]
    torch.testing.assert_close(found.condition, torch.linalg.cond(scaled))


def test_alternatives_reach_the_target_differ_and_come_best_first():
    def folded(x):
        return x.square().sum(1, keepdim=True)

    y = torch.tensor([[0.25], [0.5], [9.0]]).double()
    prices = torch.tensor([1.0, 0.5]).double()
    start = torch.tensor([[0.5, 0.1], [-0.5, 0.1], [0.5, 0.1001], [-0.1, 0.4]]).double()
    found = solve(folded, y, bounds=(-1.0, [1.0, 1.0]), starts=start.expand(3, 4, 2))
    others = found.alternatives
    assert others.count.tolist() == [2, 2, 0]
    for row in range(2):
        inputs = torch.cat((found.inputs[row, None], others.inputs[row, : others.count[row]]))
        apart = (inputs[:, None] - inputs).abs().amax(2) + torch.eye(3)
        assert (apart >= 0.01).all()
        assert (others.residual[row] <= 1e-3).all()
    residual = torch.cat((found.residual[:, None], others.residual), 1)[:2]
    assert (residual.diff() >= 0).all()
    assert others.inputs[2].isnan().all()
    cheap = solve(folded, y, bounds=(-1.0, [1.0, 1.0]), starts=start.expand(3, 4, 2), cost=prices)
    costs = torch.cat((cheap.cost[:, None], cheap.alternatives.cost), 1)
    assert (costs.diff()[:2].nan_to_num(0) >= 0).all()
    torch.testing.assert_close(cheap.cost, cheap.inputs @ prices)
    expected = -torch.linalg.vector_norm(prices) * y[:2, 0].sqrt()  # along -c on the circle
    torch.testing.assert_close(cheap.cost[:2], expected, atol=1e-3, rtol=0)
    assert cheap.optimal.all()


@pytest.mark.parametrize(
    ("function", "targets", "options", "result"),
    [
        (lambda x: x, [[0.5, 0.5]], {}, Result.REACHED),
        (lambda x: x, [[2.0, 0.5]], {}, Result.AT_BOUNDS),
        (lambda x: x.square() + 1, [[0.5, 1.25]], {"max_steps": 100}, Result.OUT_OF_REACH),
        (lambda x: x.exp(), [[2.0, 0.7]], {"max_steps": 1}, Result.OUT_OF_STEPS),
        (lambda x: x * math.nan, [[0.5, 0.5]], {}, Result.NOT_FINITE),
    ],
)
def test_the_result_tells_why_the_search_ended(function, targets, options, result):
    start = torch.tensor([[0.1, 0.1]])
    found = solve(function, targets, bounds=([-1.0] * 2, [1.0] * 2), starts=start, **options)
    assert found.result.tolist() == [result]
    assert found.reasons == [result.words]
    assert found.converged.tolist() == [result == Result.REACHED]
    assert found.at_bound.any() == (result == Result.AT_BOUNDS)
    assert found.cost is None


def test_more_starts_never_make_it_worse():
    net = network(3, 3, gain=2.5)
    y, start = targets(30, net=net, n=3), uniform(30, 6, 3, seed=4)
    one = solve(net, y, bounds=(-1.0, [1.0] * 3), starts=start[:, 0])
    six = solve(net, y, bounds=(-1.0, [1.0] * 3), starts=start)
    assert (six.converged | ~one.converged).all()
    assert (six.residual[~six.converged] <= one.residual[~six.converged] + 1e-12).all()
    assert six.converged.sum() > one.converged.sum()


def test_the_price_of_what_is_fixed_changes_nothing():
    y, prices, start = targets(20), uniform(5, seed=6), uniform(20, 5, seed=3)
    options = {"bounds": BOX, "fixed": {1: 0.2}, "starts": start}
    dear = prices.clone()
    dear[1] = 1e5
    cheap, other = (solve(NET, y, cost=cost, **options) for cost in (prices, dear))
    torch.testing.assert_close(other.inputs, cheap.inputs)
    assert (other.optimal == cheap.optimal).all()


@pytest.mark.parametrize("shape", [(5,), (20, 5)])
def test_staying_near_a_reference_moves_less_than_any_other_solution(shape):
    y, reference = targets(20), 0.5 * uniform(*shape, seed=8)
    near = solve(NET, y, bounds=BOX, cost=Near(reference, spread=1.0))
    other = solve(NET, y, bounds=BOX)
    distance = (near.inputs - reference).square().sum(1)
    torch.testing.assert_close(near.cost, distance)
    assert (distance <= (other.inputs - reference).square().sum(1) + 1e-6).all()


@pytest.mark.parametrize(("chunk", "seed", "cost"), [(1, 0, False), (2, 1, True), (7, 2, True)])
def test_does_not_depend_on_chunks_or_on_the_order_of_the_targets(chunk, seed, cost):
    y = targets(9, seed=seed)
    options = {"bounds": BOX, "num_starts": 2, "cost": uniform(5, seed=6) if cost else None}
    whole = solve(NET, y, **options)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_invert.solver.solve.points_at_once", lambda n, m: 2 * chunk)
        shuffled = solve(NET, y[order], **options)
    torch.testing.assert_close(shuffled.inputs, whole.inputs[order], rtol=1e-6, atol=1e-7)
    assert (shuffled.converged == whole.converged[order]).all()
    assert torch.equal(shuffled.alternatives.count, whole.alternatives.count[order])
    others = shuffled.alternatives.inputs, whole.alternatives.inputs[order]
    torch.testing.assert_close(*others, rtol=1e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(("seed", "where"), [(0, 0), (1, 2), (2, 3)])
def test_an_output_of_which_nothing_is_wanted_changes_nothing(seed, where):
    extra = network(5, 1, gain=2.0, seed=3)
    y, start = targets(5, seed=seed), uniform(5, 5, seed=seed + 100)

    def more(x):
        return torch.cat((NET(x)[:, :where], extra(x), NET(x)[:, where:]), 1)

    nothing = torch.full((5, 1), NAN).double()
    wanted = torch.cat((y[:, :where], nothing, y[:, where:]), 1)
    alone = solve(NET, y, bounds=BOX, starts=start)
    together = solve(more, wanted, bounds=BOX, starts=start)
    torch.testing.assert_close(together.inputs, alone.inputs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(together.condition, alone.condition, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("seed", "factor"), [(0, 1e-3), (1, 7.0), (2, 1e4)])
def test_does_not_depend_on_units_where_the_box_says_them(seed, factor):
    y, start = targets(5, seed=seed), uniform(5, 5, seed=seed + 100)
    plain = solve(NET, y, bounds=BOX, starts=start)
    other = solve(
        lambda x: NET(x / factor), y, bounds=(-factor, [factor] * 5), starts=factor * start
    )
    torch.testing.assert_close(other.inputs / factor, plain.inputs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other.condition, plain.condition, rtol=1e-4, atol=0)


def test_arrays_and_lists_serve_even_if_they_must_not_be_written_to():
    y = targets(3)
    array, low = y.numpy().copy(), np.full(5, -1.0)
    for part in (array, low):
        part.flags.writeable = False
    expected = solve(NET, y, bounds=BOX, cost=[1.0] * 5)
    found = solve(NET, array, bounds=(low, [1.0] * 5), cost=np.ones(5), num_starts=np.int64(8))
    torch.testing.assert_close(found.inputs, expected.inputs)
    plain = solve(lambda x: x[:, :2] * 2, array[:, :2].tolist(), bounds=(low[:2], 1.0))
    assert plain.inputs.dtype == torch.float64  # that of the array among what is given


def test_the_same_starts_are_drawn_each_time_and_the_random_stream_is_left_alone():
    y, state = targets(5), torch.get_rng_state()
    one, same = (solve(NET, y, bounds=BOX) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.inputs, same.inputs)


def test_a_module_is_evaluated_without_dropout_and_left_as_it_was():
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        found = solve(net, torch.zeros(4, 2), bounds=(-1.0, [1.0] * 3))
    assert net.training
    assert net[1].training
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(found.outputs, net.eval()(found.inputs))


def test_a_pair_brings_names_ranges_and_statistics():
    pair = ForwardInverseModule(ResidualMLP(2, 2, dropout=0.0), ResidualMLP(2, 2))
    pair.inputs = (Variable("heat", "K", 200.0, 400.0), Variable("flow", "", 0.0, None))
    mean, std = torch.tensor([300.0, 1.0]), torch.tensor([50.0, 0.3])
    pair.scale_x.fit(mean, std)
    pair.scale_y.fit(torch.tensor([5.0, 0.0]), torch.tensor([2.0, 10.0]))
    x = torch.tensor([[310.0, 1.2], [350.0, 0.7]])
    with torch.no_grad():
        y = pair.eval()(x)
    start = torch.tensor([[300.0, 1.0]]).expand(2, 2)
    for function in (pair, pair.forward):
        found = solve(function, y, starts=start, fixed={"heat": x[:, 0]})
        assert (found.inputs[:, 0] == x[:, 0]).all()
        units = (found.outputs - y) / torch.tensor([2.0, 10.0])
        torch.testing.assert_close(found.residual, units.norm(dim=1).double(), atol=1e-6, rtol=1e-3)
    physical = solve(pair, y + 1, starts=start, scale="physical")
    torch.testing.assert_close(
        physical.residual, (physical.outputs - y - 1).norm(dim=1).double(), atol=1e-5, rtol=1e-4
    )
    assert (physical.inputs[:, 0] >= 200).all()
    # Its inverse takes other inputs, of which it does not know where they may be.
    back = solve(pair.inverse, x, starts=y)
    assert back.converged.all() == (back.residual <= 1e-3).all()
    with pytest.raises(ValueError, match="open for input 'flow'"):
        solve(pair, y)
    with pytest.raises(ValueError, match=r"keyed by one of \['heat', 'flow'\], but got 'wind'"):
        solve(pair, y, starts=start, fixed={"wind": 1.0})


def test_a_start_outside_the_box_or_without_a_number_harms_only_itself():
    y, start = targets(3), uniform(3, 5, seed=2)
    start[0, 0], start[1, 2] = 99.0, NAN
    found = solve(NET, y, bounds=BOX, starts=start)
    assert found.converged.tolist() == [True, False, True]
    assert found.residual[1] == INF
    assert found.condition.isnan().tolist() == [False, True, False]
    assert (found.inputs[0].abs() <= 1).all()


def test_a_function_that_mixes_rows_is_said_to():
    with pytest.raises(ValueError, match="mixes"):
        solve(lambda x: x - x.mean(0), torch.zeros(3, 2), bounds=(-1.0, [1.0, 1.0]))


def test_no_bar_is_drawn_where_nobody_sees_it(capsys):
    solve(NET, targets(3), bounds=BOX)
    solve(NET, targets(3), bounds=BOX, progress=False)
    assert capsys.readouterr().err == ""


def test_a_network_with_statistics_of_its_own_is_asked_in_its_own_dtype():
    layers = {"scale_x": Standardize(torch.zeros(2), torch.ones(2)), "net": nn.Linear(2, 1)}
    surrogate = nn.Sequential(OrderedDict(layers))
    found = solve(surrogate, [[0.1]], bounds=([-9.0, -9.0], [9.0, 9.0]))
    assert found.inputs.dtype == torch.float32
    assert found.converged.all()
