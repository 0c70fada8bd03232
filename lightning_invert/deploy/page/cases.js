// Solve a target in many cases, which hold settings at levels or where they are, and keep the best:
// `lightning_invert.solver.cases`, for one target.

import { SAME_COST, searchBranches } from "./branches.js";
import { contradicting } from "./constraints.js";
import { searchAll } from "./searches.js";
import { different } from "./solver.js";

const { MAX_CASES } = CONSTANTS;

const MAX_FOUND = 8;

// Where settings may be besides, so that others which cost something do not matter: numbers for each.
function switchedOff({ cost, conditions, levels }) {
  const numbers = levels.map(() => []);
  const counted = levels.map((_, j) => Boolean(cost?.counted[j]));
  // It counts, too, on what others depend that count.
  for (const _ of levels) conditions.forEach((one, j) => { if (one !== null && counted[j]) counted[one.other] = true; });
  conditions.forEach((one, j) => {
    const counts = one !== null && counted[j] && [">", "<", "!="].includes(one.sign);
    if (counts && levels[one.other].length === 0) numbers[one.other].push(one.number);
  });
  return numbers;
}

// What each setting may do: {at: where it is held or null, more: whether that is a change}. One that cannot
// stay where it is has to change.
function statesOf(problem, reference) {
  const { box, levels } = problem;
  const off = switchedOff(problem);
  return levels.map((own, j) => {
    const [low, high] = [box.low[j], box.high[j]];
    const [moves, within] = [low < high, (value) => value >= low && value <= high];
    const places = own.length > 0 && moves ? own.filter(within) : [null, ...(moves ? off[j].filter(within) : [])];
    const free = places.map((at) => ({ at, more: 0 }));
    if (reference === null || !moves) return free;
    const changed = free.filter(({ at }) => at !== reference[j]).map(({ at }) => ({ at, more: 1 }));
    const stays = within(reference[j]) && (own.length === 0 || own.includes(reference[j]));
    return stays ? [{ at: reference[j], more: 0 }, ...changed] : changed;
  });
}

// All combinations [{at: [n], changes}] with at most so many changes; null if there are too many.
function combined(states, limit) {
  let cases = [{ at: [], changes: 0 }];
  for (const own of states) {
    cases = cases.flatMap(({ at, changes }) =>
      own.filter(({ more }) => changes + more <= limit).map((state) => ({ at: [...at, state.at], changes: changes + state.more })),
    );
    if (cases.length > MAX_CASES) return null;
  }
  return cases;
}

const refusal = (refused) => ({ found: [], refused, unfinished: false });

// {found, refused, unfinished}: the best first, of the best case and then of the others; or words why nothing is
// sought; and whether only a part of the cases was tried.
// `problem` is of problem.js, with `levels` and `conditions` of each setting; at most `maxChanges` settings differ from the
// `reference`, unless it is null. `tell` is told now and then which share is done, and gets a function that gives
// what is found so far.
export async function solveCases(problem, starts, { reference, maxChanges, tell = () => {} }) {
  const { box, levels } = problem;
  const clash = contradicting(problem.rows, box);
  if (clash.length > 0) return refusal(`No settings within their ranges keep ${clash.join(" and ")}.`);
  const counts = maxChanges !== null;
  const states = statesOf(problem, counts ? reference : null);
  const none = states.findIndex((own) => own.length === 0);
  if (none >= 0) return refusal(`${problem.names[none]} has no level within its range.`);
  const limit = counts ? maxChanges : Infinity;
  const forced = states.filter((own) => own.every(({ more }) => more > 0)).length;
  if (forced > limit) return refusal("More settings than that have to change, because they are outside their ranges.");
  const all = counts ? [...starts, reference] : starts;
  const cases = combined(states, limit);
  if (cases === null) {
    const now = (share, held) => tell(share, () => best(held, problem));
    const how = { off: switchedOff(problem), reference: counts ? reference : null, limit, tell: now };
    const { held, unfinished } = await searchBranches(problem, all, how);
    return { found: best(held, problem), refused: null, unfinished };
  }
  const problems = cases.map(({ at }) => {
    const [low, high] = [box.low, box.high].map((ends) => ends.map((end, j) => at[j] ?? end));
    return { ...problem, box: { low, high } };
  });
  const bestOf = (found) => best(found.map((own, k) => ({ found: own, changes: cases[k].changes })), problem);
  const found = await searchAll(problems, all, (share, some) => tell(share, () => bestOf(some)));
  return { found: bestOf(found), refused: null, unfinished: false };
}

// What reaches the target comes first, then the least worth, then the fewest changes.
function best(cases, problem) {
  const solved = cases.filter(({ found }) => found.length > 0);
  const reached = solved.filter(({ found }) => found[0].converged);
  if (solved.length === 0) return [];
  const worth = ({ found }) => (reached.length > 0 ? found[0].worth : found[0].residual);
  const some = reached.length > 0 ? reached : solved;
  const least = Math.min(...some.map(worth));
  const same = (one) => worth(one) <= least + SAME_COST * Math.abs(least);
  const order = some.slice().sort((a, b) => same(b) - same(a) || (same(a) ? a.changes - b.changes : 0) || worth(a) - worth(b));
  const found = [...order[0].found, ...order.slice(1).map((one) => one.found[0])];
  return different(found, problem, reached.length > 0 ? MAX_FOUND : 1);
}
