import { empty, h, panel, redraw, state, table } from "../dom.js";
import { axisTime, axisValue, chart, colour, faint, legend, line, tooltip } from "../charts.js";
import { ago, clock, count, ms, number, rate, share, span, words } from "../format.js";

const KIND = { "up to date": "good", working: "good", "falling behind": "warn", stuck: "bad", "not started": "idle" };
const LATE_S = 15;
let parts = null;

function tile(name) {
  const value = h("dd", { class: name === "Answering" ? "value name" : "value" }, "–");
  const note = h("dd", { class: "note" });
  return { box: h("div", { "data-tile": name }, h("dt", {}, name), value, note), set(v, unit, said = "") {
    value.replaceChildren(document.createTextNode(v), unit ? h("small", {}, ` ${unit}`) : "");
    note.replaceChildren(said);
  } };
}

function mount(root, context) {
  const names = ["Events in", "Predictions", "Refused", "Latency p50", "Latency p99", "In budget", "Waiting", "Answering"];
  const tiles = Object.fromEntries(names.map((n) => [n, tile(n)]));
  const rates = chart("Predictions and refusals a second, over the last five minutes", () => ({}));
  const late = chart("Latency from published to scored, over the last five minutes", () => ({}));
  const programs = h("div"), fires = h("div"), incidents = h("div");
  root.append(
    h("dl", { class: "tiles" }, names.map((n) => tiles[n].box)),
    h("div", { class: "row" },
      h("section", { class: "panel", "aria-label": "Rates" }, h("h2", {}, "Predictions a second"), rates),
      h("section", { class: "panel", "aria-label": "Latency" }, h("h2", {}, "Latency, published to scored"), late)),
    panel("Programs", h("p", { class: "muted small prose" }, "By the offsets that each has committed to Kafka: “up to date” says that everything was read, not that the program runs. ",
      "What it says of itself is its /ready, where MILLSTREAM_METRICS_TARGETS names where that is."), programs),
    h("div", { class: "row" }, panel("Alarms that fire", fires), panel("Open incidents", incidents)));
  parts = { tiles, rates, late, programs, fires, incidents, said: {} };
}

function once(name, value, draw) {
  const text = JSON.stringify(value);
  if (parts.said[name] === text) return;
  parts.said[name] = text;
  redraw(parts[name], draw());
}

function live(pulse, context) {
  if (!parts) return;
  const house = pulse.ClickHouse?.data, kafka = pulse.Kafka?.data;
  if (house) numbers(house, pulse, context);
  if (kafka) flow(kafka, pulse.programs?.data || []);
  if (house) happened(house, pulse.now);
}

function numbers(house, pulse, { about }) {
  const { tiles } = parts;
  const { predictions_per_s: scored, refused_per_s: refused, latency_ms: [p50, , p99], in_budget: kept, newest_s: newest } = house.now;
  const idle = newest === null ? "nothing was scored yet" : pulse.now / 1000 - newest > LATE_S ? `last ${ago(newest * 1000, pulse.now)}` : "";
  tiles.Predictions.set(rate(scored), "/s", idle || `${count(house.rows.predictions)} rows kept`);
  tiles.Refused.set(rate(refused), "/s", `${count(house.rows.dead_letters)} dead letters kept`);
  tiles["Latency p50"].set(...unit(p50), "last minute");
  tiles["Latency p99"].set(...unit(p99), `budget ${ms(about.budget_ms)}`);
  tiles["In budget"].set(kept === null ? "–" : number(100 * kept, kept === 1 ? 0 : 2), kept === null ? "" : "%", kept === null ? "none in a minute" : "of the last minute");
  const release = house.release;
  tiles.Answering.set(release ? release.champion_version : "stream.toml", "", release
    ? `release ${release.number}${release.challenger ? `, trying ${release.challenger_version}` : ""}` : "no release: its own bundle");
  const series = house.series;
  const [first, last] = [series[0][0], series[series.length - 1][0]];
  parts.rates.update(() => ({
    tooltip: tooltip({ formatter: (p) => `${clock(p[0].value[0])} UTC\n${p.map((s) => `${s.seriesName}  ${rate(s.value[1])}/s`).join("\n")}` }),
    legend: legend(["scored", "refused"]), xAxis: axisTime((t) => clock(t), first, last), yAxis: axisValue({ min: 0, axisLabel: { color: colour("muted"), formatter: (v) => count(v) } }),
    series: [
      line("scored", series.map((p) => [p[0], p[1]]), "s1", { areaStyle: { color: faint("s1", 0.12) } }),
      line("refused", series.map((p) => [p[0], p[2]]), "bad")],
  }));
  parts.late.update(() => ({
    tooltip: tooltip({ formatter: (p) => `${clock(p[0].value[0])} UTC\n${p.map((s) => `${s.seriesName}  ${ms(s.value[1])}`).join("\n")}` }),
    legend: legend(["p50", "p95", "p99"]), xAxis: axisTime((t) => clock(t), first, last), yAxis: axisValue({ min: 0, axisLabel: { color: colour("muted"), formatter: (v) => `${count(v)} ms` } }),
    series: [["p50", 3, "s1"], ["p95", 4, "s2"], ["p99", 5, "s3"]].map(([name, at, token]) => line(name, series.map((p) => [p[0], p[at]]), token, { z: 9 - at })),
  }));
}

