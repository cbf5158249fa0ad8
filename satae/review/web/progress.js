// How far the review is: what counts is stored.

const $ = (id) => document.getElementById(id);

export class Progress {
  constructor(regions) {
    this.regions = regions;
  }

  decided(opinions) {
    return this.regions.filter(({ fid }) => opinions.stored(fid).status !== "unreviewed").length;
  }

  /** Draws it, and gives how many regions there are of each status. */
  show(opinions) {
    const total = this.regions.length;
    const tally = {};
    let waiting = 0;
    for (const { fid } of this.regions) {
      const { status } = opinions.stored(fid);
      tally[status] = (tally[status] ?? 0) + 1;
      waiting += opinions.waits(fid) && status === "unreviewed";
    }
    const share = (id, number) => { $(`${id}-share`).style.width = `${(100 * (number ?? 0)) / Math.max(1, total)}%`; };
    $("count").textContent = `${total - (tally.unreviewed ?? 0)} of ${total} reviewed`;
    $("saving").hidden = !opinions.waiting;
    $("saving").textContent = `saving ${opinions.waiting}`;
    for (const status of ["accepted", "rejected", "unsure"]) share(status, tally[status]);
    share("waiting", waiting);
    return tally;
  }
}
