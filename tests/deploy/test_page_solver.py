"""The page's solver, in node, beside the package's: the same settings for random networks."""

import json
import shutil
import subprocess
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lightning_invert import Interval, Linear, Near, Variable
from lightning_invert.conditions import matters, read_conditions
from lightning_invert.deploy.page import joined
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.surrogate import Surrogate
from lightning_invert.proposals.windows import find_windows
from lightning_invert.solver.cases import read_query
from lightning_invert.solver.model import Description
from lightning_invert.solver.search import Search
from lightning_invert.solver.solve import rank_solutions
from lightning_invert.solver.targets import Targets
from lightning_invert.variables import Bounds
from tests.deploy.conftest import missing

pytestmark = pytest.mark.slow

KINDS = (
    "target", "prices", "near", "levels", "changes", "levels and changes", "windows", "matters", "near matters",
    "levels, changes, matters",
)  # fmt: skip
TARGETS = 10
LEVELS = (-0.5, 0.25, 0.75)
WIDE = {"many levels": 7, "all levels": 9, "all levels, few changes": 9}

HARNESS = """
import { readFileSync, writeFileSync } from "node:fs";
const [, , from, to] = process.argv;
const open = (ends, end) => ends.map((value) => value ?? end);
const pair = ({ low, high }) => ({ low: open(low, -Infinity), high: open(high, Infinity) });
const answers = JSON.parse(readFileSync(from, "utf8")).map(async (one) => {
  const [first, second] = one.network;
  const evaluate = batched(async (points) => points.map((x) => {
    const hidden = first.map((row) => Math.tanh(dot(row, x)));
    const slopes = first.map((row, k) => row.map((a) => a * (1 - hidden[k] ** 2)));
    return { outputs: times(second, hidden), jacobian: second.map((row) => pulledBy(slopes, row, x.length)) };
  }));
  const inputs = one.levels.map((levels, j) =>
    ({ name: `x${j}`, levels, matters_if: one.mattersIf[j], std: one.inputSpread[j], low: one.box.low[j], high: one.box.high[j] }));
  const store = {
    evaluate, inputs, conditions: conditionsOf(inputs),
    outputs: one.outputSpread.map((std) => ({ std })),
    constraints: one.constraints.map((row) => ({ ...row, low: row.low ?? -Infinity, high: row.high ?? Infinity })),
    thresholds: { singularFloor: 1e-12 },
  };
  const target = pair(one.target);
  const wanted = target.low.map((low, i) => ({ kind: "between", low, high: target.high[i] }));
  const held = inputs.map(() => false);
  if (one.kind === "windows") return windowsOf(store, { wanted, held }, one.at, 0.05);
  const problem = problemOf(store, { wanted, held });
  problem.worth = ({ residual }) => residual;
  const matter = (x) => mattering(store, x);
  if (one.prices) problem.cost = pricesCost(one.prices, matter);
  if (one.near) problem.cost = nearnessCost(one.near, one.inputSpread, matter);
  const told = [];
  const tell = (share, some) => told.push([share, some().length]);
  const { found, unfinished } = await solveCases(problem, one.starts, { reference: one.reference, maxChanges: one.maxChanges, tell });
  return { ...found[0], matters: matter(found[0].inputs), told, unfinished };
});
writeFileSync(to, JSON.stringify(await Promise.all(answers)));
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    program = shutil.which("node") or missing("node")
    folder = tmp_path_factory.mktemp("node")
    script = folder / "solve.mjs"
    script.write_text(joined("propose", "windows", "batch") + HARNESS, encoding="utf-8")

    def asked(cases):
        (folder / "asked.json").write_text(json.dumps(cases), encoding="utf-8")
        files = [str(folder / name) for name in ("asked.json", "answers.json")]
        done = subprocess.run(
            [program, script, *files], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "answers.json").read_text(encoding="utf-8"))

    return asked


def numbers(ends):
    """JSON has no infinity."""
    return [None if abs(end) == np.inf else end for end in ends]


class Problem:
    """Ten targets of a random network, with two constraints that hold where the targets come from."""

    def __init__(self, kind, seed):
        draw = self.draw = np.random.default_rng(seed)
        self.kind, self.n, self.m = kind, int(draw.integers(4, 6)), int(draw.integers(1, 4))
        if kind in WIDE:
            self.n, self.m = WIDE[kind], 2
        n, m = self.n, self.m
        self.first = draw.normal(size=(12, n)) / np.sqrt(n)
        self.second = draw.normal(size=(m, 12)) / np.sqrt(12)
        self.unit = 10.0 ** draw.uniform(-2, 3, n)
        self.first /= self.unit
        self.output_unit = draw.uniform(0.5, 2, m)
        self.low, self.high = -self.unit, self.unit * draw.uniform(0.8, 1.5, n)
        self.levels = [()] * n
        if "levels" in kind or seed == 16:  # windows
            for j in range(5) if kind == "many levels" else range(9) if kind in WIDE else (0, 2):
                self.levels[j] = tuple((self.unit[j] * np.array(LEVELS)).tolist())
        self.conditions = [None] * n
        if "matters" in kind:
            self.conditions[3] = ("x1", ">", 0.0)
            self.conditions[0] = ("x1", "!=", float(0.3 * self.unit[1]))
            self.conditions[2] = ("x3", ">", 0.0)
            self.first[:, 2:4] = 0
        x, self.reference = self.points(), self.points()
        if "changes" in kind:
            x = np.where(draw.permuted(np.arange(n) < 2 + 0 * x, axis=1), x, self.reference)
        y = np.tanh(x @ self.first.T) @ self.second.T
        width = np.where(draw.random(y.shape) < 0.3, 0.2 * draw.random(y.shape), 0.0)
        self.target = y - width, y + width
        if m > 1:
            free = draw.random(y.shape) < 0.2
            free[:, 0] = False
            self.target[0][free], self.target[1][free] = -np.inf, np.inf
        num_starts = {"target": 1, **dict.fromkeys(WIDE, 4)}.get(kind, 2)
        self.starts = draw.uniform(self.low, self.high, (TARGETS, num_starts, n))
        self.prices = draw.normal(size=(TARGETS, n)) / self.unit
        weights = draw.normal(size=(2, n)) / self.unit
        sums = x @ weights.T
        # The second is an equation where all targets come from points that keep it.
        self.weights, self.ends = (
            weights,
            [(None, float(sums[:, 0].max())), (float(sums[:, 1].min()), float(sums[:, 1].max()))],
        )
        if seed % 3 == 0:
            self.weights, self.ends = weights[:0], []

    def points(self):
        points = self.draw.uniform(0.9 * self.low, 0.9 * self.high, (TARGETS, self.n))
        for j, own in enumerate(self.levels):
            if own:
                points[:, j] = self.draw.choice(own, TARGETS)
        return points

    @property
    def function(self):
        first, second = map(torch.from_numpy, (self.first, self.second))
        return lambda x: torch.tanh(x @ first.T) @ second.T

    @property
    def cost(self):
        if self.kind in ("target", "windows"):
            return None
        return Near(self.reference) if "near" in self.kind else self.prices

    @property
    def variables(self):
        ends = zip(self.low.tolist(), self.high.tolist(), self.levels, strict=True)
        return tuple(
            Variable(f"x{j}", "", *end, matters_if=condition)
            for j, (end, condition) in enumerate(zip(ends, self.conditions, strict=True))
        )

    @property
    def constraints(self):
        rows = zip(self.weights.tolist(), self.ends, strict=True)
        return {f"row {k}": Linear(dict(enumerate(row)), *end) for k, (row, end) in enumerate(rows)}

    def solved(self):
        query = read_query(
            self.function,
            Interval(*map(torch.from_numpy, self.target)),
            max_changes=(2, self.reference) if "changes" in self.kind else None,
            description=Description(inputs=self.variables),
            bounds=(torch.from_numpy(self.low), torch.from_numpy(self.high)),
            starts=torch.from_numpy(self.starts),
            cost=self.cost,
            constraints=self.constraints,
            search=Search(),
            scale=(torch.from_numpy(self.unit), torch.from_numpy(self.output_unit)),
        )
        return rank_solutions(query, progress=False).best()

    def windows(self, inputs):
        variables = self.variables
        units = torch.from_numpy(self.unit), torch.from_numpy(self.output_unit)
        surrogate = Surrogate(self.function, Evidence(0), variables, scale=units)
        proposal = SimpleNamespace(
            inputs=inputs,
            outputs=self.function(inputs),
            targets=Targets(*map(torch.from_numpy, self.target)),
            bounds=Bounds(
                *(torch.from_numpy(end).expand_as(inputs) for end in (self.low, self.high))
            ),
            input_variables=variables,
        )
        return find_windows(surrogate, proposal, 0.05, constraints=self.constraints, max_steps=50)

    def asked(self, row, at):
        rows = zip(self.weights.tolist(), self.ends, strict=True)
        return {
            "kind": self.kind,
            "network": [self.first.tolist(), self.second.tolist()],
            "levels": [list(own) for own in self.levels],
            "mattersIf": self.conditions,
            "inputSpread": self.unit.tolist(),
            "outputSpread": self.output_unit.tolist(),
            "box": {"low": self.low.tolist(), "high": self.high.tolist()},
            "target": {"low": numbers(self.target[0][row]), "high": numbers(self.target[1][row])},
            "constraints": [
                {"name": f"row {k}", "coefficients": row, "low": low, "high": high}
                for k, (row, (low, high)) in enumerate(rows)
            ],
            "starts": self.starts[row].tolist(),
            "prices": self.prices[row].tolist() if self.cost is self.prices else None,
            "near": self.reference[row].tolist() if "near" in self.kind else None,
            "reference": self.reference[row].tolist(),
            "maxChanges": 2 if "changes" in self.kind else None,
            "at": at,
        }  # fmt: skip


def test_the_page_and_the_package_find_the_same_settings(ask):
    problems = [Problem(KINDS[seed % len(KINDS)], seed) for seed in range(20)]
    found = [problem.solved() for problem in problems]
    cases, expected = [], []
    for problem, best in zip(problems, found, strict=True):
        windows = problem.windows(best["inputs"]) if problem.kind == "windows" else None
        for row in range(TARGETS):
            cases.append(problem.asked(row, best["inputs"][row].tolist()))
            mine = {name: part[row] for name, part in best.items()}
            if windows is not None:
                mine = torch.stack([windows.inputs_at_low[row], windows.inputs_at_high[row]])
            expected.append((problem, mine))
    off, kept, switched_off = [], 0, 0
    for case, (problem, mine), page in zip(cases, expected, ask(cases), strict=True):
        if problem.kind == "windows":
            theirs = [[one["atLow"] for one in page], [one["atHigh"] for one in page]]
            off.append(np.abs((np.array(theirs) - mine.numpy()) / problem.unit).max())
            continue
        apart = np.abs((np.array(page["inputs"]) - mine["inputs"].numpy()) / problem.unit)
        off.append(apart[page["matters"]].max())  # elsewhere any value will do
        assert page["converged"] == bool(mine["residual"] <= 1e-3), case["kind"]
        if problem.ends:
            assert page["binding"] == [f"row {k}" for k, at in enumerate(mine["binding"]) if at]
        kept += page["converged"]
        if "matters" in problem.kind:
            mattering = matters(mine["inputs"][None], read_conditions(problem.variables))[0]
            assert page["matters"] == mattering.tolist()
            switched_off += not mattering.all()
    assert len(off) == 200
    assert kept > 150
    assert 10 <= switched_off <= 50
    assert max(off) <= 1e-4


def test_of_many_cases_the_page_finds_as_cheap_a_one_in_few_searches(ask):
    problem = Problem("many levels", 1)
    best = problem.solved()
    for row, page in enumerate(ask([problem.asked(row, []) for row in range(TARGETS)])):
        assert page["converged"] == bool(best["residual"][row] <= 1e-3)
        # A setting of a random price costs about 1 between its ends.
        assert page["cost"] <= best["cost"][row] + 1e-3
        shares, counts = zip(*page["told"], strict=True)
        assert len(shares) <= 3**5 + 512
        assert list(shares) == sorted(shares)
        assert counts[-1] > 0


def test_of_more_cases_than_are_tried_the_page_finds_the_cheapest(ask):
    unfinished = []
    for kind, most in (("all levels", 9), ("all levels, few changes", 5)):
        problem, rows = Problem(kind, 9), range(5, TARGETS)  # without constraints
        low = problem.target[0] + 0.0123
        high = np.where(low > -np.inf, low + 0.1 * (np.arange(TARGETS) < 7)[:, None], np.inf)
        problem.target = low, high
        points = np.array([*product(*problem.levels)])
        outcomes = problem.function(torch.from_numpy(points)).numpy()
        limit = {"maxChanges": most if "changes" in kind else None}
        pages = ask([problem.asked(row, []) | limit for row in rows])
        for row, page in zip(rows, pages, strict=True):
            off = np.maximum(np.maximum(low[row] - outcomes, outcomes - high[row]), 0)
            off = np.linalg.norm(off / problem.output_unit, axis=1)
            off[(points != problem.reference[row]).sum(1) > most] = np.inf
            costs = (points @ problem.prices[row])[off <= 1e-3]
            assert (points == page["inputs"]).all(1).any()
            assert (page["inputs"] != problem.reference[row]).sum() <= most
            shares = [share for share, _ in page["told"]]
            assert shares == sorted(shares)
            unfinished.append(page["unfinished"])
            if page["unfinished"]:
                continue
            assert page["converged"] == (len(costs) > 0)
            expected = costs.min() if len(costs) else off.min()
            assert page["cost" if len(costs) else "residual"] == pytest.approx(expected)
    assert 1 <= sum(unfinished) <= 6
