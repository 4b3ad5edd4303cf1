import { append, details, empty, facts, h, panel, state, table } from "../dom.js";
import { axisTime, axisValue, chart, colour, faint, legend, seriesToken, tooltip } from "../charts.js";
import { any, count, digest, ms, number, share, span, tick, time, words } from "../format.js";

function answers(data) {
  const { first, step, cells } = data.answers;
  const order = data.versions.map((v) => v.version); // the newest first
  const unique = [...new Set(order)];
  const buckets = Math.max(...cells.map((c) => c[0])) + 1;
  const of = (v) => { const by = new Map(cells.filter((c) => c[1] === v).map((c) => [c[0], c[2]])); return Array.from({ length: buckets }, (_, b) => [first + (b + 0.5) * step, (1000 * (by.get(b) || 0)) / step]); };
  const [min, max] = [first, first + buckets * step];
  const marks = data.releases.filter((r) => r.at >= min - step && r.at <= max + step).map((r) => ({ xAxis: Math.min(max, Math.max(min, r.at)), name: `${r.number} ${r.kind}`, label: { distance: r.number % 2 ? 4 : 17 } }));
  return {
    grid: { left: 8, right: 14, top: 48, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    tooltip: tooltip({ formatter: (p) => `${time(p[0].value[0])} UTC\n${p.map((s) => `${s.seriesName}  ${number(s.value[1], 1)}/s`).join("\n")}` }),
    legend: { ...legend(unique), type: "scroll", right: 0 }, xAxis: axisTime((t) => tick(t, max - min), min, max), yAxis: axisValue({ min: 0, axisLabel: { color: colour("muted"), formatter: (v) => `${count(v)}/s` } }),
    series: unique.map((v, i) => ({ name: v, type: "line", stack: "answers", data: of(v), showSymbol: false, step: "middle", lineStyle: { width: 1, color: colour(seriesToken(i)) }, itemStyle: { color: colour(seriesToken(i)) },
      areaStyle: { color: faint(seriesToken(i), i ? 0.35 : 0.55) }, emphasis: { disabled: true },
      ...(i === 0 ? { markLine: { silent: true, symbol: "none", lineStyle: { color: colour("ink"), type: "solid", width: 1 }, label: { formatter: "{b}", color: colour("ink"), position: "end", rotate: 0, fontSize: 11 }, data: marks } } : {}) })),
  };
}

function openCard(context, name, version) { context.set({ card: `${name}@${version}` }); context.again(); }

function cardButton(context, name, version) {
  return h("button", { type: "button", class: "link", "data-key": `card ${name}@${version}`, onclick: () => openCard(context, name, version) }, `${name} ${version}`);
}

const cards = new Map(); // what was fetched once stays: a version never changes

function card(context) {
  const asked = context.params.get("card");
  if (!asked) return null;
  const [name, version] = asked.split("@");
  const held = cards.get(asked);
  const body = held || h("div", {}, h("p", { class: "muted" }, "reading it"));
  const box = h("section", { class: "panel", "aria-label": `Card of ${asked}` },
    h("div", { class: "top" }, h("h2", {}, `Card of ${name} ${version}`), h("button", { type: "button", class: "quiet", "data-key": "close card", onclick: () => { context.set({ card: null }); context.again(); } }, "Close")), body);
  if (held) return box;
  context.get(`/api/card?name=${encodeURIComponent(name)}&version=${encodeURIComponent(version || "")}`).then(({ data, error }) => {
    body.replaceChildren();
    if (data) cards.set(asked, body);
    append(body, [data ? facts_of(data) : h("p", { class: "wrong" }, `${error.problem}. ${error.remedy}`)]);
  }, () => { body.replaceChildren(h("p", { class: "wrong" }, "The console does not answer.")); });
  return box;
}

function facts_of({ facts: f, passport, passport_error: trouble, lines }) {
  return [
    facts([["Digest", h("code", {}, f.digest)], ["Answers", f.kind + (f.labels.length ? `: ${f.labels.join(", ")}` : "")], ["Threshold", f.threshold], ["Made", f.created], ["By", `${f.trained_by.library} ${f.trained_by.version}`],
      ["Trained on", f.window ? `${count(f.window.rows)} events, ${f.window.start} to ${f.window.end}` : null], ["Features", f.features.map((x) => x.name).join(", ")],
      ["Measures", Object.entries(f.metrics).map(([k, v]) => `${words(k)} ${any(v)}`).join(", ")],
      ["Passport", trouble ? state("bad", trouble) : !passport ? state("warn", "none: nobody has shown that it answers as it was trained") : passport.passed ? state("good", "every check passed") : state("bad", "a check failed")]]),
    passport && details("checks", `${passport.checks.length} checks of the passport`, table("Checks", [
      { head: "Check", cell: (c) => words(c.name) }, { head: "Found", num: true, cell: (c) => any(c.found) }, { head: "Limit", num: true, cell: (c) => any(c.limit) },
      { head: "Rows", num: true, cell: (c) => count(c.rows) }, { head: "Passed", cell: (c) => state(c.passed ? "good" : "bad", c.passed ? "yes" : "no") }], passport.checks)),
    details("text", "The model card, whole", h("pre", {}, lines.join("\n"))),
  ];
}

function releases(data, context) {
  return table("Releases", [
    { head: "No.", cell: (r) => r.number },
    { head: "Kind", cell: (r) => r.kind },
    { head: "Decided (UTC)", class: "nowrap", cell: (r) => time(r.at) },
    { head: "Answers", class: "nowrap", cell: (r) => cardButton(context, r.champion, r.version) },
    { head: "On trial", class: "nowrap", cell: (r) => (r.challenger ? [cardButton(context, r.challenger, r.challenger_version), ` ${r.canary_share ? share(r.canary_share, 0) : "no"} keys`] : r.shadows.length ? `shadows ${r.shadow_versions.join(", ")}` : "–") },
    { head: "Switched", cell: (r) => (r.switches.length ? `${r.switches.length} of ${context.about.partitions} partitions` : state("warn", "no partition yet")) },
    { head: "From offsets", class: "wide any", cell: (r) => [...r.switches].sort((a, b) => a.partition - b.partition).map((s) => `${s.partition}:${s.offset}${s.late ? " (late)" : ""}`).join(" ") || "–" },
    { head: "Why", class: "wide any", cell: (r) => [r.reason, r.by && h("span", { class: "muted" }, ` by ${r.by}`)] },
  ], data.releases);
}

// One of each attempt, the newest first: its first and last word, and how it ended.
function attempts(rows) {
  const by = new Map();
  for (const row of rows) {
    const held = by.get(row.number);
    by.set(row.number, { number: row.number, first: held ? held.first : row, last: row, over: row.status === "over" ? row : held?.over });
  }
  return [...by.values()];
}

function render(data, context) {
  const bundle = { title: "No model has answered yet.", todo: `The bundle of stream.toml (${data.bundle}) answers until there is a release.` };
  return [
    ...data.failures.map((f) => h("div", { class: "notice", role: "alert" }, h("strong", {}, `Release ${f.number} cannot be loaded by ${f.scorer}`), h("span", {}, `${f.error} (${time(f.at)} UTC). The model before it answers on.`))),
    panel("Who answered, over time", data.answers.cells.length ? [chart("Predictions a second of each model version by time of scoring, releases as vertical lines; the tables below have the numbers", () => answers(data), 250)] : empty(bundle.title, bundle.todo)),
    card(context),
    panel("Releases", data.releases.length ? releases(data, context) : empty("Nothing was released.", `${bundle.todo} \`millstream release NAME@VERSION\` makes one.`)),
    data.versions.length > 0 && panel("Versions that answered", table("Versions that answered", [
      { head: "Model", class: "nowrap", cell: (v) => cardButton(context, v.model, v.version) },
      { head: "Predictions", num: true, cell: (v) => count(v.answers) },
      { head: "First (UTC)", class: "nowrap", cell: (v) => time(v.first) },
      { head: "Last (UTC)", class: "nowrap", cell: (v) => time(v.last) },
      { head: "In budget", num: true, cell: (v) => share(v.in_budget, 2) },
      { head: "p99", num: true, cell: (v) => ms(v.p99_ms) },
      { head: "Digest", cell: (v) => h("code", {}, digest(v.digest)) },
    ], data.versions)),
    panel("Registry", data.registry.error ? h("p", { class: "wrong" }, `${data.registry.error.problem}. ${data.registry.error.remedy}`)
      : data.registry.versions.length ? table("Registry", [
        { head: "Model", class: "nowrap", cell: (v) => cardButton(context, v.name, v.version) },
        { head: "Aliases", cell: (v) => v.aliases.join(", ") || "–" },
        { head: "Registered (UTC)", class: "nowrap", cell: (v) => time(v.at) },
        { head: "Digest", cell: (v) => h("code", {}, digest(v.digest)) },
        { head: "Tags", class: "wide any", cell: (v) => Object.entries(v.tags).map(([k, t]) => `${k}=${t}`).join(", ") || "–" },
      ], data.registry.versions) : empty("The registry is empty.", "`millstream models add` puts a bundle into it; a retraining does so by itself.")),
    panel("Decisions", data.decisions.length ? table("Decisions", [
      { head: "Decided (UTC)", class: "nowrap", cell: (d) => time(d.at) },
      { head: "Verdict", cell: (d) => words(d.verdict) },
      { head: "Champion", cell: (d) => d.champion }, { head: "Other model", cell: (d) => `${d.challenger} (${d.role})` },
      { head: "Rows", num: true, cell: (d) => count(d.rows) },
      { head: "Better by", num: true, cell: (d) => `${number(d.difference, 4)} (${number(d.low, 4)} to ${number(d.high, 4)})` },
      { head: "Why", class: "wide any", cell: (d) => d.reason },
    ], data.decisions) : empty("Nothing was decided.", "`millstream judge`, or the retrainer, compares a challenger with the champion on the same events.")),
    panel("Retraining", data.retraining.length ? table("Retraining", [
      { head: "Attempt", cell: (a) => a.number },
      { head: "Ended", cell: (a) => (a.over ? state(a.over.outcome === "promoted" ? "good" : a.over.outcome === "failed" ? "bad" : "", a.over.outcome) : state("warn", "under way")) },
      { head: "Came to", cell: (a) => a.last.stage + (a.last.tries > 1 ? `, try ${a.last.tries}` : "") },
      { head: "Began (UTC)", class: "nowrap", cell: (a) => time(a.first.at) },
      { head: "Took", num: true, cell: (a) => span(a.last.at - a.first.at) },
      { head: "Trigger", cell: (a) => a.first.trigger },
      { head: "Why", class: "wide any", cell: (a) => [a.first.reason, a.over && a.over.reason !== a.first.reason ? h("span", { class: "muted" }, ` - ${a.over.reason}`) : ""] },
    ], attempts(data.retraining)) : empty("There was no retraining.", "`millstream retrain` runs beside the stream; incidents, a schedule or a person start it.")),
  ];
}

export default { path: "/models", title: "Models", key: "m", source: () => "/api/models", depends: ["predictions", "releases", "decisions", "retraining"], every: 12, render };
