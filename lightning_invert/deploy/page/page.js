// The page: one state, two tabs, and what follows from the state.

import { startWorker } from "./worker_client.js";
import { findTab } from "./find_tab.js";
import { knownOf } from "./known.js";
import { loadFiles, loadNetwork, startRuntime } from "./model.js";
import { atLevels } from "./numbers.js";
import { predictTab } from "./predict_tab.js";
import { fromAddress, toAddress } from "./state.js";

const QUIET = 500; // milliseconds without a change before it is said aloud and written down

const element = (id) => document.getElementById(id);
const read = (id) => JSON.parse(element(id).textContent);

function fail(error) {
  element("failure").hidden = false;
  const what = document.documentElement.dataset.ready ? "This cannot be computed" : "This page cannot run here";
  element("failure").textContent = `${what}: ${error.message ?? error}`;
  element("waiting").hidden = true;
}

function storeOf(metadata) {
  const known = knownOf(metadata);
  const { inputs, outputs } = known;
  const middle = atLevels(inputs, inputs.map((variable) => variable.mean));
  const wanted = outputs.map(() => ({ kind: "free", value: null, low: null, high: null }));
  return {
    ...known,
    middle,
    state: {
      tab: "predict",
      x: middle,
      from: middle.slice(),
      kept: null, // the settings whose outcome stays while others compensate: x where null
      keep: "now",
      share: 5,
      wanted,
      held: inputs.map(() => false),
      heldAt: inputs.map(() => null),
      prices: inputs.map(({ name }) => known.prices?.[name] ?? null),
      cheapest: known.prices !== null,
      maxChanges: null,
      solved: false,
    },
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

async function begin() {
  const page = read("page");
  const metadata = read("metadata");
  const store = storeOf(metadata);
  element("title").textContent = page.title;
  document.title = page.title;
  const addressed = () => {
    const state = fromAddress(location.hash, store.state);
    const [x, from, heldAt] = ["x", "from", "heldAt"].map((part) => atLevels(store.inputs, state[part]));
    return { ...state, x, from, heldAt };
  };
  store.state = { ...store.state, ...addressed() };
  const files = await loadFiles(page.online);
  const runtime = await startRuntime(files);
  store.forward = await loadNetwork(runtime, files.forward);
  await store.forward([store.state.x]); // the first is slow: it compiles
  store.ask = startWorker(read("worker"), { metadata, files });

  const showTab = tabs(store);
  const predict = predictTab(store, element("panel-predict"), fail);
  const find = findTab(store, element("panel-find"), fail);
  let quiet = 0;
  let address = "";
  function settle() {
    address = toAddress(store.state);
    history.replaceState(null, "", address);
    if (store.state.tab === "predict") element("aloud").textContent = predict.summary();
  }
  async function show(changed) {
    showTab(store.state);
    await Promise.all([predict.show(store.state, changed), find.show(store.state, changed)]);
    clearTimeout(quiet);
    quiet = setTimeout(settle, QUIET);
  }
  store.set = (change) => {
    store.state = { ...store.state, ...(change.x ? { kept: null } : {}), ...change };
    show(new Set(Object.keys(change))).catch(fail);
  };
  addEventListener("hashchange", () => {
    if (location.hash !== address) store.set(addressed());
  });
  await show(new Set(Object.keys(store.state)));
  element("waiting").hidden = true;
  element("content").hidden = false;
  document.documentElement.dataset.ready = "yes";
}

begin().catch(fail);
