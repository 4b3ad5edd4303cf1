import { coded, empty, facts, h, known, panel, state, table } from "../dom.js";
import { time, words } from "../format.js";

const MEANS = {
  broken_pipe: ["A source or a pipe before the stream is broken.", "Mend it there. A model that is retrained on this learns the fault."],
  harmless_shift: ["Inputs moved; the errors did not.", "Nothing to do but to know of it."],
  harmful_shift: ["Inputs moved and the errors rose.", "The model answers events that it was not trained for: retrain, or find out where they come from."],
  concept_change: ["The errors rose while the inputs stayed.", "What is to be predicted has changed: a new model is needed (`millstream retrain`)."],
};
const KIND = { opened: "bad", updated: "bad", resolved: "good" };

function one(i, place, context) {
  const [means, todo] = known(MEANS, i.verdict, ["", ""]);
  const asked = context.params.get("id");
  return h("details", { class: "panel incident", "data-key": `incident ${i.id}`, open: asked ? asked === i.id : i.status !== "resolved" || place === 0 },
    h("summary", {}, state(known(KIND, i.status, ""), i.status === "resolved" ? "resolved" : "open"), h("strong", {}, words(i.verdict)),
      h("span", { class: "muted" }, `since ${time(i.first)} UTC`)),
    h("div", { class: "body" },
      h("p", { class: "prose" }, means, " ", h("span", { class: "muted" }, coded(todo))),
      facts([
        ["Opened for", words(i.cause)],
        ["Features", i.features.join(", ")],
        ["Slices", i.slices.join(", ")],
        ["First event", h("a", { href: `/lookup?q=${i.partition}:${i.offset}` }, `${i.partition}:${i.offset}`)],
        ["Last change", `${time(i.updated)} UTC, revision ${i.revision}`],
        ["Id", h("code", {}, i.id)],
      ]),
      h("div", {}, h("h3", {}, "Evidence"), Object.keys(i.evidence).length ? facts(Object.entries(i.evidence).map(([k, v]) => [words(k), typeof v === "string" ? v : JSON.stringify(v)])) : h("p", { class: "muted" }, "None was written down.")),
      i.alarms.length > 0 && h("div", {}, h("h3", {}, "Alarms raised of it"), table("Alarms of this incident", [
        { head: "Rule", cell: (a) => a.rule }, { head: "Severity", cell: (a) => a.severity }, { head: "Status", cell: (a) => state(a.status === "firing" ? "bad" : "good", a.status) },
        { head: "Says", class: "wide any", cell: (a) => a.summary }, { head: "Since (UTC)", class: "nowrap", cell: (a) => time(a.at) }], i.alarms)),
      h("div", {}, h("h3", {}, "Revisions"), table("Revisions of this incident", [
        { head: "Revision", cell: (r) => r.revision }, { head: "Status", cell: (r) => r.status }, { head: "Verdict", cell: (r) => words(r.verdict) }, { head: "Event time (UTC)", class: "nowrap", cell: (r) => time(r.at) }], i.revisions))));
}

function render(data, context) {
  if (!data.incidents.length) return [panel("Incidents", empty("There has been no incident.", "`millstream watch` opens one when inputs break, or when errors rise; it says which, and why."))];
  const open = data.incidents.filter((i) => i.status !== "resolved").length;
  return [h("p", { class: "muted" }, `${open} open, ${data.incidents.length - open} resolved. Times are the events’ own.`), data.incidents.map((i, place) => one(i, place, context))];
}

export default { path: "/incidents", title: "Incidents", key: "i", source: () => "/api/incidents", depends: ["incidents", "alarms"], every: 2, render };
