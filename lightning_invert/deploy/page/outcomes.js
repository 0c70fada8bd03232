// What is predicted at the settings.

import { data, labelled, make, quantity, titled } from "./elements.js";
import { shown, signed } from "./numbers.js";
import { trustOf } from "./reliability.js";

// The band about an outcome, as text.
export function bandText(trust, variable, i) {
  return `${shown(trust.low[i], variable.std)} to ${shown(trust.high[i], variable.std)}`;
}

// Why what is said of settings rests on little.
export const unlikeWords = ({ far, doubtful }) =>
  [
    ...(far ? ["These settings are far from all that are known."] : []),
    ...(doubtful ? ["Near these settings the model errs more than almost anywhere in the data."] : []),
  ].join(" ");

export function outcomesPanel(store) {
  const warning = make("p", { class: "verdict", id: "outcome-warning" });
  const list = make("div", { class: "outcomes" });
  const hint = make("p", { class: "hint" });
  const element = titled("outcome-title", "Predicted outcome", warning, list, hint);
  element.classList.add("glance");
  return {
    element,
    show({ x, now, start }) {
      const trust = trustOf(store, x, now.outputs);
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
          trust && Number.isFinite(value) ? make("span", { class: "since band" }, bandText(trust, variable, i)) : "",
          make("span", { class: "since" }, since),
        );
      });
      list.replaceChildren(...cards);
      hint.textContent = trust ? `Under each outcome, a band of measurements: ${trust.words}.` : "";
      warning.hidden = !trust || trust.alike;
      warning.textContent = warning.hidden ? "" : unlikeWords(trust);
    },
  };
}

// The outcome in a sentence, to be said aloud.
export const summaryOf = (outputs, values) =>
  `Predicted: ${outputs.map((variable, i) => `${labelled(variable)}: ${shown(values[i], variable.std)}`).join(", ")}.`;
