// The page: one state, two tabs, and what follows from the state.

import { conditioningDetails, conditioningOf, effectsPanel } from "./conditioning.js";
import { copy, download, toCsv } from "./csv.js";
import { button, engineersFold, make, titled } from "./elements.js";
import { proposalView } from "./find.js";
import { knownOf } from "./known.js";
import { asking } from "./asking.js";
import { loadNetwork, loadRuntime } from "./model.js";
import { outcomesPanel, summaryOf } from "./outcomes.js";
import { settingsPanel } from "./settings.js";
import { fromAddress, toAddress } from "./state.js";
import { wantedPanel } from "./wanted.js";
import { linearDetails, pathOf, whatIfPanel } from "./whatif.js";

const QUIET = 500; // milliseconds without a change before it is said aloud and written down

const element = (id) => document.getElementById(id);
const read = (id) => JSON.parse(element(id).textContent);

function fail(error) {
  element("failure").hidden = false;
  element("failure").textContent = `This page cannot run here: ${error.message ?? error}`;
  element("waiting").hidden = true;
}

function storeOf(metadata) {
  const known = knownOf(metadata);
  const { inputs, outputs } = known;
  const mean = inputs.map((variable) => variable.mean);
  const wanted = outputs.map(() => ({ kind: "free", value: null, low: null, high: null }));
  return {
    ...known,
    state: {
      tab: "predict",
      x: mean,
      from: mean.slice(),
      wanted,
      held: inputs.map(() => false),
      heldAt: inputs.map(() => null),
      solved: false,
    },
  };
}

// Values, and both ends of intervals, for other programs. `to` and `reached` are what is compared
// with From: the settings that are shown, or a proposal.
function csvRows(store, { from, begin, to, reached, target }) {
  const end = (value) => (target && Number.isFinite(value) ? value : null);
  const rows = [["kind", "name", "unit", "from", "to", "wanted_low", "wanted_high"]];
  store.inputs.forEach(({ name, unit }, j) => rows.push(["setting", name, unit, from[j], to[j], null, null]));
  store.outputs.forEach(({ name, unit }, i) =>
    rows.push(["outcome", name, unit, begin[i], reached[i], end(target?.low[i]), end(target?.high[i])]),
  );
  return toCsv(rows);
}

function exporting(text, name) {
  const said = make("span", { role: "status", class: "hint" });
  const copying = async () => {
    said.textContent = (await copy(text())) ? "Copied." : "The browser does not allow copying: download instead.";
  };
  const link = async () => {
    said.textContent = (await copy(location.href)) ? "Link copied." : "Copy the address from the browser.";
  };
  return make(
    "p",
    { class: "buttons" },
    button("Copy as CSV", copying),
    button("Download CSV", () => download(text(), name)),
    button("Copy link", link),
    said,
  );
}

// Evaluates what is shown; while that runs, only the newest of further changes waits.
function newest(work) {
  let [running, again] = [false, false];
  return async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        await work();
      } while (again);
    } catch (error) {
      fail(error);
    } finally {
      running = false;
    }
  };
}

function tabs(store) {
  const names = ["predict", "find"];
  const tab = (name) => element(`tab-${name}`);
  names.forEach((name, k) => {
    tab(name).addEventListener("click", () => store.set({ tab: name }));
    tab(name).addEventListener("keydown", (event) => {
      const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!turn) return;
      const next = names[(k + turn + names.length) % names.length];
      store.set({ tab: next });
      tab(next).focus();
    });
  });
  return ({ tab: open }) =>
    names.forEach((name) => {
      tab(name).setAttribute("aria-selected", String(name === open));
      tab(name).tabIndex = name === open ? 0 : -1;
      element(`panel-${name}`).hidden = name !== open;
    });
}

function predictTab(store) {
  const [settings, fold] = [settingsPanel(store), engineersFold()];
  const panels = [outcomesPanel(store), effectsPanel(store), whatIfPanel(store)];
  let seen = null;
  const text = () =>
    csvRows(store, { from: seen.from, begin: seen.start.outputs, to: seen.x, reached: seen.now.outputs });
  element("panel-predict").append(
    make("div", { class: "side" }, settings.element),
    make(
      "div",
      { class: "main" },
      panels.map((panel) => panel.element),
      make("section", { class: "card", "aria-label": "Take it along" }, exporting(text, "prediction.csv")),
      fold.element,
    ),
  );
  const evaluate = newest(async () => {
    const { x, from } = store.state;
    const began = performance.now();
    const [now, start, ...path] = await store.forward([x, from, ...pathOf(from, x)]);
    const took = performance.now() - began;
    seen = { x, from, now, start, path, conditioning: conditioningOf(now.jacobian, store) };
    panels.forEach((panel) => panel.show(seen));
    fold.show(...conditioningDetails(store, seen), ...linearDetails(store, seen));
    element("took").textContent = `evaluated in ${took.toFixed(1)} ms`;
  });
  return {
    async show(state) {
      settings.show(state);
      await evaluate();
    },
    summary: () => summaryOf(store.outputs, seen.now.outputs),
  };
}

