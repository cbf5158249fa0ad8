"""A scene: the chosen bands of one GeoTIFF, or of several on one grid, and which of their pixels count.

A pixel is valid where every used band is valid: declared nodata, internal mask, alpha that is not a chosen
band, NaN and infinity all exclude it, as do an AOI and a mask raster. What lies outside the grid is invalid.
How a scene is settled from what its files say is in `describe`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import DamageError, SceneError
from satae.grid import Grid, Window
from satae.scene import raster
from satae.scene.stream import Reader

SMALLEST = 8  # pixels a side; below that there is no neighbourhood to speak of


@dataclass(frozen=True)
class File:
    """One GeoTIFF of a scene and the 1-based bands that are used of it.

    `alpha` is the band that serves as a mask. `trust_nodata` is off where the nodata tag is no number, which
    GDAL would take for 0.
    """

    path: Path
    bands: tuple[int, ...]
    alpha: int | None = None
    trust_nodata: bool = True


@dataclass(frozen=True)
class Limits:
    """What the user says about which pixels count, beyond what the files say.

    `aoi`: a vector file, pixels with their centre inside count. `mask`: a raster, non-zero counts; on
    another grid it is resampled by nearest neighbour. `nodata`: a DN that marks fill, in any band.
    `salvage`: pixels that cannot be decoded are invalid, and noted, instead of an error.
    """

    aoi: Path | None = None
    mask: Path | None = None
    nodata: float | None = None
    salvage: bool = False


@dataclass(frozen=True)
class Scene:
    """Where the pixels are and what they mean; no pixel is held.

    `scales` and `offsets` are the declared ones of each band, kept to compare with a model's; DN are never
    rescaled by them. `block` is the (rows, cols) that the first file stores as one piece.
    """

    name: str
    files: tuple[File, ...]
    grid: Grid
    names: tuple[str, ...]
    dtype: str
    block: tuple[int, int]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    limits: Limits
    area: tuple[Any, ...] | None  # the AOI's geometries in the scene's CRS

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def alpha(self) -> int | None:
        """The 1-based band that serves as a mask, of the first file that has one."""
        return next((f.alpha for f in self.files if f.alpha is not None), None)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all bands."""
        return len(self.names) * np.dtype(self.dtype).itemsize

    @contextmanager
    def open(self, damage: set[Window] | None = None) -> Iterator[Reader]:
        """Handles of the caller's own on every file; what is masked for damage is added to `damage`."""
        if self.limits.salvage:
            yield Salvager(self, set() if damage is None else damage)
            return
        with self.handles() as reader:
            yield reader

    @contextmanager
    def handles(self) -> Iterator[SceneReader]:
        """The same, strict about damage."""
        with ExitStack() as stack:
            handles = [stack.enter_context(raster.reading(f.path)) for f in self.files]
            mask = None
            if self.limits.mask is not None:
                mask = stack.enter_context(_mask_handle(self.limits.mask, self.grid))
            yield SceneReader(self, handles, mask)

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of all files."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.path.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True)
class Survey:
    """A scene that is read once through, and the blocks that were masked meanwhile: a `stream.Source`."""

    scene: Scene
    _damage: set[Window] = field(default_factory=set, compare=False, repr=False)

    @property
    def damage(self) -> tuple[Window, ...]:
        """Blocks that were masked so far because they cannot be decoded, in row-major order."""
        return tuple(sorted(self._damage, key=lambda w: (w.row, w.col)))

    @property
    def grid(self) -> Grid:
        """The scene's own."""
        return self.scene.grid

    @property
    def block(self) -> tuple[int, int]:
        """The scene's own."""
        return self.scene.block

    @property
    def pixel_bytes(self) -> int:
        """The scene's own."""
        return self.scene.pixel_bytes

    def open(self) -> AbstractContextManager[Reader]:
        """A reader of the scene that leaves what it masked."""
        return self.scene.open(self._damage)


@contextmanager
def _mask_handle(path: Path, grid: Grid) -> Iterator[raster.Dataset]:
    with raster.reading(path) as dataset:
        own = raster.grid_of(path, dataset)
        if own == grid:
            yield dataset
        elif own.crs is not None and grid.crs is not None:
            with raster.on_grid(dataset, grid) as warped:
                yield warped
        else:
            raise SceneError(
                f"{path} has {own.height} x {own.width} pixels and the scene {grid.height} x {grid.width}, and "
                "without a CRS in both they cannot be matched; cut the mask to the scene's grid"
            )


