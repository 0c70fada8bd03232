// Proposals: what the inverse network proposes, refined by the solver. No DOM.

import { clampAll } from "./bounded_step.js";
import { solveCases } from "./cases.js";
import { rowsOf } from "./constraints.js";
import { nearnessCost, pricesCost } from "./descent.js";
import { mattering } from "./matters.js";
import { rangeOf } from "./numbers.js";
import { trustOf } from "./reliability.js";
import { apart, randomNumbers } from "./solver.js";
import { ENDS } from "./state.js";

export const TOLERANCE = 1e-3;
const MAX_STEPS = 50;
const [POOL_SIZE, POOL_STARTS, SEED] = [256, 6, 42];
const PAUSE = 200; // milliseconds between two messages of what is found so far

export function targetOf(wanted) {
  const end = (side, open) =>
    wanted.map((wish) => (wish.kind === "value" ? wish.value : ENDS[wish.kind].includes(side) ? wish[side] : open));
  return { low: end("low", -Infinity), high: end("high", Infinity) };
}

export function boxOf({ inputs }, { held, heldAt }) {
  const end = (side, open) => inputs.map((variable, j) => (held[j] ? heldAt[j] : (variable[side] ?? open)));
  return { low: end("low", -Infinity), high: end("high", Infinity) };
}

export const nearestIn = (values, { low, high }) => clampAll(values, low, high);

// What is asked of the solver, see problem.js; `store.evaluate` gives {outputs, jacobian} of settings.
export function problemOf(store, state) {
  const inputSpread = store.inputs.map(({ std }) => std);
  return {
    evaluate: store.evaluate,
    target: targetOf(state.wanted),
    box: boxOf(store, state),
    inputSpread,
    outputSpread: store.outputs.map(({ std }) => std),
    tolerance: TOLERANCE,
    maxSteps: MAX_STEPS,
    singularFloor: store.thresholds.singularFloor,
    rows: rowsOf(store.constraints, inputSpread),
    names: store.inputs.map(({ name }) => name),
    levels: store.inputs.map(({ levels }) => levels),
    conditions: store.conditions,
    cost: null,
  };
}

// Draw points from the box, and return those whose outcomes are nearest to the target.
async function drawn(store, { target, box }) {
  const random = randomNumbers(SEED);
  const points = Array.from({ length: POOL_SIZE }, () =>
    nearestIn(
      store.inputs.map((variable) => {
        const { low, high } = rangeOf(variable);
        return low + random() * (high - low);
      }),
      box,
    ),
  );
  const far = ({ outputs }) =>
    Math.hypot(...nearestIn(outputs, target).map((y, i) => (y - outputs[i]) / store.outputs[i].std));
  return (await Promise.all(points.map(store.evaluate)))
    .map((found, k) => ({ point: points[k], far: far(found) }))
    .filter((start) => Number.isFinite(start.far))
    .sort((a, b) => a.far - b.far)
    .slice(0, POOL_STARTS)
    .map(({ point }) => point);
}

// The least cost comes first: by prices, or else of few changes the nearest to what is in force.
function soughtCost(store, { prices, maxChanges, x }, { inputSpread }) {
  const matter = (at) => mattering(store, at);
  if (prices) return pricesCost(store.inputs.map(({ name }) => prices[name] ?? 0), matter);
  return maxChanges === null ? null : nearnessCost(x, inputSpread, matter);
}

// Without a cost, with a reliability, what is expected to err least comes first; without one what the first
// start, the network's own, led to, and then what is nearest to what is in force.
function worthOf(store, problem, { x }) {
  if (store.reliability) {
    return ({ inputs, outputs }) => trustOf(store, inputs, outputs, problem.target).expectedError;
  }
  return ({ inputs }, place) => (place === 0 ? -1 : apart(inputs, x, problem));
}

// {target, box, found, refused, unfinished}: proposals {inputs, outputs, jacobian, converged, residual, condition, cost,
// binding, matters, changed, steps}, the best first, or words why none are sought; `unfinished` of cases.js. The network's own comes first among
// the starts: where an outcome is not given as a value, it is asked for the nearest to the present one. If it takes
// long, `tell` is told what is found so far, and in place of `refused` which `share` is done.
export async function propose(store, given, tell) {
  const state = { prices: null, maxChanges: null, ...given };
  const problem = problemOf(store, state);
  const { target, box } = problem;
  problem.cost = soughtCost(store, state, problem);
  problem.worth = worthOf(store, problem, state);
  const now = await store.evaluate(state.x);
  const [network] = await store.inverse([nearestIn(now.outputs, target)]);
  const starts = [network.outputs, state.x, ...(await drawn(store, problem))].filter((s) => s.every(Number.isFinite));
  const answer = (found, more) => ({ target, box, found: found.map((one) => proposalOf(one, store, state)), ...more });
  let told = performance.now();
  const progress = (share, found) => {
    if (performance.now() < told + PAUSE) return;
    tell(answer(found(), { share }));
    told = performance.now();
  };
  const options = { reference: state.x, maxChanges: state.maxChanges, tell: progress };
  const { found, ...more } = await solveCases(problem, starts, options);
  return answer(found, more);
}

// `cost` is what the settings cost, `matters` tells which of them matter, and `changed` are the indices of those
// that do and are not as they are now.
function proposalOf({ inputs, outputs, jacobian, converged, residual, condition, cost, binding, steps }, store, { x, prices }) {
  const matters = mattering(store, inputs);
  const changed = [...inputs.keys()].filter((j) => matters[j] && inputs[j] !== x[j]);
  const paid = prices ? cost : null;
  return { inputs, outputs, jacobian, converged, residual, condition, cost: paid, binding, matters, changed, steps };
}
