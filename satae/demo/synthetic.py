"""Makes a four-band landscape with planted anomalies in known places, for demo, tests and benchmarks.

It is no radiative model and no benchmark of real scenes: it only looks like a 10 m Sentinel-2 crop, and the
planted objects are out of place without being tuned to any score.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from satae.demo.landscape import (
    BANDS,
    FIELD,
    FOREST,
    WATER,
    Bools,
    Canvas,
    Floats,
    Ints,
    Rng,
    Shape,
    landscape,
)

__all__ = ["BANDS", "RECIPES", "PlantedObject", "Synthetic", "scene"]

Outline = Callable[[Floats, Floats], Bools]

SMALLEST = 128
APART = 45  # pixels between two centres; no object reaches further than 8, so 25 and more stay between them
MARGIN = 12  # pixels from a centre to nodata and to the frame
PIXELS_PER_OBJECT = 56_000


@dataclass(frozen=True)
class PlantedObject:
    """One planted object; (row, col) is the mean position of its pixels, in pixel indices."""

    kind: str
    row: float
    col: float
    pixels: int


@dataclass(frozen=True)
class Synthetic:
    """A scene and its truth: object `planted[i]` owns exactly the pixels where `truth == i + 1`."""

    image: NDArray[np.uint16]
    """(band, row, col) in the order of BANDS, reflectance x 10000; 0 outside `valid`, never 0 inside."""
    valid: Bools
    """(row, col), True = observed."""
    truth: NDArray[np.uint16]
    """(row, col), 0 = landscape; outlines before the blur of the sensor."""
    planted: tuple[PlantedObject, ...]


class Recipe(NamedTuple):
    """One object: its cover, its outline, its spectrum, and the share of that spectrum in each pixel.

    Without a spectrum it takes the mean of its own ground, so that only the texture is out of place.
    """

    kind: str
    cover: int
    outline: Outline
    spectrum: tuple[float, ...] | None
    share: float


def scene(*, height: int = 768, width: int = 1024, seed: int = 0) -> Synthetic:
    """Fields, forest, water, roads and villages, a slanted nodata edge, and objects out of place.

    Equal arguments give equal bytes. Size changes the extent, not the scale: the number of planted objects
    follows the area (14 by default, at least 3). Raises ValueError where a side is below 128 pixels.
    """
    if min(height, width) < SMALLEST:
        raise ValueError(f"scene of {height}x{width} pixels is too small, give at least {SMALLEST} a side")
    # One stream per layer: a change in one layer leaves the others in place.
    land, footprint, objects, sensor = np.random.Generator(np.random.PCG64(seed)).spawn(4)
    canvas = landscape(land, (height, width))
    valid = _footprint(footprint, (height, width))
    truth, planted = _plant(objects, canvas, valid)
    return Synthetic(_sensed(sensor, canvas.image, valid), valid, truth, planted)


def _box(length: float, width: float) -> Outline:
    return lambda along, across: (np.abs(along) < length / 2) & (np.abs(across) < width / 2)


def _blob(along: Floats, across: Floats) -> Bools:
    turn = np.arctan2(across, along)
    edge = 4.6 + 0.7 * np.sin(3 * turn) + 0.4 * np.sin(5 * turn + 1)
    return np.asarray(np.hypot(along, across * 1.2) < edge, np.bool_)


def _cross(along: Floats, across: Floats) -> Bools:
    return _box(11, 1.8)(along, across) | _box(1.8, 11)(along, across)


# The second of a kind is smaller and mixed with more of its ground: harder.
RECIPES = (
    Recipe("ship", WATER, _box(9, 3), (950, 1020, 1050, 1300), 0.85),
    Recipe("tarp", FIELD, _box(6, 5), (1350, 1550, 1700, 2500), 0.85),
    Recipe("blue roof", FOREST, _box(6, 4), (950, 900, 750, 1700), 0.8),
    Recipe("burnt", FIELD, _blob, (420, 450, 500, 850), 0.8),
    Recipe("smooth", FOREST, _box(8, 8), None, 1.0),
    Recipe("pond", FIELD, _box(8, 6), (420, 480, 380, 250), 0.85),
    Recipe("aircraft", FIELD, _cross, (1350, 1500, 1600, 2100), 0.8),
    Recipe("turf", FIELD, _box(8, 6), (420, 900, 500, 1600), 0.85),
    Recipe("ship", WATER, _box(6, 2.4), (850, 900, 950, 1200), 0.7),
    Recipe("tarp", FIELD, _box(4, 3), (1300, 1450, 1550, 2300), 0.65),
    Recipe("burnt", FOREST, _blob, (350, 390, 440, 900), 0.55),
    Recipe("blue roof", FIELD, _box(4, 3), (1050, 1000, 850, 1800), 0.6),
    Recipe("turf", FOREST, _box(5, 4), (350, 750, 420, 1600), 0.6),
    Recipe("smooth", FOREST, _box(6, 6), None, 0.85),
)


def _plant(rng: Rng, canvas: Canvas, valid: Bools) -> tuple[NDArray[np.uint16], tuple[PlantedObject, ...]]:
    """Draws the recipes in turn into the canvas, passing over those whose cover has no room left."""
    truth, planted = np.zeros(valid.shape, np.uint16), list[PlantedObject]()
    free = ndimage.minimum_filter(valid, size=2 * MARGIN + 1, mode="constant", cval=0)
    homes = [ndimage.minimum_filter(canvas.cover == cover, size=9) for cover in (FIELD, FOREST, WATER)]
    all_rows, all_cols = np.ogrid[: valid.shape[0], : valid.shape[1]]
    wanted = max(3, round(valid.size / PIXELS_PER_OBJECT))
    for recipe in islice(cycle(RECIPES), 3 * wanted):
        if len(planted) == wanted:
            break
        places = np.flatnonzero(free & homes[recipe.cover])
        if len(places):
            centre = np.array(np.unravel_index(places[rng.integers(len(places))], valid.shape))
            rows, cols = _draw(rng, canvas, recipe, centre)
            planted.append(PlantedObject(recipe.kind, float(rows.mean()), float(cols.mean()), rows.size))
            truth[rows, cols] = len(planted)
            free &= (all_rows - centre[0]) ** 2 + (all_cols - centre[1]) ** 2 >= APART**2
    return truth, tuple(planted)


def _draw(rng: Rng, canvas: Canvas, recipe: Recipe, centre: Ints) -> tuple[Ints, Ints]:
    """Mixes one object into the canvas and returns its rows and columns."""
    rows, cols = _pixels(recipe, centre, rng.uniform(0, 2 * np.pi), canvas.cover)
    ground = canvas.image[:, rows, cols]
    grain = rng.normal(1, 0.04, rows.size)
    own = np.outer(recipe.spectrum, grain) if recipe.spectrum else ground.mean(axis=1, keepdims=True)
    canvas.image[:, rows, cols] += recipe.share * (own - ground)
    return rows, cols


def _pixels(recipe: Recipe, centre: Ints, angle: float, cover: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Rows and columns of the turned outline, as far as they lie on the cover of the recipe."""
    rows, cols = np.mgrid[-8:9, -8:9]
    along = cols * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - cols * np.sin(angle)
    inside = recipe.outline(along, across)
    row, col = rows[inside] + centre[0], cols[inside] + centre[1]
    kept = cover[row, col] == recipe.cover
    return row[kept], col[kept]


