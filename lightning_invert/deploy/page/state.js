// What the page shows, as text after the # of its address, and back.

import { readNumber } from "./numbers.js";

// The numbers that each way to want an outcome has: a value, or one or both ends of an interval.
export const ENDS = { free: [], low: ["low"], high: ["high"], between: ["low", "high"], value: ["value"] };

// A number that a box would take, null where it lacks (?), or undefined.
const numberOf = (text) => (text === "?" ? null : readNumber(text).value);

function numbersOf(text, count, { lacking = false } = {}) {
  const values = (text ?? "").split(",").map(numberOf);
  const fits = (value) => value !== undefined && (lacking || value !== null);
  return values.length === count && values.every(fits) ? values : null;
}

// "*", "value" or "low:high", where an end that is not asked for is empty; ? is a number that lacks.
function written(wish) {
  const [value, low, high] = ["value", "low", "high"].map((end) =>
    ENDS[wish.kind].includes(end) ? (wish[end] ?? "?") : "",
  );
  return wish.kind === "free" ? "*" : wish.kind === "value" ? value : `${low}:${high}`;
}

function wantedOf(text, wish) {
  if (text === "*") return { ...wish, kind: "free" };
  const parts = text.split(":");
  const [low, high] = parts.map(numberOf);
  const used = parts.map((part) => part !== "");
  if (parts.length > 2 || !used.includes(true) || (used[0] && low === undefined) || (used[1] && high === undefined)) {
    return null;
  }
  if (parts.length === 1) return { ...wish, kind: "value", value: low };
  if (!used[1]) return { ...wish, kind: "low", low };
  return used[0] ? { ...wish, kind: "between", low, high } : { ...wish, kind: "high", high };
}

export function toAddress(state) {
  const parts = [
    `tab=${state.tab}`,
    `x=${state.x.join(",")}`,
    `from=${state.from.join(",")}`,
    `want=${state.wanted.map(written).join(",")}`,
    `hold=${state.held.map(Number).join("")}`,
    `at=${state.heldAt.map((at) => at ?? "?").join(",")}`,
    `stays=${state.keep}:${state.share}`,
    ...(state.maxChanges === null ? [] : [`most=${state.maxChanges}`]),
    ...(state.prices.every((price) => price === null)
      ? []
      : [`prices=${state.prices.map((price) => price ?? "?").join(",")}`, `cheapest=${Number(state.cheapest)}`]),
  ];
  return `#${parts.concat(state.solved ? ["solved=1"] : []).join("&")}`;
}

// What of an address can be read, over what there is now. The address may come from anyone: numbers
// are all that is taken from it, and what does not fit this model is left out.
export function fromAddress(address, state) {
  const parts = new Map(
    address.replace(/^#/, "").split("&").map((part) => [part.split("=")[0], part.split("=").slice(1).join("=")]),
  );
  const [n, m] = [state.x.length, state.wanted.length];
  const texts = (parts.get("want") ?? "").split(",");
  const wanted = texts.length === m ? texts.map((text, i) => wantedOf(text, state.wanted[i])) : [null];
  const held = parts.get("hold") ?? "";
  const [, keep, share] = (parts.get("stays") ?? "").match(/^(now|wanted):(1|5|10)$/) ?? [];
  const most = Number(parts.get("most"));
  return {
    tab: ["predict", "find"].includes(parts.get("tab")) ? parts.get("tab") : state.tab,
    x: numbersOf(parts.get("x"), n) ?? state.x,
    from: numbersOf(parts.get("from"), n) ?? state.from,
    wanted: wanted.includes(null) ? state.wanted : wanted,
    held: /^[01]+$/.test(held) && held.length === n ? [...held].map((c) => c === "1") : state.held,
    heldAt: numbersOf(parts.get("at"), n, { lacking: true }) ?? state.heldAt,
    keep: keep ?? state.keep,
    share: Number(share ?? state.share),
    maxChanges: Number.isInteger(most) && most >= 1 && most <= n ? most : null,
    prices: numbersOf(parts.get("prices"), n, { lacking: true }) ?? state.prices,
    cheapest: parts.has("cheapest") ? parts.get("cheapest") === "1" : state.cheapest,
    solved: parts.get("solved") === "1",
  };
}
