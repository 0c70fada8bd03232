// What is proposed for a wanted outcome, and what to mind.

import { bandWords } from "./conditioning.js";
import { data, make, quantity, readable, table, valueOf } from "./elements.js";
import { constraintWords, limitsTable } from "./limits.js";
import { meant } from "./matters.js";
import { brief, isAtEnd, shown, signed } from "./numbers.js";
import { bandText, unlikeWords } from "./outcomes.js";
import { amount, changeWords, costAt } from "./prices.js";
import { outsideWords } from "./settings.js";
import { TOLERANCE, nearestIn } from "./propose.js";
import { trustOf } from "./reliability.js";

const listed = (variables) => variables.map(({ name }) => readable(name)).join(", ");

function flagsOf(store, { target, box, unfinished }, found, trust) {
  const { inputs, outputs, thresholds } = store;
  const flags = [];
  if (!found.converged) {
    const missed = outputs
      .map((variable, i) => ({ variable, off: found.outputs[i] - nearestIn(found.outputs, target)[i] }))
      .filter(({ variable, off }) => Math.abs(off) > TOLERANCE * variable.std)
      .map(({ variable, off }) => `${signed(off, variable.std)} ${variable.unit} (${readable(variable.name)})`);
    flags.push(`Not reached: off by ${missed.join(", ") || "nothing finite"}.`);
  }
  if (unfinished) flags.push("Too many choices of levels and changes to try them all: a better one may exist. Hold some settings.");
  const ends = inputs.filter((variable, j) => found.matters[j] && box.low[j] < box.high[j] && isAtEnd(variable, found.inputs[j]));
  if (ends.length > 0) flags.push(`At the end of its range: ${listed(ends)}.`);
  const binding = store.constraints.filter(({ name }) => found.binding.includes(name));
  if (binding.length > 0) flags.push(`Binding constraints: ${binding.map((one) => constraintWords(one, inputs)).join("; ")}.`);
  const outside = inputs.filter((variable, j) => found.matters[j] && outsideWords(variable, found.inputs[j]));
  if (outside.length > 0) {
    flags.push(`Outside the training range: ${listed(outside)}.`);
  }
  if (trust?.unseen) flags.push("Such an outcome was never seen in the data.");
  const { words } = bandWords(found.condition, thresholds);
  if (found.condition >= thresholds.bands[0]) flags.push(`At these settings ${words}`);
  return flags;
}

const wantedText = (variable, low, high) => {
  const write = (value) => shown(value, variable.std);
  if (low === -Infinity && high === Infinity) return "no matter";
  if (low === -Infinity) return `at most ${write(high)}`;
  if (high === Infinity) return `at least ${write(low)}`;
  return low === high ? write(low) : `${write(low)} to ${write(high)}`;
};

// Whether it is certified: reached, with settings like the validation points. `Proposal.certified` in Python.
function verdictOf({ converged }, trust) {
  if (!converged) {
    return ["Not certified: not reached.", `This is the nearest that was found. ${trust ? unlikeWords(trust) : ""}`];
  }
  if (!trust) return ["Not certified.", "The model predicts what is wanted, but too few rows of data are known to judge it."];
  if (!trust.alike) return ["Not certified.", `The model predicts what is wanted, but: ${unlikeWords(trust)}`];
  return ["Certified.", "The model predicts what is wanted, with settings like those that its bands were tested on."];
}

function costLine(store, { prices, x, cheapest }, found) {
  const [before, after] = [x, found.inputs].map((at) => costAt(store, prices, at));
  if (before === null) return null;
  const aim = cheapest ? "the least that was found for this outcome" : "the least cost was not looked for";
  return make(
    "p",
    { id: "proposal-cost" },
    `Cost ${amount(before)} now, ${amount(after)} proposed: `,
    make("strong", {}, changeWords(before, after)),
    ` (${aim}).`,
  );
}

// The result: what is proposed, what it leads to, and what to mind.
export function proposalView(store, answer, k) {
  const found = answer.found[k];
  const { target, box, x } = answer;
  const trust = trustOf(store, found.inputs, found.outputs, target);
  const flags = flagsOf(store, answer, found, trust);
  const [before, after] = [x, found.inputs].map((at) => meant(store, at));
  const settings = store.inputs.map((variable, j) => {
    const fixed = box.low[j] === box.high[j];
    const stays = !fixed && !found.changed.includes(j);
    const atEnd = !fixed && isAtEnd(variable, found.inputs[j]);
    const note = after[j] === null ? "does not matter" : fixed ? "held" : stays ? "stays" : atEnd ? "end of range" : "";
    return [
      make("span", {}, quantity(variable), make("span", { class: "note" }, note)),
      valueOf(before[j], variable),
      valueOf(after[j], variable),
      before[j] === null || after[j] === null ? "" : valueOf(after[j] - before[j], variable, signed),
    ];
  });
  const outcomes = store.outputs.map((variable, i) => [
    make("span", {}, quantity(variable)),
    wantedText(variable, target.low[i], target.high[i]),
    valueOf(found.outputs[i], variable),
    ...(trust ? [bandText(trust, variable, i)] : []),
    valueOf(found.outputs[i] - nearestIn(found.outputs, target)[i], variable, signed),
  ]);
  const steps = `${found.steps} ${found.steps === 1 ? "step" : "steps"}`;
  const condition = make("data", { id: "proposal-condition", value: String(found.condition) }, brief(found.condition));
  const expected = trust ? `; the expected distance from what is wanted is ${brief(trust.expectedError)} standard units` : "";
  const heads = ["outcome", "wanted", "predicted", ...(trust ? ["band"] : []), "off by"];
  const caption = trust ? `Predicted outcome. Band of measurements: ${trust.words}` : "Predicted outcome";
  const [verdict, why] = verdictOf(found, trust);
  return {
    plain: [
      make(
        "p",
        { class: `verdict ${verdict === "Certified." ? "stable" : ""}`, id: "proposal-verdict" },
        make("strong", {}, verdict),
        ` ${why}`,
      ),
      flags.length > 0
        ? make("ul", { class: "flags", id: "flags", "aria-label": "Warnings" }, flags.map((flag) => make("li", {}, flag)))
        : make("p", { class: "hint" }, "Inside the training range, and at none of its ends."),
      ...(trust
        ? [
            make(
              "p",
              { id: "proposal-trust" },
              "Trust ",
              make("data", { value: String(trust.trust) }, `${Math.round(100 * trust.trust)} %`),
              ": the chance that the real outcome lands within the model's usual error of what is wanted.",
            ),
          ]
        : []),
      costLine(store, answer, found),
      table("Proposed settings", ["setting", "From", "To", "change"], settings, { id: "proposed-settings" }),
      limitsTable(store, x, found),
      table(caption, heads, outcomes, { id: "proposed-outcomes" }),
    ].filter((part) => part !== null),
    details: [
      make("p", {}, `Found in ${steps}; κ of the settings that may move and the wanted outcomes: `, condition, `, ${bandWords(found.condition, store.thresholds).band}${expected}.`),
    ],
  };
}
