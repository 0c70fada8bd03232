// Windows: how far each setting can go while the others compensate: `lightning_invert.proposals.windows`. Both
// ends of all settings are sought at once, with the setting itself as the cost.

import { clampAll } from "./bounded_step.js";
import { descend, pricesCost } from "./descent.js";
import { problemOf, targetOf } from "./propose.js";
import { approach } from "./solver.js";
import { isWanted } from "./problem.js";

// Settings with levels, and beside `maxChanges` those that have not changed, stay where they are.
function boxAt({ box, levels }, { x, maxChanges }, inputs) {
  const stays = inputs.map((value, j) => levels[j].length > 0 || (maxChanges !== null && value === x[j]));
  const end = (ends) => ends.map((value, j) => (stays[j] ? inputs[j] : value));
  return { low: end(box.low), high: end(box.high) };
}

// For each setting {low, high, atLow, atHigh}. `tolerance`: how far outcomes may leave the target, or without
// a target what they are at `inputs`: one number in standard units, or for each outcome in its own unit.
export async function windowsOf(store, given, inputs, tolerance) {
  const state = { maxChanges: null, ...given };
  const problem = problemOf(store, state);
  const { outputs } = await problem.evaluate(inputs);
  const asked = targetOf(state.wanted);
  const wanted = isWanted(asked).includes(true) ? asked : { low: outputs, high: outputs };
  const reach = problem.outputSpread.map((unit, i) => (Array.isArray(tolerance) ? tolerance[i] : tolerance * unit));
  // What is reached now is within the window.
  const target = {
    low: wanted.low.map((end, i) => Math.min(end - reach[i], outputs[i])),
    high: wanted.high.map((end, i) => Math.max(end + reach[i], outputs[i])),
  };
  const box = boxAt(problem, state, inputs);
  const own = { ...problem, target, box };
  const begin = await approach(own, clampAll(inputs, box.low, box.high));
  const farthest = async (j, sign) => {
    if (!begin.converged || !(box.low[j] < box.high[j])) return inputs;
    const price = inputs.map((_, k) => (k === j ? sign / own.inputSpread[j] : 0));
    const end = await descend({ ...own, cost: pricesCost(price) }, begin);
    return sign * (end.inputs[j] - inputs[j]) < 0 ? end.inputs : inputs;
  };
  const ends = await Promise.all(inputs.flatMap((_, j) => [farthest(j, 1), farthest(j, -1)]));
  return inputs.map((_, j) => {
    const [atLow, atHigh] = [ends[2 * j], ends[2 * j + 1]];
    return { low: atLow[j], high: atHigh[j], atLow, atHigh };
  });
}
