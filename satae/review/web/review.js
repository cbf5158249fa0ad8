// The page of `satae review`: list, map and facts of one result, and the keys that decide.

import { enter, get } from "./api.js";
import { Closing } from "./closing.js";
import { Facts } from "./facts.js";
import { List } from "./list.js";
import { Looks } from "./looks.js";
import { Ground } from "./map.js";
import { keep, recall } from "./memory.js";
import { Opinions } from "./opinions.js";
import { Progress } from "./progress.js";
import { Ranking } from "./ranking.js";
import { hush, say, shut, told } from "./talk.js";
import { Waiting } from "./waiting.js";
import { element, quantity } from "./words.js";

const $ = (id) => document.getElementById(id);
const THEMES = { "": "Auto", light: "Light", dark: "Dark" };
const slim = matchMedia("(max-width: 720px)"); // where the list lies over all else
const PATIENCE = 2000; // milliseconds that an order waits for decisions to be stored
const HELD = 350; // milliseconds from which a key is held rather than pressed
const page = { regions: [], byFid: new Map(), shown: [], selected: null };

start().catch(shut);

async function start() {
  theme(recall("theme", ""));
  await enter();
  const [content, outlines, said] = await Promise.all([get("regions"), get("outlines"), get("changes?since=0")]);
  document.title = `${content.name} · satae review`;
  $("name").textContent = page.name = content.name;
  page.regions = content.regions;
  page.byFid = new Map(content.regions.map((region) => [region.fid, region]));
  page.scenes = content.scenes;
  page.commands = content.commands;
  page.ranking = new Ranking(page.regions);
  page.progress = new Progress(page.regions);
  page.labels = content.labels;
  page.opinions = new Opinions(said, changed, failed, new Waiting(content));
  page.list = new List($("list"), $("rows"), select);
  page.facts = new Facts(page.labels, page.scenes, content.link, (fields, fid) => decide(fields, { fid }));
  page.ground = new Ground($("map"), $("where"), content.scenes, select, () => say("A part of the scene cannot be read.", "fault"));
  page.ground.take(outlines, page.regions);
  page.looks = new Looks((number, query) => page.ground.dress(number, query), (fault) => failed(fault, "The bands cannot be told"));
  page.closing = new Closing(page);
  offer(content);
  listen();
  filter();
  count();
  select(open() ?? null);
  await page.opinions.resume((fid, fields, after) => say(outcome(fid, fields, after)), undone);
  document.documentElement.dataset.ready = "";
  $("list").focus({ preventScroll: true });
}

const opinion = (fid) => ({ ...page.opinions.of(fid), waits: page.opinions.waits(fid) });
const isOpen = ({ fid }) => page.opinions.of(fid).status === "unreviewed";
const named = (fid) => `Rank ${page.byFid.get(fid)?.rank ?? fid}`;

function offer({ scenes, regions, clear, exports }) {
  const kinds = new Set([...scenes, ...regions].map(({ kind }) => kind).filter(Boolean));
  if (($("kind-choice").hidden = kinds.size < 2)) regions.forEach((region) => { region.kind = ""; }); // says nothing of any
  scenes.forEach((scene, number) => $("by-scene").append(new Option(scene.name, number)));
  $("scene-choice").hidden = scenes.length < 2;
  page.clear = clear;
  $("export-geojson").hidden = !exports.includes("geojson");
}

/** Remarks and the legend belong to the scene that is shown. */
function describe(number) {
  const scene = page.scenes[number];
  page.looks.open(number, scene);
  $("remarks").replaceChildren(...(scene?.remarks ?? []).map((text) => element("li", "", text)));
  $("legend").hidden = $("veil").hidden = !scene?.heat;
  if (scene?.heat) {
    $("legend-from").textContent = page.clear;
    $("legend-to").textContent = `${scene.top.toFixed(1)}${scene.top < 10 ? "" : " +"}`;
  }
}

// --- choosing

