// How far to rely on a proposal, by the reliability that was exported with the pair: the numbers that
// deploy/schema.py lists, without the spread over the members of F.

import { times } from "./bounded_step.js";

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

// σ of each outcome by the nearest known points, in standard units.
function errorAt(reliability, z) {
  const nearest = neighbours(reliability.points, z, reliability.neighbours);
  const shares = nearest.map(({ apart }) => 1 / Math.max(apart, 1e-9));
  const all = shares.reduce((sum, share) => sum + share, 0);
  const away = norm(times(reliability.whitening, z));
  const [constant, local, , far] = reliability.weights;
  return constant.map((_, i) => {
    const around = nearest.reduce((sum, { which }, k) => sum + (shares[k] / all) * reliability.squared_errors[which][i], 0);
    return Math.sqrt(constant[i] + local[i] * around + far[i] * away ** 4);
  });
}

// How little the training points tell of a point: `Leverage.at` in Python.
function leverageAt({ frequencies, factor }, z) {
  const phases = frequencies[0].map((_, f) => z.reduce((sum, value, j) => sum + value * frequencies[j][f], 0));
  const features = [1, ...z, ...phases.map(Math.sin), ...phases.map(Math.cos)];
  return times(factor, features).reduce((sum, value) => sum + value * value, 0);
}

// Half the width of the band that holds all outcomes, in standard units, and whether the point is beyond
// the validation points, in error and in leverage: `Band.at` in Python.
function bandAt(band, z, sigma) {
  const leverage = leverageAt(band.leverage, z);
  const place = [Math.log(norm(sigma)), Math.log(leverage)].map((value, a) => (value - band.scale[0][a]) / band.scale[1][a]);
  const quantile = (axes) =>
    band.places
      .map((known, k) => [norm(axes.map((a) => known[a] - place[a])), band.scores[k]])
      .sort(([one], [other]) => one - other)
      .slice(0, band.num_alike)
      .map(([, score]) => score)
      .sort((one, other) => one - other)[band.rank - 1];
  const factor = Math.max(quantile([0, 1]), quantile([0]));
  const [constant, slope] = band.weights;
  return {
    half: band.quantiles.map((q, i) => factor * q * Math.sqrt(constant[i] + slope[i] * leverage)),
    beyond: place.map((value, a) => !(value <= band.limits[a])),
  };
}

// Of settings x with the predicted outcomes: the ends of the band, see its `words`, and whether the settings
// are like the validation points; and, of a target {low, high}, how probable it is to be met as nearly as F
// is accurate. `null` without a reliability.
export function trustOf({ reliability, inputs, outputs }, x, predicted, target = null) {
  if (!reliability) return null;
  const z = inputs.map(({ mean, std }, j) => (x[j] - mean) / std - reliability.centre[j]); // as the known points are
  const sigma = errorAt(reliability, z);
  const { half, beyond } = bandAt(reliability.band, z, sigma);
  const found = {
    low: predicted.map((value, i) => value - half[i] * outputs[i].std),
    high: predicted.map((value, i) => value + half[i] * outputs[i].std),
    doubtful: beyond[0],
    far: beyond[1],
    alike: !beyond[0] && !beyond[1],
    words: reliability.band.words,
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
