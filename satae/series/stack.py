"""Scenes of one place on one grid, by date: cubes (date, band, row, col) are read window by window, never whole.

The grid is the finest of the scenes' and covers all of them. A scene lies on it where its pixels are whole pixels of
the grid, or whole multiples of them, which are repeated; others are refused. The order in which scenes are named is of
no account.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import raster
from satae.scene.scene import Scene
from satae.scene.stream import Reader
from satae.scene.together import once
from satae.series import shifts
from satae.series.dates import text_of

APART = 0.05  # pixels by which origins may be rounded
RESIZED = 1e-4  # share by which pixel sizes may be rounded
LARGEST = 2**31  # pixels of a grid that covers all scenes
BUFFER_M = 50.0  # metres around what is masked on a date: the edge of a cloud is not in its mask
BUFFER = 1, 5  # pixels, the fewest and the most
SEEN = 0.5  # share of dates on which a pixel counts that a cloud may cover: others are no ground
READ_BYTES = 48 * 2**20  # of one window over all dates
KEPT = 0.5  # share of what is free on the disk that decoded blocks may take
OPEN = 400  # scenes whose files are held open at once

Cube = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Scales = tuple[tuple[float, ...], tuple[float, ...]]  # of bands, and their offsets


@dataclass(frozen=True)
class Acquisition:
    """A scene, the day it was taken, and where it lies: pixel (0, 0) at (row, col) of the grid, each `factor` wide.

    `shift` are pixels of the grid by which its ground lies further on than that, and is moved back when it is read.
    """

    scene: Scene
    day: int
    row: int = 0
    col: int = 0
    factor: int = 1
    shift: shifts.Shift = shifts.NONE

    @property
    def name(self) -> str:
        """The scene's."""
        return self.scene.name

    def read(self, reader: Reader, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        """Image and `valid` of a window of the grid."""
        if self.shift == shifts.NONE:
            return self._stored(reader, window)
        around = window.with_margin(shifts.REACH)
        image, valid = shifts.back(*self._stored(reader, around), self.shift)
        inside = window.slices(around)
        return image[(slice(None), *inside)], valid[inside]

    def _stored(self, reader: Reader, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        f = self.factor
        if f == 1:
            return reader.read(
                Window(window.row - self.row, window.col - self.col, window.height, window.width)
            )
        # the pixels of the scene that the window touches, repeated and cut
        top, left = window.row - self.row, window.col - self.col
        bottom, right = top + window.height, left + window.width
        own = Window(top // f, left // f, -(-bottom // f) - top // f, -(-right // f) - left // f)
        image, valid = reader.read(own)
        rows, cols = (slice(a % f, a % f + n) for a, n in ((top, window.height), (left, window.width)))
        repeated = image.repeat(f, axis=1).repeat(f, axis=2)[:, rows, cols]
        return repeated, valid.repeat(f, axis=0).repeat(f, axis=1)[rows, cols]


@dataclass(frozen=True)
class Stack:
    """Scenes by date on one grid; `bands` are the names of their bands. Plain values, no file is open.

    `scaled`: pixels are what DN stand for, also where all scenes declare one scale.
    """

    dates: tuple[Acquisition, ...]
    grid: Grid
    bands: tuple[str, ...]
    scaled: bool = False

    @property
    def days(self) -> npt.NDArray[np.float64]:
        """The day of each scene, never falling."""
        return np.array([d.day for d in self.dates], np.float64)

    @property
    def buffer(self) -> int:
        """Pixels around what is masked that do not count either."""
        gsd = self.grid.gsd_m
        return min(max(round(BUFFER_M / gsd), BUFFER[0]), BUFFER[1]) if gsd else BUFFER[0]

    @property
    def rescales(self) -> bool:
        """Whether DN are turned into what they stand for, as where scenes declare different scales."""
        return self.scaled or len(self.scales) > 1

    @property
    def scales(self) -> tuple[Scales, ...]:
        """The scales and offsets of bands that scenes declare, each once, in order."""
        return tuple(sorted({(d.scene.scales, d.scene.offsets) for d in self.dates}))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a cube: as stored, if that is one type and means one thing."""
        kinds = {d.scene.dtype for d in self.dates}
        return np.dtype(kinds.pop() if len(kinds) == 1 and not self.rescales else "float32")

    def only(self, chosen: Sequence[bool] | npt.NDArray[np.bool_]) -> Stack:
        """The stack of some of its dates, on the same grid."""
        return replace(self, dates=tuple(d for d, c in zip(self.dates, chosen, strict=True) if c))

    def with_shifts(self, found: Mapping[int, shifts.Shift]) -> Stack:
        """The stack with these dates, by number, moved back."""
        dates = tuple(replace(d, shift=found.get(i, d.shift)) for i, d in enumerate(self.dates))
        return replace(self, dates=dates)

    def decoded_once(self, folder: Path) -> Stack:
        """The stack with what is slow to decode kept in a new folder once it was, as far as the disk has room."""
        folder.mkdir()
        left, dates = KEPT * shutil.disk_usage(folder).free, []
        for number, date in enumerate(self.dates):
            scene = date.scene
            size = 0 if scene.is_plain else scene.grid.pixels * (scene.pixel_bytes + 1)
            if size <= left:
                left -= size
                scene = once(scene, folder / str(number))
            dates.append(replace(date, scene=scene))
        return replace(self, dates=tuple(dates))

    def windows(self) -> Iterator[Window]:
        """Windows that cover the grid, of whole stored blocks where these are small enough, in row-major order."""
        # of files stored in different ways the largest blocks cost most when they are decoded twice
        block = max((d.scene.block for d in self.dates), key=lambda b: b[0] * b[1])
        pixels = max(1, READ_BYTES // (self.dtype.itemsize * len(self.dates) * len(self.bands)))
        width = min(self.grid.width, max(block[1], _multiple(int(pixels**0.5), block[1])))
        rows = max(1, min(self.grid.height, pixels // width))
        yield from self.grid.window.cells((_multiple(rows, block[0]), width))

    @contextmanager
    def open(self) -> Iterator[StackReader]:
        """A reader; its handles belong to one thread."""
        with ExitStack() as handles:
            readers = None
            if len(self.dates) <= OPEN:
                readers = [handles.enter_context(d.scene.open()) for d in self.dates]
            yield StackReader(self, readers)


@dataclass(frozen=True)
class StackReader:
    """Open scenes of a stack, or none of them where they are too many."""

    stack: Stack
    readers: list[Reader] | None

    def read(self, window: Window, margin: int = 0, dates: Sequence[int] | None = None) -> tuple[Cube, Bools]:
        """A cube (date, band, row, col) of a window, and `valid` (date, row, col) of it with a margin on every side.

        `dates` are numbers of dates, all by default. Off a scene nothing is valid.
        """
        numbers = range(len(self.stack.dates)) if dates is None else dates
        around = window.with_margin(margin)
        inside = window.slices(around)
        cube = np.empty((len(numbers), len(self.stack.bands), window.height, window.width), self.stack.dtype)
        valid = np.empty((len(numbers), around.height, around.width), bool)
        for i, number in enumerate(numbers):
            image, valid[i] = self._read(number, around)
            cube[i] = image[(slice(None), *inside)]
        return cube, valid

    def _read(self, number: int, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        date = self.stack.dates[number]
        if self.readers is not None:
            image, valid = date.read(self.readers[number], window)
        else:
            with date.scene.open() as reader:
                image, valid = date.read(reader, window)
        image = np.where(valid, image, 0)
        if self.stack.rescales:
            image = image.astype(np.float32)
            scales, offsets = (
                np.array(v, np.float32)[:, None, None] for v in (date.scene.scales, date.scene.offsets)
            )
            image = image * scales + offsets
        return image, valid


def ground(valid: Bools) -> Bools:
    """Where (row, col) most dates of a history count, by `valid` (date, row, col): what is masked there is a cloud.

    Nowhere, of fewer than three dates: fill that is there on all of them cannot be told from clouds.
    """
    return np.asarray(valid.mean(axis=0) >= SEEN) if len(valid) > 2 else np.zeros(valid.shape[1:], bool)


def without_clouds(valid: Bools, clear: Bools, pixels: int) -> Bools:
    """`valid` (date, row, col) without what lies within so many pixels of a cloud, and without that margin.

    A cloud is what is masked on `clear` ground (row, col) and is more than a speck. Fill, an AOI and the edge of the
    scenes have nothing to spread.
    """
    margin = pixels + 1
    inner = (slice(margin, -margin), slice(margin, -margin))
    around = np.ones((2 * pixels + 1,) * 2, np.uint8)
    out = valid.copy()
    for i, now in enumerate(valid):
        cloud = clear & ~now
        # squares of 2 x 2 pixels of it, by their first pixel, and then all of their pixels
        whole = cloud[:-1, :-1] & cloud[1:, :-1] & cloud[:-1, 1:] & cloud[1:, 1:]
        if whole.any():
            core = np.zeros(cloud.shape, np.uint8)
            for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
                core[row : row + whole.shape[0], col : col + whole.shape[1]] |= whole
            out[i] &= cv2.dilate(core, around, borderType=cv2.BORDER_CONSTANT, borderValue=0) == 0
    return out[(slice(None), *inner)]


def stack(scenes: Sequence[Scene], days: Sequence[int]) -> Stack:
    """Scenes and their days as a stack, sorted by day and name.

    Raises SceneError where bands differ, where a grid is not a whole number of pixels from the finest, naming both, or
    where two are the same file, or have one day and one name.
    """
    # by day and name, whatever order they were named in
    order = sorted(zip(days, scenes, strict=True), key=lambda of: (of[0], of[1].name, str(of[1].path)))
    first = order[0][1]
    for (_, one), (_, two) in pairwise(order):
        # of a cube each date has bands of its own
        if [(f.path, f.bands) for f in one.files] == [(f.path, f.bands) for f in two.files]:
            raise SceneError(f"{one.path} is named twice")
    # one date that counts twice would confirm itself
    for (day, one), (other, two) in pairwise(order):
        if (day, one.name) == (other, two.name):
            raise SceneError(
                f"{one.path} and {two.path} are both {one.name} of {text_of(day)}; leave one out, or give "
                "them names in a table (column name)"
            )
    for _, scene in order[1:]:
        _check_bands(first, scene)
    finest = min((s for _, s in order), key=lambda s: abs(s.grid.transform.determinant))
    # pixels of the finest scene, which may lie above or left of it
    placed = [(s, day, *_place(finest, s)) for day, s in order]
    # the smallest grid that covers all, with the pixels of the finest
    top, left = min(row for *_, row, _, _ in placed), min(col for *_, col, _ in placed)
    bottom = max(row + s.grid.height * f for s, _, row, _, f in placed)
    right = max(col + s.grid.width * f for s, _, _, col, f in placed)
    whole = Window(top, left, bottom - top, right - left)
    if whole.height * whole.width > LARGEST:
        raise SceneError(
            f"the scenes lie too far apart: a grid that covers all of them has {whole.height} x {whole.width} pixels"
        )
    dates = tuple(Acquisition(s, day, row - top, col - left, f) for s, day, row, col, f in placed)
    return Stack(dates, finest.grid.part(whole), first.names)


def on_grid(grid: Grid, scenes: Sequence[Scene], days: Sequence[int]) -> Stack:
    """Scenes and their days as a stack on a grid that is settled; what lies beyond it is left out."""
    found = stack(scenes, days)
    like = found.dates[0].scene
    row, col, factor = _offset(grid, found.grid, "the state", str(like.path))
    if factor != 1:
        raise SceneError(
            f"{like.path} has other pixels than those that the state was made of; name scenes of one kind"
        )
    dates = tuple(Acquisition(d.scene, d.day, d.row + row, d.col + col, d.factor) for d in found.dates)
    for one in dates:
        size = one.scene.grid.height * one.factor, one.scene.grid.width * one.factor
        if Window(one.row, one.col, *size).within(grid.window) is None:
            raise SceneError(
                f"{one.scene.path} ({_said(one.scene.grid)}) lies beside the place of the state ({_said(grid)}); name "
                "scenes of that place"
            )
    return Stack(dates, grid, found.bands)


def _check_bands(first: Scene, scene: Scene) -> None:
    if scene.names != first.names:
        raise SceneError(
            f"{first.path} has the bands {', '.join(first.names)} and {scene.path} has {', '.join(scene.names)}; "
            "choose those that all have with --bands"
        )


def _place(finest: Scene, scene: Scene) -> tuple[int, int, int]:
    return _offset(finest.grid, scene.grid, str(finest.path), str(scene.path))


def _offset(grid: Grid, other: Grid, name: str, other_name: str) -> tuple[int, int, int]:
    """(row, col, factor) of a grid in pixels of another; SceneError names both where they do not nest."""
    both = f"{other_name} ({_said(other)}) and {name} ({_said(grid)})"
    if (grid.crs is None) != (other.crs is None) or not raster.same_crs(grid.crs, other.crs):
        raise SceneError(f"{both} state different CRSs; bring one to the grid of the other with `gdalwarp`")
    # where the first pixel of the other begins, the next column and the next row: (row, col) each
    corner, right, below = grid.place(other.xy([0, 0, 1], [0, 1, 0]))
    factor, (row, col) = round(right[1] - corner[1]), (round(c) for c in corner)
    steps = np.array([right - corner, below - corner]) - factor * np.array([[0, 1], [1, 0]])
    bent = np.abs(steps).max() * max(other.height, other.width)
    if factor < 1 or bent > max(APART, RESIZED * factor) or np.abs(corner - [row, col]).max() > APART:
        raise SceneError(
            f"the pixels of {both} do not nest: they must lie a whole number of pixels apart and have one size, or "
            "whole multiples of it; bring one to the grid of the other with `gdalwarp -tr -tap`"
        )
    return row, col, factor


def _said(grid: Grid) -> str:
    t = grid.transform
    return f"{grid.height} x {grid.width} pixels of {t.a:.9g} x {t.e:.9g} from {t.c:.9g}, {t.f:.9g}"


def _multiple(size: int, step: int) -> int:
    return max(1, size // step * step) if size >= step else size