/** What the filter lets through, as it is set. */
function passing() {
  const [status, scene, kind] = ["by-status", "by-scene", "by-kind"].map((id) => $(id).value);
  const [least, from, to] = ["by-score", "by-area", "by-area-to"].map((id) => $(id).valueAsNumber);
  const size = (region) => region.area_m2 ?? NaN;
  return (region) =>
    (!status || page.opinions.of(region.fid).status === status) &&
    (scene === "" || region.scene === Number(scene)) && (!kind || region.kind === kind) &&
    !(region.score < least) && !(size(region) < from) && !(size(region) > to);
}

function filter() {
  page.shown = page.ranking.ordered.filter(passing());
  page.visible = new Set(page.shown.map((region) => region.fid));
  lay();
}

/** The same after some opinions changed: thousands of regions are not looked at again because one leaves the list. */
function sift(fids) {
  const passes = passing();
  const moved = fids.filter((fid) => passes(page.byFid.get(fid)) !== page.visible.has(fid));
  if (!moved.length) return;
  if (moved.length > 9 || moved.some((fid) => !page.visible.has(fid))) return filter();
  for (const fid of moved) {
    page.visible.delete(fid);
    page.shown.splice(page.shown.findIndex((region) => region.fid === fid), 1);
  }
  lay();
}

/** Shows the list and the outlines of what passes. */
function lay() {
  page.list.show(page.shown, opinion);
  page.list.select(page.selected);
  page.ground.refresh(opinion, page.visible);
  $("shown").textContent = `${page.shown.length} of ${page.regions.length} shown`;
  $("clear").hidden = page.shown.length === page.regions.length;
  $("grid").hidden = !page.regions.length;
  $("none").hidden = page.shown.length > 0;
  $("none").textContent = page.regions.length ? "No region passes the filter." : "There are no regions.";
}

/** Turns to the order that was chosen; one that learns does so now, and begins with what is unreviewed. */
async function arrange(order, again = false) {
  const { ranking } = page;
  if (["learned", "doubt"].includes(order) && (again || !ranking.size)) {
    $("again").disabled = true;
    try {
      await page.opinions.settled(PATIENCE);
      const moved = await ranking.learn();
      say(ranking.lack || ranking.told(moved));
    } catch (fault) {
      failed(fault, "Not ranked");
    }
    $("again").disabled = false;
    if (!ranking.size) order = "";
  }
  $("by-order").value = order;
  ranking.turn(order);
  filter();
  follow();
  if (again) select(open() ?? page.selected);
}

/** Says how far behind an order that learns is. */
function follow() {
  const { ranking } = page;
  $("ranking").hidden = !ranking.learns;
  if (!ranking.learns) return;
  const behind = Math.abs(page.judged - ranking.known);
  $("ranked").textContent = `by ${quantity(ranking.size, "decision")}${behind ? `, ${behind} since` : ""}`;
}

/** Chooses a region; null: none, and the closing screen says what was done. */
function select(fid) {
  const region = fid === null ? undefined : page.byFid.get(fid);
  page.selected = fid;
  stow();
  page.list.select(fid);
  page.ground.select(region);
  if (!region) {
    page.facts.leave();
    page.closing.show();
    if (!page.scenes.length) return;
    page.ground.open(page.ground.number ?? 0);
    page.ground.zoom(); // the whole scene with all that was decided
    return describe(page.ground.number);
  }
  page.closing.hide();
  page.facts.show(region, opinion(fid));
  describe(region.scene);
  clearTimeout(page.later);
  page.later = setTimeout(() => ahead(fid), 60); // once this one is drawn
}

/** Fetches what the next regions show, and the one before. */
function ahead(fid) {
  const index = page.shown.findIndex((region) => region.fid === fid);
  const next = page.shown.slice(index + 1).find(isOpen);
  for (const region of new Set([next, page.shown[index + 1], page.shown[index - 1]])) if (region) page.ground.ahead(region);
}

/** Puts the list away, on screens where it lies over the map. */
function stow() {
  document.body.classList.remove("listing");
  $("drawer").setAttribute("aria-expanded", "false");
}

