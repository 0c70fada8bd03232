// What the page shows, as text after the # of its address, and back.

const numbersOf = (text, count) => {
  const values = (text ?? "").split(",").map((part) => (part.trim() === "" ? NaN : Number(part)));
  return values.length === count && values.every(Number.isFinite) ? values : null;
};

// An outcome is wanted as a "value", "between" two ends of which either may be null, or "free".
const written = ({ kind, value, low, high }) =>
  ({ value: `${value}`, between: `${low ?? ""}:${high ?? ""}`, free: "*" })[kind];

function wantedOf(text, wanted) {
  if (text === "*") return { ...wanted, kind: "free" };
  const ends = text.split(":").map((part) => (part === "" ? null : Number(part)));
  const finite = ends.every((end) => end === null || Number.isFinite(end));
  if (!finite || ends.length > 2 || (ends.length === 1 && ends[0] === null)) return null;
  return ends.length === 1
    ? { ...wanted, kind: "value", value: ends[0] }
    : { ...wanted, kind: "between", low: ends[0], high: ends[1] };
}

export function toAddress(state) {
  const parts = [
    `tab=${state.tab}`,
    `x=${state.x.join(",")}`,
    `from=${state.from.join(",")}`,
    `want=${state.wanted.map(written).join(",")}`,
    `hold=${state.held.map(Number).join("")}`,
    `at=${state.heldAt.join(",")}`,
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
  return {
    tab: ["predict", "find"].includes(parts.get("tab")) ? parts.get("tab") : state.tab,
    x: numbersOf(parts.get("x"), n) ?? state.x,
    from: numbersOf(parts.get("from"), n) ?? state.from,
    wanted: wanted.includes(null) ? state.wanted : wanted,
    held: /^[01]+$/.test(held) && held.length === n ? [...held].map((c) => c === "1") : state.held,
    heldAt: numbersOf(parts.get("at"), n) ?? state.heldAt,
    solved: parts.get("solved") === "1",
  };
}
