// What is wanted of each outcome, and which settings are held.

import { labelled, make, numberBox, quantity, readable, titled, valueBox } from "./elements.js";
import { pricesFold } from "./prices.js";
import { outsideWords, usualWords } from "./settings.js";
import { ENDS } from "./state.js";

const KINDS = { free: "no matter", low: "at least", high: "at most", between: "between", value: "exactly" };

function wantedField(variable, i, store) {
  const id = `wanted-${i}`;
  const change = (part) => {
    const wanted = store.state.wanted.slice();
    wanted[i] = { ...wanted[i], ...part };
    store.set({ wanted, solved: false });
  };
  const choice = make(
    "select",
    {
      id: `${id}-kind`,
      "aria-label": `${readable(variable.name)}: how it is wanted`,
      onchange: () => change({ kind: choice.value }),
    },
    Object.entries(KINDS).map(([kind, text]) => make("option", { value: kind }, text)),
  );
  const box = (end, label) =>
    numberBox({
      id: `${id}-${end}`,
      label: `${labelled(variable)}, ${label}`,
      describedby: `${id}-hint`,
      variable,
      change: (value) => change({ [end]: value }),
    });
  const boxes = { value: box("value", "exactly"), low: box("low", "at least"), high: box("high", "at most") };
  const and = make("span", {}, "and");
  const ends = make("div", { class: "ends" }, boxes.value.box, boxes.low.box, and, boxes.high.box);
  const element = make(
    "div",
    { class: "field want" },
    make("label", { for: `${id}-kind` }, quantity(variable)),
    choice,
    ends,
    make("p", { class: "hint", id: `${id}-hint` }, `In training ${usualWords(variable)}`),
    Object.values(boxes).map(({ error }) => error),
  );
  return {
    element,
    show(wanted) {
      const { kind, low, high } = wanted;
      choice.value = kind;
      for (const [end, field] of Object.entries(boxes)) {
        field.box.hidden = !ENDS[kind].includes(end);
        field.error.hidden = field.box.hidden;
        field.show(wanted[end]);
      }
      ends.hidden = kind === "free";
      and.hidden = kind !== "between";
      const crossed = kind === "between" && low !== null && high !== null && low > high;
      boxes.high.object(crossed ? "The upper end is below the lower one." : "");
    },
    lacking: ({ kind }) => ENDS[kind].map((end) => boxes[end].lacking()).includes(true),
  };
}

function heldField(variable, j, store) {
  const id = `held-${j}`;
  const change = (held, at) => {
    const [all, values] = [store.state.held.slice(), store.state.heldAt.slice()];
    [all[j], values[j]] = [held, at];
    store.set({ held: all, heldAt: values, solved: false });
  };
  const check = make("input", {
    id,
    type: "checkbox",
    onchange: () => {
      const { x, heldAt } = store.state;
      const refused = heldAt[j] === null && number.box.value !== "";
      change(check.checked, check.checked && !refused ? x[j] : heldAt[j]);
    },
  });
  const number = valueBox({
    id: `${id}-at`,
    label: `${labelled(variable)}, held at`,
    describedby: `${id}-warning`,
    variable,
    change: (value) => change(true, value),
  });
  const warning = make("p", { class: "warning", id: `${id}-warning` });
  const element = make(
    "div",
    { class: "field hold" },
    check,
    make("label", { for: id }, quantity(variable)),
    number.box,
    number.error,
    warning,
  );
  return {
    element,
    show(held, at) {
      check.checked = held;
      number.box.hidden = !held;
      number.error.hidden = !held;
      number.show(at);
      warning.textContent = held && at !== null ? outsideWords(variable, at) : "";
    },
    lacking: (held) => held && number.lacking(),
  };
}

// How many settings may differ from those in force.
function changesField(store) {
  const options = [make("option", { value: "" }, "any number"), ...store.inputs.map((_, j) => make("option", { value: j + 1 }, `at most ${j + 1}`))];
  const change = () => store.set({ maxChanges: Number(choice.value) || null, solved: false });
  const choice = make("select", { id: "max-changes", onchange: change }, options);
  return {
    element: make("div", { class: "field" }, make("label", { for: "max-changes" }, "Settings that may change"), choice),
    show: (maxChanges) => (choice.value = maxChanges ?? ""),
  };
}

// `problem(state)` says in words why nothing can be solved yet; nothing where it can.
export function wantedPanel(store, buttons) {
  const wants = store.outputs.map((variable, i) => wantedField(variable, i, store));
  const holds = store.inputs.map((variable, j) => heldField(variable, j, store));
  const [changes, prices] = [changesField(store), pricesFold(store)];
  const fields = (parts) => make("div", { class: "fields" }, parts.map((field) => field.element));
  const element = titled(
    "wanted-title",
    "Wanted outcome",
    fields(wants),
    make("fieldset", {}, make("legend", {}, "Settings to hold"), fields(holds)),
    changes.element,
    prices.element,
    buttons,
  );
  return {
    element,
    show(state) {
      wants.forEach((field, i) => field.show(state.wanted[i]));
      holds.forEach((field, j) => field.show(state.held[j], state.heldAt[j]));
      changes.show(state.maxChanges);
      prices.show(state);
    },
    problem(state) {
      const { wanted, held } = state;
      if (wanted.every(({ kind }) => kind === "free")) return "Nothing is wanted yet: ask for at least one outcome.";
      const lacking = [
        ...wants.map((field, i) => field.lacking(wanted[i])),
        ...holds.map((field, j) => field.lacking(held[j])),
        prices.lacking(),
      ];
      if (lacking.includes(true)) return "Correct the marked number first.";
      return held.every(Boolean) ? "Every setting is held: leave at least one free." : prices.problem(state);
    },
  };
}
