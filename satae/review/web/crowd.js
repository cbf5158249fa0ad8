// Very many outlines at once, as of a whole scene: small regions as squares, for each costs a key its quickness.

const LARGE = 7; // screen pixels from which a region is drawn by its corners
const SMALLEST = 3; // screen pixels of a square

export class Crowd {
  /** `colour(feature)` is what a feature is drawn in, null where it is hidden. */
  constructor(colour) {
    Object.assign(this, { colour, features: [], drawn: "", revision: 0 });
    this.canvas = document.createElement("canvas");
    this.element = document.createElement("div"); // into a canvas of its size other layers would draw too
    this.element.className = "crowd";
    this.element.append(this.canvas);
    this.layer = new ol.layer.Layer({ render: (frame) => this.render(frame), zIndex: 3, visible: false });
  }

  /** Takes the features of a scene. */
  take(features) {
    this.features = features;
    this.boxes = features.map((feature) => feature.getGeometry().getExtent());
    this.changed();
  }

  changed() {
    this.revision += 1;
    this.layer.changed();
  }

  render({ size: [width, height], pixelRatio, viewState: { center, resolution } }) {
    const now = [width, height, pixelRatio, ...center, resolution, this.revision].join();
    if (now !== this.drawn) this.draw(width, height, pixelRatio, center, resolution);
    this.drawn = now;
    return this.element;
  }

  draw(width, height, ratio, [x, y], resolution) {
    const context = this.canvas.getContext("2d");
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    context.scale(ratio, ratio);
    const [left, top] = [x - (width / 2) * resolution, y + (height / 2) * resolution];
    const large = new Map();
    let before = "";
    for (let i = 0; i < this.features.length; i++) {
      const [west, south, east, north] = this.boxes[i];
      const [column, row] = [(west - left) / resolution, (top - north) / resolution];
      const [wide, high] = [(east - west) / resolution, (north - south) / resolution];
      if (column > width || row > height || column + wide < 0 || row + high < 0) continue;
      const colour = this.colour(this.features[i]);
      if (!colour) continue;
      if (Math.max(wide, high) >= LARGE) {
        if (!large.has(colour)) large.set(colour, []);
        large.get(colour).push(this.features[i]);
        continue;
      }
      if (colour !== before) context.fillStyle = before = colour;
      const [broad, tall] = [Math.max(SMALLEST, wide), Math.max(SMALLEST, high)];
      context.fillRect(column + (wide - broad) / 2, row + (high - tall) / 2, broad, tall);
    }
    context.lineWidth = 1.5;
    for (const [colour, features] of large) {
      context.strokeStyle = colour;
      context.beginPath();
      for (const feature of features) trace(context, feature.getGeometry(), left, top, resolution);
      context.stroke();
    }
  }
}

/** Adds the rings of a multipolygon to the path. */
function trace(context, shape, left, top, resolution) {
  const flat = shape.getFlatCoordinates();
  let from = 0;
  for (const to of shape.getEndss().flat()) {
    for (let i = from; i < to; i += 2) {
      const [column, row] = [(flat[i] - left) / resolution, (top - flat[i + 1]) / resolution];
      if (i === from) context.moveTo(column, row);
      else context.lineTo(column, row);
    }
    context.closePath();
    from = to;
  }
}
