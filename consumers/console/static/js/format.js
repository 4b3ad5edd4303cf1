// Numbers and times as the console writes them. Times are UTC.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const NONE = "–";

const missing = (x) => x === null || x === undefined || (typeof x === "number" && Number.isNaN(x));

export function count(n) { return missing(n) ? NONE : WHOLE.format(n); }

export function number(x, digits = 3) {
  if (missing(x)) return NONE;
  return Number(x).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function share(x, digits = 1) { return missing(x) ? NONE : `${number(100 * x, digits)} %`; }

export function rate(x) {
  if (missing(x)) return NONE;
  return x === 0 || x >= 100 ? WHOLE.format(x) : number(x, 1);
}

export function ms(x) {
  if (missing(x)) return NONE;
  if (x >= 10_000) return `${number(x / 1000, 1)} s`;
  return `${x >= 100 ? WHOLE.format(x) : number(x, x >= 10 ? 1 : 2)} ms`;
}

const two = (n) => String(n).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function clock(at) {
  const d = new Date(at);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
}

export function time(at) {
  if (missing(at)) return NONE;
  const d = new Date(at);
  return `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())} ${clock(at)}`;
}

export function fine(at) { return missing(at) ? NONE : `${time(at)}.${String(new Date(at).getUTCMilliseconds()).padStart(3, "0")}`; }

// For an axis whose whole span is known.
export function tick(at, span) {
  const d = new Date(at);
  const day = `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
  if (span < 36 * 3600e3) return span < 600e3 ? clock(at) : clock(at).slice(0, 5);
  return span < 6 * 86400e3 ? `${day} ${two(d.getUTCHours())}h` : day;
}

export function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${number(s / 3600, 1)} h`;
  return `${Math.round(s / 86400)} days`;
}

export function ago(at, now) { return missing(at) ? "never" : `${span(now - at)} ago`; }

export function digest(text) { return (text || "").replace("sha256:", "").slice(0, 12); }

export function words(text) { return (text || "").replaceAll("_", " "); }

export function any(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "number") return Number.isInteger(value) ? WHOLE.format(value) : String(Number(value.toPrecision(12)));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
