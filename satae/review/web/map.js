// One scene at a time in its own pixels: picture, heatmap, outlines. The heatmap's grid is the scene's.

import { Crowd } from "./crowd.js";

const COLOURS = [ // of outlines by score, as in the QGIS style
  [2, "#fff1a8"], [3, "#ffd633"], [4, "#ff9f0a"], [6, "#ff5230"], [Infinity, "#ff2d96"],
];
const BY_STATUS = { accepted: "#35e08d", rejected: "#c9d1d8", unsure: "#78beff" };
const CASING = "rgba(12,12,20,0.75)";
const LABELLED = 2; // scene pixels a screen pixel, up to which ranks are written
const TILE = 256;
const MANY = 1000; // outlines in sight from which drawing each of them with care takes longer than a frame
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Ground {
  /** `choose(fid)` is called when a region is clicked, `damaged()` when a tile cannot be read. */
  constructor(target, where, scenes, choose, damaged) {
    Object.assign(this, { where, scenes, damaged, number: null, selected: null, shown: new Set(), opinion: () => ({}), queries: [], fetched: new Set(), opacity: 1 });
    this.outlines = new ol.source.Vector();
    this.styles = new Map();
    this.lines = new ol.layer.Vector({ source: this.outlines, style: (f, r) => this.style(f, r), declutter: true, zIndex: 3 });
    // of very many the chosen one alone is drawn with care
    this.crowd = new Crowd((feature) => this.colour(feature));
    this.single = new ol.layer.Vector({ source: new ol.source.Vector(), style: (f, r) => this.style(f, r), visible: false, zIndex: 4 });
    Object.assign(this, { lined: true, crowded: false });
    this.scale = new ol.control.ScaleLine({ minWidth: 72 });
    this.map = new ol.Map({
      target,
      layers: [this.lines, this.crowd.layer, this.single],
      controls: [new ol.control.Zoom(), this.scale],
      interactions: ol.interaction.defaults.defaults({ altShiftDragRotate: false, pinchRotate: false }),
    });
    this.map.on("singleclick", ({ coordinate }) => {
      const fid = this.at(coordinate);
      if (fid !== null) choose(fid);
    });
    this.map.on("moveend", () => this.settle());
    this.map.on("pointermove", ({ coordinate }) => this.tell(coordinate));
  }

  /** Takes the outlines {fid: polygons} in, and regions for their scene and score. */
  take(shapes, regions) {
    this.features = scenesOf(regions, this.scenes.length);
    for (const region of regions) {
      const rings = shapes[region.fid];
      if (!rings?.length) continue;
      const feature = new ol.Feature(new ol.geom.MultiPolygon(rings));
      feature.setId(region.fid);
      feature.setProperties({ score: region.score ?? 0, rank: region.rank }, true);
      this.features[region.scene].push(feature);
    }
    this.extents = this.scenes.map((scene, i) => scene.width
      ? [0, -scene.height, scene.width, 0]
      : this.features[i].reduce((all, f) => ol.extent.extend(all, f.getGeometry().getExtent()), ol.extent.createEmpty()));
  }

  /** Shows a scene. */
  open(number) {
    if (number === this.number) return;
    this.number = number;
    const scene = this.scenes[number];
    const extent = ol.extent.isEmpty(this.extents[number]) ? [0, 0, 1, 1] : this.extents[number];
    const projection = new ol.proj.Projection({
      code: `satae:${number}`, units: scene.width ? "pixels" : "m", extent,
      metersPerUnit: scene.width ? scene.gsd_m ?? undefined : 1, getPointResolution: (resolution) => resolution,
    });
    for (const layer of [this.picture, this.heat]) if (layer) this.map.removeLayer(layer);
    this.picture = scene.picture ? this.tiles(scene, projection, extent, "picture", 1) : null;
    this.heat = scene.heat ? this.tiles(scene, projection, extent, "heatmap", 2) : null;
    for (const layer of [this.picture, this.heat]) if (layer) this.map.addLayer(layer);
    this.outlines.clear(true);
    this.outlines.addFeatures(this.features[number]);
    this.crowd.take(this.features[number]);
    const size = Math.max(ol.extent.getWidth(extent), ol.extent.getHeight(extent));
    const smallest = scene.width ? 1 / 32 : size / 1e5;
    this.map.setView(new ol.View({
      projection, center: ol.extent.getCenter(extent), resolution: size / 400,
      minResolution: smallest, maxResolution: Math.max(size / 100, 4 * smallest), enableRotation: false,
    }));
    this.map.getView().on("change:resolution", () => this.settle());
    this.scale.element.hidden = Boolean(scene.width && !scene.gsd_m);
    this.fresh = true;
  }

  tiles(scene, projection, extent, what, zIndex) {
    const highest = scene.levels - 1;
    const resolutions = Array.from({ length: scene.levels }, (_, z) => 2 ** (highest - z));
    const source = new ol.source.TileImage({
      projection, interpolate: false, transition: still.matches ? 0 : 150,
      tileGrid: new ol.tilegrid.TileGrid({ extent, origin: [0, 0], resolutions, tileSize: TILE }),
      tileUrlFunction: ([z, x, y]) => this.address(this.number, what, highest - z, y, x),
    });
    source.on("tileloaderror", () => this.damaged());
    const layer = new ol.layer.Tile({ source, zIndex, preload: 1 });
    layer.setVisible(what !== "heatmap" || this.hot !== false);
    if (what === "heatmap") layer.setOpacity(this.opacity);
    return layer;
  }

  address(number, what, level, row, col) {
    return `scenes/${number}/${what}/${level}/${row}/${col}.png${what === "picture" ? this.queries[number] ?? "" : ""}`;
  }

  /** Draws a scene with other bands or another stretch, as `query` says. */
  dress(number, query) {
    if ((this.queries[number] ?? "") === query) return;
    this.queries[number] = query;
    const source = number === this.number ? this.picture?.getSource() : null;
    source?.setTileUrlFunction(source.getTileUrlFunction(), query); // what is drawn stays until the new is there
  }

  style(feature, resolution) {
    const fid = feature.getId();
    if (this.hides(fid)) return null;
    const { status, waits } = this.opinion(fid);
    const chosen = fid === this.selected;
    const colour = this.colour(feature);
    const label = chosen || resolution <= LABELLED ? String(feature.get("rank") ?? "") : "";
    const dash = waits ? [1, 6] : status === "rejected" ? [4, 4] : undefined;
    const key = [colour, dash, chosen, label].join();
    if (!this.styles.has(key)) this.styles.set(key, drawn(colour, dash, chosen, label));
    return this.styles.get(key);
  }

  /** Whether the filter keeps a region out; the chosen one is always seen. */
  hides(fid) {
    return !this.shown.has(fid) && fid !== this.selected;
  }

  /** By status, else by score; null where the filter hides it. */
  colour(feature) {
    const fid = feature.getId();
    if (this.hides(fid)) return null;
    return BY_STATUS[this.opinion(fid).status] ?? COLOURS.find(([upper]) => feature.get("score") < upper)[1];
  }

  /** Outlines on and off. */
  outline(on) {
    this.lined = on;
    this.settle();
  }

  /** Draws with care what is in sight, or quickly where that is too much. */
  settle() {
    const within = this.map.getView().calculateExtent(this.map.getSize());
    this.crowded = this.features[this.number].length > MANY && this.outlines.getFeaturesInExtent(within).length > MANY;
    this.lines.setVisible(this.lined && !this.crowded);
    for (const layer of [this.crowd.layer, this.single]) layer.setVisible(this.lined && this.crowded);
  }

  /** What is drawn is not as it was. */
  redraw() {
    for (const layer of [this.lines, this.crowd, this.single]) layer.changed();
  }

  /** Draws again after opinions or the filter changed; `shown` are the fids that pass. */
  refresh(opinion, shown) {
    this.opinion = opinion;
    if (shown) this.shown = shown;
    this.redraw();
  }

  /** Chooses a region, or none. */
  select(region) {
    this.selected = region?.fid ?? null;
    this.redraw();
    this.single.getSource().clear(true);
    if (!region) return;
    this.open(region.scene);
    const feature = this.outlines.getFeatureById(region.fid);
    if (feature) this.single.getSource().addFeature(feature);
    if (feature) this.look(feature.getGeometry().getExtent());
  }

  /** Brings an extent to the middle, at the zoom there is unless it would be too small or too large to see. */
  look(extent) {
    const view = this.map.getView();
    const [width, height] = this.map.getSize() ?? [400, 400];
    const smallest = this.scenes[this.number].width ? 1 / 6 : 0;
    const fitting = Math.max(ol.extent.getWidth(extent) / width, ol.extent.getHeight(extent) / height, smallest / 6);
    const now = view.getResolution();
    const fits = !this.fresh && fitting * 1.2 < now && now < fitting * 30;
    const all = this.extents[this.number];
    const whole = 1.1 * Math.max(ol.extent.getWidth(all) / width, ol.extent.getHeight(all) / height);
    const around = Math.max(1.2 * fitting, Math.min(6 * fitting, whole)); // a large region and no emptiness beyond the scene
    const target = { center: ol.extent.getCenter(extent), resolution: fits ? now : around };
    view.cancelAnimations();
    if (this.fresh || this.calm) {
      view.setCenter(target.center);
      view.setResolution(target.resolution);
      this.settle();
    } else view.animate({ ...target, duration: 180 });
    this.fresh = false;
    this.wide = false;
  }

  /** Whether the view jumps: for who wants that, and where each frame of a flight would draw thousands of outlines. */
  get calm() {
    return still.matches || this.features[this.number].length > MANY;
  }

  /** The whole scene, and back. */
  zoom() {
    const feature = this.selected === null ? null : this.outlines.getFeatureById(this.selected);
    if (this.wide && feature) {
      this.fresh = true;
      return this.look(feature.getGeometry().getExtent());
    }
    this.map.getView().fit(this.extents[this.number], { padding: [16, 16, 16, 16], duration: this.calm ? 0 : 180 });
    this.settle();
    this.wide = true;
  }

  heatmap(on) {
    this.hot = on;
    this.heat?.setVisible(on);
  }

  /** How much of what lies below the heatmap hides, 0 to 1. */
  veil(opacity) {
    this.opacity = opacity;
    this.heat?.setOpacity(opacity);
  }

  /** Fetches the tiles that a region would show, so that none is grey when it is chosen. */
  ahead(region) {
    const scene = this.scenes[region.scene];
    const feature = this.features[region.scene]?.find((f) => f.getId() === region.fid);
    if (region.scene !== this.number || !feature || !scene.width) return;
    const [x, y] = ol.extent.getCenter(feature.getGeometry().getExtent());
    const resolution = this.map.getView().getResolution();
    const [width, height] = this.map.getSize() ?? [0, 0];
    const level = Math.max(0, Math.min(scene.levels - 1, Math.floor(Math.log2(Math.max(1, resolution)))));
    const side = TILE * 2 ** level;
    const [first, last] = [[x - (width / 2) * resolution, -y - (height / 2) * resolution], [x + (width / 2) * resolution, -y + (height / 2) * resolution]];
    const clip = (value, size) => Math.max(0, Math.min(Math.ceil(size / side) - 1, Math.floor(value / side)));
    for (const what of ["picture", "heatmap"]) {
      if (!scene[what === "picture" ? "picture" : "heat"]) continue;
      for (let row = clip(first[1], scene.height); row <= clip(last[1], scene.height); row++) {
        for (let col = clip(first[0], scene.width); col <= clip(last[0], scene.width); col++) {
          const address = this.address(region.scene, what, level, row, col);
          if (this.fetched.has(address)) continue;
          this.fetched.add(address);
          new Image().src = address;
        }
      }
    }
  }

  at(coordinate) {
    const seen = (feature) => this.shown.has(feature.getId());
    const size = (feature) => ol.extent.getArea(feature.getGeometry().getExtent());
    const inside = this.outlines.getFeaturesAtCoordinate(coordinate).filter(seen).sort((a, b) => size(a) - size(b));
    if (inside.length) return inside[0].getId();
    const near = this.outlines.getClosestFeatureToCoordinate(coordinate, seen);
    if (!near) return null;
    const [x, y] = near.getGeometry().getClosestPoint(coordinate);
    const away = Math.hypot(x - coordinate[0], y - coordinate[1]) / this.map.getView().getResolution();
    return away <= 12 ? near.getId() : null;
  }

  tell([x, y]) {
    const t = this.scenes[this.number]?.transform;
    if (!t) return;
    const [east, north] = [t[0] * x - t[1] * y + t[2], t[3] * x - t[4] * y + t[5]];
    const digits = Math.abs(t[0]) < 0.01 ? 6 : 1;
    this.where.textContent = `x ${east.toFixed(digits)}  y ${north.toFixed(digits)}  row ${Math.floor(-y)}  col ${Math.floor(x)}`;
  }
}