/** The fid of the first unreviewed region of the list behind a place in it, else before; undefined where none is. */
function open(index = -1) {
  return (page.shown.slice(index + 1).find(isOpen) ?? page.shown.slice(0, Math.max(0, index)).find(isOpen))?.fid;
}

function step(by) {
  if (page.closing.on) return;
  const index = page.shown.findIndex((region) => region.fid === page.selected);
  const next = index < 0 ? page.shown[0] : page.shown[index + by];
  if (next) select(next.fid);
  else say(by > 0 ? "This is the last region." : "This is the first region.");
}

// --- deciding

function decide(fields, { fid = page.selected, onward = false } = {}) {
  if (fid === null) return;
  const index = page.shown.findIndex((region) => region.fid === fid);
  const wasOpen = isOpen({ fid });
  const isNew = page.opinions.decide(fid, fields, (after) => say(outcome(fid, fields, after)));
  if (!isNew && !onward) return;
  // who goes through what is decided sees the next; else on to what is not
  if (onward) select((wasOpen ? open(index) : page.shown[index + 1]?.fid) ?? null);
  if (isNew) sift([fid]);
  page.closing.refresh();
}

function outcome(fid, fields, after) {
  const done = page.progress.decided(page.opinions);
  if ("status" in fields) return `${named(fid)} ${after.status}, ${done} of ${page.regions.length} reviewed`;
  if ("label" in fields) return after.label ? `${named(fid)} is ${after.label}` : `${named(fid)} without label`;
  return `Note of ${named(fid).toLowerCase()} kept`;
}

function label(number) {
  const name = page.labels[number];
  if (name === undefined || page.selected === null) return;
  decide({ label: opinion(page.selected).label === name ? "" : name });
}

const undo = () => page.opinions.undo(undone);

function undone(last) {
  if (!last) return say("There is nothing to undo in this window.");
  const { fid, before, after } = last;
  sift([fid]);
  select(fid);
  if (before.status !== after.status) say(`${named(fid)} is ${before.status} again`);
  else if (before.label !== after.label) say(`${named(fid)} is ${before.label || "without label"} again`);
  else say(`Note of ${named(fid).toLowerCase()} is as it was`);
}

/** Other windows and QGIS change regions too. */
function changed(fids) {
  if (!page.closing) return;
  page.list.refresh(fids);
  page.ground.refresh(opinion);
  if (fids.includes(page.selected)) page.facts.mark(opinion(page.selected));
  sift(fids.filter((fid) => fid !== page.selected));
  count();
}

function count() {
  const tally = page.progress.show(page.opinions);
  page.judged = (tally.accepted ?? 0) + (tally.rejected ?? 0);
  follow();
  page.closing.refresh();
}

/** A fault of `what`, which may go on; null: it is over. */
function failed(fault, what) {
  if (!fault) {
    hush();
    return say("Up to date again.");
  }
  const lasts = what === "Waiting" || what === "Not up to date";
  const { waiting, keeper } = page.opinions;
  const next = fault.status === 401 && keeper.kept ? `it saves the ${waiting} that wait` : `saving ${waiting}, keep this page open`;
  const more = waiting && lasts ? `; ${next}` : "";
  say(`${what}: ${told(fault)}${more}`, lasts ? "lasting" : "fault");
}

function theme(name) {
  const known = name in THEMES ? name : "";
  document.documentElement.dataset.theme = known;
  $("theme").replaceChildren("◐ ", element("span", "roomy", THEMES[known]));
  $("theme").setAttribute("aria-label", `${THEMES[known]} colours`);
  keep("theme", known);
}

