"""Paints the ground of the made-up scene: fields, forest, water, roads and villages, one over the other.

Terrain only, as reflectance and cover; objects, nodata and the sensor are added in `synthetic`.
"""

from collections.abc import Iterator
from itertools import cycle, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Shape = tuple[int, int]
Rng = np.random.Generator

BANDS = ("blue", "green", "red", "nir")
FIELD, FOREST, WATER, BUILT = range(4)

# Reflectance x 10000 in the order of BANDS; of each crop also its share of the parcels.
CROPS = np.array(
    [
        [330, 600, 420, 4150],  # dense cereal
        [390, 690, 570, 3500],  # meadow
        [460, 780, 740, 2950],  # thin crop
        [450, 950, 890, 3700],  # flowering rape
        [630, 1000, 1190, 2350],  # stubble
        [680, 1080, 1360, 2150],  # pale bare soil
        [490, 770, 940, 1620],  # dark bare soil
        [560, 930, 1050, 2700],  # ripening
    ]
)
CROP_SHARES = (0.18, 0.17, 0.15, 0.05, 0.14, 0.07, 0.11, 0.13)
CONIFER = np.array([230.0, 380.0, 240.0, 2150.0])
BROADLEAF = np.array([270.0, 510.0, 310.0, 3350.0])
CLEAR_WATER = np.array([330.0, 420.0, 270.0, 150.0])
TURBID_WATER = np.array([420.0, 630.0, 480.0, 260.0])
GARDEN = np.array([420.0, 730.0, 680.0, 2700.0])
TILE_ROOF = np.array([820.0, 1100.0, 1700.0, 2200.0])
SLATE_ROOF = np.array([1000.0, 1200.0, 1350.0, 1700.0])
METAL_ROOF = np.array([1500.0, 1650.0, 1750.0, 2000.0])
ASPHALT = np.array([860.0, 1120.0, 1340.0, 1900.0])
TRACK = np.array([740.0, 1030.0, 1280.0, 2200.0])


class Canvas(NamedTuple):
    """What the painters draw on: reflectance (4, row, col) and the cover of each pixel (FIELD .. BUILT)."""

    image: Floats
    cover: NDArray[np.uint8]


class Mosaic(NamedTuple):
    """Per pixel: block of parallel parcels, parcel (0 .. parcels - 1), position across the crop rows."""

    block: Ints
    parcel: Ints
    across: Floats
    parcels: int


def landscape(rng: Rng, shape: Shape) -> Canvas:
    """Ground of the given (rows, cols): fields, then forest, water, roads and villages over them."""
    fields, forest, water, villages, roads, light = rng.spawn(6)
    canvas = Canvas(np.empty((len(BANDS), *shape)), np.full(shape, FIELD, np.uint8))
    mosaic = _mosaic(fields, shape)
    _paint_fields(fields, canvas, mosaic)
    _paint_forest(forest, canvas, mosaic)
    _paint_water(water, canvas)
    centres = _centres(villages, canvas)
    _paint_roads(roads, canvas, centres)
    _paint_villages(villages, canvas, centres)
    canvas.image[:] *= 1 + 0.035 * _noise(light, shape, 160, octaves=3)
    return canvas


def _noise(rng: Rng, shape: Shape, scale: float, *, octaves: int = 4, gain: float = 0.5) -> Floats:
    """Fractal noise of zero mean and unit deviation whose largest features are about `scale` pixels."""
    total = np.zeros(shape)
    for octave in range(octaves):
        total += gain**octave * _smooth(rng, shape, max(1.0, scale / 2**octave))
    return np.asarray((total - total.mean()) / total.std())


def _smooth(rng: Rng, shape: Shape, scale: float) -> Floats:
    knots = rng.standard_normal((int(shape[1] / scale) + 5, int(shape[0] / scale) + 5))
    phase = rng.random(2)
    rows = np.ascontiguousarray(_stretched(knots, shape[1], scale, phase[1]).T)
    return _stretched(rows, shape[0], scale, phase[0])


