"""A scene: the chosen bands of one GeoTIFF, or of several on one grid, and which of their pixels count.

A pixel is valid where every used band is valid: declared nodata, internal mask, alpha that is not a chosen
band, NaN and infinity all exclude it, as do an AOI and a mask raster. What lies outside the grid is invalid.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import geopandas
import numpy as np
import numpy.typing as npt
import shapely

from satae import raster
from satae.errors import DamageError, SceneError
from satae.grid import Grid, Window
from satae.tifftags import GDAL_NODATA, text_tags

SMALLEST = 8  # pixels a side; below that there is no neighbourhood to speak of
ALPHA_LEVELS = 16  # an alpha band with more values than this looks like data
STRIP_BYTES = 32 * 2**20  # decoded pixels of one read

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Something that gives pixels of a grid; one reader belongs to one thread."""

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image (band, row, col) in the stored dtype and `valid` (row, col), zeros and False off the grid."""


class Source(Protocol):
    """Something with a grid that can be opened for reading: a scene, or a tile set put together again."""

    @property
    def grid(self) -> Grid: ...
    @property
    def block(self) -> tuple[int, int]: ...
    @property
    def pixel_bytes(self) -> int: ...
    def open(self) -> Any: ...


@dataclass(frozen=True)
class File:
    """One GeoTIFF of a scene and the 1-based bands that are used of it."""

    path: Path
    bands: tuple[int, ...]


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
    rescaled by them. `alpha` is the 1-based band that serves as a mask. `trust_nodata` is off where the nodata
    tag is no number, which GDAL would take for 0. `block` is the (rows, cols) stored as one piece.
    """

    name: str
    files: tuple[File, ...]
    grid: Grid
    names: tuple[str, ...]
    dtype: str
    block: tuple[int, int]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    alpha: int | None
    trust_nodata: bool
    limits: Limits
    area: tuple[Any, ...] | None  # the AOI's geometries in the scene's CRS
    damage: list[Window] = field(default_factory=list, compare=False)  # what was salvaged around

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all bands."""
        return len(self.names) * np.dtype(self.dtype).itemsize

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Handles of the caller's own on every file."""
        if self.limits.salvage:
            yield Salvager(self)
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

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Image (band, row, col) in the stored dtype and `valid` (row, col), zeros and False off the grid.

        Raises SceneError with the place of a damaged block; the reader must not be used after that.
        """
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
            good &= self._declared_valid(file, handle, inside)
        valid[rows, cols] = good & _meaningful(image[:, rows, cols], scene.limits.nodata)
        return image, valid

    def _usable(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where AOI and mask raster let a pixel count."""
        good = np.ones((window.height, window.width), bool)
        if self.scene.area is not None:
            good &= raster.burn(list(self.scene.area), window, self.scene.grid.transform)
        if self.mask is not None and self.scene.limits.mask is not None:
            path = self.scene.limits.mask
            good &= raster.read(path, self.mask, [1], window)[0] != 0
            if raster.MaskFlags.all_valid not in self.mask.mask_flag_enums[0]:
                good &= raster.read_mask(path, self.mask, 1, window)
        return good

    def _declared_valid(self, file: File, handle: raster.Dataset, window: Window) -> npt.NDArray[np.bool_]:
        good = np.ones((window.height, window.width), bool)
        for band in file.bands:
            flags = handle.mask_flag_enums[band - 1]
            if raster.MaskFlags.all_valid in flags or (
                raster.MaskFlags.nodata in flags and not self.scene.trust_nodata
            ):
                continue
            if raster.MaskFlags.alpha in flags and self.scene.alpha is None:
                continue
            good &= raster.read_mask(file.path, handle, band, window)
            if raster.MaskFlags.per_dataset in flags:
                break
        if self.scene.alpha is not None:
            good &= raster.read(file.path, handle, [self.scene.alpha], window)[0] > 0
        return good


