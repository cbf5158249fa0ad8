"""A scene: the chosen bands of one file, or of several on one grid, and which of their pixels count.

A pixel is valid where every used band is valid: declared nodata, internal mask, alpha that is not a chosen
band, NaN and infinity all exclude it, as do an AOI and a mask raster. What lies outside the grid is invalid.
How a scene is settled from what its files say is in `describe`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from satae import composite
from satae.errors import DamageError, SceneError
from satae.grid import Grid, Window
from satae.scene import readers
from satae.scene.source import Band, Exclusion, Pixels, Source
from satae.scene.stream import Reader
from satae.scene.values import directions, is_fill, meaningful, sums

if TYPE_CHECKING:
    from satae.scene.area import Area
    from satae.scene.once import Blocks
    from satae.scene.products import Product

SMALLEST = 8  # pixels a side; below that there is no neighbourhood to speak of


@dataclass(frozen=True)
class File:
    """One file of a scene and the 1-based bands that are used of it; `alpha` is the band that serves as a mask."""

    source: Source
    bands: tuple[int, ...]
    alpha: int | None = None

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.source.path


@dataclass(frozen=True)
class Limits:
    """What the user says about pixels, and which of them count, beyond what the files say.

    `aoi`: a vector file, pixels with their centre inside count. `mask`: a raster, non-zero counts; on
    another grid it is resampled by nearest neighbour. `nodata`: a DN that marks fill, in any band.
    `salvage`: pixels that cannot be decoded are invalid, and noted, instead of an error. `aoi_layer`: which one of the
    vector file, needed where several have polygons. `clouds`: what the provider takes for cloud counts too. `offset`:
    added to the DN of every band, after nodata was looked for. `sensor`: what files hold that do not say it.
    """

    aoi: Path | None = None
    mask: Path | None = None
    nodata: float | None = None
    salvage: bool = False
    aoi_layer: str | None = None
    clouds: bool = False
    offset: float = 0.0
    sensor: str = ""


@dataclass(frozen=True)
class Scene:
    """Where the pixels are and what they mean: plain values that pickle; no pixel is held, and no file open.

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
    area: Area | None  # what the AOI covers
    mask: File | None = None  # the mask raster, of which the first band counts
    product: Product | None = None  # what it was delivered as, where that is more than files
    blocks: Blocks | None = field(default=None, compare=False, repr=False)  # where decoded ones are kept

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def alpha(self) -> int | None:
        """The 1-based band that serves as a mask, of the first file that has one."""
        return next((f.alpha for f in self.files if f.alpha is not None), None)

    @property
    def bands(self) -> tuple[Band, ...]:
        """What the files say of each band, in the order of `names`."""
        return tuple(f.source.bands[i - 1] for f in self.files for i in f.bands)

    @property
    def wavelengths(self) -> tuple[float | None, ...]:
        """Where each band is centred, in nanometres."""
        return tuple(band.wavelength for band in self.bands)

    @property
    def natural(self) -> list[int]:
        """The bands that people are shown, counted from 0: blue, green and red, or one in grey."""
        return composite.natural(self.names, self.wavelengths, [band.colour for band in self.bands])

    @property
    def widths(self) -> tuple[float | None, ...]:
        """How wide each band is at half of its maximum, in nanometres."""
        return tuple(band.width for band in self.bands)

    @property
    def shifts(self) -> tuple[float, ...]:
        """What is added to the DN of each band, by its product and by the user."""
        return tuple(b.shift + self.limits.offset for b in self.bands)

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """The classes and flags of the product by which pixels do not count."""
        if self.product is None:
            return ()
        return self.product.fill + (() if self.limits.clouds else self.product.clouds)

    @property
    def is_plain(self) -> bool:
        """Whether its pixels lie in its files as they are, and are soon read; else they are best put together once."""
        moved = any(f.source.grid != self.grid or f.source.slow for f in self.files)
        return not (moved or self.exclusions or any(b.shift for b in self.bands))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all bands."""
        return len(self.names) * np.dtype(self.dtype).itemsize

    @contextmanager
    def open(self, damage: set[Window] | None = None) -> Iterator[Reader]:
        """Handles of the caller's own on every file; what is masked for damage is added to `damage`."""
        if self.blocks is not None:
            with self.blocks.open(set() if damage is None else damage) as reader:
                yield reader
            return
        # handles are opened anew at every read: see `Salvager`
        if self.limits.salvage:
            yield Salvager(self, set() if damage is None else damage)
            return
        with self.handles() as reader:
            yield reader

    @contextmanager
    def steady(self) -> Iterator[None]:
        """While the scene is read: SceneError where a file has changed, in place of what else failed."""
        sources = [f.source for f in (*self.files, *((self.mask,) if self.mask else ()))]
        try:
            yield
        except (SceneError, OSError):
            for source in sources:
                source.check_stamp()
            raise
        for source in sources:
            source.check_stamp()

    @contextmanager
    def handles(self) -> Iterator[SceneReader]:
        """Handles as those of `open`, but strict about damage."""
        with ExitStack() as stack:
            files = [
                stack.enter_context(readers.open_pixels(f.source, self.grid, mean=True)) for f in self.files
            ]
            # the mask raster is warped to the scene's grid as it is read, window by window
            mask = None if self.mask is None else readers.open_pixels(self.mask.source, self.grid)
            classes = [stack.enter_context(readers.open_pixels(e.source, self.grid)) for e in self.exclusions]
            yield SceneReader(self, files, None if mask is None else stack.enter_context(mask), classes)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._paths)

    @property
    def _paths(self) -> list[Path]:
        """The files that hold its bands, each once."""
        return list(dict.fromkeys(path for file in self.files for path in file.source.files))

    def fingerprint(self, progress: Callable[[int], None] = lambda size: None) -> str:
        """SHA-256 over the bytes of all files; `progress` is called with the number of bytes read."""
        digest = hashlib.sha256()
        for path in self._paths:
            with path.open("rb") as stream:
                # files are larger than memory
                while piece := stream.read(1 << 20):
                    digest.update(piece)
                    progress(len(piece))
        return digest.hexdigest()


