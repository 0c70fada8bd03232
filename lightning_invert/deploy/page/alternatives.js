// Proposals side by side: one is chosen, and what differs from it is marked.

import { data, make, quantity, table } from "./elements.js";
import { amount, costAt } from "./prices.js";
import { shown } from "./numbers.js";
import { trustOf } from "./reliability.js";

const DIFFERENT = 0.05; // standard units

// An arrow says which way a number differs from the chosen one.
function cellOf(value, chosen, { std }) {
  const off = (value - chosen) / std;
  if (!(Math.abs(off) > DIFFERENT)) return data(shown(value, std), value);
  const [sign, words] = off > 0 ? ["↑ ", "higher: "] : ["↓ ", "lower: "];
  return make(
    "span",
    { class: "differs" },
    make("span", { "aria-hidden": "true" }, sign),
    make("span", { class: "away" }, words),
    data(shown(value, std), value),
  );
}

export function alternativesTable(store, { found, target, prices, x, begin }, k, pick) {
  if (found.length < 2) return [];
  const heads = found.map((_, i) => {
    const radio = make("input", { type: "radio", name: "alternative", id: `alternative-${i}`, onchange: () => pick(i) });
    radio.checked = i === k;
    return make("label", { for: `alternative-${i}` }, radio, make("span", { class: "away" }, "Solution "), `${i + 1}`);
  });
  const differs = (values, { std }) => values.some((value) => Math.abs(value - values[0]) > DIFFERENT * std);
  const numbers = (variables, part, from, isRow) =>
    variables.flatMap((variable, j) => {
      const values = found.map((one) => one[part][j]);
      const isAny = (one) => part === "inputs" && !one.matters[j];
      if (!isRow(values, variable)) return [];
      const head = make("span", {}, quantity(variable));
      return [[head, shown(from[j], variable.std), ...found.map((one, i) => (isAny(one) ? "any" : cellOf(values[i], values[k], variable)))]];
    });
  const trusts = found.map((one) => trustOf(store, one.inputs, one.outputs, target));
  const now = costAt(store, prices, x);
  const rows = [
    ...numbers(store.inputs, "inputs", x, () => true),
    ...numbers(store.outputs, "outputs", begin, differs),
    ...(now === null ? [] : [["cost", amount(now), ...found.map((one) => amount(costAt(store, prices, one.inputs)))]]),
    ...(trusts[0] ? [["trust", "", ...trusts.map(({ trust }) => `${Math.round(100 * trust)} %`)]] : []),
    ["settings changed", "", ...found.map(({ changed }) => String(changed.length))],
  ];
  return [make(
    "fieldset",
    { class: "alternatives" },
    make("legend", { class: "away" }, "Solutions"),
    table("Solutions side by side", ["", "From", ...heads], rows, { id: "alternatives" }),
    make("p", { class: "hint" }, "Arrows: higher or lower than in the chosen one."),
  )];
}