@dataclass(frozen=True)
class SceneReader:
    """Open handles on a scene's files; see `Reader`."""

    scene: Scene
    handles: list[raster.Dataset]
    mask: raster.Dataset | None
    failures: list[DamageError] = field(default_factory=list)  # GDAL may give zeros after the first one

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image (band, row, col) in the stored dtype and `valid` (row, col), zeros and False off the grid.

        Raises DamageError with the place of a damaged block, and again whatever is asked for after that.
        """
        if self.failures:
            raise self.failures[0]
        try:
            return self._read(window)
        except DamageError as error:
            self.failures.append(error)
            raise

    def _read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        scene = self.scene
        image = np.zeros((len(scene.names), window.height, window.width), scene.dtype)
        valid = np.zeros((window.height, window.width), bool)
        inside = window.within(scene.grid.window)
        if inside is None:
            return image, valid
        rows, cols = inside.slices(window)
        band = 0
        good = self._usable(inside)
        for file, handle in zip(scene.files, self.handles, strict=True):
            part = raster.read(file.path, handle, list(file.bands), inside)
            image[band : band + len(part), rows, cols] = part
            band += len(part)
            good &= _declared_valid(file, handle, part, inside)
        valid[rows, cols] = good & _meaningful(image[:, rows, cols], scene.limits.nodata)
        return image, valid

    def _usable(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where AOI and mask raster let a pixel count."""
        good = np.ones((window.height, window.width), bool)
        if self.scene.area is not None:
            good &= raster.burn(list(self.scene.area), window, self.scene.grid.transform)
        if self.mask is not None and self.scene.limits.mask is not None:
            path = self.scene.limits.mask
            usable = raster.read(path, self.mask, [1], window)
            good &= (usable[0] != 0) & ~np.isnan(usable[0])
            good &= _declared_valid(File(path, (1,), _alpha_of(self.mask)), self.mask, usable, window)
        return good


@dataclass(frozen=True)
class Salvager:
    """Reads around damage: every read on fresh handles, since one that failed may go on to give zeros."""

    scene: Scene
    damage: set[Window]

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """As `SceneReader.read`, but blocks that cannot be decoded are invalid and added to `damage`."""
        try:
            with self.scene.handles() as reader:
                return reader.read(window)
        except DamageError:
            return self._read_blocks(window)

    def _read_blocks(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        scene = self.scene
        image = np.zeros((len(scene.names), window.height, window.width), scene.dtype)
        valid = np.zeros((window.height, window.width), bool)
        inside = window.within(scene.grid.window)
        left = deque(inside.cells(scene.block) if inside else ())
        while left:
            with scene.handles() as reader:
                while left:
                    part = left.popleft()
                    rows, cols = part.slices(window)
                    try:
                        image[:, rows, cols], valid[rows, cols] = reader.read(part)
                    except DamageError:
                        self.damage.add(part.cell(scene.block).clipped(scene.grid.window))
                        break
        return image, valid


def _declared_valid(
    file: File, handle: raster.Dataset, image: npt.NDArray[Any], window: Window
) -> npt.NDArray[np.bool_]:
    """Where nodata, internal mask and alpha let a pixel count; GDAL alone would heed but one of them."""
    good = np.ones((window.height, window.width), bool)
    flags = handle.mask_flag_enums[file.bands[0] - 1]
    if raster.MaskFlags.per_dataset in flags and raster.MaskFlags.alpha not in flags:
        good &= raster.read_mask(file.path, handle, file.bands[0], window)
    if file.alpha is not None:
        good &= raster.read(file.path, handle, [file.alpha], window)[0] > 0
    if file.trust_nodata:
        for band, plane in zip(file.bands, image, strict=True):
            nodata = handle.nodatavals[band - 1]
            if nodata is not None:
                good &= ~_is_fill(plane, nodata)
    return good


def _alpha_of(handle: raster.Dataset) -> int | None:
    """The alpha band behind the first band."""
    kinds = handle.colorinterp[1:]
    return 2 + kinds.index(raster.ColorInterp.alpha) if raster.ColorInterp.alpha in kinds else None


def _is_fill(image: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_]:
    """Where pixels equal `nodata`; floats to the precision that a number written as text keeps."""
    if image.dtype.kind != "f":
        return np.asarray(image == nodata)
    if np.isnan(nodata):
        return np.asarray(np.isnan(image))
    precision = 1e-4 if abs(nodata) > 1e38 else 4 * float(np.finfo(np.float32).eps)  # the latter is GDAL's
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((image == nodata) | (np.abs(image - nodata) <= precision * abs(nodata)))


def _meaningful(image: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """True where all bands are finite as float32 and none is the user's nodata."""
    good = np.ones(image.shape[1:], bool)
    if image.dtype.kind == "f":
        limit = float(np.finfo(np.float32).max)
        with np.errstate(invalid="ignore"):
            good &= (np.abs(image) <= limit).all(axis=0)
    if nodata is not None:
        good &= ~_is_fill(image, nodata).any(axis=0)
    return good