function findTab(store) {
  let [answer, answered, k] = [null, null, 0];
  const status = make("p", { class: "hint", id: "solve-status", role: "status" });
  const panel = wantedPanel(store, [
    make("p", { class: "buttons" }, button("Find settings", () => run(), "main-action")),
    status,
  ]);
  panel.element.addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target.type === "text") run();
  });
  const result = make("div", { id: "proposal" });
  const choice = make("select", { id: "alternative", onchange: () => pick(Number(choice.value)) });
  const choosing = make("p", { class: "buttons", hidden: true }, make("label", { for: "alternative" }, "Solution "), choice);
  const text = () => {
    const found = answer.found[k];
    const { x, begin } = answered;
    return csvRows(store, { from: x, begin, to: found.inputs, reached: found.outputs, target: answer.target });
  };
  const actions = make(
    "div",
    { hidden: true },
    make("p", { class: "buttons" }, button("Use these settings", () => take())),
    exporting(text, "proposal.csv"),
  );
  const [card, fold] = [titled("proposal-title", "Proposal", choosing, result, actions), engineersFold()];
  const main = make("div", { class: "main" }, card, fold.element);
  element("panel-find").append(make("div", { class: "side" }, panel.element), main);
  clear("Say what is wanted, and press “Find settings”.");

  function clear(words) {
    answer = null;
    result.replaceChildren(make("p", {}, words));
    [choosing, actions, fold.element].forEach((part) => (part.hidden = true));
  }
  function pick(next) {
    k = next;
    const { plain, details } = proposalView(store, answer, k, answered.x);
    result.replaceChildren(...plain);
    fold.show(...details);
  }
  function take() {
    store.set({ from: answered.x, x: answer.found[k].inputs.slice(), tab: "predict" });
    element("tab-predict").focus();
  }
  const run = newest(async () => {
    const state = store.state;
    const problem = panel.problem(state);
    status.textContent = problem;
    if (problem) return;
    const began = performance.now();
    const found = await store.ask("propose", state);
    const took = performance.now() - began;
    if (found.found.length === 0) {
      clear("The model gives no finite outcome anywhere near: nothing can be proposed.");
      return;
    }
    const [begin] = await store.forward([state.x]);
    [answer, answered] = [found, { x: state.x, begin: begin.outputs }];
    const count = found.found.length;
    choice.replaceChildren(
      ...found.found.map((_, i) => make("option", { value: i }, `${i + 1} of ${count}`)),
    );
    choosing.hidden = count === 1;
    [actions, fold.element].forEach((part) => (part.hidden = false));
    pick(0);
    const reached = count === 1 ? "One solution found" : `${count} solutions found`;
    const end = found.found[0].converged ? reached : "Not reached";
    status.textContent = `${end}, in ${took.toFixed(0)} ms.`;
    store.set({ solved: true });
  });
  return {
    async show(state, changed) {
      panel.show(state);
      if (changed.has("wanted") || changed.has("held")) status.textContent = "";
      if (answer && !state.solved) clear("What is wanted has changed: press “Find settings” again.");
      if (state.solved && !answer && changed.has("solved")) await run();
    },
  };
}

async function begin() {
  const page = read("page");
  const metadata = read("metadata");
  const store = storeOf(metadata);
  element("title").textContent = page.title;
  document.title = page.title;
  store.state = fromAddress(location.hash, store.state);
  const runtime = await loadRuntime(page.online);
  store.forward = await loadNetwork(runtime, "forward");
  store.inverse = await loadNetwork(runtime, "inverse");
  store.ask = asking(store);
  await store.forward([store.state.x]); // the first is slow: it compiles

  const showTab = tabs(store);
  const predict = predictTab(store);
  const find = findTab(store);
  let quiet = 0;
  let address = "";
  function settle() {
    address = toAddress(store.state);
    history.replaceState(null, "", address);
    if (store.state.tab === "predict") element("aloud").textContent = predict.summary();
  }
  async function show(changed) {
    showTab(store.state);
    await Promise.all([predict.show(store.state), find.show(store.state, changed)]);
    clearTimeout(quiet);
    quiet = setTimeout(settle, QUIET);
  }
  store.set = (change) => {
    store.state = { ...store.state, ...change };
    show(new Set(Object.keys(change))).catch(fail);
  };
  addEventListener("hashchange", () => {
    if (location.hash !== address) store.set(fromAddress(location.hash, store.state));
  });
  await show(new Set(["solved"]));
  element("waiting").hidden = true;
  element("content").hidden = false;
  document.documentElement.dataset.ready = "yes";
}

begin().catch(fail);
