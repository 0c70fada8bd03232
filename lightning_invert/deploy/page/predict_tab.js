// The tab that predicts: settings, and what follows from them.

import { conditioningDetails, conditioningOf, effectsPanel } from "./conditioning.js";
import { csvRows, exporting } from "./csv.js";
import { engineersFold, make } from "./elements.js";
import { newest } from "./newest.js";
import { outcomesPanel, summaryOf } from "./outcomes.js";
import { settingsPanel } from "./settings.js";
import { linearDetails, pathOf, whatIfPanel } from "./whatif.js";
import { windowQuestion } from "./window_view.js";

// What changes the windows.
const OF_WINDOWS = ["tab", "x", "held", "wanted", "keep", "share"];

export function predictTab(store, panel, fail) {
  const [settings, fold] = [settingsPanel(store), engineersFold()];
  const panels = [outcomesPanel(store), effectsPanel(store), whatIfPanel(store)];
  const took = document.getElementById("took");
  let seen = null;
  const text = () =>
    csvRows(store, { from: seen.from, begin: seen.start.outputs, to: seen.x, reached: seen.now.outputs });
  panel.append(
    make("div", { class: "side" }, settings.element),
    make(
      "div",
      { class: "main" },
      panels.map((part) => part.element),
      make("section", { class: "card", "aria-label": "Take it along" }, exporting(text, "prediction.csv")),
      fold.element,
    ),
  );
  const evaluate = newest(async () => {
    const { x, from, kept } = store.state;
    const began = performance.now();
    const [now, start, keptAt, ...path] = await store.forward([x, from, kept ?? x, ...pathOf(from, x)]);
    took.textContent = `evaluated in ${(performance.now() - began).toFixed(1)} ms`;
    seen = { x, from, now, start, keptAt, path, conditioning: conditioningOf(now.jacobian, store) };
    panels.forEach((part) => part.show(seen));
    settings.tell(seen);
    fold.show(...conditioningDetails(store, seen), ...linearDetails(store, seen));
  }, fail);
  const findWindows = newest(async () => {
    const { x, kept } = store.state;
    const [{ outputs }] = await store.forward([kept ?? x]);
    const { state, inputs, tolerance } = windowQuestion(store, outputs);
    const found = outputs.every(Number.isFinite) ? await store.ask("windows", [state, inputs, tolerance]) : [];
    if (found && store.state.x === x) settings.showWindows(found);
  }, fail);
  return {
    async show(state, changed) {
      settings.show(state);
      if (changed.has("x")) settings.forget();
      if (state.tab === "predict" && OF_WINDOWS.some((part) => changed.has(part))) {
        settings.showWindows(null);
        findWindows();
      }
      await evaluate();
    },
    summary: () => summaryOf(store.outputs, seen.now.outputs),
  };
}