def _footprint(rng: Rng, shape: Shape) -> Bools:
    """All but a slanted strip of 6.5 to 8.5 % along the left or right side, and a small hole."""
    rows, cols = np.mgrid[0 : 1 : shape[0] * 1j, 0 : 1 : shape[1] * 1j]
    edge = rng.uniform(0.065, 0.085) + rng.choice([-1, 1]) * rng.uniform(0.06, 0.1) * (rows - 0.5)
    strip = (cols if rng.random() < 0.5 else 1 - cols) < edge
    row, col = rng.uniform(0.2, 0.8, 2)
    hole = np.hypot((rows - row) * shape[0], 0.6 * (cols - col) * shape[1]) < 0.01 * np.sqrt(strip.size)
    return np.asarray(~(strip | hole), np.bool_)


def _sensed(rng: Rng, reflectance: Floats, valid: Bools) -> NDArray[np.uint16]:
    """Uneven light, point spread, sensor noise, whole numbers, nodata."""
    rows, cols = np.mgrid[-0.5 : 0.5 : valid.shape[0] * 1j, -0.5 : 0.5 : valid.shape[1] * 1j]
    light = 1 + rng.uniform(-0.05, 0.05) * rows + rng.choice([-0.06, 0.06]) * cols
    blurred = np.stack([ndimage.gaussian_filter(band * light, 0.6) for band in reflectance])
    noise = rng.standard_normal(blurred.shape) * np.reshape([11, 11, 13, 22], (4, 1, 1))
    counts = np.clip(np.rint(blurred + noise), 1, 10_000).astype(np.uint16)
    return np.where(valid, counts, np.uint16(0))
