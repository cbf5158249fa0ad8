"""Several files as one source: each is shown at its place, and of those that overlap the later one lies on top.

What describes a mosaic is read elsewhere, in `readers`; nothing here knows of XML. Pixels are put together window by
window, and few files are open at a time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import SceneError
from satae.grid import Grid, Window
from satae.scene import raster, readers
from satae.scene.resample import MOST, as_stored, on_grid, shrunk
from satae.scene.source import Band, Pixels, Source

OPEN = 32  # files that are open at a time
SLACK = 0.001  # pixels by which the edges of a part may be off
WIDE = {
    np.dtype(kind) for kind in ("int32", "uint32", "int64", "uint64", "float64")
}  # more than float32 holds
ROUNDING = 1e-9  # pixels, for middles that fall between two
Rectangle = tuple[float, float, float, float]  # row, column, height, width


@dataclass(frozen=True)
class Part:
    """A rectangle of one band of a source, and where in the mosaic it is shown, in pixels of each.

    DN that equal `nodata`, with `masked` those that the file masks too, show what lies below. `scale` and `offset`
    are applied to the others.
    """

    source: Source
    band: int
    taken: Rectangle
    shown: Rectangle
    nodata: float | None = None
    masked: bool = False
    scale: float = 1.0
    offset: float = 0.0

    @property
    def window(self) -> Window:
        """The pixels of the mosaic that it touches."""
        row, col, height, width = self.shown
        top, left = math.floor(row + SLACK), math.floor(col + SLACK)
        bottom, right = math.ceil(row + height - SLACK), math.ceil(col + width - SLACK)
        return Window(top, left, max(1, bottom - top), max(1, right - left))

    def places(self, window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(rows, cols) of the source that are shown in the rows and columns of a window, the nearest ones."""
        grid = self.source.grid
        sizes = zip(
            (window.row, window.col), window.stop, (0, 1), (grid.height, grid.width), strict=True
        )  # of rows, then of columns
        found = []
        for start, stop, axis, size in sizes:
            # the middle of a pixel of the mosaic decides, though it lie beside what is taken: GDAL has it so
            first, length = self.taken[axis], self.taken[axis + 2]
            middle = np.arange(start, stop) + 0.5 - self.shown[axis]
            at = np.floor(first + middle * (length / self.shown[axis + 2]) + ROUNDING)
            found.append(np.clip(at, 0, size - 1).astype(np.int64))
        return found[0], found[1]

    @property
    def layout(self) -> tuple[Any, ...]:
        """All but the band: what parts of several bands share that are read at once."""
        return (id(self.source), self.taken, self.shown, self.nodata, self.masked, self.scale, self.offset)


