// The pair's constraints: in words, and whether they hold.

import { data, make, readable, table } from "./elements.js";
import { ended, shown } from "./numbers.js";

const ROUNDING = 1e-6; // of a constraint's spread

const totalOf = ({ coefficients }, x) => coefficients.reduce((sum, a, j) => sum + (a === 0 ? 0 : a * x[j]), 0);
const spreadOf = ({ coefficients }, inputs) => Math.hypot(...coefficients.map((a, j) => a * inputs[j].std));

// The end of a constraint, or null where it is open.
const ends = ({ low, high }) => [low, high].map((end) => (Number.isFinite(end) ? end : null));

export function constraintWords(constraint, inputs) {
  const used = constraint.coefficients.map((a, j) => ({ a, ...inputs[j] })).filter(({ a }) => a !== 0);
  const sum = used
    .map(({ a, name }, k) => {
      const sign = a < 0 ? "− " : k > 0 ? "+ " : "";
      return `${sign}${Math.abs(a) === 1 ? "" : `${Number(Math.abs(a).toPrecision(6))} `}${readable(name)}`;
    })
    .join(" ");
  const units = [...new Set(used.map(({ unit }) => unit))];
  const unit = units.length === 1 && units[0] ? ` ${units[0]}` : "";
  const [low, high] = ends(constraint).map((end) => (end === null ? null : ended(end, spreadOf(constraint, inputs))));
  const range = low === null ? `at most ${high}` : high === null ? `at least ${low}` : low === high ? `is ${low}` : `${low} to ${high}`;
  const own = /[<=]/.test(constraint.name) ? "" : `${readable(constraint.name)}: `;
  return `${own}${sum} ${range}${unit}`;
}

// How a constraint stands at settings: {value, broken, binds}.
export function standing(constraint, inputs, x) {
  const value = totalOf(constraint, x);
  const rounding = ROUNDING * spreadOf(constraint, inputs);
  const [low, high] = ends(constraint);
  const within = Math.min(low === null ? Infinity : value - low, high === null ? Infinity : high - value);
  return { value, broken: within < -rounding, binds: Math.abs(within) <= rounding };
}

const standingWords = ({ broken, binds }) => (broken ? "does not hold" : binds ? "holds, at its end" : "holds");

// Under the sliders: each constraint, and how it stands now.
export function limitsList({ constraints, inputs }) {
  const lines = constraints.map((constraint) => {
    const [now, mark] = [make("span", {}), make("strong", {})];
    const show = (x) => {
      const at = standing(constraint, inputs, x);
      now.textContent = ` Now ${shown(at.value, spreadOf(constraint, inputs))}: `;
      mark.textContent = `${standingWords(at)}.`;
      mark.className = at.broken ? "warning" : "";
    };
    return { show, element: make("li", {}, `${constraintWords(constraint, inputs)}.`, now, mark) };
  });
  const element = make(
    "section",
    { id: "constraints", hidden: lines.length === 0, "aria-labelledby": "constraints-title" },
    make("h3", { id: "constraints-title" }, "Constraints"),
    make("ul", { class: "lines" }, lines.map((line) => line.element)),
  );
  return { element, show: (x) => lines.forEach((line) => line.show(x)) };
}

// Of a proposal: each constraint now and there, and which bind.
export function limitsTable({ constraints, inputs }, x, found) {
  if (constraints.length === 0) return null;
  const rows = constraints.map((constraint) => {
    const spread = spreadOf(constraint, inputs);
    const binds = found.binding.includes(constraint.name);
    const [now, then] = [x, found.inputs].map((at) => standing(constraint, inputs, at));
    return [
      make("span", {}, constraintWords(constraint, inputs), make("span", { class: "note" }, binds ? "binds" : "")),
      ...[now, then].map(({ value, broken }) =>
        make("span", { class: broken ? "warning" : "" }, data(shown(value, spread), value), broken ? " broken" : ""),
      ),
    ];
  });
  return table("Constraints", ["constraint", "From", "To"], rows, { id: "proposed-constraints" });
}
