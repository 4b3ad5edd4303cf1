// g and a letter go to a page; ? shows the keys. They can be switched off (WCAG 2.1.4).
const WAIT_MS = 1_500;
const KEPT = "millstream.keys";

function wanted() { try { return localStorage.getItem(KEPT) !== "off"; } catch { return true; } }

function writing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)
    || (target.tagName === "INPUT" && !["radio", "checkbox", "button", "submit"].includes(target.type)));
}

let set = false;

export function keys(pages, go) {
  if (set) return;
  set = true;
  const dialog = document.getElementById("keys");
  const box = document.getElementById("keys-on");
  box.checked = wanted();
  box.addEventListener("change", () => { try { localStorage.setItem(KEPT, box.checked ? "on" : "off"); } catch { /* for this page */ } });
  document.getElementById("show-keys").addEventListener("click", () => dialog.showModal());
  let since = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target) || !box.checked || document.querySelector("dialog[open]")) return;
    if (event.key === "?") { event.preventDefault(); dialog.showModal(); return; }
    if (event.key === "g") { since = Date.now(); return; }
    const page = Date.now() - since < WAIT_MS && pages.find((p) => p.key === event.key);
    since = 0;
    if (page) { event.preventDefault(); go(page.path); }
  });
}
