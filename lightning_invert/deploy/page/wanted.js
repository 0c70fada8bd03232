// What is wanted of each outcome, and which settings are held.

import { labelled, make, numberBox, quantity, titled } from "./elements.js";
import { ended, shown, usualOf } from "./numbers.js";
import { outsideWords } from "./settings.js";

const KINDS = { value: "exactly", between: "between", free: "anything" };

const plain = (value, spread) => (value === null ? "" : shown(value, spread).replace("−", "-"));

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
      "aria-label": `${readableKind(variable)}: how it is wanted`,
      onchange: () => change({ kind: choice.value }),
    },
    Object.entries(KINDS).map(([kind, text]) => make("option", { value: kind }, text)),
  );
  const box = (end, label, optional) =>
    numberBox({
      id: `${id}-${end}`,
      label: `${labelled(variable)}, ${label}`,
      describedby: `${id}-hint`,
      optional,
      change: (value) => change({ [end]: value }),
    });
  const boxes = {
    value: box("value", "wanted", false),
    low: box("low", "at least", true),
    high: box("high", "at most", true),
  };
  const and = make("span", {}, "and");
  const { low, high } = usualOf(variable);
  const hint = `In training mostly ${ended(low, variable.std)} to ${ended(high, variable.std)}`;
  const element = make(
    "div",
    { class: "field want" },
    make("label", { for: `${id}-kind` }, quantity(variable)),
    make("div", { class: "ends" }, choice, boxes.value.box, boxes.low.box, and, boxes.high.box),
    make("p", { class: "hint", id: `${id}-hint` }, hint),
    Object.values(boxes).map(({ error }) => error),
  );
  const used = { value: ["value"], between: ["low", "high"], free: [] };
  return {
    element,
    show(wanted) {
      choice.value = wanted.kind;
      for (const [end, field] of Object.entries(boxes)) {
        const hidden = !used[wanted.kind].includes(end);
        field.box.hidden = hidden;
        field.error.hidden = hidden;
        field.show(plain(wanted[end], variable.std));
      }
      and.hidden = wanted.kind !== "between";
      const { kind, low: least, high: most } = wanted;
      const crossed = kind === "between" && least !== null && most !== null && least > most;
      if (crossed) boxes.high.complain("The upper end is below the lower one.");
      else if (boxes.high.error.textContent.startsWith("The upper")) boxes.high.complain("");
    },
    bad: (wanted) => used[wanted.kind].some((end) => boxes[end].bad),
  };
}

const readableKind = (variable) => labelled({ ...variable, unit: "" });

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
    onchange: () => change(check.checked, store.state.x[j]),
  });
  const number = numberBox({
    id: `${id}-at`,
    label: `${labelled(variable)}, held at`,
    describedby: `${id}-warning`,
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
      number.show(plain(at, variable.std));
      warning.textContent = held ? outsideWords(variable, at) : "";
    },
    bad: (held) => held && number.bad,
  };
}

// `problem(state)` says in words why nothing can be solved yet; nothing where it can.
export function wantedPanel(store, buttons) {
  const wants = store.outputs.map((variable, i) => wantedField(variable, i, store));
  const holds = store.inputs.map((variable, j) => heldField(variable, j, store));
  const element = titled(
    "wanted-title",
    "Wanted outcome",
    make("div", { class: "fields" }, wants.map((field) => field.element)),
    make("fieldset", {}, make("legend", {}, "Settings to hold"), make("div", { class: "fields" }, holds.map((field) => field.element))),
    buttons,
  );
  return {
    element,
    show({ wanted, held, heldAt }) {
      wants.forEach((field, i) => field.show(wanted[i]));
      holds.forEach((field, j) => field.show(held[j], heldAt[j]));
    },
    problem({ wanted, held }) {
      const bad =
        wants.some((field, i) => field.bad(wanted[i])) || holds.some((field, j) => field.bad(held[j]));
      if (bad) return "Mend the marked number first.";
      const open = ({ kind, low, high }) => kind === "free" || (kind === "between" && low === null && high === null);
      if (wanted.every(open)) return "Nothing is wanted yet: ask for at least one outcome.";
      return held.every(Boolean) ? "Every setting is held: leave at least one free." : "";
    },
  };
}
