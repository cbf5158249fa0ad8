// Numbers as text, and elements that hold text: what comes from the result is never taken for HTML.

export const marks = { unreviewed: "", accepted: "✓", rejected: "✕", unsure: "?" };

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export function score(value) {
  return value === null ? "–" : value.toFixed(2);
}

export function area({ area_m2: size, pixels }) {
  if (size === null) return pixels === null ? "" : `${whole.format(pixels)} px`;
  if (size >= 1e6) return `${short.format(size / 1e6)} km²`;
  return size >= 100 ? `${whole.format(size)} m²` : `${short.format(size)} m²`;
}

/** A probability by its exponent, -log10 p. */
export function probability(exponent) {
  if (exponent === null) return "–";
  const power = Math.max(0, Math.ceil(exponent));
  if (power <= 3) return short.format(10 ** -exponent);
  const superscript = [...String(power)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `${(10 ** (power - exponent)).toFixed(1)} · 10⁻${superscript}`;
}

/** Latitude and longitude, to 0.1 m. */
export function place(at) {
  return at ? `${at[1].toFixed(6)}, ${at[0].toFixed(6)}` : "";
}

export function quantity(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

export function percent(share) {
  return `${whole.format(100 * share)} %`;
}

export function number(value) {
  return value === null ? "–" : Math.abs(value) >= 1e5 ? whole.format(value) : String(Number(value.toPrecision(4)));
}
