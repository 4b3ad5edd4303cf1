import { details, h, panel, table } from "../dom.js";
import { count, span } from "../format.js";

const KEPT = "millstream.sql";
const kept = () => { try { return sessionStorage.getItem(KEPT); } catch { return null; } };

function starters(db) {
  return [
    ["Newest predictions", `SELECT event_id, label, confidence, model_version, scored_at\nFROM ${db}.predictions\nORDER BY scored_at DESC\nLIMIT 20`],
    ["Accuracy by version", `SELECT model_version, count() AS labels, avg(label = predicted) AS accuracy\nFROM ${db}.labelled_now\nWHERE label IS NOT NULL\nGROUP BY model_version\nORDER BY model_version`],
    ["Latency by minute", `SELECT toStartOfMinute(scored_at) AS minute, count() AS predictions,\n       quantile(0.99)(dateDiff('microsecond', published_at, scored_at)) / 1000 AS p99_ms\nFROM ${db}.predictions\nGROUP BY minute\nORDER BY minute DESC\nLIMIT 30`],
    ["Refusals by reason", `SELECT stage, error, count() AS letters, max(refused_at) AS last\nFROM ${db}.dead_letters\nGROUP BY stage, error\nORDER BY letters DESC`],
  ];
}

function mount(root, context) {
  const { limits, stream } = context.about;
  const text = h("textarea", { id: "sql", spellcheck: "false", "aria-label": "SQL", "aria-describedby": "limits", maxlength: "20000" });
  text.value = kept() || starters(stream)[0][1];
  const run = h("button", { class: "main", type: "submit" }, "Run");
  const said = h("p", { class: "muted", role: "status", id: "said" });
  const out = h("div", { id: "rows" });
  async function ask(event) {
    event?.preventDefault();
    try { sessionStorage.setItem(KEPT, text.value); } catch { /* it is kept by nobody */ }
    run.disabled = true;
    said.textContent = "running";
    try { shown(await context.get(`/api/sql?q=${encodeURIComponent(text.value)}`)); } catch { said.textContent = ""; out.replaceChildren(h("pre", { class: "wrong" }, "The console does not answer.")); }
    run.disabled = false;
  }
  function shown(answer) {
    if (answer.error) { said.textContent = ""; out.replaceChildren(h("pre", { class: "wrong", role: "alert" }, answer.error)); return; }
    said.textContent = `${count(answer.rows.length)} rows${answer.cut ? ": there are more, only the first are shown" : ""}, ${answer.ms} ms`;
    out.replaceChildren(answer.rows.length ? table("Rows", answer.names.map((name, i) => ({ head: h("span", { title: answer.types[i] }, name), num: /^(Nullable\()?(U?Int|Float|Decimal)/.test(answer.types[i]), class: "mono", cell: (row) => cell(row[i]) })), answer.rows, { plain: true }) : "");
  }
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(event); });
  const tables = h("div", { id: "tables" }, h("p", { class: "muted" }, "reading them"));
  root.append(
    h("section", { class: "panel", "aria-label": "Query" },
      h("form", { onsubmit: ask },
        h("div", { class: "top legend" }, h("span", {}, "Begin with: "), starters(stream).map(([name, sql]) => h("button", { type: "button", class: "link", onclick: () => { text.value = sql; text.focus(); } }, name))),
        text,
        h("div", { class: "field" }, run, h("span", { class: "muted small", id: "limits" }, `Ctrl+Enter runs it. Reads only; at most ${span(1000 * limits.seconds)}, ${count(limits.rows)} rows and ${count(limits.bytes / 1e6)} MB.`)))),
    h("section", { class: "panel", "aria-label": "Result" }, h("h2", {}, "Result"), said, out),
    panel("Tables", tables));
  context.get("/api/tables").then(({ data, error }) => tables.replaceChildren(...(data ? listed(data, text) : [h("p", { class: "wrong" }, `${error.problem}. ${error.remedy}`)])), () => { tables.replaceChildren(); });
}

function listed(data, text) {
  return Object.entries(data.tables).map(([name, columns]) => details(`table ${name}`, `${data.database}.${name} (${columns.length})`,
    h("p", {}, h("button", { type: "button", class: "link", onclick: () => { text.value = `SELECT *\nFROM ${data.database}.${name}\nLIMIT 20`; text.focus(); } }, "Select from it")),
    table(`Columns of ${name}`, [{ head: "Column", cell: (c) => h("code", {}, c.name) }, { head: "Type", class: "any", cell: (c) => h("code", {}, c.type) }, { head: "Means", class: "wide", cell: (c) => c.comment || "–" }], columns)));
}

function cell(value) {
  if (value === null) return h("span", { class: "muted" }, "NULL");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export default { path: "/sql", title: "SQL", key: "s", mount };
