// The window of each setting: how far it can go while the others compensate and the outcome stays.

import { button, labelled, make, readable } from "./elements.js";
import { mattering } from "./matters.js";
import { isAtEnd, plain, shown, signed } from "./numbers.js";
import { standing } from "./limits.js";
import { targetOf } from "./propose.js";

const SHARES = [1, 5, 10]; // per cent of the usual range of each outcome
const USUAL_WIDTH = 4; // standard deviations
const NO_ROOM = 1e-3; // standard deviations
const MOVED = 0.01; // standard deviations
const AT_EDGE = 0.95; // of the reach
const KEEPS = { now: "the predicted outcome", wanted: "the wanted outcome" };

const reachOf = ({ std }, percent) => (USUAL_WIDTH * std * percent) / 100;
const asksSomething = ({ wanted }) => wanted.some(({ kind }) => kind !== "free");
const keptKind = (state) => (asksSomething(state) ? state.keep : "now");

const keptWishes = (state, kept) =>
  keptKind(state) === "wanted" ? state.wanted : kept.map((value) => ({ kind: "value", value }));

// What the worker is asked: {state, inputs, tolerance}; `kept` are the outcomes to be kept. Held settings
// stay where they are.
export function windowQuestion(store, kept) {
  const { state } = store;
  const asked = { ...state, wanted: keptWishes(state, kept), heldAt: state.x, prices: null, maxChanges: null };
  return { state: asked, inputs: state.x, tolerance: (USUAL_WIDTH * state.share) / 100 };
}

// The levels of a setting: those within reach can be gone to.
function levelButtons(variable, j, store, go) {
  const buttons = variable.levels.map((level, k) => {
    const text = plain(level, variable.std);
    const to = button(text, () => go(j, ({ atLevels }) => atLevels[k]), "end");
    to.setAttribute("aria-label", `${labelled(variable)} to ${text}, the others compensate`);
    return to;
  });
  const element = make("span", { class: "levels" }, "Within reach ", buttons);
  const show = ({ atLevels }) =>
    buttons.forEach((to, k) => {
      to.disabled = atLevels[k] === null;
      to.setAttribute("aria-pressed", String(variable.levels[k] === store.state.x[j]));
    });
  return { element, show };
}

// The two ends of a window, which can be gone to.
function endButtons(variable, j, store, go) {
  const side = (name, words, at) => {
    const end = button("", () => go(j, at), "end");
    end.id = `setting-${j}-${name}`;
    const show = (value) => {
      const text = shown(value, variable.std);
      end.textContent = text;
      end.setAttribute("aria-label", `${labelled(variable)} ${words} ${text}, the others compensate`);
    };
    return { end, show };
  };
  const [low, high] = [side("low", "down to", ({ atLow }) => atLow), side("high", "up to", ({ atHigh }) => atHigh)];
  const show = (window) => {
    low.show(window.low);
    high.show(window.high);
  };
  return { element: make("span", {}, "Window ", low.end, " to ", high.end), show };
}

// Under a slider: where the setting can go, and whether it is held.
export function windowLine(variable, j, store, go) {
  const id = `setting-${j}`;
  const hasLevels = variable.levels.length > 0;
  const ends = (hasLevels ? levelButtons : endButtons)(variable, j, store, go);
  ends.element.hidden = true;
  const lack = make("span", {}, hasLevels ? "Within reach …" : "Window …");
  const check = make("input", {
    id: `${id}-hold`,
    type: "checkbox",
    "aria-label": `Hold ${readable(variable.name)} where it is`,
    onchange: () => {
      const [held, heldAt] = [store.state.held.slice(), store.state.heldAt.slice()];
      [held[j], heldAt[j]] = [check.checked, store.state.x[j]];
      store.set({ held, heldAt, solved: false });
    },
  });
  const band = make("span", { class: "band", hidden: true });
  return {
    band,
    element: make("div", { class: "window" }, make("span", {}, ends.element, lack), make("label", { class: "check" }, check, "hold")),
    hold: (held) => (check.checked = held),
    // `place` says where on the slider a value is, in per cent.
    show(window, { held, matters }, place) {
      const width = window ? window.high - window.low : 0;
      const room = matters && !held && (hasLevels ? Boolean(window) : Number.isFinite(width) && width > NO_ROOM * variable.std);
      band.hidden = !room;
      ends.element.hidden = !room;
      lack.textContent = !window || !matters || room ? "" : held ? "Stays where it is" : "No window: the others cannot compensate";
      if (!room) return;
      ends.show(window);
      band.style.left = `${place(window.low)}%`;
      band.style.right = `${100 - place(window.high)}%`;
    },
  };
}

