// Before the first paint: the theme that was chosen, or the system's.
(function () {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("millstream.theme"); } catch { /* no storage: the system's */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
