// The ranked list: of thousands of regions only the rows in sight are in the page.

import { area, element, marks, score } from "./words.js";

const SPARE = 6; // rows drawn beyond what is in sight

export class List {
  /** `choose(fid)` is called when a row is clicked or reached by the arrow keys. */
  constructor(box, rows, choose) {
    Object.assign(this, { box, rows, choose, regions: [], drawn: new Map(), selected: null, opinion: null });
    box.addEventListener("scroll", () => this.draw());
    box.addEventListener("keydown", (event) => this.move(event));
    rows.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) choose(Number(row.dataset.fid));
    });
    this.measure();
    new ResizeObserver(() => {
      this.measure();
      this.draw();
    }).observe(box);
  }

  /** Measures once what every row would ask for: how many stand side by side, one or as many chips as fit, and how high. */
  measure() {
    const style = getComputedStyle(this.box);
    const wide = parseFloat(style.getPropertyValue("--cell"));
    this.height = parseFloat(style.getPropertyValue("--row"));
    this.columns = wide ? Math.max(1, Math.floor(this.box.clientWidth / wide)) : 1;
  }

  /** Shows these regions; `opinion(fid)` says what to mark them with. */
  show(regions, opinion) {
    this.regions = regions;
    this.opinion = opinion;
    this.measure();
    this.drawn.forEach((row) => row.remove());
    this.drawn.clear();
    this.rows.style.height = `${Math.ceil(regions.length / this.columns) * this.height}px`;
    this.draw();
  }

  draw() {
    const [height, columns] = [this.height, this.columns];
    const spare = columns > 1 ? 1 : SPARE; // of chips a row is many
    const first = columns * Math.max(0, Math.floor(this.box.scrollTop / height) - spare);
    const last = Math.min(this.regions.length, columns * (Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + spare));
    if (columns !== this.drawnColumns) {
      this.drawn.forEach((row) => row.remove());
      this.drawn.clear();
      this.drawnColumns = columns;
      this.rows.style.height = `${Math.ceil(this.regions.length / columns) * height}px`;
    }
    for (const [index, row] of this.drawn) {
      if (index < first || index >= last) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    for (let index = last - 1; index >= first; index--) {
      if (this.drawn.has(index)) continue;
      const row = this.row(index);
      row.style.transform = `translate(${((index % columns) * 100)}%, ${Math.floor(index / columns) * height}px)`;
      row.style.width = columns > 1 ? `${100 / columns}%` : "";
      this.drawn.set(index, row);
      this.rows.insertBefore(row, this.drawn.get(index + 1) ?? null); // in the order that they are read in
    }
  }

  row(index) {
    const region = this.regions[index];
    const { status, label, waits } = this.opinion(region.fid);
    const row = element("div", "row");
    row.id = `row-${region.fid}`;
    row.dataset.fid = region.fid;
    row.dataset.status = status;
    row.dataset.waits = waits;
    row.setAttribute("role", "option");
    row.setAttribute("aria-setsize", this.regions.length);
    row.setAttribute("aria-posinset", index + 1);
    row.setAttribute("aria-selected", region.fid === this.selected);
    const thumb = element("span", "thumb");
    if (region.chip) {
      const image = element("img");
      image.alt = "";
      image.src = `chips/${region.fid}.png`;
      image.addEventListener("error", () => image.remove());
      thumb.append(image);
    }
    const words = element("span", "words");
    const first = element("span", "first", `${region.rank ?? "–"}`);
    first.append(element("span", "value", score(region.score)));
    words.append(first, element("span", "second", [region.kind, area(region), label || region.top_band].filter(Boolean).join(" · ")));
    const mark = element("span", "mark", waits ? "○" : marks[status] ?? "");
    mark.title = waits ? `${status}, not stored yet` : status;
    row.append(thumb, words, mark, element("span", "unseen", mark.title));
    return row;
  }

  /** Draws the rows of these regions again. */
  refresh(fids) {
    const wanted = new Set(fids);
    for (const [index, row] of this.drawn) {
      if (!wanted.has(Number(row.dataset.fid))) continue;
      const again = this.row(index);
      again.style.transform = row.style.transform;
      again.style.width = row.style.width;
      row.replaceWith(again);
      this.drawn.set(index, again);
    }
  }

  select(fid) {
    this.selected = fid;
    const index = this.regions.findIndex((region) => region.fid === fid);
    if (index >= 0) {
      const height = this.height;
      const top = Math.floor(index / this.columns) * height;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop) this.box.scrollTop = top;
      else if (top + height > scrollTop + clientHeight) this.box.scrollTop = top + height - clientHeight;
      this.draw();
      this.box.setAttribute("aria-activedescendant", `row-${fid}`);
    } else this.box.removeAttribute("aria-activedescendant");
    for (const row of this.drawn.values()) row.setAttribute("aria-selected", Number(row.dataset.fid) === fid);
  }

  move(event) {
    const index = this.regions.findIndex((region) => region.fid === this.selected);
    const columns = this.columns;
    const page = columns * Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
    const aside = columns > 1 ? { ArrowRight: 1, ArrowLeft: -1 } : {};
    const steps = { ...aside, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page, Home: -index, End: this.regions.length };
    if (!(event.key in steps) || !this.regions.length) return;
    event.preventDefault();
    const target = Math.min(this.regions.length - 1, Math.max(0, index + steps[event.key]));
    this.choose(this.regions[target].fid);
  }
}
