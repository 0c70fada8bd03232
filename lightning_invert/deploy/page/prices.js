// What settings cost: prices from the pair or typed, and whether the least cost is looked for.

import { labelled, make, numberBox, readable } from "./elements.js";
import { mattering } from "./matters.js";
import { brief } from "./numbers.js";

const FINEST = 1e-3; // to which a price is shown

// The prices as the solver takes them, by name; null without any.
export function pricesOf({ inputs }, { prices }) {
  const given = inputs.flatMap(({ name }, j) => (prices[j] === null ? [] : [[name, prices[j]]]));
  return given.length === 0 ? null : Object.fromEntries(given);
}

// What the settings that matter cost; null without prices.
export function costAt(store, prices, x) {
  if (prices.every((price) => price === null)) return null;
  const matters = mattering(store, x);
  return prices.reduce((sum, price, j) => sum + (matters[j] ? (price ?? 0) * x[j] : 0), 0);
}

export const amount = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : brief(value)).replace("-", "−");

// "15.3 (4.9 %) less".
export function changeWords(before, after) {
  const by = amount(Math.abs(after - before));
  if (by === "0") return "as much";
  const share = before === 0 ? "" : ` (${brief(Math.abs((100 * (after - before)) / before))} %)`;
  return `${by}${share} ${after < before ? "less" : "more"}`;
}

export function pricesFold(store) {
  const fields = store.inputs.map((variable, j) => {
    const number = numberBox({
      id: `price-${j}`,
      label: `Price of ${labelled(variable)}`,
      variable: { unit: "", std: FINEST },
      optional: true,
      change: (value) => {
        const prices = store.state.prices.slice();
        prices[j] = value;
        store.set({ prices, solved: false });
      },
    });
    const per = make("span", { class: "unit" }, variable.unit ? ` per ${variable.unit}` : " per unit");
    const element = make(
      "div",
      { class: "field" },
      make("label", { for: `price-${j}` }, readable(variable.name), per),
      number.box,
      number.error,
    );
    return { element, number };
  });
  const check = make("input", {
    id: "cheapest",
    type: "checkbox",
    onchange: () => store.set({ cheapest: check.checked, solved: false }),
  });
  const said = make("span", { class: "unit" });
  const element = make(
    "details",
    { id: "prices" },
    make("summary", {}, "Prices ", said),
    make("p", { class: "hint" }, "An empty box counts as free of charge."),
    make("div", { class: "fields" }, fields.map((field) => field.element)),
    make("p", { class: "check" }, check, make("label", { for: "cheapest" }, "Look for the least cost")),
  );
  return {
    element,
    show({ prices, cheapest }) {
      fields.forEach(({ number }, j) => number.show(prices[j]));
      check.checked = cheapest;
      const count = prices.filter((price) => price !== null).length;
      said.textContent = count === 0 ? "none yet" : `${count} of ${prices.length}${cheapest ? ", the least cost is looked for" : ""}`;
    },
    lacking: () => fields.map(({ number }) => number.lacking()).includes(true),
    problem: ({ prices, cheapest }) =>
      cheapest && prices.every((price) => price === null) ? "Write at least one price to look for the least cost." : "",
  };
}
