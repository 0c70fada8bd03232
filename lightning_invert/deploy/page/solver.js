// Settings for a wanted outcome: the steps of `lightning_invert.solver.least_squares`, one point at
// a time. Levenberg and Marquardt, each step the best of the linear model inside the box
// (`lightning_invert.solver.bounded_step` has the derivation). No DOM, no model of its own:
// `evaluate` is handed in, and gives {outputs, jacobian} of settings, in physical units.

import { conditionNumber, singularValues } from "./spectrum.js";

// Those of the Python solver: see `joined` in deploy/page.py.
const { MAX_PASSES, MIN_SLOPE, SLACK, MIN_SQUARE, MIN_APART } = CONSTANTS;
const { FIRST_DAMPING, MIN_DAMPING, MAX_DAMPING, LOWER, RAISE, GOOD, POOR, MIN_GAIN } = CONSTANTS;
const { MIN_DECREASE, CAREFUL_STEPS, CAREFUL_SHARE } = CONSTANTS;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const clampAll = (values, low, high) => values.map((value, i) => clamp(value, low[i], high[i]));
const total = (values) => values.reduce((sum, value) => sum + value, 0);
export const times = (matrix, vector) =>
  matrix.map((row) => total(row.map((value, j) => value * vector[j])));
export const transposed = (matrix) => matrix[0].map((_, j) => matrix.map((row) => row[j]));
const isFinite = (values) => values.flat().every(Number.isFinite);

// -1 at or below the lower end, 1 at or above the upper one, 2 where there is one value.
const sidesOf = (values, low, high) =>
  values.map((value, i) =>
    low[i] < high[i] ? Number(value >= high[i]) - Number(value <= low[i]) : 2,
  );

const same = (a, b) => a.every((value, i) => value === b[i]);

function distanceOf(low, high) {
  return Math.hypot(...low.map((value, i) => Math.max(value, 0, -high[i])));
}

// By how much outcomes are to change, in their spreads: at least and at most.
function changeOf(target, outputs, spread) {
  return [target.low, target.high].map((ends) =>
    ends.map((end, i) => (end - outputs[i]) / spread[i]),
  );
}

export function distance(target, outputs, spread) {
  const found = distanceOf(...changeOf(target, outputs, spread));
  return Number.isNaN(found) ? Infinity : found;
}

// The solution of A x = b for a symmetric positive definite A, by Cholesky; NaN where it is not.
function choleskySolved(matrix, right) {
  const size = right.length;
  const factor = matrix.map(() => new Array(size).fill(0));
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = matrix[i][j];
      for (let k = 0; k < j; k += 1) sum -= factor[i][k] * factor[j][k];
      factor[i][j] = i === j ? Math.sqrt(sum) : sum / factor[j][j];
    }
  }
  const solved = right.slice();
  for (let i = 0; i < size; i += 1) {
    for (let k = 0; k < i; k += 1) solved[i] -= factor[i][k] * solved[k];
    solved[i] /= factor[i][i];
  }
  for (let i = size - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < size; k += 1) solved[i] -= factor[k][i] * solved[k];
    solved[i] /= factor[i][i];
  }
  return solved;
}

// From which share of the way to which a value is between two ends.
function between(begin, along, low, high) {
  return begin.map((from, i) => {
    if (along[i] === 0) return [0, 1];
    const ends = [(low[i] - from) / along[i], (high[i] - from) / along[i]];
    return [clamp(Math.min(...ends), 0, 1), clamp(Math.max(...ends), 0, 1)];
  });
}

