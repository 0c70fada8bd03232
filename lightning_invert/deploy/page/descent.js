// Lower the cost of settings that reach their target, and keep them there: `lightning_invert.solver.descent`,
// one point at a time. A cost is a function of settings that gives {value, slope}; `counted` of it tells which
// cost something where they matter, and `matter` which of the settings do.

import { boundedStep, dot, pulledBy } from "./bounded_step.js";
import { allFinite, changeAt, distance, limitsOf, moveBy, slopesAt } from "./problem.js";

const { FIRST_CURVATURE, MANY_STEPS, SECOND_CURVATURE, MIN_CURVATURE, MAX_CURVATURE, MAX_CHANGE, REJECTED, DESCENT_GAIN } = CONSTANTS;
const { DESCENT_DAMPING, RESTORING_STEPS, RESTORED, PATIENCE, MAX_SLOPE } = CONSTANTS;
const TINY = 2.2250738585072014e-308; // the least normal number

const lengthOf = (vector) => Math.sqrt(dot(vector, vector));

const all = (inputs) => inputs.map(() => true);

export function pricesCost(prices, matter = all) {
  const cost = (inputs) => {
    const matters = matter(inputs);
    const slope = prices.map((price, j) => (matters[j] ? price : 0));
    return { value: dot(slope, inputs), slope };
  };
  return Object.assign(cost, { counted: prices.map((price) => price !== 0) });
}

// The squared distance from settings, in their spreads.
export function nearnessCost(reference, inputSpread, matter = all) {
  const cost = (inputs) => {
    const matters = matter(inputs);
    const away = inputs.map((value, j) => (matters[j] ? (value - reference[j]) / inputSpread[j] : 0));
    return { value: dot(away, away), slope: away.map((value, j) => (2 * value) / inputSpread[j]) };
  };
  return Object.assign(cost, { counted: all(reference) });
}

// The cost, and its slope along the settings that may move, in their spreads.
function slopeOf({ cost, box, inputSpread }, inputs) {
  const { value, slope } = cost(inputs);
  return { value, slope: slope.map((a, j) => (box.low[j] < box.high[j] ? a * inputSpread[j] : 0)) };
}

// Take a step, and bring the outcome back to the target with the same Jacobian.
async function restoredAfter(problem, slopes, from, step) {
  const { evaluate, target, outputSpread, tolerance, rows } = problem;
  const first = moveBy(problem, from, step);
  let { inputs, kept } = first;
  let found = await evaluate(inputs);
  let off = distance(target, found.outputs, outputSpread);
  for (let k = 0; k < RESTORING_STEPS && off > RESTORED * tolerance; k += 1) {
    const change = changeAt(problem, inputs, found.outputs);
    const back = boundedStep(slopes, change, limitsOf(problem, inputs), DESCENT_DAMPING, { hard: rows.names.length });
    const moved = moveBy(problem, inputs, back.step);
    const next = await evaluate(moved.inputs);
    const after = distance(target, next.outputs, outputSpread);
    // With the same Jacobian from the same point the next step would be the same.
    if (!(after < off && moved.kept)) break;
    [inputs, found, off, kept] = [moved.inputs, next, after, true];
  }
  return { inputs, found, off, kept };
}

// Beside constraints, where the way was long, a second one begins with a longer step; the cheaper end counts.
export async function descend(problem, begin) {
  const end = await descendOnce(problem, begin, FIRST_CURVATURE);
  if (problem.rows.names.length === 0 || end.steps - begin.steps <= MANY_STEPS) return end;
  const again = await descendOnce(problem, { ...begin, steps: end.steps }, SECOND_CURVATURE);
  const cheaper = problem.cost(again.inputs).value < problem.cost(end.inputs).value;
  return cheaper ? again : { ...end, steps: again.steps };
}

async function descendOnce(problem, begin, firstCurvature) {
  const { tolerance, maxSteps, inputSpread, rows } = problem;
  const first = slopeOf(problem, begin.inputs);
  const unit = Math.max(lengthOf(first.slope), TINY);
  const inUnits = (slope) => slope.map((a) => a / unit);
  // Where the search is, and where it last was at its target.
  let at = { ...begin, cost: first.value, slope: inUnits(first.slope), slopes: slopesAt(problem, begin.jacobian) };
  let home = at;
  let steps = begin.steps;
  let [curvature, departure, penalty] = [firstCurvature, firstCurvature, 0];
  for (let count = 0; count < maxSteps; count += 1) {
    const { inputs, slopes, slope } = at;
    if (!(allFinite(slopes) && allFinite(slope) && Number.isFinite(at.cost))) break;
    const options = { slope, curvature, hard: rows.names.length };
    const change = changeAt(problem, inputs, at.outputs);
    const { step, multipliers } = boundedStep(slopes, change, limitsOf(problem, inputs), DESCENT_DAMPING, options);
    const tried = await restoredAfter(problem, slopes, inputs, step);
    const next = slopeOf(problem, tried.inputs);
    const pull = lengthOf(multipliers.slice(0, at.outputs.length));
    penalty = Math.max(penalty, 2 * (Number.isFinite(pull) ? pull : 0));
    const predicted = -dot(slope, step) + penalty * at.residual;
    const decrease = (at.cost - next.value) / unit + penalty * (at.residual - tried.off);
    const changed = tried.inputs.some((value, j) => value !== inputs[j]);
    const taken = decrease > DESCENT_GAIN * predicted && predicted > 0 && changed && tried.kept;
    // A step of curvature below 1 is longer than that of 1, and no longer than the bounds are wide.
    const away = at.residual > tolerance;
    const near = taken ? tried.off <= tolerance : !away;
    const flat = near && Math.max(curvature, 1) * lengthOf(step) <= MAX_SLOPE * Math.max(lengthOf(slope), 1);
    steps += 1;
    if (taken) {
      const { outputs, jacobian } = tried.found;
      at = { inputs: tried.inputs, outputs, jacobian, residual: tried.off, cost: next.value };
      at = { ...at, slope: inUnits(next.slope), slopes: slopesAt(problem, jacobian) };
      if (near) home = at;
    }
    if (flat) break;
    if (taken) {
      if (!away) departure = curvature;
      const bent = pulledBy(at.slopes.map((row, i) => row.map((a, j) => a - slopes[i][j])), multipliers, slope.length);
      const difference = at.inputs.map((value, j) => (value - inputs[j]) / inputSpread[j]);
      const bend = at.slope.map((a, j) => a - slope[j] - bent[j]);
      const observed = dot(difference, bend) / dot(difference, difference);
      const most = curvature * MAX_CHANGE;
      curvature = Math.min(Math.max(Number.isNaN(observed) ? 0 : observed, curvature / MAX_CHANGE), most);
    } else if (away && !(changed && curvature <= PATIENCE * departure)) {
      departure *= REJECTED;
      [at, curvature, penalty] = [home, departure, 0];
    } else if (changed && curvature < MAX_CURVATURE) {
      curvature *= REJECTED;
    } else {
      break;
    }
    curvature = Math.max(curvature, MIN_CURVATURE);
  }
  // To come nearer to the target costs, and within the tolerance nobody asked for it.
  if (home.cost > first.value) return { ...begin, steps };
  const { inputs, outputs, jacobian, residual } = home;
  return { ...begin, inputs, outputs, jacobian, residual, steps };
}