def _stretched(knots: Floats, length: int, scale: float, phase: float) -> Floats:
    """Uniform cubic B-spline along axis 0."""
    position = np.arange(length) / scale + phase
    first = position.astype(np.int64)
    t = (position - first)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum((weight * knots[first + k] for k, weight in enumerate(weights)), np.zeros(())) / 6


def _distance(points: Floats, shape: Shape, reach: int) -> Floats:
    """Distance in pixels to the nearest (row, col) point; exact up to `reach`, infinite beyond."""
    distance = np.full(shape, np.inf)
    for offset in np.ndindex(2 * reach + 1, 2 * reach + 1):
        pixel = np.rint(points).astype(np.int64) + np.array(offset) - reach
        inside = ((pixel >= 0) & (pixel < shape)).all(axis=1)
        away = np.hypot(*(pixel - points)[inside].T)
        np.minimum.at(distance, tuple(pixel[inside].T), away)
    return distance


def _bend(rng: Rng, start: Floats, end: Floats, amplitude: float) -> Floats:
    """A gently bent line between two (row, col) points, one point every half pixel."""
    step = end - start
    length = max(float(np.hypot(*step)), 1.0)
    t = np.linspace(0, 1, int(2 * length))[:, None]
    waves = sum(rng.normal() / k * np.sin(np.pi * k * t) for k in range(1, 6))
    return np.asarray(start + t * step + amplitude * waves * np.array([step[1], -step[0]]) / length)


def _meander(rng: Rng, shape: Shape) -> Floats:
    """A sine-generated curve (Langbein and Leopold 1966) from left to right, (row, col) every 1.5 pixels."""
    s = np.arange(0, 2.6 * shape[1], 1.5)
    wander = np.stack([_smooth(rng, (s.size, 1), 60)[:, 0] for _ in range(2)])
    phase = np.cumsum(1 + 0.5 * wander[0]) * 1.5 * 2 * np.pi / rng.uniform(280, 360)
    heading = rng.uniform(-0.2, 0.2) + np.clip(0.95 + 0.5 * wander[1], 0.2, 1.4) * np.sin(phase)
    rows, cols = 1.5 * np.cumsum(np.sin(heading)), 1.5 * np.cumsum(np.cos(heading)) - 20
    seen = (cols > 0) & (cols < shape[1])
    return np.stack([rows - rows[seen].mean() + rng.uniform(0.4, 0.65) * shape[0], cols], axis=1)


def _blend(canvas: Canvas, alpha: Floats | Bools, spectrum: Floats) -> None:
    """Cover the canvas with a spectrum, (4,) or (4, row, col), by the share `alpha` (row, col)."""
    where = np.nonzero(alpha)
    share = alpha[where]
    for band, paint in zip(canvas.image, spectrum, strict=True):
        band[where] += share * (np.broadcast_to(paint, band.shape)[where] - band[where])


def _between(one: Floats, other: Floats, share: Floats) -> Floats:
    """Spectra (4, row, col) from `one` where the share is 0 to `other` where it is 1."""
    return np.asarray(one[:, None, None] + np.clip(share, 0, 1) * (other - one)[:, None, None])


def _mosaic(rng: Rng, shape: Shape) -> Mosaic:
    """Blocks (a warped Voronoi diagram), each cut into strips in its own direction, strips into parcels."""
    rows, cols = np.indices(shape) + 7 * np.stack([_noise(rng, shape, 90, octaves=3) for _ in range(2)])
    block = _blocks(rng, rows, cols)
    count = int(block.max()) + 1
    angle = rng.uniform(0, np.pi) + rng.normal(0, 0.3, count) + np.pi / 2 * rng.integers(0, 2, count)
    sine, cosine = np.sin(angle)[block], np.cos(angle)[block]
    across, along = rows * cosine + cols * sine, cols * cosine - rows * sine
    strips = across / rng.uniform(9, 26, count)[block]
    # The wave keeps the strips in order and makes them unequally wide.
    strip = np.floor(strips + 0.35 * np.sin(2.3 * strips)).astype(np.int64) % 64
    length, start = rng.uniform(28, 90, (count, 64)), rng.random((count, 64))
    cell = np.floor(along / length[block, strip] + start[block, strip]).astype(np.int64) % 64
    return Mosaic(block, (block * 64 + strip) * 64 + cell, across, count * 64 * 64)


