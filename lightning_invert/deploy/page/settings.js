// The settings of the forward model: a slider and a box for each, or a choice among its levels, and
// its window.

import { button, labelled, make, quantity, readable, titled, valueBox } from "./elements.js";
import { limitsList } from "./limits.js";
import { mattering } from "./matters.js";
import { rangeOf, rangeWords, shown, stepOf, usualOf } from "./numbers.js";
import { stopWords, windowChoices, windowLine } from "./window_view.js";

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

const WRITTEN = { ">=": "≥", "<=": "≤", "==": "=", "!=": "≠" };

// When a setting would matter that does not.
function anyWords({ inputs, conditions }, j, matters) {
  const { other, sign, number } = conditions[j];
  const how = matters[other] ? `${WRITTEN[sign] ?? sign} ${number}` : "does";
  return `Any: it matters only if ${readable(inputs[other].name)} ${how}.`;
}

// The ends of a slider, and where on it a value is, in per cent.
function scaleOf(variable) {
  const { low, high, known } = rangeOf(variable);
  // A little past a range that is only a guess, so that one sees where it ends.
  const margin = known ? 0 : (high - low) / 2;
  const [least, most] = [low - margin, high + margin];
  const place = (value) => Math.min(Math.max((100 * (value - least)) / (most - least), 0), 100);
  return { low, high, least, most, place };
}

function sliderOf(variable, id, { low, high, least, most, place }, band, change) {
  const usual = usualOf(variable);
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
  const part = (name, from, to) => {
    const element = make("span", { class: name });
    element.style.left = `${place(from)}%`;
    element.style.right = `${100 - place(to)}%`;
    return element;
  };
  const rail = make("div", { class: "rail", "aria-hidden": "true" }, band);
  const mostly = usual.known ? part("usual", usual.low, usual.high) : null;
  const track = make("div", { class: "track", "aria-hidden": "true" }, part("range", low, high), mostly);
  return { slider, slide: make("div", { class: "slide" }, rail, slider, track) };
}

function settingField(variable, j, store, go) {
  const id = `setting-${j}`;
  const move = (value) => {
    const [x, heldAt] = [store.state.x.slice(), store.state.heldAt.slice()];
    x[j] = value;
    if (store.state.held[j]) heldAt[j] = value;
    store.set({ x, heldAt });
  };
  const scale = scaleOf(variable);
  const line = windowLine(variable, j, store, go);
  const { slider, slide } = variable.levels.length > 0 ? {} : sliderOf(variable, id, scale, line.band, move);
  const number = valueBox({
    id,
    label: labelled(variable),
    describedby: `${id}-hint ${id}-warning`,
    variable,
    change: move,
    keep: true,
  });
  const warning = make("p", { class: "warning", id: `${id}-warning`, "aria-live": "polite" });
  const said = make("p", { class: "hint", role: "status" });
  const [whole, usual] = [rangeWords(rangeOf(variable), variable.std), usualWords(variable)];
  const mostly = usual === `mostly ${whole}` ? "" : `, ${usual}`;
  const range = rangeOf(variable).known ? `Training range ${whole}${mostly}` : `In training ${usual}`;
  const hint = make("p", { class: "hint", id: `${id}-hint` }, range);
  const element = make(
    "div",
    { class: "field" },
    make("label", { for: id }, quantity(variable)),
    number.box,
    slide,
    hint,
    line.element,
    said,
    number.error,
    warning,
  );
  return {
    element,
    said,
    line,
    place: scale.place,
    // `any` says when it would matter, where it does not.
    show(value, held, any) {
      hint.textContent = any || range;
      element.classList.toggle("any", any !== "");
      if (slider) {
        slider.value = value;
        slider.setAttribute("aria-valuetext", `${shown(value, variable.std)} ${variable.unit}`.trim());
      }
      number.show(value);
      line.hold(held);
      warning.textContent = any ? "" : outsideWords(variable, value);
    },
  };
}

export function settingsPanel(store) {
  // The newest windows, whether the settings have changed since, and the end that is asked for or gone to.
  let [windows, fresh, asked, gone] = [null, false, null, null];
  function go(j, pick) {
    asked = fresh ? null : [j, pick];
    const at = fresh ? pick(windows[j]) : null;
    if (!at) return;
    const { x, kept } = store.state;
    const inputs = at.slice();
    gone = { j, before: x, inputs };
    store.set({ x: inputs, kept: kept ?? x });
  }
  const fields = store.inputs.map((variable, j) => settingField(variable, j, store, go));
  const [choices, limits] = [windowChoices(store), limitsList(store)];
  const list = make("div", { class: "fields" }, fields.map((field) => field.element));
  const element = titled(
    "settings-title",
    "Settings",
    choices.element,
    list,
    limits.element,
    make(
      "p",
      { class: "buttons" },
      button("Back to From", () => store.set({ x: store.state.from.slice() })),
      button("Training mean", () => store.set({ x: store.middle.slice() })),
    ),
  );
  return {
    element,
    show(state) {
      const { x, held } = state;
      const matters = mattering(store, x);
      fields.forEach((field, j) => field.show(x[j], held[j], matters[j] ? "" : anyWords(store, j, matters)));
      limits.show(x);
      choices.show(state);
    },
    // Says, once the outcome is known, what going to an end of a window took.
    tell(seen) {
      fields.forEach(({ said }, j) => {
        said.textContent = gone?.j === j && gone.inputs === seen.x ? stopWords(store, gone, seen) : "";
      });
    },
    // While new windows are sought, the last ones stay, in grey.
    showWindows(found) {
      fresh = found !== null;
      list.classList.toggle("stale", !fresh);
      if (!fresh) return;
      windows = found;
      const { x, held } = store.state;
      const matters = mattering(store, x);
      fields.forEach(({ line, place }, j) => line.show(found[j], { held: held[j], matters: matters[j] }, place));
      if (asked) go(...asked);
    },
    forget: () => (asked = null),
  };
}
