// What the page says to its reader: in passing, until it is mended, or instead of everything.

const $ = (id) => document.getElementById(id);
const SHORT = 2500;
const LONG = 12000;

let quiet;

/** Says a sentence; of kind "fault" for longer, "lasting" until `hush`. What is not kept is not talked over. */
export function say(text, kind = "") {
  if (!kind && $("said").classList.contains("on") && $("said").dataset.kind) return;
  $("said").textContent = text;
  $("said").dataset.kind = kind;
  $("said").classList.add("on");
  clearTimeout(quiet);
  if (kind !== "lasting") quiet = setTimeout(hush, kind ? LONG : SHORT);
}

export function hush() {
  $("said").classList.remove("on");
  $("said").dataset.kind = "";
}

/** A page that cannot be shown has no buttons: one sentence says what to do. */
export function shut(fault) {
  document.body.classList.add("shut");
  $("gate").hidden = false;
  $("gate-text").textContent = told(fault);
}

export function told(fault) {
  if (fault.status) return fault.message;
  const port = location.port ? ` with --port ${location.port}` : ""; // what waits is kept for this port
  return `satae review cannot be reached; start it again${port} and open its new link`;
}
