// Work that may be asked for faster than it can be done.

// While it runs, only the newest of further requests waits.
export function newest(work, fail) {
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
