// The Jacobian as a heat map, its singular values, and what they say in words.

import { data, labelled, make, readable, table, titled } from "./elements.js";
import { brief, signed } from "./numbers.js";
import { bandOf, conditionNumber, numericalRank, singularValues, standardized } from "./spectrum.js";

const BANDS = {
  stable: "nearby outcomes need nearby settings.",
  moderate: "some changes of the outcome ask for large changes of the settings.",
  "ill-conditioned": "some tiny changes of the outcome ask for huge changes of the settings.",
  singular: "some changes of the outcome cannot be reached by any small change of the settings.",
};

export function bandWords(condition, thresholds) {
  const band = bandOf(condition, thresholds.bands);
  return { band, words: `${band}: ${BANDS[band]}` };
}

// σ, rank, κ and band of a Jacobian in physical units; null where it is not finite.
export function conditioningOf(jacobian, { inputs, outputs, thresholds }) {
  if (!jacobian.flat().every(Number.isFinite)) return null;
  const slopes = standardized(jacobian, inputs, outputs);
  const sigma = singularValues(slopes);
  const condition = conditionNumber(sigma, thresholds.singularFloor);
  return { slopes, sigma, rank: numericalRank(sigma, thresholds.rankAtol), condition };
}

function rankWords(rank, m, n) {
  const full = Math.min(m, n);
  if (rank < full) {
    const lost = full - rank === 1 ? "one direction" : `${full - rank} directions`;
    const what =
      n >= m ? "the outcome does not answer to the settings" : "different settings give the same outcome";
    return `Rank ${rank} of ${full}: in ${lost} ${what}.`;
  }
  const meaning =
    n > m
      ? "every small change of the outcome can be reached, in many ways"
      : n < m
        ? "different settings give different outcomes"
        : "every small change of the outcome is reached by exactly one of the settings";
  const name = n > m ? "right-invertible" : n < m ? "left-invertible" : "invertible";
  return `Rank ${rank} of ${full}, full: ${meaning} (locally ${name}).`;
}

function heatCell(value, most) {
  const cell = make("td", { class: value < 0 ? "cold" : "warm" }, data(signed(value, 1), value));
  cell.style.setProperty("--share", `${(100 * Math.abs(value)) / (most || 1)}%`);
  return cell;
}

export function heatMap({ inputs, outputs }, slopes) {
  const most = Math.max(...slopes.flat().map(Math.abs));
  const heads = [make("span", { class: "away" }, "outcome"), ...inputs.map(({ name }) => readable(name))];
  const rows = slopes.map((row, i) => [
    readable(outputs[i].name),
    ...row.map((value) => heatCell(value, most)),
  ]);
  return table("Jacobian, in standard units", heads, rows, { class: "heat", id: "jacobian" });
}

function spectrumList(sigma) {
  const top = Math.log10(sigma[0] || 1);
  const depth = Math.max(2, Math.ceil(top - Math.log10(Math.max(sigma[sigma.length - 1], 1e-12))));
  const bars = sigma.map((value, i) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    const share = 1 - (top - Math.log10(Math.max(value, 1e-300))) / (depth + 0.5);
    bar.style.width = `${100 * Math.min(Math.max(share, 0.01), 1)}%`;
    const name = `σ${String(i + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit])}`;
    return make("li", {}, make("span", {}, name), data(brief(value), value), make("span", { class: "lane" }, bar));
  });
  return make("ol", { class: "sigma", id: "singular-values", "aria-label": "Singular values" }, bars);
}

export function conditioningPanel(store) {
  const body = make("div");
  const element = titled(
    "conditioning-title",
    "How the outcome answers here",
    make(
      "p",
      { class: "hint" },
      "By how many standard deviations an outcome moves when a setting moves by one of its own.",
    ),
    body,
  );
  return {
    element,
    show({ conditioning }) {
      if (conditioning === null) {
        const words = "At these settings the model has no finite slopes: nothing can be said of them.";
        body.replaceChildren(make("p", { class: "warning" }, words));
        return;
      }
      const { slopes, sigma, rank, condition } = conditioning;
      const { band, words } = bandWords(condition, store.thresholds);
      const single = sigma.length === 1 ? " With a single one, κ is 1 by definition: look at σ." : "";
      body.replaceChildren(
        heatMap(store, slopes),
        make("p", { class: "legend", "aria-hidden": "true" }, "lowers ", make("span", { class: "scale" }), " raises"),
        make("h3", {}, "Can it be inverted here?"),
        make(
          "p",
          { class: `verdict ${band}` },
          make("strong", {}, "κ = ", make("data", { id: "condition", value: String(condition) }, brief(condition))),
          `, ${words}`,
        ),
        make("p", {}, rankWords(rank, store.outputs.length, store.inputs.length)),
        spectrumList(sigma),
        make(
          "p",
          { class: "hint" },
          `κ = σ₁/σₖ tells how far the settings move for a small change of the outcome, not how wrong the predicted outcome is.${single}`,
        ),
      );
    },
  };
}

export const summaryOf = (outputs, values, texts) =>
  values.map((_, i) => `${labelled(outputs[i])}: ${texts[i]}`).join(", ");
