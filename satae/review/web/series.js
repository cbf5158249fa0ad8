// Of a result of `satae series`: the dates of the selected region side by side, and plots beside what was expected.

import { get } from "./api.js";
import { element } from "./words.js";

const holder = document.getElementById("series");
let wanted = null;

document.addEventListener("region", async ({ detail: { fid, region } }) => {
  if (!region.first_date) return;
  wanted = fid;
  style();
  document.body.classList.add("series");
  holder.hidden = false;
  holder.replaceChildren();
  const told = await get(`courses/${fid}`).catch(() => ({}));
  if (wanted !== fid) return; // another was chosen meanwhile
  holder.replaceChildren(days(region), strip(fid, told.panels ?? []), ...plots(told.plots ?? []));
});

/** The sheet that the report has too; it is asked for once the page may ask. */
function style() {
  if (document.getElementById("course-style")) return;
  const link = element("link");
  Object.assign(link, { id: "course-style", rel: "stylesheet", href: "course.css" });
  document.head.append(link);
}

function days(region) {
  const list = element("dl", "days");
  for (const name of ["first", "confirmed", "peak", "last"]) {
    const group = element("div");
    group.append(element("dt", "", name), element("dd", "", (region[`${name}_date`] ?? "–").slice(0, 10)));
    list.append(group);
  }
  return list;
}

function strip(fid, panels) {
  if (!panels.length) return element("p", "muted small", "No date of this run shows it clearly.");
  const list = element("ol", "strip");
  for (const { number, day, role } of panels) {
    const item = element("li");
    const shot = element("img", "shot");
    Object.assign(shot, { alt: `${day} ${role}`.trim(), width: 96, height: 96, src: `courses/${fid}/${number}.png` });
    const time = element("time", "", day);
    time.dateTime = day;
    item.append(shot, time);
    if (role) item.append(element("small", "", role));
    list.append(item);
  }
  return list;
}

function plots(found) {
  const drawn = found.filter(({ svg }) => svg).map(({ band, svg }) => {
    const image = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const group = element("div", "plot");
    group.append(element("h3", "", band), document.importNode(image, true));
    return group;
  });
  if (drawn.length < 2) return drawn;
  const more = element("details");
  more.append(element("summary", "", "Other bands"), ...drawn.slice(1));
  return [drawn[0], more];
}
