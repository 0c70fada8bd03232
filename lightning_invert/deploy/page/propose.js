// Proposals: what the inverse network proposes, refined by the solver. No DOM.

import { rangeOf } from "./numbers.js";
import { trustOf } from "./reliability.js";
import { randomNumbers, solve } from "./solver.js";
import { ENDS } from "./state.js";

export const TOLERANCE = 1e-3;
const MAX_STEPS = 50;
const [POOL_SIZE, POOL_STARTS, SEED] = [256, 6, 42];

export function targetOf(wanted) {
  const end = (side, open) =>
    wanted.map((wish) => (wish.kind === "value" ? wish.value : ENDS[wish.kind].includes(side) ? wish[side] : open));
  return { low: end("low", -Infinity), high: end("high", Infinity) };
}

export function boxOf({ inputs }, { held, heldAt }) {
  const end = (side, open) => inputs.map((variable, j) => (held[j] ? heldAt[j] : (variable[side] ?? open)));
  return { low: end("low", -Infinity), high: end("high", Infinity) };
}

export const nearestIn = (values, { low, high }) =>
  values.map((value, i) => Math.min(Math.max(value, low[i]), high[i]));

// Draw points from the box, and return those whose outcomes are nearest to the target.
async function drawn(store, target, box) {
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
  return (await store.forward(points))
    .map((found, k) => ({ point: points[k], far: far(found) }))
    .filter((start) => Number.isFinite(start.far))
    .sort((a, b) => a.far - b.far)
    .slice(0, POOL_STARTS)
    .map(({ point }) => point);
}

// Proposals, the best first. The network's own comes first among the starts: where an outcome is not
// given as a value, it is asked for the nearest to the present one.
export async function propose(store, state) {
  const [target, box] = [targetOf(state.wanted), boxOf(store, state)];
  const [now] = await store.forward([state.x]);
  const [network] = await store.inverse([nearestIn(now.outputs, target)]);
  const problem = {
    evaluate: async (point) => (await store.forward([point]))[0],
    target,
    box,
    inputSpread: store.inputs.map(({ std }) => std),
    outputSpread: store.outputs.map(({ std }) => std),
    tolerance: TOLERANCE,
    maxSteps: MAX_STEPS,
    singularFloor: store.thresholds.singularFloor,
  };
  const starts = [network.outputs, state.x, ...(await drawn(store, target, box))];
  const described = (one) => ({
    ...one,
    binding: [],
    changed: one.inputs.flatMap((value, j) => (value === state.x[j] ? [] : [j])),
  });
  const found = await solve(problem, starts.filter((s) => s.every(Number.isFinite)), state.x);
  return { target, box, found: mostTrustedFirst(store, target, found).map(described) };
}

// With a reliability, what is expected to err least comes first: of those that reach the target.
function mostTrustedFirst(store, target, found) {
  if (!store.reliability) return found;
  const expected = ({ inputs, outputs, converged }) =>
    (converged ? 0 : 1e9) + trustOf(store, inputs, outputs, target).expectedError;
  return found
    .map((proposal) => ({ proposal, error: expected(proposal) }))
    .sort((a, b) => a.error - b.error)
    .map(({ proposal }) => proposal);
}
