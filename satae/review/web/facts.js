// What is known of the selected region, its labels and its note.

import { area, element, number, percent, place, probability, score } from "./words.js";

const $ = (id) => document.getElementById(id);

export class Facts {
  /** `decide(fields, fid)` changes the opinion on a region. */
  constructor(labels, scenes, link, decide) {
    Object.assign(this, { scenes, link, decide, fid: null, opinion: null });
    labels.forEach((name, i) => {
      const button = element("button", "label", "");
      button.type = "button";
      button.dataset.label = name;
      button.append(element("kbd", "", String(i + 1)), element("span", "", name));
      button.addEventListener("click", () => decide({ label: this.opinion.label === name ? "" : name }, this.fid));
      $("labels").append(button);
    });
    const note = $("note");
    note.addEventListener("change", () => this.keep());
    note.addEventListener("keydown", (event) => {
      if (event.key === "Escape") note.value = this.opinion.note;
      else if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.keep();
      $("facts").scrollTop = 0;
      $("list").focus({ preventScroll: true });
    });
    $("chip-image").addEventListener("error", () => { $("chip").hidden = true; });
  }

  /** Keeps the note that is being written; nothing where no region is shown. */
  keep() {
    if (this.fid !== null && $("note").value !== this.opinion.note) this.decide({ note: $("note").value }, this.fid);
  }

  write() {
    $("note").focus();
    $("note").scrollIntoView({ block: "nearest" });
    $("note").setSelectionRange($("note").value.length, $("note").value.length);
  }

  /** Shows nothing any more. */
  leave() {
    if (document.activeElement === $("note")) this.keep();
    this.fid = null;
    for (const id of ["facts", "actions"]) $(id).hidden = true;
  }

  show(region, opinion) {
    if (document.activeElement === $("note")) this.keep();
    for (const id of ["facts", "actions"]) $(id).hidden = false;
    this.fid = region.fid;
    $("rank").textContent = `Rank ${region.rank ?? "–"}`;
    $("kind").textContent = region.kind;
    $("kind").hidden = !region.kind;
    $("place").textContent = [this.scenes[region.scene]?.name, region.anomaly_id].filter(Boolean).join(" · ");
    $("coordinates").hidden = !region.at;
    $("at").textContent = place(region.at);
    $("elsewhere").hidden = !this.link || !region.at;
    if (this.link && region.at) $("elsewhere").href = this.link.replaceAll("{lat}", region.at[1]).replaceAll("{lon}", region.at[0]);
    $("chip").hidden = !region.chip;
    if (region.chip) $("chip-image").src = `chips/${region.fid}.png`;
    else $("chip-image").removeAttribute("src");
    $("chip-image").alt = `Input, what was expected, and heatmap of rank ${region.rank}`;
    const rows = [
      ["Score", score(region.score), `p ${probability(region.score)}`],
      ["Area", area(region), region.pixels === null || region.area_m2 === null ? "" : `${number(region.pixels)} px`],
      ["Raw score", number(region.peak), region.mean === null ? "" : `mean ${number(region.mean)}`],
      ["Differs in", ...kind(region.spectral_share)],
    ];
    $("numbers").replaceChildren(...rows.filter(([, value]) => value).map(([name, value, more]) => {
      const group = element("div");
      group.append(element("dt", "", name), element("dd", "", value));
      if (more) group.lastChild.append(element("span", "more", more));
      return group;
    }));
    $("bands").replaceChildren(...bars(region.band_shares));
    $("baseline").replaceChildren(...second(region));
    document.dispatchEvent(new CustomEvent("region", { detail: { fid: region.fid, region } })); // of a series there is more
    $("facts").scrollTop = 0;
    this.mark(opinion, true);
  }

  /** The opinion alone; a note that is being written stays. */
  mark(opinion, other = false) {
    this.opinion = opinion;
    $("status").textContent = opinion.status;
    $("status").dataset.status = opinion.status;
    $("status").dataset.waits = opinion.waits;
    $("status").title = opinion.waits ? "not stored yet" : "";
    const when = opinion.time ? new Date(opinion.time) : null;
    $("who").textContent = opinion.by || when ? `Decided${opinion.by ? ` by ${opinion.by}` : ""}${when && !isNaN(when) ? `, ${when.toLocaleString()}` : ""}` : "";
    $("label").textContent = opinion.label;
    $("label").hidden = !opinion.label;
    for (const button of $("labels").children) {
      button.setAttribute("aria-pressed", button.dataset.label === opinion.label);
    }
    if (other || document.activeElement !== $("note")) $("note").value = opinion.note;
  }
}

function kind(share) {
  if (share === null) return ["", ""];
  return share >= 0.5 ? ["colour", percent(share)] : ["texture", percent(1 - share)];
}

function bars(shares) {
  const found = Object.entries(shares).sort((a, b) => b[1] - a[1]);
  if (!found.length) return [element("p", "muted small", "Not told by this result.")];
  return found.map(([band, share]) => {
    const row = element("div", "bar");
    const track = element("span", "track");
    const fill = element("i");
    fill.style.width = `${Math.min(100, Math.max(0, 100 * share))}%`;
    track.append(fill);
    row.append(element("span", "band", band), track, element("span", "share", percent(share)));
    return row;
  });
}

/** What the baseline says, beside the score itself. */
function second({ baseline, baseline_score: other, score: own }) {
  if (!baseline || other === null) return [];
  const highest = Math.max(own ?? 0, other, 1e-9);
  const rows = [["satae", own ?? 0], [baseline, other]].map(([name, value]) => {
    const row = element("div", "bar");
    const track = element("span", "track");
    const fill = element("i");
    fill.style.width = `${Math.max(0, (100 * value) / highest)}%`;
    track.append(fill);
    row.append(element("span", "band", name), track, element("span", "share", score(value)));
    return row;
  });
  const title = element("h3", "", "A second opinion ");
  title.append(element("span", "more", `p ${probability(other)} by ${baseline}`));
  return [title, ...rows];
}
