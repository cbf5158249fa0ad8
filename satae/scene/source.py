"""What a file says of itself, and how its pixels are asked for: plain values that name pixels and pickle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window


@dataclass(frozen=True)
class Band:
    """One band of a file: `index` counts from 1, `name` is empty where the file gives none.

    A pixel is `nodata` where it equals that; `masked` bands have a mask beside nodata and alpha. `scale` and `offset`
    are as declared, never applied. `colour` is what GDAL says that the band shows: red, alpha, palette, ...
    `wavelength` and `width` (at half of the maximum) are in nanometres. `shift` is added to what is stored, to give the
    DN that products of one sensor share; nodata, and the DN of `saturated` pixels, which do not count either, are as
    stored. A band that is not `good` is used only where it is asked for. Bands that are `coded` are parts of a vector,
    of which the direction counts: as 'vector', or as 'signed square', sign(v) (v / 127.5)^2; `dtype` is the vector's.
    It may be asked for by its `common` name, such as red, too.
    """

    index: int
    name: str
    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    masked: bool = False
    colour: str = "undefined"
    wavelength: float | None = None
    width: float | None = None
    shift: int = 0
    saturated: float | None = None
    good: bool = True
    coded: str = ""
    common: str = ""


@dataclass(frozen=True)
class Source:
    """A file whose pixels can be read: where they lie and what they are. No file is held open.

    `block` is the (rows, cols) that are stored as one piece, `overviews` by how much each smaller copy is smaller,
    `remarks` what the user should know where the file is used. Of an archive it is the `member` of that name. A `slow`
    one takes so long to decode that it should be done once. `stamp` tells whether the file is still that one. `span` is
    the (first byte, bytes) of what is a part of its file, such as a member of a .tar, and `reader` the name of who
    reads it where neither name nor first bytes of the file tell.
    """

    path: Path
    grid: Grid
    bands: tuple[Band, ...]
    block: tuple[int, int]
    overviews: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    member: str = ""
    slow: bool = False
    stamp: tuple[int, ...] = field(default=(), compare=False)
    span: tuple[int, int] | None = None
    reader: str = ""

    def check_stamp(self) -> None:
        """SceneError where the file has been changed, replaced or removed since it was described."""
        if self.stamp and stamp(self.path) != self.stamp:
            raise SceneError(
                f"{self.path} changed while it was read, so nothing was kept; run again when it is complete"
            )

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is read from."""
        return (self.path,)


@dataclass(frozen=True)
class Exclusion:
    """A band of classes or flags: pixels with one of the `values`, or any of the `bits`, do not count."""

    source: Source
    band: int = 1
    values: tuple[int, ...] = ()
    bits: int = 0


def stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file: size, time of change and place; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev


class Pixels(Protocol):
    """An open source. It belongs to one thread, and must not be used again after a read that failed."""

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window inside the grid; DamageError names the first damaged block."""

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where the file's own masks and nodata let pixels (row, col) of the band count."""

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller `shape` (rows, cols) for show: (band, row, col), and where all bands are valid."""
