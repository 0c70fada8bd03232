import pytest
import torch

from lightning_invert.proposals.evidence import Evidence
from tests.processes import gathering


def points(count, first=0):
    """Rows that say which they are: x is (i, -i), y is 2 i."""
    i = torch.arange(first, first + count, dtype=torch.float64)[:, None]
    return torch.cat([i, -i], 1), 2 * i


def filled(num_points, x, y, *, batch=16, complete=True, **kwargs):
    evidence = Evidence(num_points, **kwargs)
    for rows in torch.arange(len(x)).split(batch):
        evidence.add("train", x[rows], y[rows])
    if complete:
        evidence.complete("train")
    return evidence


def test_splits_stay_apart_and_a_complete_one_takes_no_more():
    evidence = filled(50, *points(30))
    evidence.add("train", *points(30, first=100))
    evidence.add("val", *points(5, first=200))
    assert evidence.rows("train")[0][:, 0].sort().values.tolist() == list(range(30))
    assert evidence.rows("val")[0][:, 0].sort().values.tolist() == list(range(200, 205))


def merged(evidences):
    """Complete as processes do: each waits for the others wherever something is gathered."""
    gathering(len(evidences), lambda rank, gather: evidences[rank].complete("train", gather))
    return [evidence.rows("train") for evidence in evidences]


def of_processes(sizes, num_points, seed=0):
    evidences = []
    for process, size in enumerate(sizes):
        evidence = Evidence(num_points, seed)
        evidence.begin(process)
        x, y = points(size, first=sum(sizes[:process]))
        if size:
            evidence.add("train", x, y)
        evidences.append(evidence)
    return evidences


@pytest.mark.parametrize("sizes", [(70, 30), (7, 93), (20, 20, 21), (100, 0), (5, 4)])
def test_processes_end_with_the_same_rows_of_all_of_them(sizes):
    (x, y), *others = merged(of_processes(sizes, 40))
    for other in others:
        torch.testing.assert_close((x, y), other, rtol=0, atol=0)
    assert len(x[:, 0].unique()) == len(x) == min(40, sum(sizes))
    assert torch.equal(x[:, :1] * 2, y)


def test_processes_draw_independently():
    together = 0
    for seed in range(0, 2000, 10):
        (x, _), _ = merged(of_processes((20, 20), 20, seed))
        kept = set(x[:, 0].long().tolist())
        together += sum(i in kept and 20 + i in kept for i in range(20))
    expected = 20 * (20 / 40) * (19 / 39)  # drawn without replacement
    assert together / 200 == pytest.approx(expected, rel=0.1)


def test_without_any_rows_a_split_is_not_complete():
    one, other = of_processes((0, 0), 10)
    assert merged([one, other]) == [None, None]
    one.add("train", *points(3))
    assert len(one.rows("train")[0]) == 3


@pytest.mark.parametrize("complete", [True, False])
def test_it_goes_on_from_its_state(complete):
    x, y = points(500)
    unbroken = filled(50, x, y, complete=False).rows("train")
    resumed = Evidence(50)
    first = 256
    resumed.load_state_dict(filled(50, x[:first], y[:first], complete=complete).state_dict())
    if complete:
        unbroken = resumed.rows("train")
    resumed.add("train", x[first:], y[first:])
    torch.testing.assert_close(resumed.rows("train"), unbroken, rtol=0, atol=0)


def test_a_state_of_more_rows_is_taken_whole_unless_none_are_wanted():
    smaller, none = Evidence(10), Evidence(0)
    assert smaller.rows("train") is None
    for evidence in (smaller, none):
        evidence.load_state_dict(filled(50, *points(500)).state_dict())
    assert len(smaller.rows("train")[0]) == 50
    assert none.rows("train") is None
    assert filled(0, *points(30)).rows("train") is None


def damaged(**changes):
    state = filled(20, *points(50)).state_dict()
    return {**state, "train": {**state["train"], **changes}}


X, Y = torch.zeros(20, 2).double(), torch.zeros(20, 1).double()


@pytest.mark.parametrize(
    "state",
    [
        {"train": {}},
        {"train": None},
        {"test": filled(20, *points(50)).state_dict()["train"]},
        damaged(rows={"x": X}),
        *(damaged(rows={"x": x, "y": Y}) for x in (X[:19], X[:, 0], X.float(), "rows")),
        damaged(rows=None),
        *(damaged(keys=keys) for keys in (torch.zeros(3).double(), None)),
        *(damaged(generator=state) for state in (torch.zeros(3), "seed")),
        {"tried": {"rows": {"x": X, "y": Y}}},
        {"tried": {"rows": {"x": X, "y": Y}, "missed": torch.zeros(19, dtype=torch.bool)}},
        {"tried": {"rows": {"x": X, "y": Y}, "missed": torch.zeros(20)}},
        {"tried": {"rows": {"x": X}, "missed": torch.zeros(20, dtype=torch.bool)}},
        {"tried": {"rows": {"x": X, "y": Y / 0}, "missed": torch.zeros(20, dtype=torch.bool)}},
    ],
)
def test_a_damaged_state_is_named(state):
    with pytest.raises(ValueError, match="to keep rows of its data, but they are damaged"):
        Evidence(20).load_state_dict(state)
