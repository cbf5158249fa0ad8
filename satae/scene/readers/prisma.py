"""PRISMA L2D (HE5): the cubes of both spectrometers, in order of wavelength, on the map grid that the file states.

Both are stored as (row, band, col). Reflectance is DN times (max - min) / 65535 and min added, of each cube; corners
are those of pixel centres (ASI, PRISMA Products Specification Document). A pixel that is 0 in all bands was not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import hdf, raster, wavelengths
from satae.scene.resample import on_grid, shrunk
from satae.scene.source import Band, Pixels, Source

FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
DETECTORS = ("Vnir", "Swir")
METRES = 30.0
LEVELS = 65535
ASKED = 8  # bands of which one must be more than 0 where a pixel was seen
MOST = 2**23  # numbers of one read


@dataclass(frozen=True)
class Plane:
    """Where a band lies: in which cube, at which place; and what the file says of it."""

    detector: str
    place: int
    centre: float
    width: float
    good: bool


def matches(path: Path, head: bytes) -> bool:
    """Whether it is such a file, by what it holds."""
    return head.startswith(hdf.MAGIC) and hdf.holds(path, _name("Vnir"))


def describe(path: Path) -> Source:
    """Grid and bands, from the shortest wavelength on; those that the flags deny are marked."""
    with hdf.open_file(path) as file:
        cubes = {d: hdf.array(file, _name(d), 3) for d in DETECTORS}
        shapes = {(cube.shape[0], cube.shape[2]) for cube in cubes.values()}
        if len(shapes) != 1:
            raise SceneError(
                f"{path} holds cubes of {' and '.join(map(str, shapes))} pixels, which are not one scene"
            )
        (height, width), planes = shapes.pop(), _planes(file, cubes)
        hdf.check_size(path, len(planes), height, width)
        grid, (rows, _, cols) = _grid(file, height, width), cubes["Vnir"].chunks or (1, 1, width)
        kind = str(np.result_type(*[cube.dtype for cube in cubes.values()]).newbyteorder("=").name)
        ranges = {
            d: [float(hdf.numbers(file, f"L2Scale{d}{end}")[0]) for end in ("Min", "Max")] for d in DETECTORS
        }
    bands: list[Band] = []
    for plane in planes:
        low, high = ranges[plane.detector]
        # DN of both detectors have a scale of their own, which a card keeps band by band
        name = wavelengths.name(plane.centre)
        if any(name == band.name for band in bands):
            name = f"{name} {plane.detector.upper()}"  # where both detectors have a band
        bands.append(
            Band(
                len(bands) + 1,
                name,
                kind,
                scale=(high - low) / LEVELS,
                offset=low,
                masked=True,
                wavelength=plane.centre,
                width=plane.width or None,
                good=plane.good,
            )
        )
    return Source(path, grid, tuple(bands), (min(rows, height), min(cols, width)), slow=True)


def place(source: Source, number: int) -> None:
    """GDAL does not place the swath."""


@contextmanager
def open(source: Source, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """A handle of the caller's own."""
    with hdf.open_file(source.path) as file:
        yield on_grid(Cubes(source, file), source, grid, mean=mean)


def _name(detector: str) -> str:
    return f"{FIELDS}/{detector.upper()}_Cube"


def _planes(file: Any, cubes: dict[str, Any]) -> list[Plane]:
    """The bands by wavelength; what has none is no band but a place that is not used."""
    found = []
    for detector, cube in cubes.items():
        lists = [hdf.numbers(file, f"List_{what}_{detector}") for what in ("Cw", "Fwhm")]
        key = f"List_Cw_{detector}_Flags"
        lists.append(hdf.numbers(file, key) if key in file.attrs else np.ones(cube.shape[1]))
        if any(len(values) != cube.shape[1] or not np.isfinite(values).all() for values in lists):
            raise SceneError(f"{file.filename} states other numbers of {detector} bands than it holds")
        found += [
            Plane(detector, place, round(float(nm), 3), round(float(width), 3), bool(flag))
            for place, (nm, width, flag) in enumerate(zip(*lists, strict=True))
            if nm > 0
        ]
    if not found:
        raise SceneError(f"{file.filename} states no wavelength of any band")
    return sorted(found, key=lambda plane: plane.centre)


def _grid(file: Any, height: int, width: int) -> Grid:
    """The map grid; SceneError where size and corners do not belong together."""
    path = file.filename
    left, top, right, bottom = (
        float(hdf.numbers(file, f"Product_{corner}corner_{axis}")[0])
        for corner, axis in (("UL", "easting"), ("UL", "northing"), ("LR", "easting"), ("LR", "northing"))
    )
    # centres of the corner pixels as the specification has them, within half a pixel
    beside = [abs(right - left - (width - 1) * METRES), abs(top - bottom - (height - 1) * METRES)]
    if not max(beside) <= METRES / 2:
        raise SceneError(
            f"{path} states corners {right - left:g} x {top - bottom:g} m apart for {height} x {width} pixels of "
            f"{METRES:g} m; only orthorectified products (L2D) are read"
        )
    code = int(hdf.numbers(file, "Epsg_Code")[0])
    wkt = raster.wkt(f"EPSG:{code}")
    if not wkt:
        raise SceneError(f"{path} states EPSG code {code}, which is none")
    return Grid(height, width, Affine(METRES, 0, left - METRES / 2, 0, -METRES, top + METRES / 2), wkt)


class Cubes:
    """The pixels of both cubes: `source.Pixels`."""

    def __init__(self, source: Source, file: Any) -> None:
        self.source = source
        self._cubes = {d: hdf.array(file, _name(d), 3) for d in DETECTORS}
        self._planes = _planes(file, self._cubes)
        # bands of both cubes: water is 0 in the far infrared, and shadow nowhere in blue
        good = [b.index for b in source.bands if b.good] or [1]
        self._asked = [good[i] for i in np.unique(np.linspace(0, len(good) - 1, ASKED).astype(int))]

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window."""
        image = np.zeros((len(bands), window.height, window.width), self.source.bands[0].dtype)
        for detector, cube in self._cubes.items():
            at = [i for i, b in enumerate(bands) if self._planes[b - 1].detector == detector]
            if not at:
                continue
            places = np.array([self._planes[bands[i] - 1].place for i in at])
            low, high = int(places.min()), int(places.max()) + 1
            # bands lie beside each other in a row: those between are read too, so some rows at a time
            step = max(1, MOST // ((high - low) * window.width))
            for top in range(window.row, window.stop[0], step):
                bottom = min(window.stop[0], top + step)
                index = np.s_[top:bottom, low:high, window.col : window.stop[1]]
                stored = hdf.read(cube, index, self.source.path, window)
                rows = slice(top - window.row, bottom - window.row)
                image[at, rows] = stored[:, places - low].transpose(1, 0, 2)
        return image

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where a pixel was seen: some of the bands, spread over both cubes, are not 0 there."""
        seen = np.zeros((window.height, window.width), bool)
        for asked in self._asked:
            seen |= self.read([asked], window)[0] != 0
        return seen

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)
