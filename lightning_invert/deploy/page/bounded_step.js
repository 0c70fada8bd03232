// The best step of a linear model inside a box, one point at a time: `lightning_invert.solver.bounded_step`
// in Python has the derivation. Loops over plain arrays: a window takes some thousand passes.

// Those of the Python solver: see deploy/schema.py.
const { MAX_PASSES, MIN_SLOPE, SLACK, MIN_SQUARE, HARD } = CONSTANTS;

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const clampAll = (values, low, high) => values.map((value, i) => clamp(value, low[i], high[i]));
export const transposed = (matrix) => matrix[0].map((_, j) => matrix.map((row) => row[j]));

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

export const times = (matrix, vector) => matrix.map((row) => dot(row, vector));

// The product with the transposed matrix.
export function pulledBy(matrix, vector, size) {
  const product = new Array(size).fill(0);
  for (let i = 0; i < matrix.length; i += 1) {
    for (let j = 0; j < size; j += 1) product[j] += matrix[i][j] * vector[i];
  }
  return product;
}

// -1 at or below the lower end, 1 at or above the upper one, 2 where there is one value.
const sideOf = (value, low, high) => (low < high ? Number(value >= high) - Number(value <= low) : 2);

// The solution of A x = b for a symmetric positive definite A, by Cholesky; NaN where it is not.
function choleskySolved(matrix, right) {
  const size = right.length;
  const factor = matrix;
  for (let i = 0; i < size; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = matrix[i][j];
      for (let k = 0; k < j; k += 1) sum -= factor[i][k] * factor[j][k];
      if (i === j && !(sum > 0)) return right.map(() => NaN);
      factor[i][j] = i === j ? Math.sqrt(sum) : sum / factor[j][j];
    }
  }
  const solved = right.slice();
  for (let i = 0; i < size; i += 1) {
    for (let k = 0; k < i; k += 1) solved[i] -= factor[i][k] * solved[k];
    solved[i] /= factor[i][i];
  }
  for (let i = size - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < size; k += 1) solved[i] -= factor[k][i] * solved[k];
    solved[i] /= factor[i][i];
  }
  return solved;
}

// Which share of a Newton step is best: along it the slope of the convex function is piecewise linear, and
// rises while an input, or the change of an interval, is between its bounds. `pieces` are [enter, leave, rise].
function lineSearch(before, damped, pieces) {
  const breaks = pieces
    .flatMap(([enter, leave, rise]) => [[enter, rise], [leave, -rise]])
    .sort((a, b) => a[0] - b[0]);
  let slope = before + damped * breaks[0][0];
  if (slope >= 0) return clamp(-before / damped, 0, 1);
  let steepness = damped;
  for (let k = 0; k < breaks.length; k += 1) {
    steepness += breaks[k][1];
    const end = k + 1 < breaks.length ? breaks[k + 1][0] : 1;
    slope += steepness * (end - breaks[k][0]);
    if (slope >= 0) return clamp(end - slope / steepness, 0, 1);
  }
  return 1;
}

// min c'd + h |d|² / 2 + |J d - z|² / (2 λ) for a step d within its limits and z between the two ends of
// the wanted change. λ is a share of the mean square of the rows of J; the last `hard` rows come first.
export function boundedStep(jacobian, change, limits, damping, { slope = null, curvature = 1, hard = 0 } = {}) {
  const [[changeLow, changeHigh], [stepLow, stepHigh]] = [change, limits];
  const [m, n] = [jacobian.length, stepLow.length];
  const soft = m - hard;
  let [wanted, sum] = [0, 0];
  for (let i = 0; i < soft; i += 1) {
    wanted += changeLow[i] > -Infinity || changeHigh[i] < Infinity ? 1 : 0;
    sum += dot(jacobian[i], jacobian[i]);
  }
  const mean = Math.max(sum / wanted, MIN_SQUARE);
  const [lambda, slack, multipliers, nearest] = Array.from({ length: 4 }, () => new Array(m));
  for (let i = 0; i < m; i += 1) {
    const square = (i < soft ? mean : 1) / curvature;
    lambda[i] = (i < soft ? damping : HARD) * square;
    slack[i] = SLACK * square;
    nearest[i] = clamp(0, changeLow[i], changeHigh[i]);
    // Not zero, lest it cannot be told which inputs at a bound are about to leave it.
    multipliers[i] = (1e-9 * nearest[i]) / square;
  }
  const pulled = pulledBy(jacobian, multipliers, n);
  for (let j = 0; j < n; j += 1) pulled[j] = (pulled[j] - (slope ? slope[j] : 0)) / curvature;
  const freeChange = (i) => nearest[i] - slack[i] * multipliers[i];
  const sidesNow = () => [
    ...pulled.map((value, j) => sideOf(value, stepLow[j], stepHigh[j])),
    ...multipliers.map((_, i) => sideOf(freeChange(i), changeLow[i], changeHigh[i])),
  ];
  let sides = sidesNow();
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const reached = times(jacobian, clampAll(pulled, stepLow, stepHigh));
    const error = multipliers.map(
      (value, i) => lambda[i] * value - clamp(freeChange(i), changeLow[i], changeHigh[i]) + reached[i],
    );
    const gram = jacobian.map((row, i) => {
      const products = new Array(m).fill(0);
      for (let k = 0; k <= i; k += 1) {
        for (let j = 0; j < n; j += 1) if (sides[j] === 0) products[k] += row[j] * jacobian[k][j];
        products[k] /= curvature;
      }
      products[i] += lambda[i] + (sides[n + i] === 0 ? slack[i] : 0);
      return products;
    });
    const newton = choleskySolved(gram, error).map((value) => -value);
    const along = pulledBy(jacobian, newton, n).map((value) => value / curvature);
    const pieces = [];
    let [after, damped] = [0, 0];
    const rising = (from, way, low, high, rise) => {
      if (way === 0) return;
      const [one, other] = [(low - from) / way, (high - from) / way];
      const [enter, leave] = [clamp(Math.min(one, other), 0, 1), clamp(Math.max(one, other), 0, 1)];
      pieces.push([enter, leave, rise]);
      after += rise * (leave - enter);
    };
    for (let j = 0; j < n; j += 1) rising(pulled[j], along[j], stepLow[j], stepHigh[j], along[j] ** 2 * curvature);
    for (let i = 0; i < m; i += 1) {
      rising(freeChange(i), -slack[i] * newton[i], changeLow[i], changeHigh[i], newton[i] ** 2 * slack[i]);
      damped += lambda[i] * newton[i] ** 2;
    }
    const before = dot(error, newton);
    const steep = pieces.length > 0 && before + damped + after > MIN_SLOPE * Math.abs(before);
    const share = steep ? lineSearch(before, damped, pieces) : 1;
    for (let i = 0; i < m; i += 1) multipliers[i] += share * newton[i];
    for (let j = 0; j < n; j += 1) pulled[j] += share * along[j];
    if (!multipliers.every(Number.isFinite)) break;
    const now = sidesNow();
    const settled = share === 1 && now.every((side, k) => side === sides[k]);
    sides = now;
    if (settled) break;
  }
  const step = clampAll(pulled, stepLow, stepHigh).map((value) => (Number.isNaN(value) ? 0 : value));
  return { step, multipliers };
}
