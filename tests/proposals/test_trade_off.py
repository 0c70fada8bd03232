import math

import pytest
import torch

from lightning_invert import ForwardInverseModule, Interval, Near, SmoothMLP
from tests.projects import Smooth, quiet_trainer

BOX = ([600.0, 296.0, 0.45], [1400.0, 304.0, 0.55])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    torch.manual_seed(0)
    pair = ForwardInverseModule(
        SmoothMLP(3, 2, width=24), SmoothMLP(2, 3, width=24), learning_rate=0.01
    )
    data = Smooth(rows=400, batch_size=32)
    quiet_trainer(tmp_path_factory.mktemp("pair"), max_epochs=20).fit(pair, data)
    return pair.eval()


@pytest.fixture(scope="module")
def wanted(pair):
    _, y = pair.evidence.rows("val")
    return y[:12]


PRICES = torch.tensor([0.01, 1.0, 0.0])


@pytest.mark.slow
def test_at_each_width_the_cost_is_that_of_settings_which_reach_the_widened_target(pair, wanted):
    widths = (0.0, 0.1, 0.3)
    found = pair.trade_off(wanted, PRICES, widths=widths, bounds=BOX)
    unit = pair.scale_y.std
    for k, width in enumerate(widths):
        reached = ~found.cost[k].isnan()
        assert reached.sum() > 8
        x = found.inputs[k, reached]
        torch.testing.assert_close(found.cost[k, reached], x @ PRICES.double())
        off = ((pair(x) - wanted[reached]) / unit).abs()
        assert (off <= width + 2e-3).all()
        assert (x >= torch.tensor(BOX[0]) - 1e-9).all()
        assert (x <= torch.tensor(BOX[1]) + 1e-9).all()


def test_a_wider_target_is_never_dearer_and_reached_wherever_a_narrower_one_is(pair, wanted):
    cost = pair.trade_off(wanted, PRICES, bounds=BOX).cost
    assert cost.shape == (6, 12)
    assert (cost.nan_to_num(math.inf).diff(dim=0).nan_to_num(0.0) <= 0).all()
    assert (cost[-1] < cost[0]).any()


@pytest.mark.slow
def test_a_width_costs_what_a_proposal_for_its_interval_does(pair, wanted):
    found = pair.trade_off(wanted, PRICES, widths=(0.2,), bounds=BOX)
    by = 0.2 * pair.scale_y.std
    alone = pair.propose(Interval(wanted - by, wanted + by), cost=PRICES, bounds=BOX)
    expected = torch.where(alone.converged, alone.cost, torch.nan)
    torch.testing.assert_close(found.cost[0], expected, equal_nan=True, rtol=1e-3, atol=1e-3)


def test_what_is_given_for_each_target_stays_with_it(pair, wanted):
    load = torch.linspace(0.48, 0.52, 12).double()
    reference = torch.stack([800 + 50 * torch.arange(12.0), torch.full((12,), 300.0), load], 1)
    found = pair.trade_off(
        wanted, Near(reference), widths=(0.0, 0.4), bounds=BOX, fixed={"load": load}
    )
    for k in range(2):
        reached = ~found.cost[k].isnan()
        torch.testing.assert_close(found.inputs[k, reached, 2], load[reached])
        away = (found.inputs[k, reached] - reference[reached]) / pair.scale_x.std
        torch.testing.assert_close(
            found.cost[k, reached], away.square().sum(1), rtol=1e-5, atol=1e-8
        )


def test_an_open_end_and_a_free_output_stay_so(pair, wanted):
    target = Interval(torch.tensor([[wanted[0, 0], math.nan]]), None)
    found = pair.trade_off(target, PRICES, widths=(0.0, 0.3), bounds=BOX)
    room = torch.tensor([0.002, 0.302]) * pair.scale_y.std[0]
    assert (pair(found.inputs[:, 0])[:, 0] >= wanted[0, 0] - room).all()


def test_what_is_out_of_reach_is_not_a_number(pair, wanted):
    far = wanted[:1] + 50 * pair.scale_y.std
    found = pair.trade_off(far, PRICES, widths=(0.0, 0.1), bounds=BOX)
    assert found.cost.isnan().all()
    assert found.inputs.isnan().all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"widths": ()}, ValueError, "`widths` to be numbers in ascending order"),
        ({"widths": (0.2, 0.1)}, ValueError, "`widths` to be numbers in ascending order"),
        ({"widths": (-0.1,)}, ValueError, "`widths` to be a finite number of at least 0"),
        ({"widths": ("wide",)}, TypeError, "`widths` to be a finite number"),
        ({"cost": None}, TypeError, "`cost` to be prices, a function or a `Near`"),
    ],
)
def test_names_the_argument_that_is_wrong(pair, wanted, options, error, message):
    with pytest.raises(error, match=message):
        pair.trade_off(wanted, **{"cost": PRICES, "bounds": BOX, **options})
