// The settings of the forward model: a slider and a box for each.

import { button, labelled, make, numberBox, quantity, titled } from "./elements.js";
import { rangeOf, rangeWords, shown, stepOf, usualOf } from "./numbers.js";

export function outsideWords(variable, value) {
  const { low, high, known } = rangeOf(variable);
  if (value >= low && value <= high) return "";
  const range = known ? "the training range" : "where most of the training data are";
  return `Outside ${range}, ${rangeWords({ low, high }, variable.std)}: what is predicted here is a guess.`;
}

// Where the training data are, in words.
export function usualWords(variable) {
  const { low, high, known } = usualOf(variable);
  return known
    ? `mostly ${rangeWords({ low, high }, variable.std)}`
    : `on average ${rangeWords({ low: variable.mean, high: variable.mean }, variable.std)}`;
}

function sliderOf(variable, id, change) {
  const { low, high, known } = rangeOf(variable);
  // A little past a range that is only a guess, so that one sees where it ends.
  const margin = known ? 0 : (high - low) / 2;
  const [least, most] = [low - margin, high + margin];
  const usual = usualOf(variable);
  const share = (value) => `${(100 * (value - least)) / (most - least)}%`;
  const slider = make("input", {
    id: `${id}-slider`,
    type: "range",
    min: least,
    max: most,
    step: stepOf(most - least),
    "aria-label": `${labelled(variable)}, slider`,
    "aria-describedby": `${id}-hint`,
    oninput: () => change(Number(slider.value)),
  });
  const range = make("span", { class: "range" });
  range.style.left = share(low);
  range.style.right = `calc(100% - ${share(high)})`;
  const mostly = usual.known ? make("span", { class: "usual" }) : null;
  if (mostly) {
    mostly.style.left = share(Math.max(usual.low, least));
    mostly.style.right = `calc(100% - ${share(Math.min(usual.high, most))})`;
  }
  return { slider, track: make("div", { class: "track", "aria-hidden": "true" }, range, mostly) };
}

function settingField(variable, j, store) {
  const id = `setting-${j}`;
  const move = (value) => {
    const x = store.state.x.slice();
    x[j] = value;
    store.set({ x });
  };
  const { slider, track } = sliderOf(variable, id, move);
  const number = numberBox({
    id,
    label: labelled(variable),
    describedby: `${id}-hint ${id}-warning`,
    variable,
    change: move,
    keep: true,
  });
  const warning = make("p", { class: "warning", id: `${id}-warning`, "aria-live": "polite" });
  const [whole, usual] = [rangeWords(rangeOf(variable), variable.std), usualWords(variable)];
  const mostly = usual === `mostly ${whole}` ? "" : `, ${usual}`;
  const hint = rangeOf(variable).known ? `Training range ${whole}${mostly}` : `In training ${usual}`;
  const element = make(
    "div",
    { class: "field" },
    make("label", { for: id }, quantity(variable)),
    number.box,
    make("div", { class: "slide" }, slider, track),
    make("p", { class: "hint", id: `${id}-hint` }, hint),
    number.error,
    warning,
  );
  return {
    element,
    show(value) {
      slider.value = value;
      slider.setAttribute("aria-valuetext", `${shown(value, variable.std)} ${variable.unit}`.trim());
      number.show(value);
      warning.textContent = outsideWords(variable, value);
    },
  };
}

export function settingsPanel(store) {
  const fields = store.inputs.map((variable, j) => settingField(variable, j, store));
  const element = titled(
    "settings-title",
    "Settings",
    make("div", { class: "fields" }, fields.map((field) => field.element)),
    make(
      "p",
      { class: "buttons" },
      button("Back to From", () => store.set({ x: store.state.from.slice() })),
      button("Training mean", () => store.set({ x: store.inputs.map((variable) => variable.mean) })),
    ),
  );
  return { element, show: ({ x }) => fields.forEach((field, j) => field.show(x[j])) };
}
