// Elements from data. Text goes in as text, always: nothing here takes HTML.

export function h(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "value" || name === "checked" || name === "open") made[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  append(made, children);
  return made;
}

export function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    parent.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// A table that scrolls by itself where it is wider than the page.
// columns: {head, cell(row), num, class}; the first column names the row.
export function table(label, columns, rows, options = {}) {
  const head = columns.map((c) => h("th", { scope: "col", class: c.num ? "num" : "" }, c.head));
  const body = rows.map((row) => {
    const cells = columns.map((c, i) =>
      h(i === 0 && !options.plain ? "th" : "td",
        { class: [c.num ? "num" : "", c.class || ""].join(" ").trim() || null, scope: i === 0 && !options.plain ? "row" : null },
        c.cell(row)));
    return h("tr", options.row ? options.row(row) : {}, cells);
  });
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label, "data-key": `table ${label}` },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function panel(title, ...children) {
  return h("section", { class: "panel", "aria-label": title }, h("h2", {}, title), children);
}

export function empty(what, todo) {
  return h("p", { class: "empty" }, h("strong", {}, what), coded(todo));
}

// Text in which `commands` stand between backticks.
export function coded(text) {
  return text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

// What a table of ours says of a word from a record; `other` for every word that it does not have, "constructor" too.
export function known(table, word, other) { return Object.hasOwn(table, word) ? table[word] : other; }

export function state(kind, ...text) {
  return h("span", { class: `state ${kind}` }, text);
}

export function details(key, label, ...children) {
  return h("details", { "data-key": key }, h("summary", {}, label), children);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter((p) => p[1] !== null && p[1] !== undefined && p[1] !== "")
    .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// Draw anew, and keep what the reader had open, focused and scrolled.
export function redraw(root, children) {
  const open = new Map([...root.querySelectorAll("details[data-key]")].map((d) => [d.dataset.key, d.open]));
  const at = new Map([...root.querySelectorAll(".scroll[data-key]")].map((s) => [s.dataset.key, s.scrollLeft]));
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  root.replaceChildren();
  append(root, [children]);
  for (const each of root.querySelectorAll("details[data-key]")) {
    if (open.has(each.dataset.key)) each.open = open.get(each.dataset.key);
  }
  for (const each of root.querySelectorAll(".scroll[data-key]")) each.scrollLeft = at.get(each.dataset.key) || 0;
  if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
