// What each setting does to each outcome; the Jacobian, its singular values, and what they say.

import { transposed } from "./bounded_step.js";
import { data, make, quantity, readable, table, titled } from "./elements.js";
import { mattering } from "./matters.js";
import { brief, roundStep, signed, usualOf } from "./numbers.js";
import { bandOf, conditionNumber, numericalRank, singularValues, standardized } from "./spectrum.js";

const BANDS = {
  stable: "the outcome can be adjusted without large changes of the settings.",
  moderate: "some adjustments of the outcome need large changes of the settings.",
  "ill-conditioned": "some tiny adjustments of the outcome need huge changes of the settings.",
  singular: "some adjustments of the outcome cannot be made by any small change of the settings.",
};

export function bandWords(condition, { bands }) {
  const band = bandOf(condition, bands);
  return { band, words: BANDS[band] };
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
        : "every small change of the outcome is reached by exactly one change of the settings";
  const name = n > m ? "right-invertible" : n < m ? "left-invertible" : "invertible";
  return `Rank ${rank} of ${full}, full: ${meaning} (locally ${name}).`;
}

// `texts` are what the cells say, `slopes` in standard units how dark they are.
function heatMap({ caption, id, corner, heads, names, slopes, texts }) {
  const most = Math.max(...slopes.flat().map(Math.abs)) || 1;
  const rows = slopes.map((row, i) => [
    names[i],
    ...row.map((slope, j) => {
      const cell = make("td", { class: slope < 0 ? "cold" : "warm" }, texts[i][j]);
      cell.style.setProperty("--share", `${(100 * Math.abs(slope)) / most}%`);
      return cell;
    }),
  ]);
  return table(caption, [make("span", { class: "away" }, corner), ...heads], rows, { class: "heat", id });
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

// By how much each setting moves each outcome, in the units of the plant.
export function effectsPanel(store) {
  const body = make("div");
  const { inputs, outputs } = store;
  const steps = inputs.map((variable) => {
    const { low, high } = usualOf(variable);
    return roundStep((high - low) / 10 || variable.std);
  });
  return {
    element: titled("conditioning-title", "How the outcome answers here", body),
    show({ x, now, conditioning }) {
      if (conditioning === null) {
        const words = "At these settings the model has no finite slopes: nothing can be said of them.";
        body.replaceChildren(make("p", { class: "warning" }, words));
        return;
      }
      const { slopes, sigma, condition } = conditioning;
      const matters = mattering(store, x);
      const heads = outputs.map((variable) => make("span", {}, quantity(variable)));
      const names = inputs.map(({ name, unit }, j) =>
        make("span", {}, `${readable(name)} `, make("span", { class: "step" }, matters[j] ? `+${brief(steps[j])} ${unit}` : "does not matter")),
      );
      const answers = transposed(slopes).map((row, j) => row.map((slope) => (matters[j] ? slope : 0)));
      const texts = inputs.map((_, j) => outputs.map(({ std }, i) => (matters[j] ? signed(now.jacobian[i][j] * steps[j], std) : "")));
      const { band, words } = bandWords(condition, store.thresholds);
      const caption = "By how much an outcome changes when one setting is raised";
      // Of a single outcome κ says nothing.
      const verdict = sigma.length > 1 || band === "singular";
      body.replaceChildren(
        heatMap({ caption, id: "effects", corner: "setting", heads, names, slopes: answers, texts }),
        make("p", { class: "legend", "aria-hidden": "true" }, "lowers ", make("span", { class: "scale" }), " raises"),
        verdict ? make("p", { class: `verdict ${band}`, id: "verdict" }, `Here ${words}`) : "",
      );
    },
  };
}

export function conditioningDetails({ inputs, outputs, thresholds }, { conditioning }) {
  if (conditioning === null) return [];
  const { slopes, sigma, rank, condition } = conditioning;
  const single = sigma.length === 1 ? " With a single one, κ is 1 by definition: look at σ." : "";
  return [
    heatMap({
      caption: "Jacobian, in standard units",
      id: "jacobian",
      corner: "outcome",
      heads: inputs.map(({ name }) => readable(name)),
      names: outputs.map(({ name }) => readable(name)),
      slopes,
      texts: slopes.map((row) => row.map((slope) => data(signed(slope, 1), slope))),
    }),
    make("p", { class: "hint" }, "By how many standard deviations an outcome moves when a setting moves by one of its own."),
    make("h3", {}, "Can it be inverted here?"),
    make(
      "p",
      {},
      make("strong", {}, "κ = ", make("data", { id: "condition", value: String(condition) }, brief(condition))),
      `, ${bandOf(condition, thresholds.bands)}. ${rankWords(rank, outputs.length, inputs.length)}`,
    ),
    spectrumList(sigma),
    make(
      "p",
      { class: "hint" },
      `κ = σ₁/σₖ tells how far the settings move for a small change of the outcome, not how wrong the predicted outcome is.${single}`,
    ),
  ];
}