function scenesOf(regions, count) {
  return Array.from({ length: Math.max(1, count) }, () => []);
}

/** Where the rank of a feature stands: over the top of its largest part, so that it hides nothing of it. */
function above(feature) {
  return (feature.above ??= topOf(feature));
}

function topOf(feature) {
  const parts = feature.getGeometry().getPolygons();
  const [west, , east, north] = parts.reduce((a, b) => (b.getArea() > a.getArea() ? b : a)).getExtent();
  return new ol.geom.Point([(west + east) / 2, north]);
}

function drawn(colour, dash, chosen, label) {
  const line = (options) => new ol.style.Stroke({ lineJoin: "miter", miterLimit: 2, ...options }); // square corners, no spikes
  const styles = [];
  if (chosen) styles.push(new ol.style.Style({ stroke: line({ color: "rgba(255,255,255,0.95)", width: 8 }), zIndex: 9 }));
  styles.push(
    new ol.style.Style({ stroke: line({ color: CASING, width: chosen ? 5 : dash ? 2.5 : 4 }), zIndex: chosen ? 9 : 1 }),
    new ol.style.Style({
      stroke: line({ color: colour, width: chosen ? 3 : dash ? 1.25 : 2, lineDash: dash }),
      zIndex: chosen ? 9 : 2,
    }),
  );
  if (label) styles.push(new ol.style.Style({
    geometry: above,
    zIndex: 10,
    text: new ol.style.Text({
      text: label, font: "600 12px system-ui, sans-serif", textBaseline: "bottom", offsetY: -4,
      fill: new ol.style.Fill({ color: "#fff" }), stroke: new ol.style.Stroke({ color: "rgba(12,12,20,0.9)", width: 3 }),
    }),
  }));
  return styles;
}
