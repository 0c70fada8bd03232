// Which settings matter, and what is written of one that does not: `matters` and `read_conditions` of
// lightning_invert/conditions.py.

const SIGNS = {
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
};

// Of each setting {other, sign, number}: how another one has to be; null where it always matters.
export const conditionsOf = (inputs) =>
  inputs.map(({ matters_if: condition }) => {
    if (!condition) return null;
    const [name, sign, number] = condition;
    return { other: inputs.findIndex((variable) => variable.name === name), sign, number };
  });

// Which of the settings matter; `conditions` are of `conditionsOf`. One that depends on another which does not
// matter itself does not, either.
export function mattering({ conditions }, x) {
  let matters = conditions.map((one) => one === null || Number.isNaN(x[one.other]) || SIGNS[one.sign](x[one.other], one.number));
  for (const _ of conditions) matters = matters.map((mine, j) => mine && (conditions[j] === null || matters[conditions[j].other]));
  return matters;
}

// The settings that matter, and null for the others: they may have any value.
export function meant(known, x) {
  const matters = mattering(known, x);
  return x.map((value, j) => (matters[j] ? value : null));
}
