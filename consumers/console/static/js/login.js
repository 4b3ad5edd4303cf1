const asked = new URLSearchParams(location.search);
document.getElementById("wrong").hidden = !asked.has("wrong");
if (asked.get("next")) document.getElementById("next").value = asked.get("next");
