// What runs in the page's worker: it takes {start: {metadata, files}}, then questions {id, name, what}, and
// answers {id, answer} or {id, error}, and before that {id, part}: what is found so far. Of the windows only
// the newest question is answered: an older one stops at its next evaluation.

import { batched } from "./batch.js";
import { knownOf } from "./known.js";
import { loadNetwork, startRuntime } from "./model.js";
import { propose } from "./propose.js";
import { windowsOf } from "./windows.js";

const ANSWERS = { propose, windows: windowsOf };
const newestOf = {};
let opened = null;

async function openStore({ metadata, files }) {
  const runtime = await startRuntime(files);
  const evaluate = batched(await loadNetwork(runtime, files.forward));
  return { ...knownOf(metadata), evaluate, inverse: await loadNetwork(runtime, files.inverse) };
}

async function answerTo({ id, name, what }) {
  const store = await opened;
  const old = () => name === "windows" && newestOf[name] !== id;
  const evaluate = (point) => (old() ? Promise.reject(new Error("There is a newer question.")) : store.evaluate(point));
  return ANSWERS[name]({ ...store, evaluate }, ...what, (part) => globalThis.postMessage({ id, part }));
}

globalThis.onmessage = ({ data: { start, ...question } }) => {
  if (start) {
    opened = openStore(start);
    return;
  }
  const { id, name } = question;
  newestOf[name] = id;
  answerTo(question).then(
    (answer) => globalThis.postMessage({ id, answer }),
    (error) => globalThis.postMessage({ id, error: error.message ?? String(error) }),
  );
};
