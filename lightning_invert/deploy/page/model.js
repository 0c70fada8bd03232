// The networks, in onnxruntime: points in, outcomes and Jacobians out, in physical units.

const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// What the page holds under this id: base64 of gzip.
async function packed(id) {
  const stream = new Blob([decoded(document.getElementById(id).textContent)]).stream();
  return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// With an integrity hash the browser itself refuses what is not the file that was pinned.
async function fetched({ url, integrity }) {
  try {
    const answer = await fetch(url, { integrity, credentials: "omit" });
    if (!answer.ok) throw new Error(`the answer was ${answer.status}`);
    return await answer.arrayBuffer();
  } catch (error) {
    throw new Error(
      `This page needs ${url} from the network, unchanged, but could not get it (${error.message}).` +
        " Ask for the page that was built without --online: it needs no network.",
    );
  }
}

// The runtime and the networks, as they are in the page or on the network.
export async function loadFiles(online) {
  const loaded = online
    ? [fetched(online.script), fetched(online.wasm)]
    : [packed("runtime-script"), packed("runtime-wasm")];
  const [script, wasm, forward, inverse] = await Promise.all([...loaded, packed("forward"), packed("inverse")]);
  return { script, wasm, forward, inverse };
}

export async function startRuntime({ script, wasm }) {
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const runtime = await import(address);
  URL.revokeObjectURL(address);
  runtime.env.wasm.wasmBinary = wasm;
  runtime.env.wasm.numThreads = 1; // more need headers that a file on disk does not have
  runtime.env.logLevel = "error";
  return runtime;
}

// A network with its Jacobian: `evaluate(points)` of N points gives N of {outputs, jacobian}.
export async function loadNetwork(runtime, file) {
  const session = await runtime.InferenceSession.create(new Uint8Array(file));
  const [input] = session.inputNames;
  const output = session.outputNames.find((name) => name !== "jacobian");
  const type = session.inputMetadata[0].type;
  const Numbers = type === "float64" ? Float64Array : Float32Array;
  let turn = Promise.resolve(); // a session runs one thing at a time

  async function run(points) {
    const [count, n] = [points.length, points[0].length];
    const tensor = new runtime.Tensor(type, Numbers.from(points.flat()), [count, n]);
    const found = await session.run({ [input]: tensor });
    const [values, slopes] = [found[output].data, found.jacobian.data];
    const m = values.length / count;
    return points.map((_, k) => ({
      outputs: Array.from(values.subarray(k * m, (k + 1) * m)),
      jacobian: Array.from({ length: m }, (_, i) =>
        Array.from(slopes.subarray((k * m + i) * n, (k * m + i + 1) * n)),
      ),
    }));
  }

  return (points) => {
    const answer = turn.then(() => run(points));
    turn = answer.catch(() => {});
    return answer;
  };
}