@dataclass(frozen=True)
class Salvager:
    """Reads around damage: every read on fresh handles, since one that failed may go on to give zeros."""

    scene: Scene

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """As `SceneReader.read`, but pixels that cannot be decoded are invalid and noted in `scene.damage`."""
        try:
            with self.scene.handles() as reader:
                return reader.read(window)
        except DamageError:
            smallest = max(window.height, window.width) <= SMALLEST
            blank = np.zeros((len(self.scene.names), window.height, window.width), self.scene.dtype)
            valid = np.zeros((window.height, window.width), bool)
            if smallest or all(
                a <= b for a, b in zip((window.height, window.width), self.scene.block, strict=True)
            ):
                self.scene.damage.append(window)
                return blank, valid
        for part in _quarters(window):
            rows, cols = part.slices(window)
            blank[:, rows, cols], valid[rows, cols] = self.read(part)
        return blank, valid


def _quarters(window: Window) -> list[Window]:
    heights = [window.height // 2, window.height - window.height // 2]
    widths = [window.width // 2, window.width - window.width // 2]
    return [
        Window(window.row + i * heights[0], window.col + j * widths[0], heights[i], widths[j])
        for i in (0, 1)
        for j in (0, 1)
        if heights[i] and widths[j]
    ]


def _meaningful(image: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """True where all bands are finite as float32 and none is the user's nodata."""
    good = np.ones(image.shape[1:], bool)
    if image.dtype.kind == "f":
        limit = float(np.finfo(np.float32).max)
        with np.errstate(invalid="ignore"):
            good &= (np.abs(image) <= limit).all(axis=0)
    if nodata is not None:
        good &= ~(np.isnan(image) if np.isnan(nodata) else image == nodata).any(axis=0)
    return good


@dataclass(frozen=True)
class _Band:
    """What a file says of one of its bands."""

    path: Path
    index: int
    name: str
    dtype: str
    block: tuple[int, int]
    scale: float
    offset: float
    alpha: bool
    palette: bool


def describe(
    paths: Sequence[Path], *, bands: Sequence[int] | None = None, limits: Limits | None = None
) -> Scene:
    """Read what the files say of themselves and settle bands, masks and AOI.

    Several paths are the bands of one scene and must share one grid. `bands` are 1-based, counted over all
    files; the default is every band but alpha. Raises SceneError where the files do not make a scene that
    satae can judge; logs a warning for what looks wrong but may be meant.
    """
    limits = limits or Limits()
    grids, offered = [], []
    for path in paths:
        with raster.reading(path) as dataset:
            grids.append(raster.grid_of(path, dataset))
            offered += _bands_of(path, dataset)
    _check_one_grid(paths, grids)
    used = _chosen(offered, bands)
    unused_alpha = [b for b in offered if b.alpha and b not in used and len(paths) == 1]
    _check_usable(grids[0], used)
    scene = Scene(
        name=_name(paths),
        files=tuple(File(p, tuple(b.index for b in group)) for p, group in groupby(used, lambda b: b.path)),
        grid=grids[0],
        names=tuple(b.name for b in used),
        dtype=str(np.result_type(*[b.dtype for b in used])),
        block=used[0].block,
        scales=tuple(b.scale for b in used),
        offsets=tuple(b.offset for b in used),
        alpha=unused_alpha[0].index if unused_alpha else None,
        trust_nodata=all([_nodata_is_readable(path) for path in paths]),
        limits=limits,
        area=None if limits.aoi is None else _geometries(limits.aoi, grids[0]),
    )
    _warn(scene, declared=len(offered))
    return scene


def _bands_of(path: Path, dataset: raster.Dataset) -> list[_Band]:
    names = [text or f"band{i}" for i, text in enumerate(dataset.descriptions, 1)]
    if dataset.count == 1 and not dataset.descriptions[0]:
        names = [path.stem]
    return [
        _Band(
            path,
            i,
            names[i - 1],
            dataset.dtypes[i - 1],
            tuple(dataset.block_shapes[i - 1]),
            dataset.scales[i - 1],
            dataset.offsets[i - 1],
            dataset.colorinterp[i - 1] == raster.ColorInterp.alpha,
            dataset.colorinterp[i - 1] == raster.ColorInterp.palette,
        )
        for i in range(1, dataset.count + 1)
    ]


def _chosen(offered: list[_Band], bands: Sequence[int] | None) -> list[_Band]:
    path = offered[0].path
    if bands is None:
        return [b for b in offered if not b.alpha] or offered
    if not bands or len(set(bands)) < len(bands):
        raise SceneError(f"--bands {','.join(map(str, bands))} names no band, or one twice")
    if outside := [i for i in bands if not 1 <= i <= len(offered)]:
        raise SceneError(f"{path} has bands 1 to {len(offered)}; --bands asks for {outside[0]}")
    return [offered[i - 1] for i in bands]


def _check_one_grid(paths: Sequence[Path], grids: list[Grid]) -> None:
    for path, grid in zip(paths[1:], grids[1:], strict=True):
        if grid != grids[0]:
            raise SceneError(
                f"{path} ({grid.height} x {grid.width} pixels) and {paths[0]} ({grids[0].height} x "
                f"{grids[0].width}) do not share one grid and cannot be stacked; resample one with `gdalwarp`"
            )


def _check_usable(grid: Grid, used: list[_Band]) -> None:
    path = used[0].path
    if min(grid.height, grid.width) < SMALLEST:
        raise SceneError(
            f"{path} has {grid.height} x {grid.width} pixels; the smallest scene is {SMALLEST} x {SMALLEST}"
        )
    for band in used:
        if "complex" in band.dtype:
            raise SceneError(f"{path} band {band.index} is complex; export its magnitude to a GeoTIFF first")
        if band.palette:
            raise SceneError(
                f"{path} band {band.index} holds palette indices, not measurements; expand it with "
                "`gdal_translate -expand rgb`, or choose other bands with --bands"
            )


def _nodata_is_readable(path: Path) -> bool:
    """Whether GDAL's reading of the nodata tag can be trusted; GDAL takes a text that is no number for 0."""
    text = text_tags(path).get(GDAL_NODATA)
    try:
        value = None if text is None else float(text)
    except ValueError:
        log.warning("%s declares nodata %r, which is no number; ignored: pass --nodata V", path, text)
        return False
    with raster.reading(path) as dataset:
        kind = np.dtype(raster.numpy_dtype(dataset.dtypes[0]))
        if value is not None and kind.kind in "iu" and not _fits(value, kind):
            log.warning(
                "%s declares nodata %s, which %s cannot hold; nothing is masked by it", path, text, kind
            )
    return True


def _fits(value: float, kind: np.dtype[Any]) -> bool:
    limits = np.iinfo(kind)
    return np.isfinite(value) and value == int(value) and limits.min <= value <= limits.max


def _geometries(aoi: Path, grid: Grid) -> tuple[Any, ...]:
    """The polygons of a vector file, in the CRS of `grid`."""
    if not aoi.exists():
        raise SceneError(f"{aoi} does not exist")
    try:
        frame = geopandas.read_file(aoi)
    except Exception as error:  # pyogrio raises several unrelated types
        raise SceneError(f"{aoi} cannot be read as a vector file: {raster.cause(error)}") from error
    if (frame.crs is None) != (grid.crs is None):
        side = aoi if frame.crs is None else "the scene"
        raise SceneError(f"{side} states no CRS, so {aoi} cannot be laid over the scene; assign one first")
    if frame.crs is not None:
        frame = frame.to_crs(grid.crs)
    shapes = [g for g in frame.geometry if g is not None and not g.is_empty and g.area > 0]
    outline = shapely.Polygon(grid.footprint())
    touching = tuple(g for g in shapes if (g.is_valid and g.intersects(outline)) or not g.is_valid)
    if not touching:
        raise SceneError(f"{aoi} has no polygon that touches the scene")
    return touching


def _name(paths: Sequence[Path]) -> str:
    """A name for files and layers: the file's stem, or what the stems of several files share."""
    first, last = min(p.stem for p in paths), max(p.stem for p in paths)
    shared = next((i for i, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), None)
    stem = first[:shared]
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "scene"


def _warn(scene: Scene, *, declared: int) -> None:
    path = scene.path
    if scene.grid.crs is None:
        log.warning("%s states no CRS; results are in its own coordinates, areas in pixels", path)
    for file in scene.files:
        side = Path(f"{file.path}.msk")
        if side.exists() and scene.limits.mask != side:
            log.warning("%s is not read by itself; pass --mask %s to apply it", side, side)
    if np.dtype(scene.dtype).kind in "iu" and np.dtype(scene.dtype).itemsize == 8:
        log.warning("%s holds 64-bit integers, which are computed with as 32-bit floats", path)
    middle = Window(scene.grid.height // 2, 0, 1, scene.grid.width)
    with scene.handles() as handles, scene.open() as reader:
        if scene.alpha is not None and not scene.limits.salvage:
            levels = len(np.unique(raster.read(path, handles.handles[0], [scene.alpha], middle)))
            if levels > ALPHA_LEVELS:
                log.warning(
                    "%s band %d is marked as alpha but has %d values in one row; if it is data, pass --bands %s",
                    path, scene.alpha, levels, ",".join(str(i + 1) for i in range(declared)),
                )  # fmt: skip
        share = _zero_edge(scene, reader)
    if share > 0.01:
        log.warning(
            "%s: %.0f %% of its edge is 0 in every band and counts as data; pass --nodata 0 if it is fill",
            path, 100 * share,
        )  # fmt: skip


def _zero_edge(scene: Scene, reader: Reader) -> float:
    """Share of the outermost pixels that are valid and 0 in every band."""
    height, width = scene.grid.height, scene.grid.width
    edges = Window(0, 0, 1, width), Window(height - 1, 0, 1, width), Window(0, 0, height, 1)
    zero = count = 0
    for edge in (*edges, Window(0, width - 1, height, 1)):
        image, valid = reader.read(edge)
        zero += int(((image == 0).all(axis=0) & valid).sum())
        count += valid.size
    return zero / count


def strips(source: Source, step: int, halo: int) -> Iterator[Window]:
    """Windows in row-major order, sides multiples of `step`, that cover the grid and suit its blocks.

    Read with `halo` they stay under STRIP_BYTES where one step does. Striped files are read over their full
    width, so that no strip is decoded twice but for the halo.
    """
    grid = source.grid
    full = math.ceil(grid.width / step) * step
    row_bytes = (full + 2 * halo) * source.pixel_bytes
    rows = max(step, _multiple(STRIP_BYTES // row_bytes - 2 * halo, step, source.block[0]))
    budget = STRIP_BYTES // ((rows + 2 * halo) * source.pixel_bytes) - 2 * halo
    cols = full if budget >= full else max(step, _multiple(budget, step, source.block[1]))
    for row in range(0, grid.height, rows):
        for col in range(0, grid.width, cols):
            yield Window(row, col, min(rows, _upto(grid.height - row, step)), min(cols, full - col))


def ahead(
    source: Source, windows: Iterable[Window], margin: int, workers: int
) -> Iterator[tuple[Window, npt.NDArray[Any], npt.NDArray[np.bool_]]]:
    """Each window with its pixels and `margin` more on all sides, in order, read by `workers` threads.

    Every thread works on handles that no other uses; at most `workers` + 1 windows are held.
    """
    with ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        readers: SimpleQueue[Reader] = SimpleQueue()
        for _ in range(workers):
            readers.put(stack.enter_context(source.open()))

        def read(window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
            reader = readers.get()
            result = reader.read(window.grown(margin))
            readers.put(reader)
            return result

        waiting: deque[tuple[Window, Future[Any]]] = deque()
        try:
            for window in windows:
                waiting.append((window, pool.submit(read, window)))
                if len(waiting) > workers:
                    done, future = waiting.popleft()
                    yield done, *future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, *future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _upto(size: int, step: int) -> int:
    return math.ceil(size / step) * step


def _multiple(limit: int, step: int, block: int) -> int:
    """The largest multiple of `step` up to `limit`, of whole blocks too where one fits."""
    both = math.lcm(step, block)
    unit = both if both <= limit else step
    return limit // unit * unit
