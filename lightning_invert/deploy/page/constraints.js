// Linear constraints between settings, and how points come to where they hold: the linear part of
// `lightning_invert.solver.constraints`. A row changes by 1 where settings move by 1 in its steepest direction.

import { boundedStep, clampAll, dot } from "./bounded_step.js";

const { ROUNDS, PATIENT_ROUNDS, EXACT, HELD, SUM_ROUNDING, BINDING } = CONSTANTS;

// Rows of constraints [{name, coefficients, low, high}], for settings in their spreads.
export function rowsOf(constraints, inputSpread) {
  const scaled = constraints.map(({ coefficients }) => coefficients.map((a, j) => a * inputSpread[j]));
  const units = scaled.map((row) => Math.hypot(...row));
  return {
    names: constraints.map(({ name }) => name),
    low: constraints.map(({ low }, k) => low / units[k]),
    high: constraints.map(({ high }, k) => high / units[k]),
    weights: scaled.map((row, k) => row.map((a) => a / units[k])),
    inputSpread,
  };
}

// By how much the rows have to change, at least and at most.
export function rowChange({ weights, low, high, inputSpread }, inputs) {
  const z = inputs.map((value, j) => value / inputSpread[j]);
  const values = weights.map((row) => dot(row, z));
  return [values.map((value, k) => low[k] - value), values.map((value, k) => high[k] - value)];
}

// A rounded sum needs room.
function nearnessOf({ weights, inputSpread }, inputs, room) {
  const sizes = inputs.map((value, j) => Math.abs(value) / inputSpread[j]);
  return weights.map((row) => room + SUM_ROUNDING * Number.EPSILON * dot(row.map(Math.abs), sizes));
}

function violations(rows, inputs) {
  const [low, high] = rowChange(rows, inputs);
  return low.map((value, k) => Math.max(value, -high[k]));
}

export function holds(rows, inputs) {
  const near = nearnessOf(rows, inputs, HELD);
  return violations(rows, inputs).every((value, k) => value <= near[k]);
}

// Names of the constraints that are at an end.
export function bindingOf(rows, inputs) {
  const near = nearnessOf(rows, inputs, BINDING);
  const far = violations(rows, inputs);
  return rows.names.filter((_, k) => far[k] >= -near[k]);
}

// Move settings by Newton steps within the box to where the constraints hold nearby.
export function restored(rows, inputs, box, rounds = ROUNDS) {
  let moved = inputs;
  for (let round = 0; round < rounds && rows.names.length > 0 && moved.every(Number.isFinite); round += 1) {
    const near = nearnessOf(rows, moved, EXACT);
    // A sum is to be on the right side of an end.
    const margin = near.map((value, k) => Math.min(value, (rows.high[k] - rows.low[k]) / 4));
    const change = rowChange(rows, moved);
    const low = change[0].map((value, k) => value + margin[k]);
    const high = change[1].map((value, k) => value - margin[k]);
    if (low.every((value, k) => Math.max(value, -high[k]) <= near[k])) break;
    const from = moved;
    const limits = [box.low, box.high].map((end) => end.map((value, j) => (value - from[j]) / rows.inputSpread[j]));
    const { step } = boundedStep(rows.weights, [low, high], limits, 0, { hard: rows.names.length });
    const next = from.map((value, j) => value + step[j] * rows.inputSpread[j]);
    moved = clampAll(next, box.low, box.high);
  }
  return moved;
}

// The constraints that leave no point of the box, by name; none if one keeps them all.
export function contradicting(rows, box) {
  const middle = box.low.map((low, j) => (Number.isFinite(low + box.high[j]) ? (low + box.high[j]) / 2 : 0));
  const possible = (index) => {
    const [names, low, high, weights] = ["names", "low", "high", "weights"].map((part) => index.map((k) => rows[part][k]));
    const some = { names, low, high, weights, inputSpread: rows.inputSpread };
    return holds(some, restored(some, clampAll(middle, box.low, box.high), box, PATIENT_ROUNDS));
  };
  let needed = [...rows.names.keys()];
  if (possible(needed)) return [];
  for (const k of rows.names.keys()) {
    const others = needed.filter((other) => other !== k);
    if (others.length > 0 && !possible(others)) needed = others;
  }
  return needed.map((k) => rows.names[k]);
}
