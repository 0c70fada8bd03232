// What is predicted at the settings.

import { data, make, quantity } from "./elements.js";
import { shown, signed } from "./numbers.js";
import { trustOf } from "./trust.js";

export function trustRows(store, x, predicted) {
  const trust = trustOf(store.trust, x, null, predicted);
  return trust === null ? [] : [make("p", { class: "trust" }, trust.words)];
}

export function outcomesPanel(store) {
  const list = make("div", { class: "outcomes" });
  const trust = make("div");
  const element = make(
    "section",
    { class: "card glance", "aria-labelledby": "outcome-title" },
    make("h2", { id: "outcome-title" }, "Predicted outcome"),
    list,
    trust,
  );
  return {
    element,
    show({ x, now, start }) {
      const cards = store.outputs.map((variable, i) => {
        const value = now.outputs[i];
        const change = value - start.outputs[i];
        const since = Number.isFinite(change) && change !== 0 ? `${signed(change, variable.std)} since From` : " ";
        const number = Number.isFinite(value) ? data(shown(value, variable.std), value) : "no finite value here";
        return make(
          "div",
          { class: "outcome" },
          make("span", { class: "name" }, quantity({ name: variable.name })),
          make("span", { class: "value", id: `outcome-${i}` }, number, make("span", { class: "unit" }, ` ${variable.unit}`)),
          make("span", { class: "since" }, since),
        );
      });
      list.replaceChildren(...cards);
      trust.replaceChildren(...trustRows(store, x, now.outputs));
    },
  };
}
