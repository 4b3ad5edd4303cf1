import { empty, h, panel, redraw, table } from "../dom.js";
import { count, fine, time, words } from "../format.js";

const key = (g) => JSON.stringify([g.stage, g.error, g.version, g.schema ?? -1]);

function groups(data, context) {
  const chosen = context.params.get("of");
  return table("Causes", [
    { head: "Error", class: "nowrap", cell: (g) => h("button", { type: "button", class: "link", "data-key": `of ${key(g)}`, onclick: () => { context.set({ of: key(g) === chosen ? null : key(g) }); context.again(); } }, words(g.error)) },
    { head: "Stage", cell: (g) => g.stage },
    { head: "Letters", num: true, cell: (g) => count(g.letters) },
    { head: "Model", class: "nowrap", cell: (g) => g.version || "–" },
    { head: "Schema id", num: true, cell: (g) => g.schema ?? "–" },
    { head: "First (UTC)", class: "nowrap", cell: (g) => time(g.first) },
    { head: "Last (UTC)", class: "nowrap", cell: (g) => time(g.last) },
    { head: "Partitions", cell: (g) => [...g.partitions].sort((a, b) => a - b).join(" ") },
    { head: "Refused again", num: true, cell: (g) => count(g.again) },
    { head: "Newest reason", class: "wide any", cell: (g) => g.reason },
  ], data.groups, { row: (g) => (key(g) === chosen ? { "aria-selected": "true" } : {}) });
}

let held = { of: null, body: null }; // shown until the next answer is there

function letters(context) {
  const chosen = context.params.get("of");
  if (!chosen) return null;
  let parts;
  try { parts = JSON.parse(chosen); } catch { return null; }
  if (!Array.isArray(parts) || parts.length !== 4) return null;
  const [stage, error, version, schema] = parts;
  if (held.of !== chosen) held = { of: chosen, body: h("div", {}, h("p", { class: "muted" }, "reading them")) };
  const { body } = held;
  const query = new URLSearchParams({ stage, error, version, schema });
  context.get(`/api/letters/of?${query}`).then((said) => {
    redraw(body, said.data ? listed(said.data) : h("p", { class: "wrong" }, `${said.error.problem}. ${said.error.remedy}`));
  }, () => { held.of = null; });
  return panel(`Newest letters: ${words(String(error))}`, body);
}

function listed(data) {
  return table("Newest letters of this cause", [
    { head: "Event", class: "nowrap", cell: (l) => h("a", { href: `/lookup?q=${l.partition}:${l.offset}` }, `${l.partition}:${l.offset}`) },
    { head: "Refused (UTC)", class: "nowrap", cell: (l) => fine(l.at) },
    { head: "Attempt", num: true, cell: (l) => l.attempt },
    { head: "Reason", class: "wide any", cell: (l) => l.reason },
    { head: "Key", class: "any", cell: (l) => l.key || "–" },
    { head: "Letter", class: "nowrap", cell: (l) => `${l.letter_partition}:${l.letter_offset}` },
    { head: data.private ? "Bytes (not kept: private fields)" : "Begins with", class: "wide any", cell: (l) => (l.begins ? [h("code", {}, l.begins), h("span", { class: "muted" }, ` of ${count(l.bytes)} bytes`)] : "–") },
  ], data.letters);
}

function render(data, context) {
  if (!data.groups.length) return [panel("Dead letters", empty("There are no dead letters.", "An event that cannot be read, checked or scored comes here with its reason; the others go on."))];
  const total = data.groups.reduce((sum, g) => sum + g.letters, 0);
  return [
    panel("By cause", h("p", { class: "muted prose" }, `${count(total)} letters of ${data.groups.length} causes. After a fix, `, h("code", {}, "millstream letters redrive"), " publishes them again, each once."), groups(data, context)),
    letters(context),
  ];
}

export default { path: "/letters", title: "Dead letters", key: "l", source: () => "/api/letters", depends: ["dead_letters"], every: 3, render };