class OfScene:
    """A `stream.Source` in the place of a scene, with its grid, blocks and pixels; what it opens is its own."""

    scene: Scene

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


@dataclass(frozen=True)
class Survey(OfScene):
    """A scene that is read once through, and the blocks that were masked meanwhile: a `stream.Source`."""

    scene: Scene
    _damage: set[Window] = field(default_factory=set, compare=False, repr=False)

    @property
    def damage(self) -> tuple[Window, ...]:
        """Blocks that were masked so far because they cannot be decoded, in row-major order."""
        return tuple(sorted(self._damage, key=lambda w: (w.row, w.col)))

    def open(self) -> AbstractContextManager[Reader]:
        """A reader of the scene that leaves what it masked."""
        return self.scene.open(self._damage)


@dataclass(frozen=True)
class SceneReader:
    """Open files of a scene; see `Reader`."""

    scene: Scene
    files: list[Pixels]
    mask: Pixels | None
    classes: list[Pixels]
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
        inside = window.within(scene.grid.window)
        # most windows lie inside: no copy into a larger array
        if inside == window:
            return self._inside(window)
        image = np.zeros((len(scene.names), window.height, window.width), scene.dtype)
        valid = np.zeros((window.height, window.width), bool)
        if inside is not None:
            rows, cols = inside.slices(window)
            image[:, rows, cols], valid[rows, cols] = self._inside(inside)
        return image, valid

    def _inside(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The same for a window inside the grid."""
        scene, parts = self.scene, []
        # AOI and mask first, then each file's own say, and at last the values
        good = self.usable(window)
        for file, pixels in zip(scene.files, self.files, strict=True):
            part = pixels.read(file.bands, window)
            good &= _declared_valid(file, pixels, part, window)
            parts.append(part.astype(scene.dtype, copy=False))
        image = parts[0] if len(parts) == 1 else np.concatenate(parts)
        good &= meaningful(image, scene.limits.nodata)
        if scene.bands[0].coded:
            return directions(image, good, scene.bands[0].coded)
        return sums(image, scene.shifts), good

    def usable(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where AOI and mask raster let a pixel count."""
        good = np.ones((window.height, window.width), bool)
        if self.scene.area is not None:
            good &= self.scene.area.inside(window)
        if self.mask is not None and self.scene.mask is not None:
            usable = self.mask.read(self.scene.mask.bands, window)
            good &= (usable[0] != 0) & ~np.isnan(usable[0])
            good &= _declared_valid(self.scene.mask, self.mask, usable, window)
        for exclusion, pixels in zip(self.scene.exclusions, self.classes, strict=True):
            classes = pixels.read([exclusion.band], window)[0]
            good &= ~np.isin(classes, exclusion.values)
            if exclusion.bits:
                good &= (classes & exclusion.bits) == 0
        return good


@dataclass(frozen=True)
class Salvager:
    """Reads around damage: every read on fresh handles, since one that failed may go on to give zeros."""

    scene: Scene
    damage: set[Window]

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image and `valid` as `SceneReader.read`, but what cannot be decoded is invalid and added to `damage`."""
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
        # block by block, for the blocks around a broken one are whole; after a failure the handles are thrown away
        left = deque(inside.cells(scene.block) if inside else ())
        while left:
            with scene.handles() as reader:
                while left:
                    part = left.popleft()
                    rows, cols = part.slices(window)
                    try:
                        image[:, rows, cols], valid[rows, cols] = reader.read(part)
                    except DamageError:
                        self.damage.add(part.cell(scene.block).clip(scene.grid.window))
                        break
        return image, valid


def _declared_valid(
    file: File, pixels: Pixels, image: npt.NDArray[Any], window: Window
) -> npt.NDArray[np.bool_]:
    """Where nodata, internal mask and alpha let a pixel count; GDAL alone would heed but one of them."""
    good = np.ones((window.height, window.width), bool)
    # internal masks belong to a whole file, nodata to each band
    used = [file.source.bands[band - 1] for band in file.bands]
    if used[0].masked:
        good &= pixels.mask(used[0].index, window)
    if file.alpha is not None:
        good &= pixels.read([file.alpha], window)[0] > 0
    for band, plane in zip(used, image, strict=True):
        for fill in (band.nodata, band.saturated):
            if fill is not None:
                good &= ~is_fill(plane, fill)
    return good