def _blocks(rng: Rng, rows: Floats, cols: Floats, spacing: int = 105) -> Ints:
    grid = np.indices([size // spacing + 3 for size in rows.shape]).reshape(2, -1).T
    seeds = spacing * (grid - 0.5 + rng.uniform(-0.45, 0.45, grid.shape))
    return np.asarray(cKDTree(seeds).query(np.stack([rows, cols], axis=-1))[1], np.int64)


def _paint_fields(rng: Rng, canvas: Canvas, mosaic: Mosaic) -> None:
    count, parcel = mosaic.parcels, mosaic.parcel
    crop, other = CROPS[rng.choice(len(CROPS), (2, count), p=CROP_SHARES)]
    spectra = (crop + rng.uniform(0, 0.3, (count, 1)) * (other - crop)) * rng.normal(1, 0.05, (count, 1))
    canvas.image[:] = spectra.T[:, parcel]
    vigour = 0.045 * _noise(rng, canvas.cover.shape, 24, octaves=5, gain=0.65)
    period, depth = rng.uniform(2.6, 7, count), 0.05 * rng.random(count) ** 2
    vigour += depth[parcel] * np.sin(2 * np.pi * mosaic.across / period[parcel])
    canvas.image[:] *= 1 + np.multiply.outer([-0.8, -0.8, -0.8, 1], vigour)
    hedged = rng.random(count) < 0.12
    _blend(canvas, 0.6 * (_edges(parcel) * hedged[parcel]), BROADLEAF)
    _blend(canvas, 0.45 * _edges(mosaic.block), TRACK)


def _edges(labels: Ints) -> Floats:
    """1 where the label differs from the one above or to the left, else 0."""
    above = np.diff(labels, axis=0, prepend=labels[:1])
    left = np.diff(labels, axis=1, prepend=labels[:, :1])
    return np.asarray((above != 0) | (left != 0), np.float64)


def _paint_forest(rng: Rng, canvas: Canvas, mosaic: Mosaic) -> None:
    shape = canvas.cover.shape
    density = _noise(rng, shape, 150, octaves=5, gain=0.45)
    density += 0.35 * rng.standard_normal(mosaic.parcels)[mosaic.parcel]
    forest = density > np.quantile(density, 0.79)
    trees = _between(CONIFER, BROADLEAF, 0.5 + 0.5 * _noise(rng, shape, 70))
    crowns = ndimage.gaussian_filter(rng.standard_normal(shape), 0.8) / 0.35
    trees *= np.clip(1 + 0.15 * crowns + 0.05 * _noise(rng, shape, 12, octaves=2), 0.4, 1.8)
    _blend(canvas, forest, trees)
    canvas.cover[forest] = FOREST


def _paint_water(rng: Rng, canvas: Canvas) -> None:
    """A river and a lake with woods along parts of their shores."""
    shape = canvas.cover.shape
    river = _distance(_meander(rng, shape), shape, 19) - 8.5 - 1.5 * _smooth(rng, shape, 120)
    shore = np.minimum(river, _lake(rng, shape)) + 1.2 * _noise(rng, shape, 30)
    woods = (shore < 5) & (_noise(rng, shape, 25) > 0.3)
    _blend(canvas, woods, _between(CONIFER, BROADLEAF, 0.6 + 0.25 * rng.standard_normal(shape)))
    water = _between(CLEAR_WATER, TURBID_WATER, 0.45 + 0.25 * _noise(rng, shape, 90, octaves=5))
    _blend(canvas, np.clip(0.5 - shore, 0, 1), water)
    canvas.cover[woods] = FOREST
    canvas.cover[shore < 0] = WATER


def _lake(rng: Rng, shape: Shape) -> Floats:
    """About the distance to the shore of a ragged lake, negative inside."""
    centre = np.array(shape) * (rng.choice([0.2, 0.82]), rng.uniform(0.25, 0.75))
    rows, cols = np.indices(shape) - centre[:, None, None]
    oval = np.hypot(rows / 0.7 + 0.4 * cols, cols) - 0.045 * np.sqrt(shape[0] * shape[1])
    return np.asarray(oval + 13 * _noise(rng, shape, 45))


def _centres(rng: Rng, canvas: Canvas) -> Floats:
    """Village centres (row, col), from left to right, on dry land where there is any."""
    height, width = canvas.cover.shape
    wanted = max(1, round(canvas.cover.size / 260_000))
    dry = ndimage.minimum_filter(canvas.cover != WATER, size=61)
    tries = rng.uniform(0.15, 0.85, (2, wanted, 50))
    rows, cols = tries[0] * height, (tries[1] + np.arange(wanted)[:, None]) * width / wanted
    first = dry[rows.astype(np.int64), cols.astype(np.int64)].argmax(axis=1)
    return np.asarray(np.stack([rows, cols], axis=-1)[np.arange(wanted), first])


def _paint_roads(rng: Rng, canvas: Canvas, centres: Floats) -> None:
    """Roads except those that would need a long bridge."""
    for path in _network(rng, canvas.cover.shape, centres):
        distance = _distance(path, canvas.cover.shape, 2)
        half = rng.uniform(0.3, 0.7)
        road = distance < half + 0.5
        if np.count_nonzero(canvas.cover[road] == WATER) < 90:
            _blend(canvas, 0.7 * np.clip(half + 0.5 - distance, 0, 1), ASPHALT)
            canvas.cover[road] = BUILT


def _network(rng: Rng, shape: Shape, centres: Floats) -> Iterator[Floats]:
    """One road from frame to frame through all villages, and a side road from each of them."""
    west, east = centres[[0, -1], 0] + rng.normal(0, 60, 2)
    for here, there in pairwise([np.array([west, -5.0]), *centres, np.array([east, shape[1] + 5.0])]):
        yield _bend(rng, here, there, 14)
    for centre, edge in zip(centres, cycle((-5.0, shape[0] + 5.0)), strict=False):
        yield _bend(rng, centre, np.array([edge, centre[1] + rng.normal(0, 90)]), 14)


def _paint_villages(rng: Rng, canvas: Canvas, centres: Floats) -> None:
    for centre in centres:
        houses = _houses(rng, centre, rng.uniform(26, 46))
        gardens = np.clip(1.2 - 0.16 * _distance(houses, canvas.cover.shape, 8), 0, 0.8)
        _blend(canvas, gardens * (canvas.cover != WATER), GARDEN)
        canvas.cover[(gardens > 0) & (canvas.cover != WATER)] = BUILT
        for house in houses:
            _paint_house(rng, canvas, house)


def _houses(rng: Rng, centre: Floats, radius: float) -> Floats:
    """House positions (row, col) on both sides of a few streets."""
    streets = []
    for angle in rng.uniform(0, 2 * np.pi) + np.pi / 5 * np.arange(5) + rng.normal(0, 0.2, 5):
        ray = rng.uniform(0.35, 1) * radius * np.array([np.sin(angle), np.cos(angle)])
        middle = centre + rng.normal(0, 0.3 * radius, 2)
        streets.append(_bend(rng, middle - ray, middle + ray, 5)[::3])
    places = np.concatenate(streets)
    return np.asarray(places + rng.normal(0, 2.2, places.shape))


def _paint_house(rng: Rng, canvas: Canvas, place: Floats) -> None:
    """A roof of one to four pixels, now and then the large one of a hall."""
    hall = rng.random() < 0.04
    tall, wide = rng.integers(1, 3, 2) + hall * rng.integers(1, 5, 2)
    row, col = (max(0, int(x)) for x in place)
    window = (slice(row, row + tall), slice(col, col + wide))
    roof = METAL_ROOF if hall else TILE_ROOF + rng.random() * (SLATE_ROOF - TILE_ROOF)
    paint = (roof * rng.uniform(0.75, 1.25))[:, None, None]
    ground = canvas.image[:, *window]
    ground += (canvas.cover[window] != WATER) * rng.uniform(0.25, 0.8) * (paint - ground)
