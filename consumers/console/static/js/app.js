// The shell: which page, what it shows, how old that is; one event stream for all of it.
import { h, redraw } from "./dom.js";
import { ago, clock } from "./format.js";
import { recolour, sweep } from "./charts.js";
import { keys } from "./keys.js";
import overview from "./pages/overview.js";
import performance from "./pages/performance.js";
import drift from "./pages/drift.js";
import incidents from "./pages/incidents.js";
import models from "./pages/models.js";
import letters from "./pages/letters.js";
import lookup from "./pages/lookup.js";
import sql from "./pages/sql.js";

const PAGES = [overview, performance, drift, incidents, models, letters, lookup, sql];
const LATE_MS = 12_000; // a pulse is older than this: say so
const ANSWER_MS_MAX = 60_000; // a connection that died unnoticed is given up: longer than any query may take
const AGAIN_MS_MAX = 30_000;
const by = (id) => document.getElementById(id);

const shell = {
  about: {}, page: null, context: null, envelope: null, shown: "", asked: 0, loading: false, seen: {},
  pulse: null, heard: 0, offset: 0, unreachable: false,
};

// The console's own clock, so that ages are right wherever the browser is.
const now = () => Date.now() + shell.offset;

async function get(url) {
  const answer = await fetch(url, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  if (answer.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    throw new Error("login");
  }
  if (!answer.ok) throw new Error(`the console answered ${answer.status}`);
  return answer.json();
}

function context() {
  const params = new URLSearchParams(location.search);
  return {
    about: shell.about, params, get, now, pulse: () => shell.pulse,
    // The page's own parameters, in the address: so that it can be kept and sent.
    set(changes) {
      for (const [name, value] of Object.entries(changes)) {
        if (value === null || value === "") params.delete(name); else params.set(name, value);
      }
      const text = params.toString();
      history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
    },
    reload() { shell.shown = ""; return load(); },
    again() { draw(true); },
  };
}

function show(focus) {
  const page = PAGES.find((p) => p.path === location.pathname) || overview;
  Object.assign(shell, { page, envelope: null, shown: "", asked: 0, seen: {} });
  shell.context = context();
  document.title = `${page.title} - ${shell.about.stream || "Millstream"}`;
  by("title").textContent = page.title;
  for (const link of document.querySelectorAll("#nav a")) {
    if (new URL(link.href).pathname === page.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  by("page").replaceChildren();
  by("notices").replaceChildren();
  sweep();
  if (page.mount) page.mount(by("page"), shell.context);
  else by("page").append(h("p", { class: "muted", id: "reading" }, "Reading."));
  if (shell.pulse && page.live) page.live(shell.pulse, shell.context);
  if (focus) { by("main").focus(); window.scrollTo(0, 0); }
  load();
  tell();
}

async function load() {
  const { page, context: own } = shell;
  const url = page.source && page.source(own);
  if (!url || shell.loading) return;
  shell.loading = true;
  shell.asked = Date.now();
  shell.seen = { ...(shell.pulse?.ClickHouse?.data?.rows || {}) };
  try {
    const envelope = await get(url);
    if (shell.context !== own) return;
    shell.unreachable = false;
    shell.envelope = envelope;
  } catch (why) {
    if (shell.context === own && why.message !== "login") shell.unreachable = true;
  } finally {
    shell.loading = false;
    if (shell.context !== own) load();
  }
  if (shell.context === own) draw(false);
  tell();
}

function draw(forced) {
  const { page, envelope } = shell;
  if (!envelope || envelope.data === null || !page.render) {
    if (envelope && envelope.data === null && page.render) redraw(by("page"), page.absent ? page.absent(envelope) : []);
    return;
  }
  const text = JSON.stringify(envelope.data);
  if (text === shell.shown && !forced) return;
  shell.shown = text;
  let drawn;
  try { drawn = page.render(envelope.data, shell.context); } catch (why) {
    console.error(why);
    drawn = h("p", { class: "wrong", role: "alert" }, "This page cannot be drawn: a fault of the console's own. The browser's console says more.");
  }
  redraw(by(page.into || "page"), drawn);
  sweep();
}

// What is new in the tables that the page is made of: then it is asked again, not more often than it says.
function refresh() {
  const { page } = shell;
  if (!page || !page.source || document.hidden) return;
  const waited = Date.now() - shell.asked;
  const rows = shell.pulse?.ClickHouse?.data?.rows || {};
  const changed = (page.depends || []).some((t) => rows[t] !== shell.seen[t]);
  const ill = shell.unreachable || shell.envelope?.error;
  if (waited >= (page.every || 3) * 1000 && (changed || ill || !shell.envelope)) load();
}

function troubles() {
  const found = new Map();
  const add = (error, at) => { if (error) found.set(error.what + error.problem, { ...error, at }); };
  if (shell.unreachable) {
    add({ what: "console", problem: "The console does not answer", remedy: "It is tried again by itself; is `millstream console` running?" },
      shell.envelope?.at ?? shell.pulse?.now);
  } else {
    for (const source of ["ClickHouse", "Kafka"]) {
      const said = shell.pulse?.[source];
      add(said?.error, said?.at);
    }
    const own = shell.envelope?.error;
    if (own && ![...found.values()].some((e) => e.what === own.what)) add(own, shell.envelope.at);
  }
  return [...found.values()];
}

function tell() {
  const list = troubles().map((e) => {
    const at = e.at || (e.what === "ClickHouse" ? shell.envelope?.at : null);
    const kept = at ? `Shown is what was known at ${clock(at)} UTC` : "There is nothing to show yet";
    return { text: e.what === "console" ? e.problem : `${e.what} is out of reach: ${e.problem}`, remedy: `${e.remedy}. ${kept}`, age: at };
  });
  const same = JSON.stringify(list);
  if (same !== shell.told) {
    shell.told = same;
    by("notices").replaceChildren(...list.map((e) => h("div", { class: "notice" }, h("strong", {}, e.text),
      h("span", { class: "muted" }, e.remedy, e.age ? h("span", { "data-age": e.age }) : null))));
  }
  for (const each of document.querySelectorAll("[data-age]")) each.textContent = `, ${ago(Number(each.dataset.age), now())}`;
  const at = shell.page?.live ? shell.pulse?.ClickHouse?.at : shell.envelope?.at;
  by("age").textContent = at ? `${clock(at)} UTC, ${ago(at, now())}` : shell.page?.source || shell.page?.live ? "waiting for data" : "";
}

function badge(pulse) {
  const open = pulse.ClickHouse?.data?.incidents?.length || 0;
  const link = document.querySelector('#nav a[href="/incidents"]');
  const held = link.querySelector(".count");
  if (!open) held?.remove();
  else if (held) held.firstChild.textContent = open;
  else link.append(" ", h("span", { class: "count" }, String(open), h("span", { class: "gone" }, " open")));
}

function heard(event) {
  shell.pulse = JSON.parse(event.data);
  shell.heard = Date.now();
  shell.offset = shell.pulse.now - Date.now();
  shell.unreachable = false;
  badge(shell.pulse);
  if (shell.page.live) shell.page.live(shell.pulse, shell.context);
  refresh();
  tell();
}

// One event stream while the page is seen: a browser has six connections for all of its tabs.
function listen() {
  let source = null, timer = null, refused = 0;
  const late = () => { if (Date.now() - shell.heard > LATE_MS) { shell.unreachable = true; tell(); } };
  function open() {
    timer = null;
    if (source || document.hidden) return;
    const opened = source = new EventSource("/api/live");
    opened.addEventListener("pulse", (event) => { refused = 0; heard(event); });
    opened.onerror = () => {
      late();
      if (opened === source && opened.readyState === EventSource.CLOSED) { shut(); again(); } // otherwise the browser tries again by itself
    };
  }
  function shut() { source?.close(); source = null; clearTimeout(timer); timer = null; }
  // It was answered, with a refusal: there are too many, or the login has ended, of which `get` takes care.
  function again() {
    if (document.hidden) return;
    const wait = Math.min(AGAIN_MS_MAX, 1_000 * 2 ** refused++) * (0.5 + Math.random());
    timer = setTimeout(() => get("/api/about").then(open, () => { late(); again(); }), wait);
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) shut();
    else { shell.heard = Date.now(); open(); refresh(); }
  });
  shell.heard = Date.now();
  open();
  setInterval(() => {
    if (document.hidden) return;
    late();
    refresh();
    tell();
  }, 1_000);
}

export function go(url) {
  history.pushState(null, "", url);
  show(true);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.hash || !PAGES.some((p) => p.path === url.pathname)) return;
  event.preventDefault();
  go(url.pathname + url.search);
});
window.addEventListener("popstate", () => show(false));

function themes() {
  const kept = () => { try { return localStorage.getItem("millstream.theme") || "auto"; } catch { return "auto"; } };
  const redye = () => { recolour(); if (shell.page?.render) draw(true); };
  for (const each of document.querySelectorAll('#theme input')) {
    each.checked = each.value === kept();
    each.addEventListener("change", () => {
      if (each.value === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = each.value;
      try { localStorage.setItem("millstream.theme", each.value); } catch { /* it holds for this page */ }
      redye();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redye);
}

async function start() {
  themes();
  keys(PAGES, go);
  try { shell.about = await get("/api/about"); } catch (why) { if (why.message !== "login") { shell.unreachable = true; setTimeout(start, 2_000); } return; }
  by("stream").textContent = shell.about.stream;
  by("logout").hidden = !shell.about.login;
  show(false);
  listen();
}
start();
