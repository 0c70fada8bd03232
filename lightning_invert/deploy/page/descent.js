// Lower the cost of settings that reach their target, and keep them there: `lightning_invert.solver.descent`,
// one point at a time. A cost is a function of settings that gives {value, slope}; `counted` of it tells which
// cost something where they matter, and `matter` which of the settings do.

import { boundedStep, dot, pulledBy } from "./bounded_step.js";
import { allFinite, changeAt, distance, limitsOf, moveBy, slopesAt } from "./problem.js";

const { FIRST_CURVATURE, MIN_CURVATURE, MAX_CURVATURE, MAX_CHANGE, REJECTED, DESCENT_GAIN } = CONSTANTS;
const { DESCENT_DAMPING, RESTORING_STEPS, RESTORED, MAX_SLOPE } = CONSTANTS;
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

export async function descend(problem, begin) {
  const { tolerance, maxSteps, inputSpread, rows } = problem;
  let { inputs, outputs, jacobian, residual, steps } = begin;
  let { value: cost, slope } = slopeOf(problem, inputs);
  const atFirst = cost;
  const unit = Math.max(lengthOf(slope), TINY);
  slope = slope.map((a) => a / unit);
  let slopes = slopesAt(problem, jacobian);
  let [curvature, penalty] = [FIRST_CURVATURE, 0];
  for (let count = 0; count < maxSteps && allFinite(slopes) && allFinite(slope) && Number.isFinite(cost); count += 1) {
    const options = { slope, curvature, hard: rows.names.length };
    const change = changeAt(problem, inputs, outputs);
    const { step, multipliers } = boundedStep(slopes, change, limitsOf(problem, inputs), DESCENT_DAMPING, options);
    const tried = await restoredAfter(problem, slopes, inputs, step);
    const next = slopeOf(problem, tried.inputs);
    const nextSlope = next.slope.map((a) => a / unit);
    const pull = lengthOf(multipliers.slice(0, outputs.length));
    penalty = Math.max(penalty, 2 * (Number.isFinite(pull) ? pull : 0));
    const predicted = -dot(slope, step) + penalty * residual;
    const decrease = (cost - next.value) / unit + penalty * (residual - tried.off);
    const changed = tried.inputs.some((value, j) => value !== inputs[j]);
    const lower = decrease > DESCENT_GAIN * predicted && tried.off <= tolerance && predicted > 0;
    const taken = lower && changed && tried.kept;
    // A step of curvature below 1 is longer than that of 1, and no longer than the bounds are wide.
    const flat = Math.max(curvature, 1) * lengthOf(step) <= MAX_SLOPE * Math.max(lengthOf(slope), 1);
    steps += 1;
    const before = { inputs, slopes };
    if (taken) {
      [inputs, cost, residual] = [tried.inputs, next.value, tried.off];
      ({ outputs, jacobian } = tried.found);
      slopes = slopesAt(problem, jacobian);
    }
    if (flat || !(taken || (changed && curvature < MAX_CURVATURE))) break;
    if (taken) {
      const bent = pulledBy(slopes.map((row, i) => row.map((a, j) => a - before.slopes[i][j])), multipliers, slope.length);
      const difference = inputs.map((value, j) => (value - before.inputs[j]) / inputSpread[j]);
      const bend = nextSlope.map((a, j) => a - slope[j] - bent[j]);
      const observed = dot(difference, bend) / dot(difference, difference);
      const most = curvature * MAX_CHANGE;
      curvature = Math.min(Math.max(Number.isNaN(observed) ? 0 : observed, curvature / MAX_CHANGE), most);
      slope = nextSlope;
    } else {
      curvature *= REJECTED;
    }
    curvature = Math.max(curvature, MIN_CURVATURE);
  }
  // To come nearer to the target costs, and within the tolerance nobody asked for it.
  if (cost > atFirst) return { ...begin, steps };
  return { ...begin, inputs, outputs, jacobian, residual, steps };
}
