// Singular values of a Jacobian, and what is said of them: the same words as in Python.

import { dot } from "./bounded_step.js";

const MAX_SWEEPS = 60;
const RELATIVE_ZERO = 1e-15;

// One-sided Jacobi: G. H. Golub, C. F. Van Loan, "Matrix Computations", 4th ed., section 8.6.3.
// Rows (or columns, whichever are fewer) are rotated in pairs until they are orthogonal; their
// lengths are the singular values, small ones to full relative accuracy.
export function singularValues(jacobian) {
  const wide = jacobian.length <= jacobian[0].length;
  const rows = wide
    ? jacobian.map((row) => row.slice())
    : jacobian[0].map((_, j) => jacobian.map((row) => row[j]));
  let rotated = true;
  for (let sweep = 0; rotated && sweep < MAX_SWEEPS; sweep += 1) {
    rotated = false;
    for (let p = 0; p < rows.length; p += 1) {
      for (let q = p + 1; q < rows.length; q += 1) {
        const [a, b, c] = [dot(rows[p], rows[p]), dot(rows[q], rows[q]), dot(rows[p], rows[q])];
        if (!(Math.abs(c) > RELATIVE_ZERO * Math.sqrt(a * b))) continue;
        rotated = true;
        const zeta = (b - a) / (2 * c);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        const sine = cosine * tangent;
        for (let i = 0; i < rows[p].length; i += 1) {
          const [u, v] = [rows[p][i], rows[q][i]];
          rows[p][i] = cosine * u - sine * v;
          rows[q][i] = sine * u + cosine * v;
        }
      }
    }
  }
  return rows.map((row) => Math.hypot(...row)).sort((a, b) => b - a);
}

// J between standard units: how many standard deviations an outcome moves for one of a setting.
export function standardized(jacobian, inputs, outputs) {
  return jacobian.map((row, i) => row.map((value, j) => (value * inputs[j].std) / outputs[i].std));
}

export const numericalRank = (sigma, atol) => sigma.filter((value) => value > atol).length;

export function conditionNumber(sigma, floor) {
  const last = sigma[sigma.length - 1];
  return last < floor ? Infinity : sigma[0] / last;
}

export function bandOf(condition, [stable, ill]) {
  if (condition === Infinity) return "singular";
  if (condition > ill) return "ill-conditioned";
  return condition < stable ? "stable" : "moderate";
}
