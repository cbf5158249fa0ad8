// What is said of each region: shown at once, written in the order of the keys, and never over what was not seen.

import { get, post } from "./api.js";

const FIELDS = ["status", "label", "note"];
const EVERY = 1500; // milliseconds between looks for what other windows and programs changed

export class Opinions {
  /** `changed(fids)` is called after any change, `failed(text)` with what went wrong. */
  constructor(content, changed, failed) {
    this.changed = changed;
    this.failed = failed;
    this.revision = 0;
    this.entries = new Map();
    this.done = []; // this window's decisions, the latest last
    this.line = Promise.resolve();
    this.take(content);
    this.watch();
  }

  /** {status, label, note} as the page shows it. */
  of(fid) {
    return this.entries.get(fid).shown;
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

  /** Changes some fields of one region's opinion; `said(after)` is called when it is on disk. */
  decide(fid, fields, said) {
    const entry = this.entries.get(fid);
    const wanted = { ...entry.shown, ...fields };
    if (FIELDS.every((name) => wanted[name] === entry.shown[name])) return false;
    if (!entry.waiting) entry.mine = entry.revision; // what is being looked at
    const course = entry.course;
    entry.waiting += 1;
    entry.shown = wanted;
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
        entry.waiting -= 1;
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
      try {
        const revision = await this.write(last.fid, last.before, last.revision);
        for (const older of this.done) {
          if (older.fid === last.fid && older.revision === last.seen) older.revision = revision;
        }
        this.changed([last.fid]);
        said(last);
      } catch (fault) {
        if (fault.status !== 409) this.done.push(last);
        this.failed(fault, "Not undone");
      }
    });
  }

  async write(fid, { status, label, note }, seen) {
    try {
      const { revision, ...kept } = await post(`regions/${fid}`, { status, label, note, seen });
      const entry = this.entries.get(fid);
      entry.mine = revision;
      if (revision > entry.revision) Object.assign(entry, { kept, revision });
      if (entry.waiting === 0) entry.shown = entry.kept;
      return revision;
    } catch (fault) {
      if (fault.content?.opinions) this.take(fault.content);
      throw fault;
    }
  }

  async watch() {
    let lost = false;
    for (;;) {
      await new Promise((resume) => setTimeout(resume, EVERY));
      if (document.hidden) continue;
      try {
        this.take(await get(`changes?since=${this.revision}`));
        if (lost) this.failed(null, "");
        lost = false;
      } catch (fault) {
        if (fault.status === 503) continue; // another program writes; the next look will do
        if (!lost) this.failed(fault, "Not up to date");
        lost = true;
      }
    }
  }
}
