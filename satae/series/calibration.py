"""How often untouched ground seems to change: on dates of the history that are held out, over a sample of the place.

The history is scored in turns, each part of it by a fit to the rest, as new dates will be. An alarm is a region, and
what is counted are blocks of pixels: a block's number is the highest threshold by which a region whose highest pixel is
in it would have been reported, with `least` pixels that touch and are in alarm at about the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from satae.grid import Grid, Window
from satae.inference import calibrate
from satae.inference.calibrate import Tail
from satae.series import detector, persistence
from satae.series.rules import Rules
from satae.series.tracks import TOGETHER, touching

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

YEAR = 365.25  # days
SIDE = 32  # pixels of a window of the sample
NUMBERS = 4_000_000  # of the sample, over dates and bands
SIDES = 4, 32  # of a block, in pixels
BLOCKS = 64  # in a sample, where it is large enough
RARE = 0.1  # alarms a block over all held-out dates, at the most, so that a quantile tells their number
PIXELS_KM2 = calibrate.PER_PIXELS / calibrate.PER_KM2  # where areas are unknown


@dataclass(frozen=True)
class Promise:
    """`pixel`: the tail of a pixel's squares on one date. `block`: that of what blocks reached over `dates` dates.

    A block covers `km2`. `calm` is the median square of a date as they are.
    """

    pixel: Tail
    block: Tail
    km2: float
    dates: int
    calm: float

    def threshold(self, far: float, a_year: float) -> float:
        """The agreement that untouched ground reaches `far` times a km2 and year of so many dates."""
        # alarms that a block may raise over as many dates as were held out
        p = far * self.km2 * self.dates / max(a_year, 1e-9)
        return float(self.block.score_at(-np.log10(min(p, 0.5))))


def sample(grid: Grid, dates: int, bands: int) -> list[Window]:
    """Windows evenly over a grid, as many as a sample of its pixels may hold; all of a small one."""
    most = max(4, NUMBERS // (dates * bands * SIDE * SIDE))
    cells = list(grid.window.cells((SIDE, SIDE)))
    if len(cells) <= most:
        return cells
    # a lattice of its own shape: evenly in rows and in columns
    # so that a place of any shape is covered from edge to edge
    share = (most / len(cells)) ** 0.5
    rows, cols = sorted({c.row for c in cells}), sorted({c.col for c in cells})
    kept = [set(_evenly(v, max(1, int(len(v) * share)))) for v in (rows, cols)]
    return [c for c in cells if c.row in kept[0] and c.col in kept[1]]


def _evenly(values: Sequence[int], count: int) -> list[int]:
    return [values[int((i + 0.5) * len(values) / count)] for i in range(count)]


def block_side(pixel_area_m2: float | None, pixels: int, far: float, dates: int, a_year: float) -> int:
    """Pixels a side of a block in which so many alarms are rare, and of which a sample of `pixels` holds some."""
    pixel = (pixel_area_m2 or 1e6 / PIXELS_KM2) / 1e6
    side = int((RARE / max(far * pixel * dates / max(a_year, 1e-9), 1e-12)) ** 0.5)
    return max(min(side, SIDES[1], int((pixels / BLOCKS) ** 0.5)), SIDES[0])


@dataclass(frozen=True)
class Layout:
    """Where the pixels of a sample lie, one window after the other in row-major order.

    `block`: the number of the block of each, of `side` pixels a side and `km2`. `one`, `two`: numbers that touch.
    """

    block: npt.NDArray[np.int64]
    km2: float
    one: npt.NDArray[np.intp]
    two: npt.NDArray[np.intp]


def layout(windows: Sequence[Window], side: int, pixel_area_m2: float | None) -> Layout:
    """The layout of windows, in blocks of so many pixels a side."""
    found, first, rows, cols = [], 0, [], []
    for window in windows:
        row, col = np.meshgrid(np.arange(window.height), np.arange(window.width), indexing="ij")
        number = row // side * (-(-window.width // side)) + col // side + first
        found.append(number.ravel())
        first = int(number.max()) + 1
        rows.append(window.row + row.ravel())
        cols.append(window.col + col.ravel())
    row, col = np.concatenate(rows), np.concatenate(cols)
    # windows may touch, and a region lie in two of them
    order = np.lexsort((col, row))
    one, two = touching(row[order], col[order], int(col.max()) + 1)
    km2 = side * side * (pixel_area_m2 or 1e6 / PIXELS_KM2) / 1e6
    return Layout(np.concatenate(found), km2, order[one], order[two])


def of_outcomes(
    rules: Rules,
    judged: dict[int, detector.Outcome],
    valid: Bools,
    where: Layout,
    least: int,
    calm: float,
    touched: float = 0.0,
) -> Promise:
    """The promise of dates that were judged; the highest share that may be `touched` is left out."""
    # with a threshold that nothing reaches there are no alarms, and the agreement is all that is asked for
    memory, found = persistence.empty(rules.bands, rules.keep[1], valid.shape[1]), []
    for i in sorted(judged):
        now = judged[i]
        memory, agreed = persistence.step(
            memory, now.white, now.residual, valid[i], rules.days[i], rules.keep, np.inf
        )
        found.append(agreed)
    reached = reached_by(np.array(found), np.array(rules.days)[sorted(judged)], where, least)
    squares = np.concatenate([j.square[valid[i]] for i, j in judged.items()])
    # of a history that is held out nothing is left out: without its highest blocks more alarms come than are promised
    kept = np.sort(reached)[: max(2, round(len(reached) * (1 - touched)))]
    return Promise(calibrate.fit(squares), calibrate.fit(kept), where.km2, len(judged), calm)


def reached_by(found: Floats, days: Floats, where: Layout, least: int) -> Floats:
    """The highest threshold by which each block holds the peak of a region of at least so many pixels that touch.

    `found` (date, pixel) is what each reached on rising `days`, not finite where it was not scored; blocks that never
    were are left out. Of two that touch the lower joins them, as high as both were within the days by which `tracks`
    lets pixels of one change begin apart.
    """
    found = np.where(np.isfinite(found), found, -np.inf)
    highest = found.max(axis=0)
    known, level = np.isfinite(highest), highest
    if least > 1:
        both = _together(found, days, where.one, where.two)
        level = _levels(highest, both, where.one, where.two, least)
    # what is no region by any threshold is by the lowest that makes one
    lowest = float(level.min(initial=np.inf, where=np.isfinite(level)))
    blocks, number = np.unique(where.block[known], return_inverse=True)
    out = np.full(len(blocks), lowest)
    np.maximum.at(out, number, level[known])
    # a place where nothing was ever valid twice says nothing; two numbers make a tail
    return out if len(out) > 1 and np.isfinite(lowest) else np.array([0.0, 1.0])


def _together(found: Floats, days: Floats, one: npt.NDArray[np.intp], two: npt.NDArray[np.intp]) -> Floats:
    """How high both of two pixels were on days no more than TOGETHER apart, minus infinity where they never were."""
    out = np.full(len(one), -np.inf)
    for i, last in enumerate(np.searchsorted(days, days + TOGETHER, side="right")):
        # either may be the earlier one
        now, soon = found[i], found[i:last].max(axis=0)
        out = np.fmax(out, np.fmax(np.fmin(now[one], soon[two]), np.fmin(soon[one], now[two])))
    return out


def _levels(
    highest: Floats, both: Floats, one: npt.NDArray[np.intp], two: npt.NDArray[np.intp], least: int
) -> Floats:
    """At the peak (pixel) of what becomes a region as the threshold falls, the threshold at which it does.

    Pixels `one` and `two` join at `both`, which is no higher than either ever was.
    """
    ever = np.isfinite(both)
    one, two, both = one[ever], two[ever], both[ever]
    out = np.full(len(highest), -np.inf)
    if not len(both):
        return out
    # of all that touch a tree is enough: what joins first by falling thresholds (Kruskal), named by its turn
    turns = np.argsort(-both, kind="stable")
    weight = np.empty(len(both))
    weight[turns] = np.arange(1, len(both) + 1)
    tree = minimum_spanning_tree(coo_matrix((weight, (one, two)), shape=(len(highest),) * 2)).tocoo()
    joined = both[turns[tree.data.astype(np.intp) - 1]]
    peak, size = list(range(len(highest))), [1] * len(highest)

    def top(pixel: int) -> int:
        while peak[pixel] != pixel:
            peak[pixel] = peak[peak[pixel]]
            pixel = peak[pixel]
        return pixel

    for number in np.argsort(tree.data, kind="stable"):
        a, b = top(int(tree.row[number])), top(int(tree.col[number]))
        a, b = (a, b) if highest[a] >= highest[b] else (b, a)
        peak[b] = a
        if max(size[a], size[b]) < least <= size[a] + size[b]:
            out[a] = joined[number]
        size[a] += size[b]
    return out
