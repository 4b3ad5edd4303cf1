import { details, empty, h, panel, state, table } from "../dom.js";
import { axisTime, axisValue, chart, colour, legend, line, seriesToken, tooltip } from "../charts.js";
import { number, tick, time, words } from "../format.js";

// Upper edges of the first four shades. PSI: 0.1 and 0.25 are the usual rule of thumb.
const EDGES = { psi: [0.05, 0.1, 0.25, 0.5], js: [0.05, 0.1, 0.2, 0.4], ks: [0.05, 0.1, 0.2, 0.4], nulls: [0.001, 0.01, 0.05, 0.2] };

function shade(edges, value) { const at = edges.findIndex((e) => value < e); return at < 0 ? 4 : at; }

function map(data) {
  const { features, cells, first, step, buckets } = data;
  const edges = EDGES[data.measure];
  const row = new Map(features.map((f, i) => [f, features.length - 1 - i]));
  const span = step * buckets;
  const colours = [0, 1, 2, 3, 4].map((i) => colour(`h${i}`));
  const found = data.found.filter((f) => f.status === "alarm" && row.has(f.feature)).map((f) => [Math.min(buckets - 1, Math.max(0, Math.floor((f.at - first) / step))), row.get(f.feature), f]);
  const text = (b) => `${time(first + b * step)} UTC`;
  return {
    grid: { left: 8, right: 10, top: 6, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    tooltip: tooltip({ trigger: "item", formatter: (p) => (p.seriesType === "scatter" ? `${p.value[2].feature}: ${words(p.value[2].measure)}\n${time(p.value[2].at)} UTC\n${number(p.value[2].value)} above ${number(p.value[2].threshold)}`
      : `${features[features.length - 1 - p.value[1]]}\n${text(p.value[0])}\n${data.measure.toUpperCase()} ${number(p.value[2])}`) }),
    xAxis: { type: "category", data: Array.from({ length: buckets }, (_, b) => b), axisLine: { show: false }, axisTick: { show: false }, splitArea: { show: false }, axisLabel: { color: colour("muted"), formatter: (b) => tick(first + b * step, span), hideOverlap: true } },
    yAxis: { type: "category", data: [...features].reverse(), axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: colour("ink"), width: 130, overflow: "truncate" } },
    series: [
      { type: "heatmap", data: cells.map(([f, b, v]) => ({ value: [b, row.get(f), v], itemStyle: { color: colours[shade(edges, v)], borderColor: colour("panel"), borderWidth: 1 } })), emphasis: { disabled: true } },
      { type: "scatter", data: found, symbol: "diamond", symbolSize: 10, z: 5, itemStyle: { color: colour("bad"), borderColor: colour("panel"), borderWidth: 1 }, emphasis: { disabled: true } },
    ],
  };
}

function rates(data) {
  const versions = [...new Set(data.error_rate.map((r) => r[1]))].reverse();
  const at = data.error_rate.map((r) => r[0]);
  const [min, max] = [Math.min(...at), Math.max(...at)];
  return {
    tooltip: tooltip({ formatter: (p) => `${time(p[0].value[0])} UTC\n${p.map((s) => `${s.seriesName}  ${number(s.value[1])}`).join("\n")}` }),
    legend: legend(versions), xAxis: axisTime((t) => tick(t, max - min), min, max), yAxis: axisValue({ min: 0 }),
    series: versions.map((v, i) => line(v, data.error_rate.filter((r) => r[1] === v).map((r) => [r[0], r[2]]), seriesToken(i))),
  };
}

function choose(data, context) {
  return h("fieldset", { class: "segments" }, h("legend", {}, "Measure"), Object.entries(data.measures).map(([name, long]) =>
    h("label", { title: long }, h("input", { type: "radio", name: "measure", value: name, checked: name === data.measure, "data-key": `measure ${name}`,
      onchange: () => { context.set({ measure: name === "psi" ? null : name }); context.reload(); } }), h("span", {}, name === "nulls" ? "Nulls" : name.toUpperCase()))));
}

function key(data) {
  const edges = EDGES[data.measure];
  const show = (e) => (data.measure === "nulls" ? `${100 * e} %` : e);
  const texts = [`below ${show(edges[0])}`, ...edges.slice(1).map((e, i) => `${show(edges[i])} to ${show(e)}`), `${show(edges[3])} and above`];
  return h("p", { class: "legend" }, texts.map((t, i) => h("span", {}, h("i", { class: `h${i}` }), t)), h("span", {}, state("bad", "alarm of the inputs’ watch (a diamond)")));
}

function newest(data) {
  const by = new Map();
  for (const [feature, bucket, value] of data.cells) if (!by.has(feature) || by.get(feature)[0] < bucket) by.set(feature, [bucket, value]);
  const worst = new Map();
  for (const [feature, , value] of data.cells) worst.set(feature, Math.max(value, worst.get(feature) ?? 0));
  return table("Features", [
    { head: "Feature", cell: (f) => f },
    { head: `${data.measure.toUpperCase()} now`, num: true, cell: (f) => number(by.get(f)?.[1]) },
    { head: "Largest", num: true, cell: (f) => number(worst.get(f)) },
  ], data.features);
}

function render(data, context) {
  const nothing = !data.cells.length;
  return [
    h("section", { class: "panel", "aria-label": "Inputs" },
      h("div", { class: "top" }, h("h2", {}, "Inputs, by feature and event time"), choose(data, context)),
      h("p", { class: "muted prose" }, `Each cell is the largest ${data.measures[data.measure]} of the windows in it, against the bundle’s profile (or the first events). It is context: what raises an alarm is judged by each feature’s own history.`),
      nothing ? empty("There are no readings yet.", data.watched ? "`millstream watch` writes them, and the sink keeps them. With [watch] profile_events, the first events are the reference and give none." : "[watch] inputs is false in stream.toml.")
        : [chart(`Heat map of ${data.measures[data.measure]} by feature and event time; the table below has each feature’s newest and largest value`, () => map(data), 26 * data.features.length + 40), key(data),
          details("features", "Each feature’s newest and largest value as a table", newest(data))]),
    panel("Error rate, as the monitor reads it", data.error_rate.length ? chart("Error rate of each model version by event time", () => rates(data), 200)
      : empty("The monitor has read no labels yet.", "It reads the error every 256 labelled records: `millstream join` makes them of predictions and outcomes.")),
    panel("Alarms and warnings", data.found.length ? table("Alarms and warnings", [
      { head: "Event time (UTC)", class: "nowrap", cell: (f) => time(f.at) },
      { head: "Status", cell: (f) => state(f.status === "alarm" ? "bad" : "warn", f.status) },
      { head: "Detector", cell: (f) => f.detector },
      { head: "Signal", cell: (f) => f.signal },
      { head: "Measure", cell: (f) => words(f.measure) },
      { head: "Of", class: "any", cell: (f) => [f.feature, f.slice, f.version].filter(Boolean).join(", ") || "–" },
      { head: "Value", num: true, cell: (f) => number(f.value) },
      { head: "Threshold", num: true, cell: (f) => number(f.threshold) },
      { head: "At", num: true, cell: (f) => h("a", { href: `/lookup?q=${f.partition}:${f.offset}` }, `${f.partition}:${f.offset}`) },
    ], data.found) : empty("No detector has raised anything.", "An alarm is a decision of a detector; what people act on are incidents.")),
  ];
}

export default { path: "/drift", title: "Drift", key: "d", source: (c) => `/api/drift?measure=${encodeURIComponent(c.params.get("measure") || "psi")}`, depends: ["drift"], every: 5, render };
