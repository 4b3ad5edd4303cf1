import { details, empty, facts, h, panel, state, table } from "../dom.js";
import { axisTime, axisValue, chart, colour, legend, line, seriesToken, tooltip } from "../charts.js";
import { count, ms, number, share, span, tick, time } from "../format.js";

const HEADS = { log_loss: "Log loss", auc: "AUC", f1: "F1", brier: "Brier", calibration_error: "ECE", mae: "MAE", rmse: "RMSE", cost: "Cost" };
const head = (name) => HEADS[name] || name[0].toUpperCase() + name.slice(1);

function columns(data, first) {
  const estimated = data.measures.includes("accuracy");
  return [
    ...first,
    { head: "Answers", num: true, cell: (c) => count(c.answers) },
    { head: "Labels in", num: true, cell: (c) => share(c.share_in, 0) },
    ...data.measures.map((m) => ({ head: head(m), num: true, cell: (c) => number(c.realised[m]) })),
    ...(estimated ? [
      { head: "Estimated accuracy", num: true, cell: (c) => number(c.estimated) },
      { head: "Gap", num: true, cell: (c) => (c.gap === null ? "–" : `${c.gap > 0 ? "+" : ""}${number(c.gap)}${c.bound === null ? "" : ` ±${number(c.bound)}`}`) },
      { head: "Trusted", cell: (c) => (c.estimated === null ? "–" : c.trusted ? state("good", "yes") : state("warn", "no")) },
    ] : []),
    { head: "p50", num: true, cell: (c) => ms(c.latency_ms?.[0]) },
    { head: "p99", num: true, cell: (c) => ms(c.latency_ms?.[1]) },
    { head: "Refused", num: true, cell: (c) => share(c.error_rate, 2) },
  ];
}

const version = { head: "Version", class: "nowrap", cell: (c) => c.version };

function curves(data) {
  const measure = data.measures[0];
  const versions = data.versions.map((c) => c.version).reverse();
  const newest = [...versions].sort((a, b) => last(data, b) - last(data, a));
  const start = (c) => (c.window[0] + c.window[1]) / 2;
  const windows = data.windows.filter((c) => c.answers); // others have refusals alone
  const all = windows.map(start);
  const [min, max] = [Math.min(...all), Math.max(...all)];
  const pad = data.width_ms / 2;
  const series = newest.flatMap((v, i) => {
    const cells = windows.filter((c) => c.version === v);
    const real = cells.filter((c) => c.realised[measure] !== undefined).map((c) => [start(c), c.realised[measure]]);
    const said = cells.filter((c) => c.estimated !== null).map((c) => [start(c), c.estimated]);
    const token = seriesToken(i);
    return [
      line(v, real, token, { showSymbol: true }),
      ...(measure === "accuracy" ? [line(v, said, token, { lineStyle: { color: colour(token), width: 1.5, type: [4, 4] }, symbol: "emptyCircle", symbolSize: 4, showSymbol: true, dashed: true })] : []),
    ];
  });
  return {
    tooltip: tooltip({ formatter: (p) => `${time(p[0].value[0])} UTC\n${p.map((s) => `${s.seriesName}${series[s.seriesIndex].dashed ? " estimated" : ""}  ${number(s.value[1])}`).join("\n")}` }),
    legend: { ...legend([...newest]), type: "scroll", right: 0 },
    xAxis: axisTime((t) => tick(t, max - min), min - pad, max + pad),
    yAxis: axisValue({ scale: true, axisLabel: { color: colour("muted"), formatter: (v) => (measure === "accuracy" ? `${number(100 * v, 0)} %` : number(v, 2)) } }), series,
  };
}

function last(data, v) { return Math.max(0, ...data.windows.filter((c) => c.answers && c.version === v).map((c) => c.window[1])); }

function render(data) {
  if (!data.versions.length) return [panel("Performance", empty("There are no predictions in ClickHouse yet.", "They come when `millstream score` answers events and `millstream sink` keeps them."))];
  const measure = data.measures[0];
  const doubts = [...data.versions, ...data.newest].flatMap((c) => (c.answers ? c.doubts.map((d) => `${c.version}: ${d}`) : []));
  const windowed = [{ head: "Window (event time, UTC)", class: "nowrap", cell: (c) => time(c.window[0]) }, version];
  return [
    ...data.alarms.map((a) => h("div", { class: "notice", role: "alert" }, h("strong", {}, `${a.kind}: ${a.version}`), h("span", {}, a.text))),
    panel(`${head(measure)} by window of event time`,
      h("p", { class: "muted prose" }, labels(data)),
      chart(`${head(measure)}, realised and estimated, of each version by window of event time; the same numbers are in the table of windows`, () => curves(data), 280),
      details("windows", `${data.windows.length} windows of ${span(data.width_ms)} as a table`, table("Windows", columns(data, windowed), data.windows))),
    panel("Versions", h("p", { class: "muted prose" }, "Over the windows whose labels are in; latency and refusals over all."), table("Versions", columns(data, [version]), data.versions)),
    data.newest.some((c) => c.answers) && panel("Labels not in yet", h("p", { class: "muted prose" }, "The newest answers. What is realised so far is of the labels that came early; the estimate needs none."), table("Labels not in yet", columns(data, [version]), data.newest.filter((c) => c.answers))),
    data.slices.length > 0 && panel("Slices", table("Slices", columns(data, [{ head: "Slice", class: "nowrap", cell: (c) => c.slice.join(" = ") }, version]), data.slices)),
    data.gaps.length > 0 && panel("Groups", h("p", { class: "muted prose" }, "[fairness] of stream.toml: how differently groups are treated, with an interval for all comparisons together."), table("Groups", [
      { head: "Measure", cell: (g) => g.kind.replaceAll("_", " ") },
      { head: "Group", cell: (g) => `${g.field} = ${g.group}` },
      { head: "Against", cell: (g) => g.against },
      { head: "Answers", num: true, cell: (g) => count(g.rows) },
      { head: "Value", num: true, cell: (g) => number(g.value) },
      { head: "Interval", num: true, cell: (g) => (g.low === null ? "too few" : `${number(g.low)} to ${number(g.high)}`) },
      { head: "Limit", num: true, cell: (g) => number(g.limit, 2) },
      { head: "Alarm", cell: (g) => (g.alarm ? state("bad", "yes") : state("", "no")) },
    ], data.gaps)),
    (doubts.length > 0 || data.notes.length > 0) && panel("What to know of these numbers", h("ul", { class: "prose" },
      doubts.map((d) => h("li", {}, state("warn", "Estimate not trusted: "), d)), data.notes.map((n) => h("li", {}, n)))),
  ];
}

function labels(data) {
  const when = data.mature_age_s === null ? "Too few labels came to know how late they come." : `95 % of the labels are in ${span(1000 * data.mature_age_s)} after the score.`;
  return `${when} ${data.ever === null ? "" : `${share(data.ever, 0)} of them come at all.`} Solid: realised. Dashed: estimated from calibrated confidence, without labels. Made of the newest ${count(data.rows_max)} predictions at most.`;
}

export default { path: "/performance", title: "Performance", key: "p", source: () => "/api/performance", depends: ["predictions", "labelled", "dead_letters"], every: 15, render };
