"""What later steps need of a scene's pixels, kept in scratch files while they pass by: none is read or inferred again.

A scan hands in what it saw, window by window; signatures, reasons, chips, the judgement of the domain and a second
model take it from here. The files lie beside the drafts and are gone when a scene is finished.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.grid import Grid, Window
from satae.inference.scan import InferredWindow
from satae.scene.scene import OfScene, Scene

GAP = 32  # pixels that are written along with those before and behind them, rather than left out
Map = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scratch:
    """Records (row, col) of a grid in files, written and read in windows; zero where nothing was written.

    A file `name` lies in each of `folders`, which go by the first row that is in them; the next one's are in the next.
    What is never written takes no room where the file system knows holes.
    """

    name: str
    folders: Mapping[int, Path]
    grid: Grid
    dtype: np.dtype[Any]

    def write(self, window: Window, records: npt.NDArray[Any], wanted: Bools) -> None:
        """Put down the records of a window inside the grid where `wanted` is True, and perhaps some beside them."""
        for path, first, lines in self._parts(window):
            with path.open("r+b" if path.exists() else "w+b") as file:
                for row in lines:
                    line, cols = row - window.row, np.flatnonzero(wanted[row - window.row])
                    for run in np.split(cols, np.flatnonzero(np.diff(cols) > GAP) + 1) if len(cols) else ():
                        file.seek(self._offset(row - first, window.col + int(run[0])))
                        file.write(records[line, run[0] : run[-1] + 1].tobytes())

    def read(self, window: Window) -> npt.NDArray[Any]:
        """The records of a window, which may reach beyond the grid."""
        out = np.zeros((window.height, window.width), self.dtype)
        inside = window.within(self.grid.window)
        if inside is None:
            return out
        rows, cols = inside.slices(window)
        for path, first, lines in self._parts(inside):
            if not path.exists():
                continue
            with path.open("rb", buffering=0) as file:
                for row in lines:
                    line = out[rows, cols][row - inside.row]
                    file.seek(self._offset(row - first, inside.col))
                    found = file.read(line.nbytes)
                    # the file ends with the last record that was written
                    whole = len(found) // self.dtype.itemsize
                    line[:whole] = np.frombuffer(found, self.dtype, whole)
        return out

    def drop(self) -> None:
        """Remove the files."""
        for folder in self.folders.values():
            (folder / self.name).unlink(missing_ok=True)

    def _parts(self, window: Window) -> Iterator[tuple[Path, int, range]]:
        """(file, its first row, the rows of a window that are in it)."""
        firsts = sorted(self.folders)
        row, end = window.row, window.stop[0]
        while row < end:
            place = bisect_right(firsts, row)
            stop = min(end, firsts[place]) if place < len(firsts) else end
            first = firsts[place - 1]
            yield self.folders[first] / self.name, first, range(row, stop)
            row = stop

    def _offset(self, row: int, col: int) -> int:
        return (row * self.grid.width + col) * self.dtype.itemsize


class PixelCache(OfScene):
    """The pixels of one scene as a scan saw them: a `Source`, as the scene is, that decodes nothing.

    Of every valid pixel its DN are kept, its raw score, and what was expected of the `shown` bands; of those
    whose heat is `floor` or more, all that was expected and what each band adds to the error. That is the size of
    the scene uncompressed and 5 bytes a pixel and 4 a `shown` band, and up to 8 bytes a band where the floor is low.
    The files lie in `folder`, or in several, by the first row of each (see `Scratch`).
    """

    def __init__(
        self, scene: Scene, folder: Path | Mapping[int, Path], floor: float, shown: Sequence[int]
    ) -> None:
        self.scene, self.floor = scene, np.float32(floor)
        bands, self.shown = len(scene.names), list(shown)
        of_pixel = [
            ("image", scene.dtype, (bands,)),
            ("expected", np.float32, (len(self.shown),)),
            ("score", np.float32),
            ("valid", np.bool_),
        ]
        of_error = [("error", np.float32, (bands,)), ("expected", np.float32, (bands,))]
        folders = {0: folder} if isinstance(folder, Path) else folder
        self._pixels = Scratch("pixels", folders, scene.grid, np.dtype(of_pixel))
        self._errors = Scratch("errors", folders, scene.grid, np.dtype(of_error))

    def add(self, seen: InferredWindow, heat: Map) -> None:
        """Take in a window of the scan with its heatmap (row, col)."""
        records = np.zeros(seen.valid.shape, self._pixels.dtype)
        records["image"] = np.moveaxis(seen.image, 0, -1)
        records["expected"] = np.moveaxis(seen.expected[self.shown], 0, -1)
        records["score"], records["valid"] = seen.scores, seen.valid
        self._pixels.write(seen.window, records, seen.valid)
        with np.errstate(invalid="ignore"):
            high = heat >= self.floor
        if high.any():
            reasons = np.zeros(high.shape, self._errors.dtype)
            reasons["error"] = np.moveaxis(seen.error, 0, -1)
            reasons["expected"] = np.moveaxis(seen.expected, 0, -1)
            self._errors.write(seen.window, reasons, high)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        """Image (band, row, col) and `valid` (row, col), as the scene's own reader gives them."""
        found = self._pixels.read(window)
        return np.ascontiguousarray(np.moveaxis(found["image"], -1, 0)), np.ascontiguousarray(found["valid"])

    def scores(self, window: Window) -> Map:
        """Raw scores (row, col), NaN where not valid or off the grid."""
        found = self._pixels.read(window)
        return np.where(found["valid"], found["score"], np.float32(np.nan))

    def explanation(self, window: Window) -> tuple[Map, Map]:
        """What each band adds to the error and what was expected (band, row, col).

        Below the floor errors are 0, and only what was expected of the `shown` bands is known.
        """
        found = self._errors.read(window)
        error, expected = (np.ascontiguousarray(np.moveaxis(found[n], -1, 0)) for n in ("error", "expected"))
        expected[self.shown] = np.moveaxis(self._pixels.read(window)["expected"], -1, 0)
        return error, expected

    def drop(self) -> None:
        """Remove the files."""
        for scratch in (self._pixels, self._errors):
            scratch.drop()

    @contextmanager
    def open(self) -> Iterator[PixelCache]:
        """The cache itself: any number of threads may read."""
        yield self
