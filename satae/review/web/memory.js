// What this browser remembers of how the page is set. Cookies, for each result has a port of its own, and with it a storage.

const PREFIX = "satae-";
const YEAR = 365 * 24 * 3600;
const LONGEST = 2000; // characters

/** What was kept under a name, else `otherwise`. */
export function recall(name, otherwise = null) {
  const start = `${PREFIX}${name}=`;
  const found = document.cookie.split("; ").find((part) => part.startsWith(start));
  try {
    return found ? JSON.parse(decodeURIComponent(found.slice(start.length))) : otherwise;
  } catch {
    return otherwise; // another server of this machine wrote it
  }
}

/** Keeps a value for a year; one that is too long is not kept. */
export function keep(name, value) {
  const text = encodeURIComponent(JSON.stringify(value));
  if (text.length <= LONGEST) document.cookie = `${PREFIX}${name}=${text}; max-age=${YEAR}; path=/; samesite=strict`;
}