// Which outcome stays, and how nearly. The summary says so while the choices are folded.
export function windowChoices(store) {
  const choice = (id, texts, change) => {
    const options = texts.map(([value, text]) => make("option", { value }, text));
    return make("select", { id, onchange: ({ target }) => change(target.value) }, options);
  };
  const keep = choice("window-keep", Object.entries(KEEPS), (value) => store.set({ keep: value }));
  const shares = SHARES.map((value) => [value, `${value} %`]);
  const share = choice("window-share", shares, (value) => store.set({ share: Number(value) }));
  const keeping = make("div", { class: "field" }, make("label", { for: "window-keep" }, "What stays"), keep);
  const [said, reach] = [make("span", {}), make("p", { class: "hint", id: "window-reach" })];
  const element = make(
    "details",
    { class: "windows" },
    make("summary", {}, "Window: how far a setting can go while the others compensate, so that ", said),
    keeping,
    make("div", { class: "field" }, make("label", { for: "window-share" }, "Within, of its usual range"), share),
    reach,
  );
  return {
    element,
    show(state) {
      const kind = keptKind(state);
      keeping.hidden = !asksSomething(state);
      [keep.value, share.value] = [kind, String(state.share)];
      said.textContent = `${KEEPS[kind]} stays within ${state.share}\u00a0%.`;
      const reaches = store.outputs.map(
        (variable) => `±${shown(reachOf(variable, state.share), variable.std)} ${variable.unit} ${readable(variable.name)}`,
      );
      reach.textContent = `That is ${reaches.join(", ")}. Press an end of a window to go there: the others follow.`;
    },
  };
}

// What was moved to go to the end of a window, and what stops it there.
export function stopWords(store, { j, before, inputs }, { now, keptAt }) {
  const { state } = store;
  const target = targetOf(keptWishes(state, keptAt.outputs));
  const matters = mattering(store, inputs);
  const moves = store.inputs.flatMap(({ name, std }, i) => {
    const change = inputs[i] - before[i];
    return i !== j && matters[i] && Math.abs(change) > MOVED * std ? [`${readable(name)} ${signed(change, std)}`] : [];
  });
  const binding = store.constraints.filter((constraint) => standing(constraint, store.inputs, inputs).binds);
  const ended = store.inputs.filter((variable, i) => i !== j && matters[i] && !state.held[i] && isAtEnd(variable, inputs[i]));
  const edge = store.outputs.filter((variable, i) => {
    const reach = AT_EDGE * reachOf(variable, state.share);
    return now.outputs[i] < target.low[i] - reach || now.outputs[i] > target.high[i] + reach;
  });
  const names = (parts) => parts.map(({ name }) => readable(name)).join(", ");
  const stops = [
    ...binding.map(({ name }) => readable(name)),
    ...(ended.length > 0 ? [`${names(ended)} at the end of the range`] : []),
    ...(edge.length > 0 ? [`${names(edge)} as far off as allowed`] : []),
  ];
  const stop = isAtEnd(store.inputs[j], inputs[j]) ? "the end of its range" : stops.join("; ");
  const moved = moves.length > 0 ? ` Compensated by ${moves.join(", ")}.` : " Nothing had to compensate.";
  if (store.inputs[j].levels.length > 0) return moved.trim();
  return `As far as it goes.${moved}${stop ? ` What stops it: ${stop}.` : ""}`;
}
