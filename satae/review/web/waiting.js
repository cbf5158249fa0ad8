// Decisions that are not stored yet, as the browser keeps them for the next run of `satae review` on this port.
// Storage and not cookies: a server of another port could plant decisions with those.

const PREFIX = "satae-waiting-";

export class Waiting {
  /** `result` names the file that is reviewed, `run` the server's run; `regions` are those of the file. */
  constructor({ result, run, regions }) {
    this.names = new Map(regions.map(({ fid, anomaly_id: name }) => [fid, name]));
    this.fids = new Map(regions.map(({ fid, anomaly_id: name }) => [name, fid]));
    this.prefix = `${PREFIX}${result}-`;
    this.run = run;
    this.key = null;
    this.locks = navigator.locks; // none where the page came from another machine, unencrypted
    this.kept = true; // whether all of them would outlive this page
  }

  /** Keeps just these, by the names of their regions: the file may be another one when they are sent. */
  keep(waiting) {
    const orders = waiting.map(({ fid, ...order }) => ({ ...order, name: this.names.get(fid) }));
    try {
      this.open();
      if (orders.length) localStorage.setItem(this.key, JSON.stringify({ run: this.run, orders }));
      else localStorage.removeItem(this.key);
      this.kept = true;
    } catch {
      this.kept = false; // no storage, or no room in it
    }
  }

  /** Gives this window its key, and holds a lock of that name for as long as it is there. */
  open() {
    if (this.key) return;
    this.key = `${this.prefix}${tab()}`;
    this.locks?.request(this.key, () => new Promise(() => {})).catch(() => {});
  }

  /** Takes out what this window kept before it was loaded again, and what windows of other runs, or closed ones, left. */
  async take() {
    const found = [];
    try {
      this.open();
      const held = this.locks && new Set((await this.locks.query()).held.map(({ name }) => name));
      for (const key of Object.keys(localStorage).filter((name) => name.startsWith(this.prefix)).sort()) {
        const { run, orders } = JSON.parse(localStorage.getItem(key));
        const isOpen = !held || held.has(key);
        if (run === this.run && key !== this.key && isOpen) continue; // its window sends them itself
        for (const { name, ...order } of orders) found.push({ ...order, fid: this.fids.get(name) });
        localStorage.removeItem(key);
      }
    } catch {
      this.kept = false;
    }
    return found;
  }
}

/** A name of this window that outlives a reload. */
function tab() {
  const name = sessionStorage.getItem("satae-tab") ?? `${Date.now()}-${Math.random()}`;
  sessionStorage.setItem("satae-tab", name);
  return name;
}
