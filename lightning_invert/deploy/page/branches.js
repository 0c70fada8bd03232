// Choose levels, and which settings change, by branch and bound, where there are too many cases to try all:
// `lightning_invert.solver.branches`, for one target. A node is {low, high, counted, inputs}, and
// {shortfall, cost, found} once its relaxation is solved.

import { clampAll } from "./bounded_step.js";
import { mattering } from "./matters.js";
import { ranked, search } from "./solver.js";

export const { SAME_COST } = CONSTANTS;
const { BETWEEN } = CONSTANTS;

// A browser solves so many nodes at most, some at a time, each from where its parent ended and from a few starts.
const MAX_NODES = 512;
const AT_ONCE = 32;
const FEW = 3;

const put = (values, j, value) => values.map((old, k) => (k === j ? value : old));
const indexOfLargest = (values) => values.indexOf(Math.max(...values));

const promisesMore = (node, other) =>
  node.shortfall === other.shortfall
    ? node.shortfall < Infinity && node.cost < other.cost - SAME_COST * Math.abs(other.cost)
    : node.shortfall < other.shortfall * (1 - SAME_COST);

// The levels around a value, and how far it is from them, as a share of their gap.
function gapAt(own, value) {
  const below = own.filter((level) => level <= value).at(-1) ?? own[0];
  const above = own.find((level) => level >= value) ?? own.at(-1);
  return { below, above, share: above > below ? Math.min(value - below, above - value) / (above - below) : 0 };
}

// How far settings are from the reference, in their spreads.
const awayAt = ({ problem, reference }, inputs) =>
  inputs.map((value, j) => (reference ? Math.abs(value - reference[j]) / problem.inputSpread[j] : 0));

// Count settings that cannot stay, and let the others stay once the limit is reached; none if more have to change.
function settled({ reference, limit }, node) {
  if (reference === null) return [node];
  const counted = node.counted.map((own, j) => own || reference[j] < node.low[j] || reference[j] > node.high[j]);
  const count = counted.filter(Boolean).length;
  const [low, high] = [node.low, node.high].map((ends) =>
    ends.map((end, j) => (count === limit && !counted[j] ? reference[j] : end)),
  );
  return count > limit ? [] : [{ ...node, counted, low, high }];
}

// A node for all, and others where a setting is at one of the numbers `off` at which it switches others off.
function rootsOf(tree, off, inputs) {
  const { problem, levels, reference } = tree;
  const low = problem.box.low.map((end, j) => levels[j][0] ?? end);
  const high = problem.box.high.map((end, j) => levels[j].at(-1) ?? end);
  let boxes = [{ low, high }];
  off.forEach((numbers, j) => {
    const inside = numbers.filter((value) => low[j] < high[j] && value >= low[j] && value <= high[j]);
    boxes = boxes.flatMap((box) => [box, ...inside.map((at) => ({ low: put(box.low, j, at), high: put(box.high, j, at) }))]);
  });
  const counted = levels.map((own, j) => reference !== null && own.length > 0 && !own.includes(reference[j]));
  return boxes.flatMap((box) => settled(tree, { ...box, counted, inputs }));
}

// Two nodes for one whose solution is between levels, or changes too much; else none.
function childrenOf(tree, node) {
  const gaps = node.inputs.map((value, j) => gapAt(tree.levels[j], value));
  const shares = gaps.map(({ share }) => share);
  const away = awayAt(tree, node.inputs);
  if (Math.max(...shares) > BETWEEN) {
    const j = indexOfLargest(shares);
    const sides = [{ high: put(node.high, j, gaps[j].below) }, { low: put(node.low, j, gaps[j].above) }];
    return sides.flatMap((side) => settled(tree, { ...node, ...side }));
  }
  if (away.filter((value) => value > 0).length <= tree.limit) return [];
  const j = indexOfLargest(away.map((value, k) => (node.counted[k] ? 0 : value)));
  const [low, high] = [node.low, node.high].map((ends) => put(ends, j, tree.reference[j]));
  return [{ low, high }, { counted: put(node.counted, j, true) }].flatMap((side) => settled(tree, { ...node, ...side }));
}

