// What is said of each region: shown at once, counted when it is stored, and never written over what was not seen.

import { get, post } from "./api.js";

const FIELDS = ["status", "label", "note"];
const EVERY = 1500; // milliseconds between looks for what other windows and programs changed
const FIRST = 250; // milliseconds until a write that failed is tried again, more each time,
const LAST = 2000; // up to these
const FINAL = [400, 409, 413, 422]; // answers to which the same decision would get again

export class Opinions {
  /**
   * `changed(fids)` is called after any change, `failed(fault, what)` with what went wrong, or null when it ended.
   * `keeper` has what waits outlive the page.
   */
  constructor(content, changed, failed, keeper) {
    this.keeper = keeper;
    this.orders = []; // what waits, {fid, fields} or {} for an undo whose turn has not come
    this.changed = changed;
    this.failed = failed;
    this.revision = 0;
    this.waiting = 0; // decisions that are not stored yet
    this.entries = new Map();
    this.done = []; // this window's decisions, the latest last
    this.line = Promise.resolve();
    this.take(content);
    this.watch();
  }

  /** {status, label, note} as the page shows it; with what is stored come `by` and `time`. */
  of(fid) {
    return this.entries.get(fid).shown;
  }

  /** {status, label, note} as the file holds it. */
  stored(fid) {
    return this.entries.get(fid).kept;
  }

  /** Whether something that was said of a region is not stored yet. */
  waits(fid) {
    return this.entries.get(fid).waiting > 0;
  }

  /** Takes in what the server knows. */
  take({ revision, opinions }) {
    const fids = [];
    for (const [key, { revision: own, ...opinion }] of Object.entries(opinions)) {
      const fid = Number(key);
      const entry = this.entries.get(fid);
      if (!entry) {
        this.entries.set(fid, { shown: opinion, kept: opinion, revision: own, waiting: 0, mine: own, base: opinion, course: 0 });
      } else if (own > entry.revision) {
        Object.assign(entry, { kept: opinion, revision: own });
        if (!entry.waiting) entry.shown = opinion;
      } else continue;
      fids.push(fid);
    }
    this.revision = Math.max(this.revision, revision);
    if (fids.length) this.changed(fids);
  }

  /** Resolves when all that was said until now is stored, or after so many milliseconds. */
  settled(most) {
    return Promise.race([this.line, new Promise((resume) => setTimeout(resume, most))]);
  }

  /** Changes some fields of one region's opinion; `said(after)` is called when it is on disk. */
  decide(fid, fields, said) {
    const entry = this.entries.get(fid);
    const wanted = { ...entry.shown, ...fields };
    if (FIELDS.every((name) => wanted[name] === entry.shown[name])) return false;
    if (!entry.waiting) Object.assign(entry, { mine: entry.revision, base: entry.kept }); // what is being looked at
    const course = entry.course;
    entry.shown = wanted;
    this.wait(entry, 1);
    const order = this.order({ fid, fields });
    this.changed([fid]);
    this.line = this.line.then(async () => {
      const seen = entry.mine;
      try {
        if (course !== entry.course) return; // an earlier one of the same row failed
        const before = entry.kept;
        const after = { ...before, ...fields };
        const revision = await this.write(fid, after, seen);
        this.done.push({ fid, before, after, seen, revision });
        said(after);
      } catch (fault) {
        entry.course += 1;
        this.failed(fault, "Not kept");
      } finally {
        this.wait(entry, -1);
        this.over(order);
        if (!entry.waiting) entry.shown = entry.kept;
        this.changed([fid]);
      }
    });
    return true;
  }

  /** Takes this window's last decision back; refused where the region was changed since. */
  undo(said) {
    const order = this.order({});
    this.line = this.line.then(async () => {
      const last = this.done.pop();
      if (!last) {
        this.over(order);
        return said(null);
      }
      const entry = this.entries.get(last.fid);
      this.wait(entry, 1);
      Object.assign(order, { fid: last.fid, fields: fieldsOf(last.before), base: last.after });
      this.keep();
      try {
        const revision = await this.write(last.fid, last.before, last.revision);
        for (const older of this.done) {
          if (older.fid === last.fid && older.revision === last.seen) older.revision = revision;
        }
      } catch (fault) {
        this.failed(fault, "Not undone");
        return;
      } finally {
        this.wait(entry, -1);
        this.over(order);
        if (!entry.waiting) entry.shown = entry.kept;
        this.changed([last.fid]);
      }
      said(last);
    });
  }

