"""Regions over dates: pixels in alarm that touch and began to change at about the same time, one region each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from satae.grid import Window
from satae.inference.regions import Anomaly

EARLY = 0.1  # share of the pixels of a region that showed when it began: by chance one or two do before
TOGETHER = 60.0  # days by which neighbours of one change may begin apart
FIELDS = ("first", "confirmed", "last", "peak", "peak_day", "seen", "held", "spikes")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Change:
    """A region in alarm: where it is, and days on which it was first seen, confirmed, last seen and at its peak.

    It was `first` seen, and `confirmed`, when EARLY of its pixels were.

    `magnitude` (B) is the mean change in DN at each pixel's peak, `persistence` the share of valid dates since the
    alarm that held it, over its pixels.
    """

    region: Anomaly
    first: float
    confirmed: float
    last: float
    peak_day: float
    magnitude: Floats
    persistence: float


@dataclass(frozen=True)
class Alarms:
    """Pixels in alarm: `row`, `col` (n), numbers of each by name (`FIELDS`), and `magnitude` (B, n)."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    numbers: dict[str, Floats]
    magnitude: Floats

    @classmethod
    def join(cls, parts: Sequence[Alarms], bands: int) -> Alarms:
        """Those of several windows, in row-major order."""
        none = np.zeros(0, np.int64)
        row = np.concatenate([none, *(p.row for p in parts)])
        col = np.concatenate([none, *(p.col for p in parts)])
        order = np.lexsort((col, row))
        numbers = {f: np.concatenate([np.zeros(0), *(p.numbers[f] for p in parts)])[order] for f in FIELDS}
        magnitude = np.concatenate([np.zeros((bands, 0)), *(p.magnitude for p in parts)], axis=1)[:, order]
        return cls(row[order], col[order], numbers, magnitude)

    def of(self, found: Sequence[Change], width: int) -> Alarms:
        """Those of regions, in a grid so many pixels wide: a pixel by itself is no change."""
        held = [np.zeros(0, np.int64)]
        for change in found:
            row, col = np.nonzero(change.region.mask)
            held.append((row + change.region.window.row) * width + col + change.region.window.col)
        kept = np.isin(self.row * width + self.col, np.concatenate(held))
        numbers = {name: values[kept] for name, values in self.numbers.items()}
        return Alarms(self.row[kept], self.col[kept], numbers, self.magnitude[:, kept])


def changes(alarms: Alarms, width: int, least: int) -> list[Change]:
    """The regions of at least `least` pixels of a grid so many pixels wide, by falling peak."""
    if not len(alarms.row):
        return []
    label = _labels(alarms, width)
    # pixels of one region beside one another, then cut where the label changes
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    found = [_change(alarms, pixels) for pixels in np.split(order, starts[1:]) if len(pixels) >= least]
    return sorted(found, key=lambda c: (-c.region.peak, c.region.row, c.region.col))


def touching(
    row: npt.NDArray[np.int64], col: npt.NDArray[np.int64], width: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The numbers of pixels that touch, at corners too, of pixels in row-major order in a grid so many wide."""
    # place is the number of a pixel in the grid, and rises: neighbours are found by search, without a map
    place, pairs = row * width + col, []
    # one of two neighbours comes behind the other in row-major order
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        there = np.minimum(np.searchsorted(place, place + down * width + right), len(place) - 1)
        near = (place[there] == place + down * width + right) & (col + right >= 0) & (col + right < width)
        pairs.append(np.stack([np.flatnonzero(near), there[near]]))
    one, two = np.concatenate(pairs, axis=1)
    return one, two


def _labels(alarms: Alarms, width: int) -> npt.NDArray[np.int64]:
    """Whose pixel each is: neighbours, at corners too, whose first days are not TOGETHER apart."""
    first = alarms.numbers["first"]
    one, two = touching(alarms.row, alarms.col, width)
    together = np.abs(first[one] - first[two]) <= TOGETHER
    one, two = one[together], two[together]
    graph = coo_matrix((np.ones(len(one), np.int8), (one, two)), shape=(len(first),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _change(alarms: Alarms, pixels: npt.NDArray[np.intp]) -> Change:
    row, col = alarms.row[pixels], alarms.col[pixels]
    numbers = {name: values[pixels] for name, values in alarms.numbers.items()}
    window = Window(int(row.min()), int(col.min()), int(np.ptp(row)) + 1, int(np.ptp(col)) + 1)
    mask = np.zeros((window.height, window.width), bool)
    mask[row - window.row, col - window.col] = True
    top = int(numbers["peak"].argmax())
    peak, mean = float(numbers["peak"][top]), float(numbers["peak"].mean())
    return Change(
        Anomaly(window, mask, peak, mean, int(row[top]), int(col[top])),
        first=float(np.quantile(numbers["first"], EARLY, method="lower")),
        confirmed=float(np.quantile(numbers["confirmed"], EARLY, method="lower")),
        last=float(numbers["last"].max()),
        peak_day=float(numbers["peak_day"][top]),
        magnitude=alarms.magnitude[:, pixels].mean(axis=1),
        persistence=float(numbers["held"].sum() / max(1.0, numbers["seen"].sum())),
    )
