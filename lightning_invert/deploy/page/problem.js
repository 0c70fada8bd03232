// A question to the solver: settings for a target within a box and constraints, in physical units.
// {evaluate, target: {low, high}, box: {low, high}, inputSpread, outputSpread, tolerance, maxSteps, rows, cost}:
// `evaluate` gives {outputs, jacobian} of settings; an open end is infinite, a fixed setting has a box
// without width; `rows` are of `rowsOf`; `cost` is a function as in descent.js, or null.

import { clampAll } from "./bounded_step.js";
import { holds, restored, rowChange } from "./constraints.js";

export const allFinite = (values) => values.every((value) => (Array.isArray(value) ? allFinite(value) : Number.isFinite(value)));

export function distanceOf(low, high) {
  let sum = 0;
  for (let i = 0; i < low.length; i += 1) sum += Math.max(low[i], 0, -high[i]) ** 2;
  return Math.sqrt(sum);
}

// By how much outcomes are to change, in their spreads: at least and at most.
const outcomeChange = (target, outputs, spread) =>
  [target.low, target.high].map((ends) => ends.map((end, i) => (end - outputs[i]) / spread[i]));

export function distance(target, outputs, spread) {
  const found = distanceOf(...outcomeChange(target, outputs, spread));
  return Number.isNaN(found) ? Infinity : found;
}

// The same, and that of the constraints below them.
export function changeAt({ target, outputSpread, rows }, inputs, outputs) {
  const change = outcomeChange(target, outputs, outputSpread);
  if (rows.names.length === 0) return change;
  const more = rowChange(rows, inputs);
  return [change[0].concat(more[0]), change[1].concat(more[1])];
}

// Of which outcomes anything is wanted.
export const isWanted = ({ low, high }) => low.map((end, i) => end > -Infinity || high[i] < Infinity);

// The Jacobian of outcomes and constraints in spreads; 0 for outcomes of which nothing is wanted.
export function slopesAt({ target, inputSpread, outputSpread, rows }, jacobian) {
  const wanted = isWanted(target);
  const slopes = jacobian.map((row, i) =>
    row.map((value, j) => (wanted[i] ? (value * inputSpread[j]) / outputSpread[i] : 0)),
  );
  return slopes.concat(rows.weights);
}

// By how much settings may fall and rise, in their spreads.
export const limitsOf = ({ box, inputSpread }, inputs, share = 1) =>
  [box.low, box.high].map((end) => end.map((value, j) => ((value - inputs[j]) * share) / inputSpread[j]));

// Settings moved by a step within box and constraints, and whether these hold.
export function moveBy({ box, inputSpread, rows }, from, step) {
  const clamped = clampAll(from.map((value, j) => value + step[j] * inputSpread[j]), box.low, box.high);
  const inputs = restored(rows, clamped, box);
  return { inputs, kept: holds(rows, inputs) };
}
