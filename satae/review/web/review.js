// The page of `satae review`: list, map and facts of one result, and the keys that decide.

import { enter, get } from "./api.js";
import { Facts } from "./facts.js";
import { List } from "./list.js";
import { Ground } from "./map.js";
import { Opinions } from "./opinions.js";
import { element } from "./words.js";

const $ = (id) => document.getElementById(id);
const THEMES = { "": "Auto", light: "Light", dark: "Dark" };
const page = { regions: [], byFid: new Map(), shown: [], selected: null };

start().catch((fault) => say(fault.status === 401 ? fault.message : told(fault), "lasting"));

async function start() {
  theme(localStorage.getItem("satae-theme") ?? "");
  await enter();
  const [content, outlines, said] = await Promise.all([get("regions"), get("outlines"), get("changes?since=0")]);
  document.title = `${content.name} · satae review`;
  $("name").textContent = content.name;
  page.regions = content.regions;
  page.byFid = new Map(content.regions.map((region) => [region.fid, region]));
  page.scenes = content.scenes;
  page.labels = content.labels;
  page.opinions = new Opinions(said, changed, failed);
  page.list = new List($("list"), $("rows"), select);
  page.facts = new Facts(page.labels, page.scenes, (fields, fid) => decide(fields, { fid }));
  page.ground = new Ground($("map"), $("where"), content.scenes, select, () => say("A part of the scene cannot be read.", "fault"));
  page.ground.take(outlines, page.regions);
  offer(content);
  listen();
  filter();
  count();
  const first = page.shown.find((region) => opinion(region.fid).status === "unreviewed") ?? page.shown[0];
  if (first) select(first.fid);
  else page.ground.open(0);
  document.documentElement.dataset.ready = "";
  $("list").focus({ preventScroll: true });
}

const opinion = (fid) => page.opinions.of(fid);
const named = (fid) => `Rank ${page.byFid.get(fid)?.rank ?? fid}`;

function offer({ scenes, clear }) {
  scenes.forEach((scene, number) => $("by-scene").append(new Option(scene.name, number)));
  $("scene-choice").hidden = scenes.length < 2;
  page.clear = clear;
}

/** Remarks and the legend belong to the scene that is shown. */
function describe(number) {
  const scene = page.scenes[number];
  $("remarks").replaceChildren(...(scene?.remarks ?? []).map((text) => element("li", "", text)));
  $("legend").hidden = !scene?.heat;
  if (scene?.heat) {
    $("legend-from").textContent = page.clear;
    $("legend-to").textContent = `${scene.top.toFixed(1)}${scene.top < 10 ? "" : " +"}`;
  }
}

// --- choosing

function filter() {
  const [status, scene] = [$("by-status").value, $("by-scene").value];
  const [least, from, to] = ["by-score", "by-area", "by-area-to"].map((id) => $(id).valueAsNumber);
  const size = (region) => region.area_m2 ?? NaN;
  page.shown = page.regions.filter((region) =>
    (!status || opinion(region.fid).status === status) &&
    (scene === "" || region.scene === Number(scene)) &&
    !(region.score < least) && !(size(region) < from) && !(size(region) > to));
  page.list.show(page.shown, opinion);
  page.list.select(page.selected);
  page.ground.refresh(opinion, new Set(page.shown.map((region) => region.fid)));
  $("shown").textContent = `${page.shown.length} of ${page.regions.length} shown`;
  $("clear").hidden = page.shown.length === page.regions.length;
  $("none").hidden = page.shown.length > 0;
}

function select(fid) {
  const region = page.byFid.get(fid);
  page.selected = fid;
  shut();
  page.list.select(fid);
  page.ground.select(region);
  page.facts.show(region, opinion(fid));
  describe(region.scene);
}

/** Puts the list away, on screens where it lies over the map. */
function shut() {
  document.body.classList.remove("listing");
  $("drawer").setAttribute("aria-expanded", "false");
}

function step(by) {
  const index = page.shown.findIndex((region) => region.fid === page.selected);
  const next = index < 0 ? page.shown[0] : page.shown[index + by];
  if (next) select(next.fid);
  else say(by > 0 ? "This is the last region." : "This is the first region.");
}

// --- deciding

function decide(fields, { fid = page.selected, onward = false } = {}) {
  if (fid === null) return;
  const index = page.shown.findIndex((region) => region.fid === fid);
  const next = page.shown[index + 1] ?? page.shown[index - 1];
  const isNew = page.opinions.decide(fid, fields, (after) => say(outcome(fid, fields, after)));
  if (!isNew && !onward) return;
  if (onward && next) select(next.fid);
  if ($("by-status").value && isNew) filter();
}

