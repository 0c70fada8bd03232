// The tab that finds settings: what is wanted, and what is proposed for it.

import { alternativesTable } from "./alternatives.js";
import { csvRows, exporting } from "./csv.js";
import { button, engineersFold, make, titled } from "./elements.js";
import { historyCard } from "./history.js";
import { newest } from "./newest.js";
import { pricesOf } from "./prices.js";
import { proposalView } from "./proposal.js";
import { wantedPanel } from "./wanted.js";

// What of the state a proposal rests on, beside the settings in force.
const ASKED = ["wanted", "held", "heldAt", "prices", "cheapest", "maxChanges"];

export function findTab(store, panel, fail) {
  let [answer, k] = [null, 0];
  const status = make("p", { class: "hint", id: "solve-status", role: "status" });
  const progress = make("progress", { "aria-label": "Searched so far", hidden: true });
  const wanted = wantedPanel(store, [
    make("p", { class: "buttons" }, button("Find settings", () => run(), "main-action")),
    status,
    progress,
  ]);
  wanted.element.addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target.type === "text") run();
  });
  const [choice, result] = [make("div"), make("div", { id: "proposal" })];
  const text = () => {
    const { x, begin, target, found } = answer;
    return csvRows(store, { from: x, begin, to: found[k].inputs, reached: found[k].outputs, target });
  };
  const actions = make(
    "div",
    { hidden: true },
    make("p", { class: "buttons" }, button("Use these settings", () => take())),
    exporting(text, "proposal.csv"),
  );
  const [card, fold] = [titled("proposal-title", "Proposal", choice, result, actions), engineersFold()];
  panel.append(
    make("div", { class: "side" }, wanted.element),
    make("div", { class: "main" }, card, fold.element, historyCard(store)),
  );
  clear("Say what is wanted, and press “Find settings”.");

  function clear(words) {
    answer = null;
    choice.replaceChildren();
    result.replaceChildren(make("p", {}, words));
    [actions, fold.element].forEach((part) => (part.hidden = true));
  }
  function pick(next) {
    k = next;
    const { plain, details } = proposalView(store, answer, k);
    choice.replaceChildren(...alternativesTable(store, answer, k, choose));
    result.replaceChildren(...plain);
    fold.show(...details);
  }
  function choose(next) {
    pick(next);
    document.getElementById(`alternative-${next}`).focus();
  }
  function take() {
    store.set({ from: answer.x, x: answer.found[k].inputs.slice(), tab: "predict", keep: "wanted" });
    document.getElementById("tab-predict").focus();
  }
  const run = newest(async () => {
    const { state } = store;
    const problem = wanted.problem(state);
    status.textContent = problem;
    if (problem) return;
    status.textContent = "Looking for settings…";
    const began = performance.now();
    const prices = state.cheapest ? pricesOf(store, state) : null;
    const [begin] = await store.forward([state.x]);
    const isOld = () => ASKED.some((part) => store.state[part] !== state[part]); // it is no longer asked for
    const show = (found) => {
      answer = { ...found, x: state.x, begin: begin.outputs, prices: state.prices, cheapest: prices !== null };
      [actions, fold.element].forEach((part) => (part.hidden = false));
      const focused = choice.contains(document.activeElement);
      pick(0);
      if (focused) choice.querySelector("input")?.focus();
      store.set({ solved: true });
    };
    const tell = (part) => {
      if (isOld()) return;
      [progress.hidden, progress.value] = [false, part.share];
      if (!part.found[0]?.converged) return;
      status.textContent = "A first solution; looking for better ones…";
      if (!choice.contains(document.activeElement)) show(part);
    };
    const found = await store.ask("propose", [{ ...state, prices }], tell).finally(() => (progress.hidden = true));
    const took = performance.now() - began;
    if (isOld()) return;
    if (found.found.length === 0) {
      status.textContent = "";
      clear(found.refused || "The model gives no finite outcome anywhere near: nothing can be proposed.");
      return;
    }
    show(found);
    const count = found.found.length;
    const reached = count === 1 ? "One solution found" : `${count} solutions found`;
    const end = found.found[0].converged ? reached : "Not reached";
    status.textContent = `${end}, in ${took.toFixed(0)} ms.`;
  }, (error) => {
    status.textContent = "";
    fail(error);
  });
  return {
    async show(state, changed) {
      wanted.show(state);
      if (ASKED.some((part) => changed.has(part))) status.textContent = "";
      if (answer && !state.solved) clear("What is wanted has changed: press “Find settings” again.");
      if (state.solved && !answer && changed.has("solved")) await run();
    },
  };
}
