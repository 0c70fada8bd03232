// What the metadata tell of a pair, as the page and its worker use it. No DOM.

import { conditionsOf } from "./matters.js";

export function knownOf(metadata) {
  const { outputs, reliability } = metadata;
  // A setting without a range of its own is used where data are known.
  const inputs = metadata.inputs.map((variable, j) => ({
    ...variable,
    low: variable.low ?? reliability?.input_low[j] ?? null,
    high: variable.high ?? reliability?.input_high[j] ?? null,
  }));
  return {
    inputs,
    outputs,
    reliability,
    conditions: conditionsOf(inputs),
    constraints: metadata.constraints.map((constraint) => ({
      ...constraint,
      low: constraint.low ?? -Infinity,
      high: constraint.high ?? Infinity,
    })),
    prices: metadata.prices, // {name: number}
    backtest: metadata.backtest,
    thresholds: {
      bands: metadata.bands,
      singularFloor: metadata.singular_floor,
      rankAtol: metadata.rank_atol,
    },
  };
}