@dataclass(frozen=True)
class Mosaic(Source):
    """A source of parts: `layers` holds those of each band, from the lowest to the uppermost."""

    layers: tuple[tuple[Part, ...], ...] = ()

    def __hash__(self) -> int:
        return hash((self.path, self.grid))  # thousands of parts tell no more

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: identities belong to this process."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def layouts(self) -> tuple[int, ...]:
        """A number for each band, the same for those whose parts differ in nothing but the band of the file."""
        known: dict[tuple[Any, ...], int] = {}
        return tuple(known.setdefault(tuple(p.layout for p in layer), len(known)) for layer in self.layers)

    @cached_property
    def edges(self) -> tuple[npt.NDArray[np.int64], ...]:
        """(part, 4) of each band: first row and column, and those behind the last."""
        return tuple(
            np.array([(p.window.row, p.window.col, *p.window.stop) for p in layer], np.int64).reshape(-1, 4)
            for layer in self.layers
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The description and all files that it leads to."""
        below = (path for layer in self.layers for part in layer for path in part.source.files)
        return tuple(dict.fromkeys((self.path, *below)))

    @cached_property
    def weight(self) -> int:
        """How many parts the fullest band has, parts that are mosaics themselves counted through."""
        return max((sum(_weight(p.source) for p in layer) for layer in self.layers), default=0)

    @cached_property
    def depth(self) -> int:
        """How many mosaics lie in each other."""
        return 1 + max((depth(p.source) for layer in self.layers for p in layer), default=0)


def file_below(path: Path, name: str) -> Path:
    """A file that a description at `path` names, in its folder or below, links followed; SceneError for all others."""
    rule = f"{path} refers to {name!r}; its files must lie in its own folder and be named relative to it"
    # what climbs or is absolute does so on some system: a product is passed on
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "://" in name
    if absolute or ".." in parts or not name or not name.isprintable():
        raise SceneError(rule)
    file = path.parent / name
    if not (real := file.resolve()).is_relative_to(path.parent.resolve()):
        raise SceneError(f"{rule}: it is a link to {real}")
    if not file.is_file():
        raise SceneError(
            f"{path} refers to {name!r}, which is not there; put it beside {path.name}, or make that again"
        )
    return file


def depth(source: Source) -> int:
    """How many mosaics lie in each other; 0 for a file."""
    return source.depth if isinstance(source, Mosaic) else 0


def _weight(source: Source) -> int:
    return source.weight if isinstance(source, Mosaic) else 1


def mosaic(source: Source, layers: Sequence[Sequence[Part]]) -> Mosaic:
    """The source `source` made of parts, with what follows from them: masks, blocks, whether it is slow, remarks.

    A band is masked where its parts may leave gaps that no nodata tells, or are masked themselves.
    """
    parts = [part for layer in layers for part in layer]
    whole = source.grid.window
    bands = []
    for band, layer in zip(source.bands, layers, strict=True):
        # a part that covers all and hides what lies below leaves none
        gaps = band.nodata is None and all(p.window.within(whole) != whole or _holes(p) for p in layer)
        bands.append(replace(band, masked=gaps or any(_own(p).masked for p in layer)))
    # strips are read along the blocks of the first file: most mosaics are made of one kind
    block = parts[0].source.block if parts else (1, whole.width)
    remarks = list(dict.fromkeys(r for s in dict.fromkeys(p.source for p in parts) for r in s.remarks))
    if len(remarks) > 3:
        remarks[3:] = [f"{len(remarks) - 3} more files of {source.path} have such remarks"]
    return Mosaic(
        source.path, source.grid, tuple(bands), (min(block[0], whole.height), min(block[1], whole.width)),
        remarks=tuple(remarks), slow=any(p.source.slow for p in parts), layers=tuple(map(tuple, layers)),
    )  # fmt: skip


def _own(part: Part) -> Band:
    return part.source.bands[part.band - 1]


def _holes(part: Part) -> bool:
    """Whether what lies below may show through."""
    return part.nodata is not None or part.masked


@contextmanager
def open_mosaic(source: Mosaic, grid: Grid | None = None, *, mean: bool = False) -> Iterator[Pixels]:
    """The pixels of a mosaic for one thread; its files are opened for each read, those that it needs."""
    yield on_grid(MosaicPixels(source), source, grid, mean=mean)


class _Handles:
    """The files that one read asked for last; GDAL wants them closed by the thread that opened them."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, tuple[Pixels, ExitStack]] = OrderedDict()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.popitem()[1][1].close()

    def of(self, source: Source) -> Pixels:
        """The pixels of a file."""
        if source.path not in self._open:
            # a window that spans hundreds of files must not hold them all
            while len(self._open) >= OPEN:
                self._open.popitem(last=False)[1][1].close()
            stack = ExitStack()
            self._open[source.path] = stack.enter_context(readers.open_pixels(source)), stack
        self._open.move_to_end(source.path)
        return self._open[source.path][0]


class MosaicPixels:
    """The pixels of a mosaic: `source.Pixels`."""

    def __init__(self, source: Mosaic) -> None:
        self.source = source

    def read(self, bands: Sequence[int], window: Window) -> npt.NDArray[Any]:
        """Pixels (band, row, col) of a window; nodata, else 0, where no part is shown."""
        own = [self.source.bands[b - 1] for b in bands]
        kind = np.result_type(*[raster.numpy_dtype(b.dtype) for b in own])
        image = np.zeros((len(bands), window.height, window.width), kind)
        for plane, said in zip(image, own, strict=True):
            plane[:] = as_stored(np.array(said.nodata or 0.0), np.dtype(raster.numpy_dtype(said.dtype)))
        # bands of one file are read at once: where they are stored pixel by pixel, one costs as much as all
        groups: dict[int, list[int]] = {}
        for i, band in enumerate(bands):
            groups.setdefault(self.source.layouts[band - 1], []).append(i)
        with _Handles() as handles:
            for group in groups.values():
                kinds = [np.dtype(raster.numpy_dtype(own[i].dtype)) for i in group]
                for parts in zip(*[self._within(bands[i], window) for i in group], strict=True):
                    for piece in _pieces(parts[0], window, len(parts)):
                        planes = [image[i][piece.slices(window)] for i in group]
                        _paint(planes, kinds, parts, piece, handles.of(parts[0].source))
        return image

    def mask(self, band: int, window: Window) -> npt.NDArray[np.bool_]:
        """True where every band that may have gaps is shown by a part that counts there, and this one is not nodata."""
        good = np.ones((window.height, window.width), bool)
        # bands of the same parts have the same gaps
        wanted = {self.source.layouts[b.index - 1]: b.index for b in self.source.bands if b.masked}
        for i in wanted.values():
            shown = np.zeros_like(good)
            with _Handles() as handles:
                for part in self._within(i, window):
                    for piece in _pieces(part, window, 1):
                        _uncover(shown[piece.slices(window)], part, piece, handles)
            good &= shown
        # a band with nodata says so by its values
        nodata = self.source.bands[band - 1].nodata
        return good if nodata is None else good & ~_equal(self.read([band], window)[0], nodata)

    def means(
        self, bands: Sequence[int], window: Window, shape: tuple[int, int]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """A window at a smaller shape; see `source.Pixels`."""
        return shrunk(self, bands, window, shape)

    def _within(self, band: int, window: Window) -> list[Part]:
        """The parts of a band that are shown in a window."""
        edges, (bottom, right) = self.source.edges[band - 1], window.stop
        near = (edges[:, 0] < bottom) & (edges[:, 1] < right)
        near &= (edges[:, 2] > window.row) & (edges[:, 3] > window.col)
        return [self.source.layers[band - 1][i] for i in np.flatnonzero(near)]


def _paint(
    planes: Sequence[npt.NDArray[Any]],
    kinds: Sequence[np.dtype[Any]],
    parts: Sequence[Part],
    piece: Window,
    pixels: Pixels,
) -> None:
    """Show a piece of parts that share their place, each on a plane of its own."""
    at, pick = _pick(parts[0], piece)
    stored = pixels.read([p.band for p in parts], at)[(slice(None), *pick)]
    for out, kind, values, part in zip(planes, kinds, stored, parts, strict=True):
        keep = _kept(pixels, part, values, at, pick)
        if part.scale != 1 or part.offset != 0:
            # kept as precisely as GDAL does, so that halves are rounded as it rounds them
            precise = np.float64 if {kind, values.dtype} & WIDE else np.float32
            values = (values.astype(np.float64) * part.scale + part.offset).astype(precise)
        # converted before it is shown: a mosaic of bytes may show 16-bit files
        values = as_stored(values, kind)
        out[...] = values if keep is None else np.where(keep, values, out)


def _uncover(out: npt.NDArray[np.bool_], part: Part, piece: Window, handles: _Handles) -> None:
    """Mark where a piece of a part is shown as counting, or not where the file itself masks it."""
    if not (_holes(part) or _own(part).masked):
        out[...] = True
        return
    at, pick = _pick(part, piece)
    pixels, good, keep = handles.of(part.source), np.ones(out.shape, bool), None
    if _own(part).masked:
        good = pixels.mask(part.band, at)[pick]
    if _holes(part):
        keep = _kept(pixels, part, pixels.read([part.band], at)[0][pick], at, pick)
    out[...] = good if keep is None else np.where(keep, good, out)


def _kept(
    pixels: Pixels, part: Part, plane: npt.NDArray[Any], at: Window, pick: Any
) -> npt.NDArray[np.bool_] | None:
    """Where a part hides what lies below; None for everywhere."""
    keep = None if part.nodata is None else ~_equal(plane, part.nodata)
    if part.masked:
        own = pixels.mask(part.band, at)[pick]
        keep = own if keep is None else keep & own
    return keep


def _pieces(part: Part, window: Window, bands: int) -> Iterator[Window]:
    """What of a window a part is shown in, cut so that no more than MOST numbers are read for one."""
    inside = part.window.within(window)
    if inside is None:
        return
    # pixels of the source for one of the mosaic: a part may show a whole country in one
    across = [max(1.0, part.taken[i] / part.shown[i]) for i in (2, 3)]
    room = max(1.0, MOST / (bands * across[0] * across[1]))
    cols = min(inside.width, max(1, int(room)))
    rows = max(1, int(room / cols))
    for row in range(inside.row, inside.stop[0], rows):
        for col in range(inside.col, inside.stop[1], cols):
            yield Window(row, col, rows, cols).clip(inside)


def _pick(part: Part, piece: Window) -> tuple[Window, tuple[Any, Any]]:
    """The window of the source that holds what a piece shows, and what to pick from it: rows, then columns."""
    rows, cols = part.places(piece)
    at = Window(int(rows[0]), int(cols[0]), int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1)
    # most parts are shown as large as they are
    if all(np.array_equal(on - on[0], np.arange(len(on))) for on in (rows, cols)):
        return at, (slice(None), slice(None))
    return at, ((rows - rows[0])[:, None], (cols - cols[0])[None, :])


def _equal(plane: npt.NDArray[Any], value: float) -> npt.NDArray[np.bool_]:
    """Where DN are a value; floats to the precision that a number written as text keeps."""
    if plane.dtype.kind != "f":
        return np.asarray(plane == value)
    if np.isnan(value):
        return np.asarray(np.isnan(plane))
    return np.asarray(np.isclose(plane, value, rtol=4 * float(np.finfo(np.float32).eps), atol=0))
