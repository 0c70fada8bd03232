// From the saved settings to the present ones: the linear prediction beside the model's change.

import { button, data, draw, make, quantity, readable, table, titled } from "./elements.js";
import { shown, signed } from "./numbers.js";
import { amount, changeWords, costAt } from "./prices.js";

const PATH_POINTS = 25;
const PATH_END = 1.5;
const [WIDTH, HEIGHT, EDGE] = [220, 110, 8];

// Settings on the straight way from one to the other, and half as far again.
export function pathOf(from, to) {
  return Array.from({ length: PATH_POINTS }, (_, k) => {
    const share = (PATH_END * k) / (PATH_POINTS - 1);
    return from.map((value, j) => value + share * (to[j] - value));
  });
}

export const linearChange = (jacobian, from, to) =>
  jacobian.map((row) => row.reduce((sum, slope, j) => sum + slope * (to[j] - from[j]), 0));

function chart(variable, truth, begin, change) {
  const straight = truth.map((_, k) => begin + (change * PATH_END * k) / (PATH_POINTS - 1));
  const all = [...truth, ...straight].filter(Number.isFinite);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const across = (k) => EDGE + ((WIDTH - 2 * EDGE) * k) / (PATH_POINTS - 1);
  const up = (value) =>
    high > low ? HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (value - low)) / (high - low) : HEIGHT / 2;
  const points = (values) =>
    values
      .map((value, k) => (Number.isFinite(value) ? `${across(k).toFixed(1)},${up(value).toFixed(1)}` : ""))
      .join(" ");
  const at = (PATH_POINTS - 1) / PATH_END;
  const words = `${readable(variable.name)} along the way: model from ${shown(truth[0], variable.std)} to ${shown(truth[Math.round(at)], variable.std)}, straight line to ${shown(begin + change, variable.std)}.`;
  return make(
    "figure",
    {},
    make("figcaption", {}, quantity(variable)),
    draw(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
      draw("line", { class: "mark", x1: across(0), x2: across(0), y1: 0, y2: HEIGHT }),
      draw("line", { class: "mark", x1: across(at), x2: across(at), y1: 0, y2: HEIGHT }),
      draw("polyline", { class: "straight", points: points(straight) }),
      draw("polyline", { class: "model", points: points(truth) }),
    ),
  );
}

const stands = ({ x, from }) => x.every((value, j) => value === from[j]);

export function whatIfPanel(store) {
  const body = make("div");
  const keep = button("Keep these settings as From", () => store.set({ from: store.state.x.slice() }));
  const element = titled("whatif-title", "What if: From, and now", make("p", { class: "buttons" }, keep), body);
  return {
    element,
    show({ x, from, now, start }) {
      if (stands({ x, from })) {
        body.replaceChildren(make("p", {}, "Move a setting, and see here what changes."));
        return;
      }
      const rows = store.outputs.map((variable, i) => [
        make("span", {}, quantity(variable)),
        data(shown(start.outputs[i], variable.std), start.outputs[i]),
        data(shown(now.outputs[i], variable.std), now.outputs[i]),
        data(signed(now.outputs[i] - start.outputs[i], variable.std), now.outputs[i] - start.outputs[i]),
      ]);
      const [before, after] = [from, x].map((at) => costAt(store, store.state.prices, at));
      if (before !== null) rows.push(["cost", data(amount(before), before), data(amount(after), after), changeWords(before, after)]);
      body.replaceChildren(table("What the model predicts", ["outcome", "From", "now", "change"], rows, { id: "what-if" }));
    },
  };
}

// The linear prediction from From beside the true change.
export function linearDetails(store, { x, from, now, start, path }) {
  if (stands({ x, from })) return [];
  const foretold = linearChange(start.jacobian, from, x);
  const rows = store.outputs.map((variable, i) => {
    const change = now.outputs[i] - start.outputs[i];
    const cells = [change, foretold[i], foretold[i] - change].map((value) => data(signed(value, variable.std), value));
    return [make("span", {}, quantity(variable)), ...cells];
  });
  const heads = ["outcome", "change of the model", "J·Δx", "off by"];
  return [
    make("h3", {}, "How far is it linear?"),
    table("Change by the model, and by a straight line from From", heads, rows, { id: "linear" }),
    make(
      "p",
      { class: "legend" },
      make("span", { class: "key model" }),
      " model ",
      make("span", { class: "key straight" }),
      " straight line; marks: From and now; the lines go on half as far again",
    ),
    make(
      "div",
      { class: "charts" },
      store.outputs.map((variable, i) =>
        chart(variable, path.map((point) => point.outputs[i]), start.outputs[i], foretold[i]),
      ),
    ),
  ];
}
