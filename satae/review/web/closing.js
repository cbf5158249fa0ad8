// What is shown where no region is chosen: what was done, what is left, and what to do with it.

import { element } from "./words.js";

const $ = (id) => document.getElementById(id);

export class Closing {
  /** `page` has name, regions, shown, scenes, opinions and commands. */
  constructor(page) {
    this.page = page;
  }

  get on() {
    return !$("closing").hidden;
  }

  show() {
    $("closing").hidden = false;
    this.refresh();
    $("closing-title").focus({ preventScroll: true });
  }

  hide() {
    $("closing").hidden = true;
  }

  /** Draws again, after something was stored or decided. */
  refresh() {
    if (!this.on) return;
    const { name, regions, shown, scenes, opinions, commands } = this.page;
    const open = regions.filter(({ fid }) => opinions.of(fid).status === "unreviewed").length;
    const openHere = shown.filter(({ fid }) => opinions.of(fid).status === "unreviewed").length;
    const waiting = opinions.waiting;
    const next = open ? [] : commands[regions.length ? "done" : "empty"];
    $("closing-title").textContent = title(regions.length, shown.length, open, openHere);
    $("closing-stored").textContent = !regions.length ? reason(scenes)
      : waiting ? `Saving ${waiting}: keep this page open until all is stored.`
      : open === regions.length ? "Nothing is decided yet." : `All that was decided is stored in ${name}.`;
    $("closing-counts").replaceChildren(...counts(regions.map(({ fid }) => opinions.stored(fid))));
    $("closing-next").replaceChildren(...next.map(({ text, use }) => {
      const line = element("li", "");
      line.append(command(text), ` ${use}`);
      return line;
    }));
    $("exports").hidden = !regions.some(({ fid }) => opinions.stored(fid).status === "accepted");
    $("next-open").hidden = !openHere;
    $("show-all").hidden = !regions.length || shown.length === regions.length;
    $("look-again").hidden = !shown.length;
    $("take-back").hidden = !opinions.done.length && !waiting;
  }
}

function title(all, shown, open, openHere) {
  if (!all) return "No regions to review";
  if (!open) return all === 1 ? "The one region is reviewed" : `All ${all} regions are reviewed`;
  if (openHere) return `${open} of ${all} regions ${open === 1 ? "is" : "are"} unreviewed`;
  return `Nothing unreviewed passes the filter; ${open} of ${all} ${open === 1 ? "is" : "are"} left outside`;
}

/** A command as it is typed, whose options are broken over lines between words alone. */
function command(text) {
  const typed = element("code");
  for (const word of text.split(/(?<= )/)) typed.append(word.startsWith("--") ? element("span", "", word) : word);
  return typed;
}

/** Why a result is empty. */
function reason(scenes) {
  const known = scenes.filter(({ rule }) => rule);
  if (!known.length) return "The result reports none.";
  const told = known.map(({ name, rule, threshold, domain, domain_note: note, hottest }) => {
    const from = threshold === null ? "" : `from a heat of ${threshold.toFixed(2)} on `;
    const foreign = domain === "foreign" ? `, for it is foreign to the model: ${note}` : "";
    return `${name}: none ${from}(${rule})${foreign}${hottest === null ? "" : `; its hottest pixel has ${hottest.toFixed(2)}`}`;
  });
  return `The result reports none. ${told.join("; ")}.`;
}

/** How many of each status and of each label, as they are stored. */
function counts(opinions) {
  const tally = new Map();
  for (const { status } of opinions) tally.set(status, (tally.get(status) ?? 0) + 1);
  const labels = new Map();
  for (const { label } of opinions) if (label) labels.set(label, (labels.get(label) ?? 0) + 1);
  const ordered = [...[...tally].sort(), ...[...labels].sort((a, b) => b[1] - a[1])];
  return ordered.map(([name, number]) => {
    const group = element("div");
    group.append(element("dt", "", name), element("dd", "", String(number)));
    return group;
  });
}
