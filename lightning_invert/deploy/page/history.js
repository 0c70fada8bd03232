// What proposals would have saved in the past: the summary of a back-test.

import { make, titled } from "./elements.js";
import { amount, changeWords } from "./prices.js";

const percent = (share) => `${Math.round(100 * share)} %`;

export function historyCard({ backtest }) {
  if (!backtest) return null;
  const { rows, cheaper_share, spent_mean, proposed_mean, within } = backtest;
  const spent =
    spent_mean === null
      ? ""
      : `On average ${amount(spent_mean)} was spent, and ${amount(proposed_mean)} would have been: ${changeWords(spent_mean, proposed_mean)}. `;
  const near = Object.entries(within).map(([share, reached]) => `${percent(reached)} within ${share} %`);
  return titled(
    "history-title",
    "What it would have saved",
    make(
      "p",
      { id: "history" },
      `In ${rows} rows of history, the cheapest settings for the measured outcomes cost less in ${percent(cheaper_share)} of the rows. `,
      spent,
      `Outcomes of these settings: ${near.join(", ")} of what was measured.`,
    ),
  );
}
