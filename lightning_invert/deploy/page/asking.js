// What takes long, asked for by name: ask("propose", state), ask("windows", state, inputs, tolerance).
// Of the windows only the newest are found: what an older request waits for becomes null.

import { propose } from "./propose.js";
import { windowsOf } from "./windows.js";

const ANSWERS = { propose, windows: windowsOf };

export const asking = (store) => async (name, ...what) => ANSWERS[name](store, ...what);
