"""Stores the tiles of one scene as a memory-mapped array, with what is needed to map them back.

A tile set is a folder: `tiles.npy` (tile, band, row, col) in the scene's dtype, `valid.npy` (tile, row, col),
`index.npy` (tile, 2) with the row and column of each tile's first pixel, `tileset.json`, and
`footprints.geojson` for people. Reading needs numpy only.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from affine import Affine

from satae.errors import TilesError
from satae.grid import Grid, Window

try:
    import resource
except ImportError:  # not on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

VERSION: Final = 1
MAPS = 2  # of a tile set: its images, and which of their pixels are valid
OTHERS = 256  # files that are open beside them: libraries, outputs, pipes


class SceneFile(pydantic.BaseModel):
    """A GeoTIFF of the scene and its used bands, 1-based."""

    path: str
    bands: list[int]


class ProductRecord(pydantic.BaseModel, extra="forbid"):
    """The product that a set was cut from: what it is, and by what a change of its files is noticed."""

    path: str
    kind: str
    day: str
    baseline: str
    clouds: bool
    stamp: str
    offset: float = 0.0
    nodata: float | None = None


class Record(pydantic.BaseModel, extra="forbid"):
    """`tileset.json`: how the set was cut, enough to cut or score the scene again."""

    version: Literal[1] = VERSION
    scene: str
    files: list[SceneFile]
    sha256: str
    bands: list[str]
    dtype: str
    scales: list[float]
    offsets: list[float]
    size: int = pydantic.Field(ge=1)
    overlap: int = pydantic.Field(ge=0)
    min_valid: float
    height: int = pydantic.Field(ge=1)
    width: int = pydantic.Field(ge=1)
    transform: list[float] = pydantic.Field(min_length=6, max_length=6)
    crs: str | None
    aoi: str | None
    mask: str | None
    nodata: float | None
    offset: float = 0.0  # added to the DN that the files hold
    sensor: str = ""  # what the files hold that do not say it
    embedded: bool = False  # whether bands are parts of a vector
    tiles: int
    left_out: int
    valid_pixels: int
    left_out_pixels: int
    aoi_layer: str | None = None  # sets of before have none
    product: ProductRecord | None = None
    wavelengths: list[float | None] | None = None  # nanometres, a number a band where it is known
    widths: list[float | None] | None = None

    @pydantic.model_validator(mode="after")
    def _tiles_go_on(self) -> Record:
        if self.overlap >= self.size or not self.bands:
            raise ValueError(
                f"an overlap of {self.overlap} in tiles of {self.size} pixels, {len(self.bands)} bands"
            )
        return self


@dataclass(frozen=True)
class Heed:
    """What an analyst's decisions make of a tile set.

    How many regions were `accepted` as anomalies and `rejected` as normal; `normal` are the tiles that hold one of
    the latter, `empty` those of which no valid pixel is left. `digest` names the decisions.
    """

    accepted: int = 0
    rejected: int = 0
    normal: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class TileSet:
    """An open tile set.

    `images` (tile, band, row, col) and `valid` (tile, row, col, True = good) are memory maps; `index`
    (tile, 2) holds (row, col) of first pixels. It is a `stream.Source` too: its tiles put together again. `damage`
    are the scene's blocks that were masked because they cannot be decoded; known only to what cut it.
    """

    path: Path
    record: Record
    images: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    index: npt.NDArray[np.int64]
    heed: Heed = Heed()
    damage: tuple[Window, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def grid(self) -> Grid:
        """The scene's grid."""
        r = self.record
        return Grid(r.height, r.width, Affine(*r.transform), r.crs)

    @property
    def block(self) -> tuple[int, int]:
        """(rows, cols) that are stored together."""
        return self.record.size, self.record.size

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all bands."""
        return len(self.record.bands) * self.images.dtype.itemsize

    def span(self, where: npt.NDArray[np.int64]) -> Window:
        """The smallest window that holds tiles (n), given by number."""
        (top, left), (bottom, right) = (
            self.index[where].min(axis=0),
            self.index[where].max(axis=0) + self.record.size,
        )
        return Window(int(top), int(left), int(bottom - top), int(right - left))

    def window(self, tile: int) -> Window:
        """Where a tile lies in the scene."""
        row, col = self.index[tile]
        return Window(int(row), int(col), self.record.size, self.record.size)

    @cached_property
    def _position(self) -> dict[tuple[int, int], int]:
        return {(int(row), int(col)): i for i, (row, col) in enumerate(self.index)}

    @contextmanager
    def open(self) -> Iterator[TileSet]:
        """The set itself: memory maps need no handle a thread."""
        yield self

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The scene's pixels in `window`, invalid where no tile was kept; see `stream.Reader`."""
        size, step = self.record.size, self.record.size - self.record.overlap
        image = np.zeros((len(self.record.bands), window.height, window.width), self.images.dtype)
        valid = np.zeros((window.height, window.width), bool)
        # the first tile, in each direction, that reaches into the window
        first = [max(0, (v - size) // step + 1) * step for v in (window.row, window.col)]
        for row in range(first[0], window.stop[0], step):
            for col in range(first[1], window.stop[1], step):
                tile = self._position.get((row, col))
                part = Window(row, col, size, size).within(window)
                if tile is None or part is None:
                    continue
                # where tiles overlap they hold the same pixels, so it is of no account which one comes last
                here, there = part.slices(window), part.slices(self.window(tile))
                image[:, here[0], here[1]] = self.images[tile][:, there[0], there[1]]
                valid[here] = self.valid[tile][there]
        return image, valid


def load(path: Path) -> TileSet:
    """Open a tile set; TilesError where it is not one, is incomplete, or is of another version."""
    record_path = path / "tileset.json"
    if not record_path.is_file():
        raise TilesError(f"{path} is not a tile set (no tileset.json); make one with `satae tile SCENE`")
    try:
        record = Record.model_validate_json(record_path.read_bytes())
        # memory maps: a set may be larger than memory, and several processes share the pages. A header may claim any
        # size, and a map is no longer than its file
        with np.errstate(over="raise"):
            images, valid, index = (
                np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in ("tiles", "valid", "index")
            )
    except (OSError, ValueError, RecursionError, ArithmeticError) as error:
        raise TilesError(f"{path} is damaged ({_short(error)}); cut it again with `satae tile`") from error
    # a folder that was copied half opens all the same
    expected = (record.tiles, len(record.bands), record.size, record.size)
    if images.shape != expected or valid.shape != (record.tiles, *expected[2:]) or len(index) != record.tiles:
        raise TilesError(f"{path} holds arrays of other sizes than tileset.json says; cut it again")
    tiles = TileSet(path, record, images, valid, np.array(index))
    _check_places(tiles)
    return tiles


def _check_places(tiles: TileSet) -> None:
    """TilesError where types are other ones than the record says, or a tile lies where none was cut."""
    r, index = tiles.record, tiles.index
    kinds = str(tiles.images.dtype) == r.dtype and tiles.valid.dtype == bool and index.dtype == np.int64
    if not kinds or index.shape != (r.tiles, 2):
        raise TilesError(f"{tiles.path} holds arrays of other types than tileset.json says; cut it again")
    step = r.size - r.overlap
    if len(index) and (
        index.min() < 0 or (index >= (r.height, r.width)).any() or (index % step).any()
        or len(np.unique(index, axis=0)) < len(index)
    ):  # fmt: skip
        raise TilesError(f"{tiles.path} has a tile where none was cut from its scene; cut it again")


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def rest(sets: Iterable[TileSet]) -> None:
    """Let go of the pixels that were read through memory maps, for they count as memory of this process."""
    for tiles in sets:
        # the system still has them in its cache, and the map may be read again
        if isinstance(tiles.images.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            tiles.images.base.madvise(mmap.MADV_DONTNEED)


def tile_sets(folder: Path) -> list[Path]:
    """The tile sets directly below a folder, or the folder itself where it is one, sorted by name."""
    if (folder / "tileset.json").is_file():
        return [folder]
    return sorted(p.parent for p in folder.glob("*/tileset.json"))


def _listed(path: Path) -> list[Path]:
    """The folders in a text file, one a line, from its own folder on; any other path is itself."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return [path]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TilesError(f"{path} cannot be read as a list of tile sets: {_short(error)}") from error
    return [path.parent / text for line in lines if (text := line.strip()) and not text.startswith("#")]


def _allow_files(more: int) -> None:
    """Let this process have so many more files open, for a map keeps its file; TilesError where the system says no.

    Systems begin with few (1,024 on most), and let a process ask for more up to a limit of their own.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = more + OTHERS
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise TilesError(
            f"{more // MAPS} tile sets at once are {more} open files, and this system allows {hard} (ulimit -Hn); "
            f"name at most {max(hard - OTHERS, 0) // MAPS} of them"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def load_all(folders: list[Path]) -> list[TileSet]:
    """Open all tile sets at or below `folders`, or listed in a text file; TilesError where one of them holds none, or
    they differ in bands."""
    paths = list[Path]()
    for place in (listed for folder in folders for listed in _listed(folder)):
        found = tile_sets(place)
        if not found:
            raise TilesError(f"there is no tile set in {place}; make one with `satae tile SCENE`")
        paths += found
    _allow_files(MAPS * len(paths))
    sets = [load(path) for path in paths]
    known: dict[str, TileSet] = {}
    for other in sets:
        # the same scene twice: its tiles would be learned from here and held out there
        if (twin := known.setdefault(other.record.sha256, other)) is not other:
            raise TilesError(
                f"{twin.path} and {other.path} are cut from the same scene, of which no part could be held out; "
                "name one of them"
            )
        for key in ("bands", "dtype", "size", "scales", "offsets", "wavelengths"):
            # sets of older versions do not know their wavelengths
            own, first = getattr(other.record, key), getattr(sets[0].record, key)
            if own != first and not (key == "wavelengths" and None in (own, first)):
                has = [", ".join(map(str, v)) if isinstance(v, list | tuple) else v for v in (own, first)]
                raise TilesError(
                    f"{other.path} has {key} {has[0]} and {sets[0].path} {has[1]}; name the tile sets that belong "
                    "together"
                )
    return sets
