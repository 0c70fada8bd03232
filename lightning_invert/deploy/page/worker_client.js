// What takes long is asked of a worker, so that nothing blocks drawing: ask("propose", [state], tell), where `tell`
// gets what is found so far, and ask("windows", [state, inputs, tolerance]). Of the windows only the newest are
// found: an older question is answered by null.

// `script` is the worker's, `start` what it begins with: {metadata, files}.
export function startWorker(script, start) {
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(address); // no module: of a page on disk Chromium does not start one
  const open = new Map(); // id -> {name, tell, resolve, reject}
  let count = 0;
  const settle = (id, end) => {
    if (open.has(id)) end(open.get(id));
    open.delete(id);
  };
  worker.onmessage = ({ data: { id, part, answer, error } }) => {
    if (part) open.get(id)?.tell(part);
    else settle(id, ({ resolve, reject }) => (error === undefined ? resolve(answer) : reject(new Error(error))));
  };
  worker.onerror = ({ message }) => {
    for (const id of [...open.keys()]) settle(id, ({ reject }) => reject(new Error(message || "The worker does not start.")));
  };
  worker.postMessage({ start });
  return (name, what, tell) =>
    new Promise((resolve, reject) => {
      if (name === "windows") {
        for (const [id, older] of [...open]) if (older.name === name) settle(id, () => older.resolve(null));
      }
      count += 1;
      open.set(count, { name, tell, resolve, reject });
      worker.postMessage({ id: count, name, what });
    });
}
