// Numbers as people write and read them.

const A_NUMBER = /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i;
const TWO_READINGS = /^[+-]?[1-9]\d{0,2},\d{3}$/;
const GROUPED = /^[+-]?\d[\d.,'’\s]*$/;
const MAX_SIZE = 1e30;

const trimmed = (text) => text.trim().replace(/^[−–]/, "-");

// Units that people write in several ways.
const normalUnit = (unit) => unit.replace(/[\s^·*]/g, "").replace("³", "3").replace("²", "2").replace("µ", "μ");

// What is written, without the variable's unit behind it; "%" goes with a unit in per cent, or with none.
function withoutUnit(text, unit) {
  const written = trimmed(text);
  const [, number, behind] = written.match(/^([+-]?[\d.,]*\d[.,]?(?:e[+-]?\d+)?)\s*(\S.*)$/i) ?? [];
  const own = behind && (normalUnit(behind) === normalUnit(unit) || (behind === "%" && (unit === "" || unit.includes("%"))));
  return own ? number : written;
}

// A number as the page writes it.
export const pointed = (text, unit = "") => withoutUnit(text, unit).replace(",", ".");

// {value} or {error: words}. A comma is a decimal one, unless it may as well part thousands.
export function readNumber(text, unit = "") {
  const written = withoutUnit(text, unit);
  const quoted = `“${written.slice(0, 30)}”`;
  if (written === "") return { error: "Write a number here." };
  if (TWO_READINGS.test(written)) {
    return { error: `${quoted} can be read in two ways. Write ${pointed(written)} or ${written.replace(",", "")}.` };
  }
  if (!A_NUMBER.test(written)) {
    const hint = GROUPED.test(written) ? "without signs of thousands, like 1234.5" : "like 12.5";
    return { error: `${quoted} is not a number. Write one ${hint}.` };
  }
  const value = Number(pointed(written));
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

// A number as it is written into a box: whole where a person may have written it.
export function plain(value, spread) {
  const whole = String(value);
  return whole.length <= 10 ? whole : shown(value, spread).replace("−", "-");
}

// Where 95 % of the training data are: {low, high}. Without data in the file `known` is false, and two
// standard deviations about the mean stand for it, where something has to.
export const usualOf = ({ usual_low, usual_high, mean, std }) =>
  usual_low === null
    ? { low: mean - 2 * std, high: mean + 2 * std, known: false }
    : { low: usual_low, high: usual_high, known: true };

// Where a variable is used: {low, high, known}. Where its range is not known, the usual one.
export function rangeOf(variable) {
  const { low, high } = variable;
  if (low !== null && high !== null && low < high) return { low, high, known: true };
  const usual = usualOf(variable);
  const [least, most] = [Math.max(low ?? -Infinity, usual.low), Math.min(high ?? Infinity, usual.high)];
  return least < most ? { low: least, high: most, known: false } : { ...usual, known: false };
}

export function rangeWords({ low, high }, spread) {
  const ends = [...new Set([ended(low, spread), ended(high, spread)])];
  return ends.join(" to ");
}

// The greatest of 1, 2, 5, 10, ... that is at most this.
export function roundStep(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [5, 2, 1].find((digit) => digit * power <= most * (1 + 1e-9));
}

// A step of 1, 10, 0.1 ... that divides the span into some hundreds.
export const stepOf = (span) => 10 ** Math.floor(Math.log10(span / 200));

// Values with those of settings that have levels at the nearest one.
export const atLevels = (variables, values) =>
  values.map((value, j) =>
    value === null
      ? null
      : variables[j].levels.reduce(
          (best, level) => (Math.abs(level - value) < Math.abs(best - value) ? level : best),
          variables[j].levels[0] ?? value,
        ),
  );

// Whether a value is at an end, but for rounding.
export const isAtEnd = ({ low, high, std }, value) =>
  [low, high].some((end) => end !== null && Math.abs(value - end) < 1e-6 * std);
