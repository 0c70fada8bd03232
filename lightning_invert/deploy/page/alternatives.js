// Proposals side by side: one is chosen, and what differs from it is marked.

import { make, quantity, table, valueOf } from "./elements.js";
import { meant } from "./matters.js";
import { amount, costAt } from "./prices.js";
import { trustOf } from "./reliability.js";

const DIFFERENT = 0.05; // standard units

// An arrow says which way a number differs from the chosen one.
function cellOf(value, chosen, variable) {
  const off = value === null || chosen === null ? 0 : (value - chosen) / variable.std;
  if (!(Math.abs(off) > DIFFERENT)) return valueOf(value, variable);
  const [sign, words] = off > 0 ? ["↑ ", "higher: "] : ["↓ ", "lower: "];
  return make(
    "span",
    { class: "differs" },
    make("span", { "aria-hidden": "true" }, sign),
    make("span", { class: "away" }, words),
    valueOf(value, variable),
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
  const numbers = (variables, from, to, isRow) =>
    variables.flatMap((variable, j) => {
      const values = to.map((one) => one[j]);
      if (!isRow(values, variable)) return [];
      const head = make("span", {}, quantity(variable));
      return [[head, valueOf(from[j], variable), ...values.map((value) => cellOf(value, values[k], variable))]];
    });
  const settings = found.map((one) => meant(store, one.inputs));
  const trusts = found.map((one) => trustOf(store, one.inputs, one.outputs, target));
  const now = costAt(store, prices, x);
  const rows = [
    ...numbers(store.inputs, meant(store, x), settings, () => true),
    ...numbers(store.outputs, begin, found.map((one) => one.outputs), differs),
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
