// Windows: how far each setting can go while the others compensate: `lightning_invert.proposals.windows`. Both
// ends of all settings are sought at once, with the setting itself as the cost, and what leads to each level.

import { descend, pricesCost } from "./descent.js";
import { problemOf, targetOf } from "./propose.js";
import { approach } from "./solver.js";
import { isWanted } from "./problem.js";

// Beside `maxChanges` settings that have not changed stay where they are.
function boxAt({ box }, { x, maxChanges }, inputs) {
  const stays = inputs.map((value, j) => maxChanges !== null && value === x[j]);
  const end = (ends) => ends.map((value, j) => (stays[j] ? inputs[j] : value));
  return { low: end(box.low), high: end(box.high) };
}

// A box in which settings are at a level, {index: level}.
const boxWith = ({ low, high }, levels) => {
  const [least, most] = [low, high].map((ends) => ends.map((end, j) => levels[j] ?? end));
  return { low: least, high: most };
};

// For each setting {low, high, atLow, atHigh, atLevels}: all settings where it is at its ends, and at each of its
// levels, null where the others cannot compensate. What has levels stays while others go. `tolerance`: how far
// outcomes may leave the target, or without a target what they are at `inputs`: one number in standard units, or for
// each outcome in its own unit.
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
  const whole = boxAt(problem, state, inputs);
  const held = Object.fromEntries(inputs.flatMap((value, j) => (problem.levels[j].length > 0 ? [[j, value]] : [])));
  const own = { ...problem, target, box: boxWith(whole, held) };
  const begin = await approach(own, inputs);
  const farthest = async (j, sign) => {
    if (!begin.converged || !(own.box.low[j] < own.box.high[j])) return inputs;
    const price = inputs.map((_, k) => (k === j ? sign / own.inputSpread[j] : 0));
    const end = await descend({ ...own, cost: pricesCost(price) }, begin);
    return sign * (end.inputs[j] - inputs[j]) < 0 ? end.inputs : inputs;
  };
  const atLevel = async (j, level) => {
    if (level === inputs[j]) return inputs;
    if (!(level >= whole.low[j] && level <= whole.high[j])) return null;
    const there = { ...own, box: boxWith(whole, { ...held, [j]: level }) };
    let end = await approach(there, inputs);
    if (!end.converged) end = await approach(there, inputs, { careful: true });
    return end.converged ? end.inputs : null;
  };
  const windowOf = async (j) => {
    const atLevels = await Promise.all(problem.levels[j].map((level) => atLevel(j, level)));
    const reached = atLevels.filter((at) => at !== null).sort((a, b) => a[j] - b[j]);
    const ends = reached.length > 0 ? [reached[0], reached.at(-1)] : [farthest(j, 1), farthest(j, -1)];
    const [atLow, atHigh] = await Promise.all(ends);
    return { low: atLow[j], high: atHigh[j], atLow, atHigh, atLevels };
  };
  return Promise.all(inputs.map((_, j) => windowOf(j)));
}