  /**
   * Goes on with what an earlier page could not store. `said(fid, fields, after)` is called for each that is stored,
   * `undone(last)` for each that is taken back.
   */
  async resume(said, undone) {
    const chains = new Map(); // fid: what was thought to be in the file, and whether all of it still counts
    const left = await this.keeper.take();
    for (const { fid, fields, base } of left) {
      if (!this.entries.has(fid)) {
        if (fields) this.failed({ status: 409, message: "a region is no longer in the file" }, "Not kept");
        else this.undo(undone);
        continue;
      }
      const entry = this.entries.get(fid);
      if (!chains.has(fid)) chains.set(fid, reached(entry.kept, base, left.filter((order) => order.fid === fid)));
      const chain = chains.get(fid);
      if (chain.stored > 0) { // its answer was lost with the server
        chain.stored -= 1;
        const after = { ...chain.state, ...fields };
        this.done.push({ fid, before: chain.state, after, seen: entry.revision, revision: entry.revision });
        chain.state = after;
        continue;
      }
      if (!this.decide(fid, fields, (after) => said(fid, fields, after))) continue;
      entry.base = base;
      if (chain.stored < 0) entry.mine = 0; // which no region has: the server says that it was changed
    }
    this.keep();
  }

  order(order) {
    this.orders.push(order);
    this.keep();
    return order;
  }

  over(order) {
    this.orders.splice(this.orders.indexOf(order), 1);
    this.keep();
  }

  /** Has the browser keep what waits, each with what its region was when it was decided. */
  keep() {
    this.keeper.keep(this.orders.map((order) => ({ base: fieldsOf(this.entries.get(order.fid)?.base ?? {}), ...order })));
  }

  wait(entry, by) {
    entry.waiting += by;
    this.waiting += by;
  }

  /** Writes until it is stored: a file that is locked or full, or a server that is away, may come back. */
  async write(fid, { status, label, note }, seen) {
    const opinion = { status, label, note };
    const entry = this.entries.get(fid);
    let unanswered = false; // such a write may be stored all the same
    for (let pause = FIRST; ; pause = Math.min(LAST, 1.5 * pause)) {
      try {
        const { revision, ...kept } = await post(`regions/${fid}`, { ...opinion, seen });
        Object.assign(entry, { mine: revision, base: kept });
        if (revision > entry.revision) Object.assign(entry, { kept, revision });
        this.again();
        return revision;
      } catch (fault) {
        if (fault.content?.opinions) this.take(fault.content);
        if (FINAL.includes(fault.status)) {
          this.again();
          if (!(unanswered || fault.status === 409) || FIELDS.some((name) => entry.kept[name] !== opinion[name])) throw fault;
          Object.assign(entry, { mine: entry.revision, base: entry.kept });
          return entry.revision;
        }
        unanswered ||= !fault.status;
        this.late = true;
        this.failed(fault, "Waiting");
        await new Promise((resume) => setTimeout(resume, pause));
      }
    }
  }

  again() {
    if (this.late) this.failed(null, "");
    this.late = false;
  }

  async watch() {
    for (;;) {
      await new Promise((resume) => setTimeout(resume, EVERY));
      if (document.hidden) continue;
      try {
        this.take(await get(`changes?since=${this.revision}`));
        if (!this.waiting) this.again();
      } catch (fault) {
        if (fault.status === 503) continue; // another program writes; the next look will do
        if (!this.late) this.failed(fault, "Not up to date");
        this.late = true;
      }
    }
  }
}

const fieldsOf = (opinion) => Object.fromEntries(FIELDS.map((name) => [name, opinion[name]]));

/** How many of a region's orders are in the file already; -1 where it holds what none of them led to. */
function reached(kept, base, orders) {
  const states = [base];
  for (const { fields } of orders) states.push({ ...states.at(-1), ...fields });
  const stored = states.findLastIndex((state) => FIELDS.every((name) => state[name] === kept[name]));
  return { stored, state: base };
}
