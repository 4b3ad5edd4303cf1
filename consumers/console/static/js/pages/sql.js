import { details, h, panel, table } from "../dom.js";
import { count, span } from "../format.js";

const KEPT = "millstream.sql";
const PARAMETER = /\{([A-Za-z_]\w*):\s*(\w+)\}/g;

function kept() { try { return JSON.parse(sessionStorage.getItem(KEPT)) || {}; } catch { return {}; } }

function keep(what) { try { sessionStorage.setItem(KEPT, JSON.stringify(what)); } catch { /* it is kept by nobody */ } }

function first(db) { return `SELECT event_id, label, confidence, model_version, scored_at\nFROM ${db}.predictions\nORDER BY scored_at DESC\nLIMIT 20`; }

// A field for each {name:Type} of the query. What was typed into one stays while the query has it.
function parameters(values) {
  const box = h("div", { class: "params" });
  let shown = "";
  function follow(text, told) {
    const found = new Map([...text.matchAll(PARAMETER)].map(([, name, kind]) => [name, kind]));
    const wanted = JSON.stringify([...found, told.map((p) => p.name)]);
    if (wanted === shown) return;
    shown = wanted;
    box.replaceChildren(...[...found].map(([name, kind]) => field(name, kind, told.find((p) => p.name === name))));
    box.hidden = !found.size;
  }
  function field(name, kind, told) {
    const input = h("input", { type: "text", id: `param-${name}`, autocomplete: "off", spellcheck: "false", value: values.get(name) ?? "",
      inputmode: /^U?Int/.test(kind) ? "numeric" : null, required: told?.default === null, "aria-describedby": told ? `about-${name}` : null, oninput: () => values.set(name, input.value) });
    return h("div", {}, h("label", { for: input.id }, name, h("span", { class: "muted small" }, ` ${kind === "Identifier" ? "column" : kind}`)), input,
      told && h("span", { class: "muted small", id: `about-${name}` }, told.about));
  }
  return { box, follow, used: (text) => [...new Set([...text.matchAll(PARAMETER)].map((m) => m[1]))].map((name) => [name, values.get(name) ?? ""]) };
}

function mount(root, context) {
  const { limits, stream } = context.about;
  const before = kept();
  const values = new Map(before.values);
  let own = before.text || first(stream), recipe = null, recipes = [], busy = false;
  const text = h("textarea", { id: "sql", spellcheck: "false", "aria-label": "SQL", "aria-describedby": "limits", maxlength: "20000", value: own });
  const fields = parameters(values);
  const choice = h("select", { id: "recipe", "aria-describedby": "question" }, h("option", { value: "" }, "My own query"));
  const question = h("p", { class: "muted", id: "question" });
  const run = h("button", { class: "main", type: "submit" }, "Run");
  const said = h("p", { class: "muted", role: "status", id: "said" });
  const out = h("div", { id: "rows" });
  const form = h("form", { onsubmit: ask },
    h("div", { class: "field" }, h("label", { for: "recipe" }, "From the cookbook"), choice), question, text, fields.box,
    h("div", { class: "field" }, run, h("span", { class: "muted small", id: "limits" }, `Ctrl+Enter runs it. Reads only; at most ${span(1000 * limits.seconds)}, ${count(limits.rows)} rows and ${count(limits.bytes / 1e6)} MB.`)));

  function follow() { fields.follow(text.value, recipe?.parameters || []); }
  // What a person wrote is never lost to a choice: "My own query" has it still.
  function wrote() { own = text.value; choice.value = ""; question.textContent = ""; follow(); }
  function write(sql) { text.value = sql; recipe = null; wrote(); text.focus(); }
  function choose() {
    recipe = recipes.find((r) => r.name === choice.value) || null;
    for (const p of recipe?.parameters || []) values.set(p.name, p.default ?? "");
    text.value = recipe ? recipe.sql : own;
    question.textContent = recipe ? recipe.question : "";
    follow();
  }
  async function ask(event) {
    event.preventDefault();
    if (busy) return;
    busy = true;
    keep({ text: text.value, values: [...values] });
    said.textContent = "running";
    const query = new URLSearchParams([["q", text.value], ...fields.used(text.value).map(([name, value]) => [`param_${name}`, value])]);
    try { shown(await context.get(`/api/sql?${query}`)); } catch { said.textContent = ""; out.replaceChildren(h("pre", { class: "wrong", role: "alert" }, "The console does not answer.")); }
    busy = false;
  }
  function shown(answer) {
    if (answer.error) { said.textContent = ""; out.replaceChildren(h("pre", { class: "wrong", role: "alert" }, answer.error)); return; }
    said.textContent = `${count(answer.rows.length)} row${answer.rows.length === 1 ? "" : "s"}${answer.cut ? ": there are more, only the first are shown" : ""}, ${answer.ms} ms`;
    out.replaceChildren(answer.rows.length ? table("Rows", answer.names.map((name, i) => ({ head: h("span", { title: answer.types[i] }, name), num: /^(Nullable\()?(U?Int|Float|Decimal)/.test(answer.types[i]), class: "mono", cell: (row) => cell(row[i]) })), answer.rows, { plain: true }) : "");
  }
  choice.addEventListener("change", choose);
  text.addEventListener("input", wrote);
  form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); } });
  const tables = h("div", { id: "tables" }, h("p", { class: "muted" }, "reading them"));
  root.append(
    h("section", { class: "panel", "aria-label": "Query" }, form),
    h("section", { class: "panel", "aria-label": "Result" }, h("h2", {}, "Result"), said, out),
    panel("Tables", tables));
  follow();
  context.get("/api/cookbook").then((found) => {
    recipes = found.recipes;
    choice.append(...recipes.map((r) => h("option", { value: r.name }, r.title)));
    const same = recipes.find((r) => r.sql === text.value); // it was chosen before
    if (same) { recipe = same; choice.value = same.name; question.textContent = same.question; follow(); }
  }, () => { question.textContent = "The cookbook could not be read."; });
  context.get("/api/tables").then(({ data, error }) => tables.replaceChildren(...(data ? listed(data, write) : [h("p", { class: "wrong" }, `${error.problem}. ${error.remedy}`)])), () => { tables.replaceChildren(); });
}

function listed(data, write) {
  return Object.entries(data.tables).map(([name, columns]) => details(`table ${name}`, `${data.database}.${name} (${columns.length})`,
    h("p", {}, h("button", { type: "button", class: "link", onclick: () => write(`SELECT *\nFROM ${data.database}.${name}\nLIMIT 20`) }, "Select from it")),
    table(`Columns of ${name}`, [{ head: "Column", cell: (c) => h("code", {}, c.name) }, { head: "Type", class: "any", cell: (c) => h("code", {}, c.type) }, { head: "Means", class: "wide", cell: (c) => c.comment || "–" }], columns)));
}

function cell(value) {
  if (value === null) return h("span", { class: "muted" }, "NULL");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export default { path: "/sql", title: "SQL", key: "s", mount };
