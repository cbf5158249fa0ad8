// What is said of each region: shown at once, counted when it is stored, and never written over what was not seen.

import { get, post } from "./api.js";

const FIELDS = ["status", "label", "note"];
const EVERY = 1500; // milliseconds between looks for what other windows and programs changed
const FIRST = 250; // milliseconds until a write that failed is tried again, more each time,
const LAST = 2000; // up to these
const FINAL = [400, 409, 413, 422]; // answers to which the same decision would get again

export class Opinions {
  /** `changed(fids)` is called after any change, `failed(fault, what)` with what went wrong, or null when it ended. */
  constructor(content, changed, failed) {
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
        this.entries.set(fid, { shown: opinion, kept: opinion, revision: own, waiting: 0, mine: own, course: 0 });
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
    if (!entry.waiting) entry.mine = entry.revision; // what is being looked at
    const course = entry.course;
    entry.shown = wanted;
    this.wait(entry, 1);
    this.changed([fid]);
    this.line = this.line.then(async () => {
      const seen = entry.mine;
      try {
        if (course !== entry.course) return; // an earlier one of the same row failed
        const before = entry.kept;
        const after = { ...before, ...fields };
        const revision = await this.write(fid, after, seen);
        this.done.push({ fid, before, seen, revision });
        said(after);
      } catch (fault) {
        entry.course += 1;
        this.failed(fault, "Not kept");
      } finally {
        this.wait(entry, -1);
        if (!entry.waiting) entry.shown = entry.kept;
        this.changed([fid]);
      }
    });
    return true;
  }

  /** Takes this window's last decision back; refused where the region was changed since. */
  undo(said) {
    this.line = this.line.then(async () => {
      const last = this.done.pop();
      if (!last) return said(null);
      const entry = this.entries.get(last.fid);
      this.wait(entry, 1);
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
        if (!entry.waiting) entry.shown = entry.kept;
        this.changed([last.fid]);
      }
      said(last);
    });
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
        entry.mine = revision;
        if (revision > entry.revision) Object.assign(entry, { kept, revision });
        this.again();
        return revision;
      } catch (fault) {
        if (fault.content?.opinions) this.take(fault.content);
        if (FINAL.includes(fault.status)) {
          this.again();
          if (!unanswered || FIELDS.some((name) => entry.kept[name] !== opinion[name])) throw fault;
          entry.mine = entry.revision;
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