// Which share of a Newton step is best: along it the slope of the convex function is piecewise
// linear, and rises while an input, or the change of an interval, is between its bounds.
function lineSearch(before, damped, pieces) {
  const after = before + damped + total(pieces.map(([enter, leave, rise]) => rise * (leave - enter)));
  if (!(after > MIN_SLOPE * Math.abs(before))) return 1;
  const breaks = pieces
    .flatMap(([enter, leave, rise]) => [[enter, rise], [leave, -rise]])
    .sort((a, b) => a[0] - b[0]);
  let slope = before + damped * breaks[0][0];
  if (slope >= 0) return clamp(-before / damped, 0, 1);
  let steepness = damped;
  for (let k = 0; k < breaks.length; k += 1) {
    steepness += breaks[k][1];
    const end = k + 1 < breaks.length ? breaks[k + 1][0] : 1;
    slope += steepness * (end - breaks[k][0]);
    if (slope >= 0) return clamp(end - slope / steepness, 0, 1);
  }
  return 1;
}

// The step that is best by the linear model inside the box: min |d|² / 2 + |J d - z|² / (2 λ) for z
// between the two ends of the wanted change. λ is a share of the mean square of the rows of J.
export function boundedStep(jacobian, [changeLow, changeHigh], [stepLow, stepHigh], damping) {
  const wanted = changeLow.filter((low, i) => low > -Infinity || changeHigh[i] < Infinity).length;
  const square = Math.max(total(jacobian.flat().map((value) => value * value)) / wanted, MIN_SQUARE);
  const lambda = damping * square;
  const slack = SLACK * square;
  const columns = transposed(jacobian);
  const nearest = changeLow.map((low, i) => clamp(0, low, changeHigh[i]));
  // Not zero, lest it cannot be told which inputs at a bound are about to leave it.
  let multipliers = nearest.map((value) => (1e-9 * value) / square);
  let pulled = times(columns, multipliers);
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const change = nearest.map((value, i) => value - slack * multipliers[i]);
    const sides = sidesOf(pulled, stepLow, stepHigh);
    const changeSides = sidesOf(change, changeLow, changeHigh);
    const reached = times(jacobian, clampAll(pulled, stepLow, stepHigh));
    const met = clampAll(change, changeLow, changeHigh);
    const error = multipliers.map((value, i) => lambda * value - met[i] + reached[i]);
    const gram = jacobian.map((row, i) =>
      jacobian.map((other, k) => {
        const diagonal = i === k ? lambda + (changeSides[i] === 0 ? slack : 0) : 0;
        return diagonal + total(row.map((value, j) => (sides[j] === 0 ? value * other[j] : 0)));
      }),
    );
    const newton = choleskySolved(gram, error).map((value) => -value);
    const along = times(columns, newton);
    const slacked = newton.map((value) => -slack * value);
    const pieces = [
      ...between(pulled, along, stepLow, stepHigh).map((ends, j) => [...ends, along[j] ** 2]),
      ...between(change, slacked, changeLow, changeHigh).map((ends, i) => [
        ...ends,
        newton[i] ** 2 * slack,
      ]),
    ];
    const before = total(error.map((value, i) => value * newton[i]));
    const share = lineSearch(before, lambda * total(newton.map((value) => value ** 2)), pieces);
    multipliers = multipliers.map((value, i) => value + share * newton[i]);
    pulled = pulled.map((value, j) => value + share * along[j]);
    if (!isFinite(multipliers)) break;
    const after = nearest.map((value, i) => value - slack * multipliers[i]);
    const settled =
      share === 1 &&
      same(sides, sidesOf(pulled, stepLow, stepHigh)) &&
      same(changeSides, sidesOf(after, changeLow, changeHigh));
    if (settled) break;
  }
  return clampAll(pulled, stepLow, stepHigh).map((value) => (Number.isNaN(value) ? 0 : value));
}

// Which outcomes anything is wanted of.
const isWanted = (target) =>
  target.low.map((low, i) => low > -Infinity || target.high[i] < Infinity);

function unitless(jacobian, problem) {
  const wanted = isWanted(problem.target);
  return jacobian.map((row, i) =>
    row.map((value, j) => (wanted[i] ? (value * problem.inputSpread[j]) / problem.outputSpread[i] : 0)),
  );
}

