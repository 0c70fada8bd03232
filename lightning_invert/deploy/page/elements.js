// Elements of the page. Names and units may come from a stranger's file: they become text nodes and
// nothing else, whatever they hold.

import { plain, pointed, readNumber, shown } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const make = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

// A part of the page, named by its heading.
export const titled = (id, title, ...children) =>
  make("section", { class: "card", "aria-labelledby": id }, make("h2", { id }, title), ...children);

// An underscore is how a column is written, not how it is read.
export const readable = (name) => name.replaceAll("_", " ");

export const labelled = ({ name, unit }) => (unit ? `${readable(name)} [${unit}]` : readable(name));

export const quantity = ({ name, unit }) => [
  readable(name),
  unit ? make("span", { class: "unit" }, ` ${unit}`) : null,
];

// A number as people read it, with the whole of it for scripts.
export const data = (text, value) => make("data", { value: String(value) }, text);

// The value of a variable, as `write` writes it; "any" for null.
export const valueOf = (value, { std }, write = shown) => (value === null ? "any" : data(write(value, std), value));

// A table in a frame that scrolls where the screen is narrow.
export function table(caption, heads, rows, attributes = {}) {
  const headings = heads.map((head) => make("th", { scope: "col" }, head));
  const lines = rows.map(([head, ...cells]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, head),
      cells.map((cell) => (cell?.tagName === "TD" ? cell : make("td", {}, cell))),
    ),
  );
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      attributes,
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, headings)),
      make("tbody", {}, lines),
    ),
  );
}

// Where a value is entered: a box for a number, or a choice where the variable has levels.
export const valueBox = (options) => (options.variable.levels.length > 0 ? levelBox(options) : numberBox(options));

// A choice among levels, which answers as a `numberBox` does.
function levelBox({ id, label, describedby, variable, change }) {
  const error = make("p", { class: "error", id: `${id}-error` });
  const choices = variable.levels.map((level) => make("option", { value: level }, plain(level, variable.std)));
  const onchange = () => change(Number(box.value));
  const box = make("select", { id, "aria-label": label, "aria-describedby": describedby, onchange }, choices);
  return {
    box,
    error,
    lacking: () => box.value === "",
    show: (value) => (box.value = value === null ? "" : String(value)),
  };
}

// A box for a number. `change` is told each good one; in place of a refused one null, or, with `keep`,
// the number that stood there before. What is written is replaced only by another number of `show`. An
// empty box is refused unless the number is `optional`.
export function numberBox({ id, label, describedby, variable, change, keep = false, optional = false }) {
  const { unit, std: spread } = variable;
  let [stands, before, refusal, objection] = [undefined, null, "", ""];
  const error = make("p", { class: "error", id: `${id}-error`, "aria-live": "polite" });
  const box = make("input", {
    id,
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": label,
    "aria-describedby": `${describedby ? `${describedby} ` : ""}${id}-error`,
    oninput: () => {
      const empty = optional && box.value.trim() === "";
      const { value, error: words } = empty ? { value: null } : readNumber(box.value, unit);
      stands = words ? (keep ? before : null) : value;
      refuse(words && keep ? `${words} Until then it is ${plain(before, spread)}.` : words);
      change(stands);
    },
    onchange: () => {
      if (refusal || stands === null) return;
      box.value = pointed(box.value, unit);
      before = stands;
    },
  });
  function complain() {
    error.textContent = refusal || objection;
    if (error.textContent) box.setAttribute("aria-invalid", "true");
    else box.removeAttribute("aria-invalid");
  }
  function refuse(words = "") {
    refusal = words;
    complain();
  }
  return {
    box,
    error,
    // Words against a number that can be read.
    object(words) {
      objection = words;
      complain();
    },
    // Whether there is no number to go by; says so beside the box.
    lacking() {
      if (stands === null && !refusal && !optional) refuse("Write a number here.");
      return (stands === null && !optional) || box.hasAttribute("aria-invalid");
    },
    show(value) {
      if (value === stands) return;
      [stands, before] = [value, value];
      box.value = value === null ? "" : plain(value, spread);
      refuse();
    },
  };
}

// What an operator need not read. It stays open or closed while what is in it is written anew.
export function engineersFold() {
  const body = make("div");
  const element = make("details", { class: "card engineer" }, make("summary", {}, "For the engineer"), body);
  return { element, show: (...children) => body.replaceChildren(...children) };
}

export const button = (text, onclick, kind = "") =>
  make("button", { type: "button", class: kind, onclick }, text);
