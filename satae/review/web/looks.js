// Which bands of the scene are red, green and blue, and how they are stretched; remembered by the names of the bands.

import { get } from "./api.js";
import { keep, recall } from "./memory.js";

const $ = (id) => document.getElementById(id);
const COLOURS = ["red", "green", "blue"];
const USUAL = { cut: 0.5, gamma: 0.7 };

export class Looks {
  /** `dress(number, query)` draws a scene as a query of its tiles says, `failed(fault)` is told what went wrong. */
  constructor(dress, failed) {
    Object.assign(this, { dress, failed, number: null, offers: new Map() });
    this.wanted = recall("look"); // {names, cut, gamma}, names null for the usual bands
    for (const id of [...COLOURS, "cut", "gamma"]) $(id).addEventListener("input", () => this.choose());
    $("usual").addEventListener("click", () => this.reset());
    $("looks").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.toggle();
    });
    $("bands-button").addEventListener("click", () => this.toggle());
  }

  /** The scene that is shown; without a picture there is nothing to choose. */
  async open(number, scene) {
    if (number === this.number) return;
    this.number = number;
    $("bands-button").disabled = !scene?.picture;
    if (!scene?.picture) return this.toggle(false);
    if (this.wanted || !$("looks").hidden) await this.show();
    if (this.wanted) this.draw(number);
  }

  async toggle(on = $("looks").hidden) {
    if (on === !$("looks").hidden) return;
    if (on) await this.show();
    $("looks").hidden = !on;
    $("bands-button").setAttribute("aria-expanded", on);
    if (on) $("red").focus();
    else $("list").focus({ preventScroll: true });
  }

  /** What can be chosen for the scene, and what is. */
  async show() {
    const number = this.number;
    if (!this.offers.has(number)) {
      try {
        this.offers.set(number, await get(`scenes/${number}/bands`));
      } catch (fault) {
        return this.failed(fault);
      }
    }
    if (number !== this.number) return;
    const { names, usual } = this.offers.get(number);
    const bands = this.bands(number) ?? usual;
    COLOURS.forEach((id, i) => {
      $(id).replaceChildren(...names.map((name, index) => new Option(name, index)));
      $(id).value = bands[i];
    });
    $("cut").value = this.wanted?.cut ?? USUAL.cut;
    $("gamma").value = this.wanted?.gamma ?? USUAL.gamma;
  }

  /** The numbers of the bands that are wanted, where this scene has all of their names; undefined: the usual ones. */
  bands(number) {
    const numbers = this.wanted?.names?.map((name) => this.offers.get(number).names.indexOf(name));
    return numbers?.length === 3 && numbers.every((index) => index >= 0) ? numbers : undefined;
  }

  choose() {
    const { names, usual } = this.offers.get(this.number);
    const bands = COLOURS.map((id) => Number($(id).value));
    const own = bands.some((index, i) => index !== usual[i]);
    this.wanted = { names: own ? bands.map((index) => names[index]) : null, cut: Number($("cut").value), gamma: $("gamma").valueAsNumber };
    this.draw(this.number);
    keep("look", this.wanted);
  }

  reset() {
    this.wanted = null;
    keep("look", null);
    this.show();
    this.draw(this.number);
  }

  draw(number) {
    const asked = new URLSearchParams();
    const bands = this.wanted && this.offers.has(number) ? this.bands(number) : undefined;
    if (bands) asked.set("bands", bands.join());
    for (const name of ["cut", "gamma"]) {
      const value = this.wanted?.[name] ?? USUAL[name];
      if (value !== USUAL[name]) asked.set(name, value);
    }
    this.dress(number, asked.size ? `?${asked}` : "");
  }
}
