// Elements of the page. Names and units may come from a stranger's file: they become text nodes and
// nothing else, whatever they hold.

import { readNumber } from "./numbers.js";

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

// A box for a number, which says in words what is wrong with what is written in it. `change` is told
// of good numbers alone; `check` may return words against one. Where `optional`, none is null.
export function numberBox({ id, label, describedby, change, check = () => "", optional = false }) {
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
      const read = optional && box.value.trim() === "" ? { value: null } : readNumber(box.value);
      complain(read.error ?? check(read.value));
      if (!read.error && !check(read.value)) change(read.value);
    },
  });
  function complain(words) {
    error.textContent = words;
    if (words) box.setAttribute("aria-invalid", "true");
    else box.removeAttribute("aria-invalid");
  }
  return {
    box,
    error,
    complain,
    get bad() {
      return box.hasAttribute("aria-invalid");
    },
    // What is being written is not taken from under the writer's hands.
    show(text) {
      if (document.activeElement === box || box.value === text) return;
      box.value = text;
      complain("");
    },
  };
}

export const button = (text, onclick, kind = "") =>
  make("button", { type: "button", class: kind, onclick }, text);
