import { details, empty, facts, h, panel, state, table } from "../dom.js";
import { any, count, digest, fine, ms, number, share, span, time, words } from "../format.js";

function mount(root, context) {
  const input = h("input", { type: "search", id: "q", name: "q", autocomplete: "off", spellcheck: "false", value: context.params.get("q") || "", "aria-label": "Event id, or partition:offset", placeholder: "Event id, or PARTITION:OFFSET" });
  const form = h("form", { class: "field", role: "search", onsubmit: (event) => {
    event.preventDefault();
    context.set({ q: input.value.trim() });
    found.replaceChildren();
    context.reload();
  } }, input, h("button", { class: "main" }, "Look up"));
  const found = h("div", { id: "found" });
  root.append(panel("Event", h("p", { class: "muted prose" }, `By its id (${context.about.id}), or by its place in the topic, such as 2:4711.`), form), found);
  if (!input.value) { input.focus(); found.append(empty("Nothing was looked up.", "What comes of an event is shown whole: where it lies, which model of which release answered it, what turned out to be true, and which incident it fell into.")); }
}

function step(title, at, none, ...what) {
  return h("li", { class: none ? "none" : "" }, h("h3", {}, title, at && h("span", { class: "at" }, `${at} UTC`)), h("div", { class: "what" }, what));
}

function event(e) {
  const own = e.event, first = e.answers[0];
  const fields = own && !own.unreadable ? h("dl", { class: "fields" }, Object.entries(own.fields).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, any(v))))) : null;
  return step("Published", own ? fine(own.published) : first && fine(first.published), !own,
    h("p", {}, h("code", {}, `${e.topic} ${e.partition}:${e.offset}`), own?.key ? [", key ", h("code", {}, own.key)] : "", own && own.schema_id >= 0 ? `, schema id ${own.schema_id}` : ""),
    first && h("p", { class: "muted" }, `happened ${fine(first.event_time)} UTC, by its own clock`),
    !own && h("p", { class: "muted" }, "Its row is not in ClickHouse: not there yet, or past its time to live."),
    own?.unreadable && h("p", { class: "wrong" }, `It cannot be read: ${own.unreadable}`),
    own?.private.length ? h("p", { class: "muted" }, `Private, and not kept: ${own.private.join(", ")}.`) : null,
    fields);
}

function letter(l) {
  return step("Refused", fine(l.at), false, h("p", {}, state("bad", `${words(l.error)} at ${l.stage}`)), h("p", {}, l.reason), h("p", { class: "muted" }, `by ${l.model} ${l.version}, attempt ${l.attempt}; dead letter ${l.partition}:${l.offset}`));
}

function answer(a, e) {
  const release = e.release;
  const by = release ? `release ${release.number} (${release.kind})${release.champion === a.version ? "" : release.challenger === a.version ? `, as challenger for ${share(release.canary_share, 0)} of the keys` : ""}, in force on partition ${e.partition} from offset ${count(release.first_offset)}${release.next_offset === null ? "" : ` to ${count(release.next_offset - 1)}`}` : "no release: the bundle of stream.toml";
  return [
    step("Scored", fine(a.scored), false,
      h("p", {}, a.label !== null ? [h("strong", {}, a.label), ` with confidence ${number(a.confidence, 4)}`] : h("strong", {}, number(a.score, 6)), a.answered_by === "full" ? "" : state("warn", ` ${a.answered_by}`)),
      h("p", { class: "muted" }, `score ${number(a.score, 6)}${a.scores.length > 1 ? `, of each label ${a.scores.map((s) => number(s, 4)).join(", ")}` : ""}`),
      h("p", {}, state(a.in_budget ? "good" : "warn", `${ms(a.latency_ms)} from published to scored`), a.in_budget ? "" : ", over the budget"),
      h("p", { class: "muted" }, `prediction ${a.prediction_partition}:${a.prediction_offset}`)),
    step("By the model", null, false,
      h("p", {}, h("a", { href: `/models?card=${encodeURIComponent(`${a.model}@${a.version}`)}` }, `${a.model} ${a.version}`), " ", h("code", { title: a.digest }, digest(a.digest))),
      h("p", {}, by), release?.reason && h("p", { class: "muted" }, release.reason),
      e.shadows.length > 0 && details("shadows", `${e.shadows.length} other models scored it`, table("Other models", [
        { head: "Model", cell: (s) => `${s.model} ${s.version}` }, { head: "Role", cell: (s) => s.role }, { head: "Label", cell: (s) => s.refused || s.label || "–" }, { head: "Score", num: true, cell: (s) => number(s.score, 4) }], e.shadows))),
  ];
}

function outcome(e) {
  if (!e.answers.length) return null;
  if (!e.labels.length) return step("Outcome", null, true, h("p", { class: "muted" }, "None has come yet, or `millstream join` does not run."));
  return e.labels.map((l) => {
    const truth = l.label ?? (l.value === null ? null : any(l.value));
    const right = l.label !== null && l.predicted !== null ? l.label === l.predicted : null;
    return step(l.status === "corrected" ? "Corrected" : l.status === "never_labelled" ? "Never labelled" : "Outcome", l.is_known ? fine(l.known) : null, truth === null,
      truth !== null && h("p", {}, h("strong", {}, truth), right === null ? "" : [" ", state(right ? "good" : "bad", right ? "as predicted" : `predicted ${l.predicted}`)]),
      h("p", { class: "muted" }, `joined ${fine(l.joined)} UTC, ${span(l.joined - e.answers[0].scored)} after the score; version ${l.version} at ${l.partition}:${l.offset}`));
  });
}

function incidents(e) {
  if (!e.answers.length) return null;
  if (!e.incidents.length) return step("Incident", null, true, h("p", { class: "muted" }, "None was open at its time."));
  return step("Incident", null, false, e.incidents.map((i) => h("p", {}, h("a", { href: `/incidents?id=${encodeURIComponent(i.id)}` }, words(i.verdict)), ` for ${words(i.cause)}, ${i.status === "resolved" ? "resolved" : "open"}, since ${time(i.first)} UTC`)));
}

function render(data) {
  if (!data.events.length) return [empty(`Nothing is known of ${data.asked}.`, "ClickHouse has no prediction of it and no event. Is the id whole? An event is here a second or two after it was published.")];
  return data.events.map((e) => {
    const named = e.answers[0]?.event_id || `${e.partition}:${e.offset}`;
    return h("section", { class: "panel", "aria-label": `Event ${named}` }, h("h2", { class: "any" }, named),
      e.answers.length > 1 && h("p", { class: "notice mild" }, `It was answered ${e.answers.length} times (at least once repeats after a crash; exactly once never does).`),
      h("ol", { class: "life", role: "list" }, event(e), e.letters.map(letter), e.answers.flatMap((a) => answer(a, e)), !e.answers.length && !e.letters.length ? step("Scored", null, true, h("p", { class: "muted" }, "There is no answer yet, and no dead letter.")) : null, outcome(e), incidents(e)));
  });
}

function absent(envelope) { return [h("p", { class: "wrong" }, `${envelope.error.problem}. ${envelope.error.remedy}.`)]; }

export default { path: "/lookup", title: "Look-up", key: "u", mount, into: "found", absent, render, every: 5, depends: ["labelled", "predictions"],
  source: (c) => (c.params.get("q") ? `/api/lookup?q=${encodeURIComponent(c.params.get("q"))}` : null) };
