// The order of the list: by what was measured, or by what was decided so far, which the server learns from.

import { get } from "./api.js";
import { quantity } from "./words.js";

const ITSELF = { score: (region) => region.score, area_m2: (region) => region.area_m2 };

export class Ranking {
  constructor(regions) {
    Object.assign(this, { regions, order: "", content: null, ordered: regions });
  }

  /** Whether the order follows decisions. */
  get learns() {
    return this.order === "learned" || this.order === "doubt";
  }

  /** Asks what the decisions say now; gives how many regions change their place by it. */
  async learn() {
    this.content = await get("ranking");
    const before = this.regions.toSorted((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity));
    const after = this.by("learned");
    return after.filter((region, i) => region !== before[i]).length;
  }

  /** Turns to an order; regions that are equal in it go by their ranks. */
  turn(order) {
    this.order = order;
    this.ordered = order ? this.by(order) : this.regions;
  }

  by(order) {
    const said = ({ fid }) => this.content?.regions[fid] ?? [0, null];
    const value = ITSELF[order] ?? (order === "learned" ? (region) => (region.score ?? -Infinity) + said(region)[0]
      : (region) => (said(region)[1] === null ? null : -Math.abs(said(region)[1] - 0.5)));
    const values = new Map(this.regions.map((region) => [region, value(region) ?? -Infinity]));
    return this.regions.toSorted((a, b) => (values.get(b) === values.get(a) ? 0 : values.get(b) - values.get(a)));
  }

  /** How many decisions the order learned from. */
  get size() {
    return this.content ? this.content.accepted + this.content.rejected : 0;
  }

  /** How many there were, those that were left out too. */
  get known() {
    return this.content ? this.size + this.content.older + this.content.unused : 0;
  }

  /** Why there is nothing to learn from; empty where there is. */
  get lack() {
    if (this.size) return "";
    return this.content?.unused ? "This result does not say what regions look like, which decisions would be compared by; results of satae score do."
      : "Accept or reject some regions first: this order learns from them.";
  }

  /** What was done, for people. */
  told(moved) {
    const { accepted, rejected, older, unused } = this.content;
    const left = [older && `${older} older ones left out`, unused && `${unused} on regions without a signature`].filter(Boolean);
    return `Ranked by ${accepted} accepted and ${rejected} rejected: ${quantity(moved, "region")} moved`
      + `${left.length ? `; ${left.join(", ")}` : ""}. The ranks in the file stay.`;
  }
}