// Lower the distance from the target until it is at most the tolerance, or the least.
// problem: {evaluate, target: {low, high}, box: {low, high}, inputSpread, outputSpread, tolerance,
// maxSteps}; in `low` and `high` an open end is infinite. A fixed input has a box without width.
export async function approach(problem, start, { careful = false } = {}) {
  const { evaluate, target, box, inputSpread, outputSpread, tolerance, maxSteps } = problem;
  let inputs = clampAll(start, box.low, box.high);
  let { outputs, jacobian } = await evaluate(inputs);
  let before = distance(target, outputs, outputSpread);
  let damping = FIRST_DAMPING;
  let steps = 0;
  let stationary = before <= tolerance;
  while (steps < maxSteps && before > tolerance && before < Infinity && isFinite(jacobian)) {
    const share = careful && steps < CAREFUL_STEPS ? CAREFUL_SHARE : 1;
    const ends = [box.low, box.high].map((end) =>
      end.map((value, j) => ((value - inputs[j]) * share) / inputSpread[j]),
    );
    const change = changeOf(target, outputs, outputSpread);
    const slopes = unitless(jacobian, problem);
    const step = boundedStep(slopes, change, ends, damping);
    const foretold = times(slopes, step);
    const left = distanceOf(...change.map((end) => end.map((value, i) => value - foretold[i])));
    const decrease = before ** 2 - left ** 2;
    const candidate = clampAll(
      inputs.map((value, j) => value + step[j] * inputSpread[j]),
      box.low,
      box.high,
    );
    const next = await evaluate(candidate);
    const after = distance(target, next.outputs, outputSpread);
    const gain = (before ** 2 - after ** 2) / decrease;
    const taken = gain > MIN_GAIN && decrease > 0;
    const stuck = same(candidate, inputs) || damping > MAX_DAMPING;
    const still = share === 1 && decrease * Math.max(damping, 1) <= MIN_DECREASE * before ** 2;
    steps += 1;
    if (taken) {
      inputs = candidate;
      ({ outputs, jacobian } = next);
      before = after;
    }
    stationary = before <= tolerance || still;
    if (still || stuck) break;
    if (taken && gain > GOOD) damping *= LOWER;
    else if (!(gain > POOR)) damping *= RAISE;
    damping = Math.max(damping, MIN_DAMPING);
  }
  return { inputs, outputs, jacobian, residual: before, converged: before <= tolerance, stationary, steps };
}

// κ between the inputs that may move and the outcomes of which something is wanted.
function conditionOf(found, problem) {
  if (!isFinite(found.jacobian)) return NaN;
  const moving = problem.box.low.map((low, j) => low < problem.box.high[j]);
  const wanted = isWanted(problem.target);
  const counted = unitless(found.jacobian, problem)
    .filter((_, i) => wanted[i])
    .map((row) => row.filter((_, j) => moving[j]));
  if (!moving.includes(true)) return Infinity;
  return conditionNumber(singularValues(counted), problem.singularFloor);
}

// Go to the target from every start, once more with care where none led to it. Returns what differs,
// the best first: what the first start led to if it reaches the target, then the others that do by
// how far they are from `near`; where none does, the one that came nearest.
export async function solve(problem, starts, near) {
  const tried = [];
  for (const start of starts) tried.push(await approach(problem, start));
  if (!tried.some((found) => found.converged)) {
    for (const start of starts) tried.push(await approach(problem, start, { careful: true }));
  }
  const apart = (a, b) =>
    Math.max(...a.map((value, j) => Math.abs(value - b[j]) / problem.inputSpread[j]));
  const [first] = tried;
  const reached = tried
    .filter((found) => found.converged)
    .sort((a, b) => (b === first) - (a === first) || apart(a.inputs, near) - apart(b.inputs, near));
  const nearest = tried.reduce((best, found) => (found.residual < best.residual ? found : best));
  const kept = [];
  for (const found of reached.length > 0 ? reached : [nearest]) {
    if (kept.every((other) => apart(found.inputs, other.inputs) >= MIN_APART)) kept.push(found);
  }
  return kept.map((found) => ({ ...found, condition: conditionOf(found, problem) }));
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
