// Requests to the server that sent this page, and to no other.

const KEPT = "satae-token";
const NO_TOKEN = "This address has no token: open the whole link that satae review printed, with what stands behind its #";

export class Fault extends Error {
  constructor(status, content) {
    super(content.error ?? `the server answered ${status}`);
    this.status = status;
    this.content = content;
  }
}

/** Takes the token out of the address, keeps it for this window and gets the cookie for it. */
export async function enter() {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem(KEPT, given);
    history.replaceState(null, "", location.pathname);
  }
  addEventListener("hashchange", () => location.reload()); // the link, opened again in this window
  if (!sessionStorage.getItem(KEPT)) throw new Fault(401, { error: NO_TOKEN });
  await post("session");
}

export async function get(path) {
  return answered(await fetch(path));
}

export async function post(path, content) {
  const headers = { "x-satae-token": sessionStorage.getItem(KEPT) ?? "" };
  if (content !== undefined) headers["content-type"] = "application/json";
  const body = JSON.stringify(content);
  return answered(await fetch(path, { method: "POST", headers, body, keepalive: true })); // also where the tab is closed
}

async function answered(response) {
  if (response.status === 204) return null;
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Fault(response.status, content);
  return content;
}