// The node with settings held at the nearest levels, and those that change least at the reference.
function rounded(tree, node) {
  const at = tree.levels.map((own, j) => {
    const inside = own.filter((level) => level >= node.low[j] && level <= node.high[j]);
    return inside.sort((a, b) => Math.abs(a - node.inputs[j]) - Math.abs(b - node.inputs[j]))[0];
  });
  const [low, high] = [node.low, node.high].map((ends) => ends.map((end, j) => at[j] ?? end));
  if (tree.reference === null) return { ...node, low, high };
  const inputs = clampAll(node.inputs, low, high);
  const matters = mattering(tree.problem, inputs);
  const away = awayAt(tree, inputs).map((far, j) => (node.counted[j] ? Number.MAX_VALUE : matters[j] ? far : 0));
  const stay = new Set([...away.keys()].sort((a, b) => away[b] - away[a]).slice(tree.limit).filter((j) => !node.counted[j]));
  const held = (ends) => ends.map((end, j) => (stay.has(j) ? tree.reference[j] : end));
  return { ...node, low: held(low), high: held(high) };
}

// The node with one setting at the next level below or above.
function neighboursOf(tree, node) {
  const next = (own, j) => own.filter((_, k) => Math.abs(k - own.indexOf(node.low[j])) === 1);
  const moved = (level, j) => ({ ...node, low: put(node.low, j, level), high: put(node.high, j, level) });
  const nodes = tree.levels.flatMap((own, j) => next(own, j).map((level) => moved(level, j)));
  return nodes.filter((one) => changesOf(tree, one) <= tree.limit);
}

const changesOf = ({ reference }, { low, high }) =>
  reference === null ? 0 : low.filter((end, j) => end !== reference[j] || high[j] !== reference[j]).length;

async function relaxed({ problem, starts }, node) {
  const own = { ...problem, box: { low: node.low, high: node.high } };
  const from = (how) => Promise.all([...starts, node.inputs].map((start, place) => search(own, start, place, how)));
  let ends = await from({});
  if (!ends.some(({ converged }) => converged)) ends = ends.concat(await from({ careful: true }));
  const found = ranked(own, ends);
  if (found.length === 0) return { ...node, found, shortfall: Infinity, cost: Infinity };
  const [{ inputs, converged, residual, cost }] = found;
  return { ...node, found, inputs, shortfall: converged ? 0 : residual, cost: converged ? (cost ?? 0) : 0 };
}

// {held, unfinished}: choices that hold all levels [{found, changes}], and whether the search ended at its limit.
// `tell` is told of the share that is done, and of the choices so far.
export async function searchBranches(problem, starts, { off, reference, limit, tell }) {
  const { low, high } = problem.box;
  const levels = problem.levels.map((own, j) => own.filter((level) => level >= low[j] && level <= high[j]).sort((a, b) => a - b));
  // A setting that is held counts as no change.
  const stays = reference && reference.map((value, j) => (low[j] < high[j] ? value : low[j]));
  const tree = { problem, levels, reference: stays, limit, starts: starts.slice(0, FEW) };
  const [held, tried] = [[], new Set()];
  let [best, spent] = [{ shortfall: Infinity, cost: Infinity }, 0];
  const solve = (node) => relaxed(tree, node);
  const hold = async (nodes) => {
    const fresh = nodes.filter((node) => tried.size < tried.add(JSON.stringify([node.low, node.high])).size);
    for (const node of await Promise.all(fresh.map(solve))) {
      held.push({ found: node.found, changes: changesOf(tree, node) });
      if (promisesMore(node, best)) best = node;
    }
  };
  let nodes = [];
  let next = rootsOf(tree, off, starts.at(-1));
  while (next.length > 0 && spent < MAX_NODES) {
    spent += next.length;
    const solved = await Promise.all(next.map(solve));
    await hold(solved.filter((node) => promisesMore(node, best)).map((node) => rounded(tree, node)));
    nodes = [...nodes, ...solved].filter((node) => promisesMore(node, best));
    nodes.sort((a, b) => a.shortfall - b.shortfall || a.cost - b.cost);
    next = [];
    while (nodes.length > 0 && next.length < AT_ONCE) next.push(...childrenOf(tree, nodes.shift()));
    tell(Math.min(spent / MAX_NODES, 1), held);
  }
  if (best.found) await hold(neighboursOf(tree, best));
  return { held, unfinished: next.length > 0 };
}
