import math

import pytest
import torch

from lightning_invert import Constraint, Interval, Linear, Near, solve
from tests.solver.maps import network

NAN, INF = math.nan, math.inf
NET = network(5, 3, gain=1.5)
BOX = (-torch.ones(5).double(), torch.ones(5).double())
Y = torch.zeros(2, 3).double()
START = torch.zeros(2, 5).double()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"targets": torch.zeros(2, 4)}, ValueError, r"`targets` .* shape \(N, 3\).*\(2, 4\)"),
        ({"targets": torch.zeros(3)}, ValueError, r"`targets` .* shape \(N, 3\).*\(3,\)"),
        ({"targets": torch.zeros(0, 3)}, ValueError, "`targets`"),
        ({"targets": torch.zeros(2, 3).long()}, TypeError, "floating, but got torch.int64"),
        ({"targets": "high"}, TypeError, "`targets` to be numbers"),
        ({"targets": [[1.0, 2.0, INF]]}, ValueError, r"finite.*Interval\(low, high\)"),
        ({"targets": [[0.0] * 3, [NAN] * 3]}, ValueError, "target 2 has only free ones"),
        ({"targets": Interval()}, ValueError, "free ones"),
        ({"targets": Interval(0, [1, -1, 1])}, ValueError, "low=0 and high=-1 for output 'y1'"),
        ({"targets": Interval(0.0, torch.zeros(2, 4))}, ValueError, r"\(\) and \(2, 4\)"),
        ({"bounds": (1.0, -1.0)}, ValueError, "low=1 and high=-1 for input 'x0'"),
        ({"bounds": (torch.zeros(3), None)}, ValueError, r"`bounds` .* shape \(5,\)"),
        ({"bounds": 1.0}, TypeError, r"a pair \(low, high\)"),
        ({"starts": torch.zeros(3, 5)}, ValueError, r"`starts` .*\(2, 5\) or \(2, S, 5\)"),
        ({"starts": torch.zeros(5)}, ValueError, r"`starts` .*\(N, n\)"),
        ({"num_starts": 0}, ValueError, "`num_starts` .* at least 1"),
        ({"num_starts": True}, TypeError, "`num_starts`"),
        ({"starts": None}, ValueError, "number of inputs is not known"),
        ({"starts": None, "bounds": ([-1.0] * 5, None)}, ValueError, "open for input 'x0'"),
        ({"fixed": {7: 0.0}}, ValueError, "`fixed`"),
        ({"fixed": {"heat": 0.0}}, ValueError, "keyed by one of .*'x0'"),
        (
            {"fixed": {0: 3.0}, "bounds": BOX},
            ValueError,
            "got 3 for input 'x0', which may be -1 to 1",
        ),
        ({"fixed": {0: NAN}}, ValueError, "finite number"),
        ({"fixed": {0: torch.zeros(3)}}, ValueError, "each of the 2 targets"),
        ({"fixed": dict.fromkeys(range(5), 0.0)}, ValueError, "leave an input that may move"),
        ({"fixed": [0.0]}, TypeError, "dictionary"),
        ({"cost": [1.0]}, ValueError, r"prices of shape \(5,\)"),
        ({"cost": [NAN] * 5}, ValueError, "`cost` to be finite"),
        ({"cost": lambda x: x}, ValueError, r"`cost` to return one number for each point"),
        ({"cost": lambda x: x.detach()[:, 0]}, ValueError, "carries a gradient"),
        ({"cost": Near(torch.zeros(3, 5))}, ValueError, r"`cost.reference` .*\(2, 5\)"),
        ({"cost": Near([0.0] * 5, spread=-1.0)}, ValueError, r"`cost.spread` to be positive"),
        ({"constraints": 3}, TypeError, "a Linear, a Constraint, a LikeData, a list of them"),
        (
            {"constraints": [{"high": 3}]},
            TypeError,
            r"`constraints\[0\]` to be a Linear, a Constraint or a LikeData",
        ),
        (
            {"constraints": Linear({"heat": 1}, 0)},
            ValueError,
            r"`constraints\[0\].weights` .*'heat'",
        ),
        (
            {"constraints": {"fuel": Linear({7: 1}, 0)}},
            ValueError,
            r"`constraints\['fuel'\].weights`",
        ),
        ({"constraints": Linear([1.0] * 5, 0)}, TypeError, "dictionary {name or index: number}"),
        ({"constraints": Linear({0: 0}, 0)}, ValueError, "not 0"),
        ({"constraints": Linear({0: "1"}, 0)}, TypeError, "finite number"),
        ({"constraints": Linear({0: 1})}, ValueError, "an end, low or high, but got none"),
        ({"constraints": Linear({0: 1}, high=NAN)}, ValueError, r"constraints\[0\].high.*finite"),
        ({"constraints": Linear({0: 1}, 2, 1)}, ValueError, "low=2 and high=1"),
        ({"constraints": Constraint(3, 0)}, TypeError, r"\[0\].function` to be a function"),
        ({"constraints": Constraint(lambda x: x.sum(), 0)}, ValueError, r"\(1,\) or \(1, k\)"),
        ({"constraints": Constraint(lambda x: x[:, :0], 0)}, ValueError, r"returned \(1, 0\)"),
        (
            {"constraints": Constraint(lambda x: x - x.mean(0), 0)},
            ValueError,
            "`constraints` to treat",
        ),
        ({"constraints": Constraint(lambda x: x.detach(), 0)}, ValueError, "carries a gradient"),
        (
            {"constraints": {"fuel": Linear({0: 1}, 3)}, "bounds": BOX},
            ValueError,
            "point within the bounds, but none keeps 'fuel'",
        ),
        ({"tolerance": 0.0}, ValueError, "`tolerance`"),
        ({"max_steps": 0}, ValueError, "`max_steps`"),
        ({"max_steps": 2.5}, TypeError, "`max_steps`"),
        ({"scale": "log"}, ValueError, "`scale`"),
        ({"scale": "standardized"}, ValueError, "without statistics"),
        ({"scale": (1.0, 0.0)}, ValueError, "positive units"),
        ({"progress": "no"}, TypeError, "`progress`"),
        ({"function": 3}, TypeError, "`function`"),
        ({"function": lambda x: x.detach()[:, :3]}, ValueError, "carries a gradient"),
    ],
)
def test_bad_input_is_refused_in_words(change, error, words):
    with pytest.raises(error, match=words):
        solve(**{"function": NET, "targets": Y, "starts": START} | change)
