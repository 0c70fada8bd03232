// Settings for a wanted outcome: the steps of `lightning_invert.solver`, one point at a time. Levenberg and
// Marquardt lead to the target, each step the best of the linear model inside the box; from there the cost is
// lowered. No DOM, no model of its own; of problem.js is what all take as `problem`.

import { boundedStep, clampAll, times, transposed } from "./bounded_step.js";
import { bindingOf, holds, restored } from "./constraints.js";
import { descend } from "./descent.js";
import { meant } from "./matters.js";
import { allFinite, changeAt, distance, distanceOf, isWanted, limitsOf, moveBy, slopesAt } from "./problem.js";
import { conditionNumber, singularValues } from "./spectrum.js";

const { MIN_APART, FIRST_DAMPING, MIN_DAMPING, MIN_BESIDE_CONSTRAINTS, MAX_DAMPING } = CONSTANTS;
const { LOWER, RAISE, GOOD, POOR, MIN_GAIN, MIN_DECREASE, CAREFUL_STEPS, CAREFUL_SHARE } = CONSTANTS;
const { MIN_LENGTH, TRUSTED_RANGE } = CONSTANTS;
// The networks compute in float32.
const FLAT = Math.max(MIN_DECREASE, 10 * 2 ** -23);

// The lengths of the columns, nowhere 0; 1 beside constraints, whose rows are as long.
function lengthsOf(slopes, hard) {
  const lengths = transposed(slopes).map((column) => Math.hypot(...column));
  const longest = Math.max(...lengths, MIN_LENGTH);
  return lengths.map((length) => (hard > 0 ? 1 : length > MIN_LENGTH ? length : longest));
}

// The units of inputs: 1 while the columns' lengths are not far from their geometric mean.
function unitsOf(lengths, trusted) {
  const middle = Math.exp(lengths.reduce((sum, length) => sum + Math.log(length), 0) / lengths.length);
  return lengths.map((length) => length / Math.min(Math.max(length, middle / trusted), middle * trusted));
}

// By how much the inputs, each by itself, lower the squared distance in all: the same in any units.
function decreaseAlone(slopes, [low, high], [least, most], lengths) {
  const missing = low.map((value, i) => Math.min(Math.max(0, value), high[i]));
  return transposed(slopes).reduce((sum, column, j) => {
    const slope = column.reduce((total, value, i) => total + value * missing[i], 0);
    const steepness = lengths[j] ** 2;
    const step = Math.min(Math.max(slope / steepness, least[j]), most[j]);
    return sum + (2 * slope - steepness * step) * step;
  }, 0);
}

// The best step with inputs in units, and by how much it is to lower the squared distance of `count` outcomes.
function dampedStep(slopes, change, limits, damping, unit, { hard, count }) {
  const scaled = slopes.map((row) => row.map((value, j) => value / unit[j]));
  const ends = limits.map((end) => end.map((value, j) => value * unit[j]));
  const step = boundedStep(scaled, change, ends, damping, { hard }).step.map((value, j) => value / unit[j]);
  const foretold = times(slopes, step);
  const begin = change.map((end) => end.slice(0, count));
  const left = begin.map((end) => end.map((value, i) => value - foretold[i]));
  return { step, decrease: distanceOf(...begin) ** 2 - distanceOf(...left) ** 2 };
}

