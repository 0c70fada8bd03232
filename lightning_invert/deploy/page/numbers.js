// Numbers as people write and read them.

const A_NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const MAX_SIZE = 1e30;

// {value} or {error: words}. A comma is refused: it is a decimal here and a thousand there.
export function readNumber(text) {
  const written = text.trim().replace("−", "-");
  if (written === "") return { error: "Write a number here." };
  if (!A_NUMBER.test(written)) {
    const hint = written.includes(",") ? "with a point, and no commas, like 12.5" : "like 12.5";
    return { error: `“${written.slice(0, 30)}” is not a number. Write one ${hint}.` };
  }
  const value = Number(written);
  if (!(Math.abs(value) <= MAX_SIZE)) return { error: "This number is too large to work with." };
  return { value };
}

// Enough digits that a hundredth of the spread shows.
export function shown(value, spread) {
  if (value === Infinity || value === -Infinity) return value > 0 ? "∞" : "−∞";
  if (!Number.isFinite(value)) return "not a finite number";
  const digits = 2 - Math.floor(Math.log10(spread || 1));
  const ahead = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  const plain = digits <= 7 && ahead < 12;
  const significant = Math.min(Math.max(digits + ahead, 2), 14);
  const text = plain ? value.toFixed(Math.max(digits, 0)) : value.toExponential(significant);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

// The end of a range, without digits that say nothing.
export const ended = (value, spread) => shown(value, spread).replace(/\.?0+(?=e|$)/, (zeros, at, text) =>
  text.slice(0, at + 1).includes(".") ? "" : zeros,
);

export const signed = (value, spread) => {
  const text = shown(value, spread);
  return value > 0 && /[1-9∞]/.test(text) ? `+${text}` : text;
};

// Three significant digits, for what has no spread of its own: κ, σ, shares.
export function brief(value) {
  if (value === Infinity) return "∞";
  if (!Number.isFinite(value)) return "not a finite number";
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)) {
    const [digits, power] = value.toExponential(1).split("e");
    return `${digits}·10${superscript(Number(power))}`;
  }
  return String(Number(value.toPrecision(3)));
}

const superscript = (power) =>
  String(power).replace(/[-\d]/g, (sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]));

// Where a variable is used: {low, high, known}. Where its range is not known, two standard
// deviations about the mean of the training data stand for it.
export function rangeOf({ low, high, mean, std }) {
  if (low !== null && high !== null && low < high) return { low, high, known: true };
  const [least, most] = [Math.max(low ?? -Infinity, mean - 2 * std), Math.min(high ?? Infinity, mean + 2 * std)];
  return least < most
    ? { low: least, high: most, known: false }
    : { low: mean - 2 * std, high: mean + 2 * std, known: false };
}

// Where most of the training data are, inside the range.
export function usualOf(variable) {
  const { low, high } = rangeOf(variable);
  const usual = [variable.mean - 2 * variable.std, variable.mean + 2 * variable.std];
  return { low: Math.min(Math.max(usual[0], low), high), high: Math.max(Math.min(usual[1], high), low) };
}

// A step of 1, 10, 0.1 ... that divides the span into some hundreds.
export const stepOf = (span) => 10 ** Math.floor(Math.log10(span / 200));