// --- keys and buttons

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  a: () => decide({ status: "accepted" }, { onward: true }),
  r: () => decide({ status: "rejected" }, { onward: true }),
  s: () => decide({ status: "unsure" }, { onward: true }),
  ".": () => page.closing.on || select(open(page.shown.findIndex((region) => region.fid === page.selected)) ?? null),
  c: () => copy(),
  e: () => page.regions.length && select(page.closing.on ? open() ?? null : null),
  g: () => $("grid").click(),
  b: () => $("bands-button").click(),
  u: undo,
  n: () => page.selected === null || page.facts.write(),
  h: () => $("heat").click(),
  o: () => $("lines").click(),
  f: () => page.ground.zoom(),
  p: () => page.regions.length && arrange(page.ranking.learns ? page.ranking.order : "learned", true),
  "?": () => $("help").showModal(),
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open) return;
    if (event.key === "Escape") return stow();
    const act = KEYS[event.key.toLowerCase()] ?? (/^[1-9]$/.test(event.key) ? () => label(event.key - 1) : null);
    if (!act || (!$("single-keys").checked && event.key !== "?")) return;
    event.preventDefault();
    if (event.repeat && !"jk".includes(event.key.toLowerCase())) return;
    act();
  });
  const press = { accept: "a", reject: "r", unsure: "s", copy: "c", undo: "u", "take-back": "u", next: "j", previous: "k", keys: "?", again: "p", count: "e" };
  for (const [id, key] of Object.entries(press)) $(id).addEventListener("click", () => KEYS[key]());
  $("next-open").addEventListener("click", () => select(open() ?? null));
  $("look-again").addEventListener("click", () => select(page.shown[0].fid));
  $("show-all").addEventListener("click", () => {
    $("clear").click();
    select(open() ?? null);
  });
  addEventListener("beforeunload", (event) => {
    page.facts.keep();
    const handed = location.hash && page.opinions.keeper.kept; // a new link, whose page goes on with what waits
    if (page.opinions.waiting && !handed) event.preventDefault(); // the browser asks before it leaves
  });
  document.addEventListener("visibilitychange", () => document.hidden && page.facts.keep());
  hold();
  toggle("grid", (on) => {
    document.body.classList.toggle("gallery", on);
    $("ground").inert = on && !slim.matches; // it lies below
    if (on && slim.matches && !document.body.classList.contains("listing")) $("drawer").click();
    page.list.show(page.shown, opinion);
    page.list.select(page.selected);
  });
  $("opacity").value = recall("opacity", 100);
  page.ground.veil($("opacity").valueAsNumber / 100);
  $("opacity").addEventListener("input", () => {
    page.ground.veil($("opacity").valueAsNumber / 100);
    keep("opacity", $("opacity").valueAsNumber);
  });
  toggle("heat", (on) => page.ground.heatmap(on));
  toggle("lines", (on) => page.ground.outline(on));
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  });
  $("by-order").addEventListener("input", (event) => {
    event.stopPropagation();
    arrange($("by-order").value);
  });
  $("filter").addEventListener("input", () => {
    filter();
    const there = page.shown.some(({ fid }) => fid === page.selected); // keys decide what is in the list, or nothing
    if (!there) select(open() ?? (page.closing.on ? null : page.shown[0]?.fid) ?? null);
  });
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", () => {
    const order = $("by-order").value; // which hides nothing
    $("filter").reset();
    $("by-order").value = order;
    filter();
    $("list").focus();
  });
  $("drawer").addEventListener("click", () => {
    const open = document.body.classList.toggle("listing");
    $("drawer").setAttribute("aria-expanded", open);
    page.list.draw();
    page.list.select(page.selected);
  });
  $("single-keys").checked = recall("keys", true) !== false;
  $("single-keys").addEventListener("change", () => keep("keys", $("single-keys").checked));
}

/** H held shows what lies below the heatmap, and brings it back when it is let go. */
function hold() {
  let since = null;
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "h" && !event.repeat) since = event.timeStamp;
  }, true);
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() !== "h" || since === null) return;
    if (event.timeStamp - since > HELD) $("heat").click();
    since = null;
  });
}

async function copy() {
  const text = $("at").textContent;
  if (page.selected === null || !text) return;
  await navigator.clipboard.writeText(text).then(() => say(`Copied ${text}`), () => say("The browser lets nothing be copied here.", "fault"));
}

function toggle(id, act) {
  $(id).addEventListener("click", () => {
    const on = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", on);
    act(on);
  });
}
