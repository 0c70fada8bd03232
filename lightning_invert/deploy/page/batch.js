// Points that many searches ask for at once, evaluated in one call of the model.

const MAX_AT_ONCE = 1024;

// Calls after all that can go on has gone on, and lets messages in.
function turns() {
  if (globalThis.setImmediate) return globalThis.setImmediate;
  const { port1, port2 } = new MessageChannel();
  let next = null;
  port1.onmessage = () => next();
  return (call) => {
    next = call;
    port2.postMessage(null);
  };
}

// `forward` takes points and gives what is found at each; what is returned takes one point.
export function batched(forward) {
  const later = turns();
  let waiting = [];
  async function run() {
    const asked = waiting;
    waiting = [];
    for (let first = 0; first < asked.length; first += MAX_AT_ONCE) {
      const part = asked.slice(first, first + MAX_AT_ONCE);
      try {
        const found = await forward(part.map(({ point }) => point));
        part.forEach(({ resolve }, k) => resolve(found[k]));
      } catch (error) {
        part.forEach(({ reject }) => reject(error));
      }
    }
  }
  return (point) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ point, resolve, reject }) === 1) later(run);
    });
}