function outcome(fid, fields, after) {
  const done = decided();
  if ("status" in fields) return `${named(fid)} ${after.status}, ${done} of ${page.regions.length} reviewed`;
  if ("label" in fields) return after.label ? `${named(fid)} is ${after.label}` : `${named(fid)} without label`;
  return `Note of ${named(fid).toLowerCase()} kept`;
}

function label(number) {
  const name = page.labels[number];
  if (name === undefined || page.selected === null) return;
  decide({ label: opinion(page.selected).label === name ? "" : name });
}

function undo() {
  page.opinions.undo((last) => {
    if (!last) return say("There is nothing to undo in this window.");
    if ($("by-status").value) filter();
    select(last.fid);
    say(`${named(last.fid)} is ${last.before.status} again`);
  });
}

/** Other windows and QGIS change regions too. */
function changed(fids) {
  if (!page.list) return;
  page.list.refresh(fids);
  page.ground.refresh(opinion);
  if (fids.includes(page.selected)) page.facts.mark(opinion(page.selected));
  if ($("by-status").value && fids.some((fid) => fid !== page.selected)) filter();
  count();
}

function decided() {
  return page.regions.filter((region) => opinion(region.fid).status !== "unreviewed").length;
}

function count() {
  const total = Math.max(1, page.regions.length);
  const of = (status) => page.regions.filter((region) => opinion(region.fid).status === status).length;
  $("count").textContent = `${decided()} of ${page.regions.length} reviewed`;
  $("accepted-share").style.width = `${(100 * of("accepted")) / total}%`;
  $("rejected-share").style.width = `${(100 * of("rejected")) / total}%`;
}

// --- saying

let quiet;

function say(text, kind = "") {
  $("said").textContent = text;
  $("said").dataset.kind = kind;
  $("said").classList.add("on");
  clearTimeout(quiet);
  if (kind !== "lasting") quiet = setTimeout(() => $("said").classList.remove("on"), kind ? 12000 : 2500);
}

function failed(fault, what) {
  if (!fault) return say("Up to date again.");
  say(`${what}: ${told(fault)}`, fault.status ? "fault" : "lasting");
}

function told(fault) {
  if (fault.status) return fault.message;
  return "satae review cannot be reached; what it said was kept is in the file. Start it again and open its new link";
}

function theme(name) {
  const known = name in THEMES ? name : "";
  document.documentElement.dataset.theme = known;
  $("theme").textContent = `◐ ${THEMES[known]}`;
  $("theme").setAttribute("aria-label", `${THEMES[known]} colours`);
  localStorage.setItem("satae-theme", known);
}

// --- keys and buttons

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  a: () => decide({ status: "accepted" }, { onward: true }),
  r: () => decide({ status: "rejected" }, { onward: true }),
  u: undo,
  n: () => page.facts.write(),
  h: () => $("heat").click(),
  o: () => $("lines").click(),
  f: () => page.ground.zoom(),
  "?": () => $("help").showModal(),
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open) return;
    if (event.key === "Escape") return shut();
    const act = KEYS[event.key.toLowerCase()] ?? (/^[1-9]$/.test(event.key) ? () => label(event.key - 1) : null);
    if (!act || (!$("single-keys").checked && event.key !== "?")) return;
    event.preventDefault();
    if (event.repeat && !"jk".includes(event.key.toLowerCase())) return;
    act();
  });
  const press = { accept: "a", reject: "r", undo: "u", next: "j", previous: "k", keys: "?" };
  for (const [id, key] of Object.entries(press)) $(id).addEventListener("click", () => KEYS[key]());
  toggle("heat", (on) => page.ground.heatmap(on));
  toggle("lines", (on) => page.ground.lines.setVisible(on));
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  });
  $("filter").addEventListener("input", filter);
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("clear").addEventListener("click", () => {
    $("filter").reset();
    filter();
    $("list").focus();
  });
  $("drawer").addEventListener("click", () => {
    const open = document.body.classList.toggle("listing");
    $("drawer").setAttribute("aria-expanded", open);
    page.list.draw();
    page.list.select(page.selected);
  });
  const kept = localStorage.getItem("satae-keys") !== "off";
  $("single-keys").checked = kept;
  $("single-keys").addEventListener("change", () => localStorage.setItem("satae-keys", $("single-keys").checked ? "on" : "off"));
}

function toggle(id, act) {
  $(id).addEventListener("click", () => {
    const on = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", on);
    act(on);
  });
}
