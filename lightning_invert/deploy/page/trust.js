// How far a proposal can be trusted, by the calibration that was exported with the pair.

// TRUST: not designed yet. With a calibration this is to return {low, high, words}: the band of each
// predicted outcome, and what to say. `x` are the settings, `wanted` the target {low, high} or null,
// `predicted` the outcome at x. Without one it returns null, and the page shows no band.
export function trustOf(calibration, x, wanted, predicted) {
  return null;
}
