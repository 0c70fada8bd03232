// What is on the page, as a table for other programs.

import { button, make } from "./elements.js";
import { meant } from "./matters.js";
import { costAt } from "./prices.js";

// A spreadsheet runs what begins like a formula: a name from a stranger's file must not be one.
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const toCsv = (rows) => rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");

function download(text, name) {
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Resolves to whether it worked: a browser may forbid it to a file on disk.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "away", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

// Values, and both ends of intervals, for other programs. `to` and `reached` are what is compared
// with From: the settings that are shown, or a proposal. A setting that does not matter has no value.
export function csvRows(store, { from, begin, to, reached, target }) {
  const end = (value) => (target && Number.isFinite(value) ? value : null);
  const rows = [["kind", "name", "unit", "from", "to", "wanted_low", "wanted_high"]];
  const [before, after] = [from, to].map((x) => meant(store, x));
  store.inputs.forEach(({ name, unit }, j) => rows.push(["setting", name, unit, before[j], after[j], null, null]));
  store.outputs.forEach(({ name, unit }, i) =>
    rows.push(["outcome", name, unit, begin[i], reached[i], end(target?.low[i]), end(target?.high[i])]),
  );
  const { prices } = store.state;
  if (costAt(store, prices, from) !== null) rows.push(["cost", "cost", "", costAt(store, prices, from), costAt(store, prices, to), null, null]);
  return toCsv(rows);
}

// Buttons that take what `text` returns along.
export function exporting(text, name) {
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