function unit(x) { const text = ms(x); const cut = text.lastIndexOf(" "); return cut < 0 ? [text, ""] : [text.slice(0, cut), text.slice(cut + 1)]; }

const RUNS = { ready: "good", "not ready": "warn", "no answer": "bad" };

// Each process of a program by its slot, and what it says of itself.
function runs(instances) {
  return instances.map((i) => h("div", { class: "nowrap", title: i.why }, state(RUNS[i.state], instances.length > 1 ? `${i.slot} ${i.state}` : i.state)));
}

function flow(kafka, health) {
  const { tiles } = parts;
  const scorer = kafka.programs.find((p) => p.program === "scorer");
  tiles["Events in"].set(rate(kafka.events_per_s), "/s", "published to Kafka");
  tiles.Waiting.set(count(scorer.waiting), "", scorer.waiting === 0 ? "every event was read" : scorer.per_s > 0 ? `events, ${span(1000 * scorer.waiting / scorer.per_s)} of work` : "events to score");
  const named = new Set(kafka.programs.map((p) => p.program));
  const others = [...new Set(health.map((i) => i.program))].filter((name) => !named.has(name));
  const rows = [...kafka.programs, ...others.map((program) => ({ program, state: null, topics: {} }))];
  once("programs", [kafka.programs, health], () => table("Programs", [
    { head: "Program", cell: (p) => p.program },
    ...(health.length ? [{ head: "Says of itself", cell: (p) => runs(health.filter((i) => i.program === p.program)) }] : []),
    { head: "Offsets", cell: (p) => (p.state ? state(KIND[p.state] === "idle" && p.always ? "bad" : KIND[p.state], p.state) : "–") },
    { head: "Waiting", num: true, cell: (p) => (!p.state || (p.state === "not started" && !p.always) ? "–" : count(p.waiting)) },
    { head: "Reads a second", num: true, cell: (p) => rate(p.per_s) },
    { head: "Where", class: "wide muted", cell: (p) => Object.entries(p.topics).filter(([, n]) => n > 0 && p.state !== "not started").map(([t, n]) => `${words(t)} ${count(n)}`).join(", ") },
  ], rows));
}

function happened(house, now) {
  once("fires", house.alarms, () => house.alarms.length ? table("Alarms that fire", [
    { head: "Rule", cell: (a) => a.rule },
    { head: "Severity", cell: (a) => state(a.severity === "page" ? "bad" : a.severity === "ticket" ? "warn" : "", a.severity) },
    { head: "Says", class: "wide any", cell: (a) => a.summary },
    { head: "Since", class: "nowrap", cell: (a) => ago(a.started, now) },
  ], house.alarms) : empty("Nothing fires.", "Rules are [[alerts.rules]] of stream.toml; `millstream alerts run` judges them."));
  once("incidents", house.incidents, () => house.incidents.length ? table("Open incidents", [
    { head: "Verdict", cell: (i) => h("a", { href: `/incidents?id=${encodeURIComponent(i.id)}`, "data-key": `open ${i.id}` }, words(i.verdict)) },
    { head: "Cause", cell: (i) => words(i.cause) },
    { head: "Features", class: "wide any", cell: (i) => i.features.join(", ") || "–" },
  ], house.incidents) : empty("No incident is open.", "`millstream watch` opens one when inputs break or errors rise."));
}

export default { path: "/", title: "Overview", key: "o", mount, live };
