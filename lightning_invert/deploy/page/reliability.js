// How far to rely on a proposal, by the reliability that was exported with the pair: the numbers that
// `Reliability.to_json` writes in Python, without the spread over the members of F.

import { times } from "./solver.js";

const norm = (vector) => Math.hypot(...vector);

// Distribution function of the normal law, to 1e-7: Abramowitz and Stegun, 7.1.26.
function normal(z) {
  const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
  const series = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  const tail = 0.5 * t * series.reduce((sum, a) => sum * t + a, 0) * Math.exp(-0.5 * z * z);
  return z > 0 ? 1 - tail : tail;
}

// The nearest known points, the nearest first, and how near they are.
function neighbours(known, z, count) {
  const nearest = [];
  known.forEach((point, which) => {
    const apart = norm(point.map((value, j) => value - z[j]));
    if (nearest.length === count && apart >= nearest.at(-1).apart) return;
    const place = nearest.findIndex((neighbour) => apart < neighbour.apart);
    nearest.splice(place < 0 ? nearest.length : place, 0, { which, apart });
    nearest.length = Math.min(nearest.length, count);
  });
  return nearest;
}

// σ of each outcome in standard units, and the mean distance to the nearest known points.
function errorAt(reliability, standard) {
  const z = standard.map((value, j) => value - reliability.centre[j]); // as the known points are
  const nearest = neighbours(reliability.points, z, reliability.neighbours);
  const shares = nearest.map(({ apart }) => 1 / Math.max(apart, 1e-9));
  const all = shares.reduce((sum, share) => sum + share, 0);
  const away = norm(times(reliability.whitening, z));
  const [constant, local, , far] = reliability.weights;
  const sigma = constant.map((_, i) => {
    const around = nearest.reduce((sum, { which }, k) => sum + (shares[k] / all) * reliability.squared_errors[which][i], 0);
    return Math.sqrt(constant[i] + local[i] * around + far[i] * away ** 4);
  });
  return { sigma, distance: nearest.reduce((sum, { apart }) => sum + apart, 0) / nearest.length };
}

// Of settings x with the predicted outcomes: the ends of the band that holds a measured outcome nine
// times out of ten; and, of a target {low, high}, how probable it is to be met as nearly as F is
// accurate. `null` without a reliability.
export function trustOf({ reliability, inputs, outputs }, x, predicted, target = null) {
  if (!reliability) return null;
  const { sigma, distance } = errorAt(reliability, inputs.map(({ mean, std }, j) => (x[j] - mean) / std));
  const reach = outputs.map(({ std }, i) => reliability.band[i] * sigma[i] * std);
  const found = {
    low: predicted.map((value, i) => value - reach[i]),
    high: predicted.map((value, i) => value + reach[i]),
    far: distance > reliability.far,
  };
  if (target === null) return found;
  const wanted = outputs.map((_, i) => target.low[i] > -Infinity || target.high[i] < Infinity);
  const missed = outputs.map(({ std }, i) =>
    Math.max(target.low[i] - predicted[i], predicted[i] - target.high[i], 0) / std,
  );
  const total = norm([...missed, ...sigma.filter((_, i) => wanted[i])]) * Math.exp(reliability.log_mean);
  const accuracy = norm(reliability.accuracy.filter((_, i) => wanted[i]));
  return {
    ...found,
    expectedError: total,
    trust: normal((Math.log(accuracy) - Math.log(total)) / reliability.log_std),
    unseen: wanted.some(
      (isWanted, i) => isWanted && (target.low[i] > reliability.seen_high[i] || target.high[i] < reliability.seen_low[i]),
    ),
  };
}