// Lower the distance from the target until it is at most the tolerance, or the least.
export async function approach(problem, start, { careful = false } = {}) {
  const { evaluate, target, box, outputSpread, tolerance, maxSteps, rows } = problem;
  const hard = rows.names.length;
  let inputs = restored(rows, clampAll(start, box.low, box.high), box);
  let { outputs, jacobian } = await evaluate(inputs);
  let before = holds(rows, inputs) ? distance(target, outputs, outputSpread) : Infinity;
  // Where inputs are left to choose, the nearest are sought, in their spreads.
  const moving = box.low.filter((low, j) => low < box.high[j]).length;
  const determined = isWanted(target).filter(Boolean).length >= moving;
  let longest = inputs.map(() => 0);
  let [damping, steps] = [FIRST_DAMPING, 0];
  while (steps < maxSteps && before > tolerance && before < Infinity && allFinite(jacobian)) {
    const share = careful && steps < CAREFUL_STEPS ? CAREFUL_SHARE : 1;
    const change = changeAt(problem, inputs, outputs);
    const slopes = slopesAt(problem, jacobian);
    const limits = limitsOf(problem, inputs, share);
    const lengths = lengthsOf(slopes, hard);
    longest = longest.map((value, j) => Math.max(value, lengths[j]));
    const unit = determined ? unitsOf(longest, careful ? 1 : TRUSTED_RANGE) : longest.map(() => 1);
    const counts = { hard, count: outputs.length };
    const { step, decrease } = dampedStep(slopes, change, limits, damping, unit, counts);
    const moved = moveBy(problem, inputs, step);
    const next = await evaluate(moved.inputs);
    const after = distance(target, next.outputs, outputSpread);
    const gain = (before ** 2 - after ** 2) / decrease;
    const taken = gain > MIN_GAIN && decrease > 0 && moved.kept;
    const stuck = moved.inputs.every((value, j) => value === inputs[j]) || damping > MAX_DAMPING;
    const flat = FLAT * before ** 2;
    const still =
      share === 1 &&
      decrease * Math.max(damping, 1) <= flat &&
      (hard > 0 || damping > FIRST_DAMPING || decreaseAlone(slopes, change, limits, lengths) <= flat);
    steps += 1;
    if (taken) {
      inputs = moved.inputs;
      ({ outputs, jacobian } = next);
      before = after;
    }
    if (still || stuck) break;
    if (taken && gain > GOOD) damping *= LOWER;
    else if (!(gain > POOR)) damping *= RAISE;
    damping = Math.max(damping, hard > 0 ? MIN_BESIDE_CONSTRAINTS : MIN_DAMPING);
  }
  return { inputs, outputs, jacobian, residual: before, converged: before <= tolerance, steps };
}

// κ between the settings that may move and the outcomes of which something is wanted.
function conditionOf({ jacobian }, { target, box, inputSpread, outputSpread, singularFloor }) {
  if (!allFinite(jacobian)) return NaN;
  const moving = box.low.map((low, j) => low < box.high[j]);
  const wanted = isWanted(target);
  const counted = jacobian
    .map((row, i) => row.map((value, j) => (value * inputSpread[j]) / outputSpread[i]).filter((_, j) => moving[j]))
    .filter((_, i) => wanted[i]);
  if (!moving.includes(true)) return Infinity;
  return conditionNumber(singularValues(counted), singularFloor);
}

// By how many spreads settings differ in what differs most, and matters.
export function apart(a, b, problem) {
  const [one, other] = [a, b].map((x) => meant(problem, x));
  return Math.max(...one.map((value, j) => Math.abs(value - other[j]) / problem.inputSpread[j]));
}

// Those that differ, in their order; at most so many.
export function different(found, problem, most = Infinity) {
  const kept = [];
  for (const next of found) {
    if (kept.every((other) => apart(next.inputs, other.inputs, problem) >= MIN_APART)) kept.push(next);
    if (kept.length === most) break;
  }
  return kept;
}

// Go from a start to the target, and there lower the cost. `problem.worth` tells the worth of what is found by the
// place of its start, unless there is a cost.
export async function search(problem, start, place, how = {}) {
  const reached = await approach(problem, start, how);
  const end = problem.cost && reached.converged ? await descend(problem, reached) : reached;
  const cost = problem.cost ? problem.cost(end.inputs).value : null;
  return { ...end, cost, worth: cost ?? problem.worth(end, place) };
}

// Of what searches ended at: what reaches the target and differs, the least worth first; where nothing does, what
// came nearest.
export function ranked(problem, ends) {
  const finite = ends.filter(({ residual }) => residual < Infinity);
  const reached = finite.filter(({ converged }) => converged).sort((a, b) => a.worth - b.worth);
  const nearest = finite.sort((a, b) => a.residual - b.residual).slice(0, 1);
  return different(reached.length > 0 ? reached : nearest, problem).map((end) => ({
    ...end,
    condition: conditionOf(end, problem),
    binding: bindingOf(problem.rows, end.inputs),
  }));
}

// Numbers in [0, 1) that are the same for the same seed: mulberry32, by T. Ettinger (public domain).
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
