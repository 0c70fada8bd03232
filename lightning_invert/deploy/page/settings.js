// The settings of the forward model: a slider and a box for each.

import { button, labelled, make, numberBox, quantity, titled } from "./elements.js";
import { ended, rangeOf, shown, stepOf, usualOf } from "./numbers.js";

export function outsideWords(variable, value) {
  const { low, high, known } = rangeOf(variable);
  if (value >= low && value <= high) return "";
  const range = `${ended(low, variable.std)} to ${ended(high, variable.std)}`;
  return known
    ? `Outside the training range, ${range}: what is predicted here is a guess.`
    : `More than two standard deviations from the training data's mean, ${range}.`;
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
  const mostly = make("span", { class: "usual" });
  mostly.style.left = share(usual.low);
  mostly.style.right = `calc(100% - ${share(usual.high)})`;
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
    change: move,
  });
  const warning = make("p", { class: "warning", id: `${id}-warning`, "aria-live": "polite" });
  const [range, usual] = [rangeOf(variable), usualOf(variable)];
  const ends = ({ low, high }) => `${ended(low, variable.std)} to ${ended(high, variable.std)}`;
  const most = ends(range) === ends(usual) ? "" : `, mostly ${ends(usual)}`;
  const hint = range.known ? `Training range ${ends(range)}${most}` : `Mostly ${ends(usual)} in training`;
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
      const text = shown(value, variable.std);
      slider.setAttribute("aria-valuetext", `${text} ${variable.unit}`.trim());
      if (document.activeElement !== number.box) number.complain("");
      number.show(text.replace("−", "-"));
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
