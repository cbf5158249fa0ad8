"""Cuts a scene into a tile set: whole blocks in, one contiguous array out, memory bounded by one strip."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.console import BRIEF, SILENT, Steps
from satae.errors import ConfigError, OutputError, SceneError
from satae.grid import Grid, Window
from satae.publish import lock, publish, staging
from satae.scene import barren, output, raster, readers
from satae.scene.describe import describe
from satae.scene.scene import SMALLEST, Limits, Scene, Survey
from satae.scene.stream import ahead, strips
from satae.scene.together import together
from satae.tiles.split import turn
from satae.tiles.store import ProductRecord, Record, SceneFile, TileSet, load

Progress = Callable[[int], None]
Tile = tuple[Window, npt.NDArray[Any], npt.NDArray[np.bool_]]
LARGEST = 4096
DECODED = "scene.tif"  # in a tile set, of a scene whose files are slow to read or many
PROJECTED = 1000  # outlines at once
NOWHERE = 'LOCAL_CS["unknown",UNIT["unknown",1]]'


@dataclass(frozen=True)
class Cut:
    """How to cut. `size` and `overlap` in pixels; tiles with a smaller share of valid pixels than
    `min_valid` are left out, counted over the part of a tile that lies in the scene. Of what is left no more than
    `sample` tiles are kept, in patches spread over the scene; they are held in memory until all have passed by."""

    size: int = 64
    overlap: int = 0
    min_valid: float = 0.5
    patches: bool = False
    workers: int = 2
    sample: int | None = None

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise ConfigError(f"--size {self.size} is not between {SMALLEST} and {LARGEST} pixels")
        if not 0 <= self.overlap < self.size:
            raise ConfigError(f"--overlap {self.overlap} is not between 0 and the tile size less one")
        if self.sample is not None and self.sample < 1:
            raise ConfigError(f"--sample {self.sample} is not a number of tiles")
        if not 0 <= self.min_valid <= 1:
            raise ConfigError(f"--min-valid {self.min_valid} is not between 0 and 1")


@dataclass
class _Counts:
    """Tallies while tiles stream by."""

    left_out: int = 0
    left_out_pixels: int = 0
    valid_pixels: int = 0


def cut(scene: Scene, target: Path, how: Cut, steps: Steps = SILENT, *, brief: float = BRIEF) -> TileSet:
    """Write the tile set of a scene to the folder `target`, replacing it in one step.

    Every valid pixel lies in exactly one tile when `overlap` is 0 and `min_valid` is 0. `brief` is how
    many seconds of cutting leave no line. Raises SceneError where no tile has enough valid pixels or a block is
    damaged, OutputError where the folder cannot be written.
    """
    with lock(target), staging(target) as draft:
        folder = draft / target.name
        folder.mkdir()
        counts = _Counts()
        plain, lost = scene, tuple[Window, ...]()
        with scene.steady():
            if not scene.is_plain:
                with steps.stage(f"decode {scene.name}", scene.grid.pixels, "px", brief=brief) as bar:
                    plain, lost = together(scene, folder / DECODED, how.workers, bar.add)
            survey = Survey(plain)
            with steps.stage(f"tile {scene.name}", scene.grid.pixels, "px", brief=brief) as bar:
                index = _write_arrays(survey, folder, how, counts, bar.add)
                if not len(index):
                    raise SceneError(_nothing_kept(scene, how, counts))
            with steps.stage(f"hash {scene.name}", scene.size, "B") as bar:
                digest = scene.fingerprint(bar.add)
        record = _record(scene, target, how, len(index), counts, digest)
        (folder / "tileset.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")
        tiles = load(folder)
        with steps.stage(f"write {scene.name}"):
            with (folder / "footprints.geojson").open("w") as file:
                file.writelines(f"{line}\n" for line in _footprints(tiles))
            if how.patches:
                _write_patches(tiles, folder / "patches")
        publish(folder, target)
    return replace(load(target), damage=(*lost, *survey.damage))


def _nothing_kept(scene: Scene, how: Cut, counts: _Counts) -> str:
    if not counts.left_out_pixels:
        return f"{scene.path} has no valid pixel: {barren.reason(scene)}"
    return (
        f"{scene.path} has no tile of {how.size} pixels with at least {how.min_valid:.0%} valid pixels "
        f"({counts.left_out_pixels} valid in all); check nodata, --mask and --aoi, or lower --min-valid"
    )


def scene_again(record: Record, *, salvage: bool = False) -> Scene:
    """The scene that a tile set was cut from, with the same bands and limits; SceneError where it is gone."""
    # not the record's grid and bands but the files again: what changed since is noticed where it matters
    paths = [Path(f.path) for f in record.files]
    limits = Limits(
        Path(record.aoi) if record.aoi else None,
        Path(record.mask) if record.mask else None,
        record.nodata,
        salvage,
        record.aoi_layer,
        offset=record.offset,
        sensor=record.sensor,
    )
    if record.sensor:  # under its names, in its order
        return replace(describe(paths, bands=record.bands, limits=limits), name=record.scene)
    bands, before = [], 0
    for file in record.files:
        # bands of several files count on from file to file, as --bands does
        bands += [before + b for b in file.bands]
        before += len(readers.source(Path(file.path)).bands)
    return replace(describe(paths, bands=bands, limits=limits), name=record.scene)


def _write_arrays(
    survey: Survey, folder: Path, how: Cut, counts: _Counts, progress: Progress
) -> npt.NDArray[np.int64]:
    scene, size = survey.scene, how.size
    index: list[tuple[int, int]] = []
    # written as they come: how many tiles there will be is known at the end, and memory holds one strip
    images = _Growing(folder / "tiles.npy", scene.dtype, (len(scene.names), size, size))
    valids = _Growing(folder / "valid.npy", "bool", (size, size))
    with images, valids, raster.once_through():
        for window, image, valid in _sampled(_kept(survey, how, counts, progress), how, counts):
            index.append((window.row, window.col))
            images.append(image)
            valids.append(valid)
    order = np.array(index, np.int64).reshape(-1, 2)
    np.save(folder / "index.npy", order)
    return order


def _sampled(tiles: Iterator[Tile], how: Cut, counts: _Counts) -> Iterator[Tile]:
    """As many tiles as are asked for, in their order."""
    if how.sample is None:
        yield from tiles
        return
    step = how.size - how.overlap
    chosen = heapq.nsmallest(how.sample, tiles, key=lambda of: turn(of[0].row, of[0].col, step))
    counts.valid_pixels = sum(int(np.count_nonzero(valid)) for _, _, valid in chosen)
    yield from sorted(chosen, key=lambda of: (of[0].row, of[0].col))


def _kept(scene: Survey, how: Cut, counts: _Counts, progress: Progress) -> Iterator[Tile]:
    """Tiles with enough valid pixels, strip by strip, invalid pixels set to 0."""
    # strips hold whole steps, and are read with the overlap that their last tiles reach out by
    step = how.size - how.overlap
    for strip, image, valid in ahead(scene, strips(scene, step, how.overlap), how.overlap, how.workers):
        frame = strip.with_margin(how.overlap)
        for window in _tiles_from(strip, scene.grid, how):
            rows, cols = window.slices(frame)
            good = valid[rows, cols]
            # tiles at the far edges reach beyond the scene: only their part in it counts
            inside = window.clip(scene.grid.window)
            count = int(np.count_nonzero(good))
            if count == 0 or count < how.min_valid * inside.height * inside.width:
                counts.left_out += 1
                counts.left_out_pixels += count
                continue
            counts.valid_pixels += count
            yield window, _blanked(image[:, rows, cols], good, count), good.copy()
        progress(
            min(strip.height, scene.grid.height - strip.row) * min(strip.width, scene.grid.width - strip.col)
        )
        del image, valid  # before the next strip is waited for


def _blanked(image: npt.NDArray[Any], good: npt.NDArray[np.bool_], count: int) -> npt.NDArray[Any]:
    """A copy of pixels, of which `count` are good, with zeros in place of the others."""
    return image.copy() if count == good.size else np.where(good, image, image.dtype.type(0))


def _tiles_from(strip: Window, grid: Grid, how: Cut) -> Iterator[Window]:
    """The tiles whose first pixel lies in a strip."""
    step = how.size - how.overlap
    for row in range(strip.row, min(strip.stop[0], max(1, grid.height - how.overlap)), step):
        for col in range(strip.col, min(strip.stop[1], max(1, grid.width - how.overlap)), step):
            yield Window(row, col, how.size, how.size)


class _Growing:
    """A .npy file whose first axis grows; its header is written last, when the length is known."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.shape, self.length = path, np.dtype(dtype), shape, 0

    def __enter__(self) -> _Growing:
        self.file = self.path.open("w+b")
        self._header()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.file.seek(0)
            self._header()
        finally:  # on a full disk what is still held cannot be written
            self.file.close()

    def _header(self) -> None:
        # the header of the .npy format, as numpy itself writes it
        text = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, text)  # numpy leaves room for the first axis to grow

    def append(self, array: npt.NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(array, self.dtype).data)
        self.length += 1


def product_record(scene: Scene) -> ProductRecord | None:
    """What a tile set keeps of the product that a scene is of."""
    if (product := scene.product) is None:
        return None
    # hashing gigabytes for a look would take longer than decoding them
    files = [path.stat() for path in dict.fromkeys(p for f in scene.files for p in f.source.files)]
    stamp = f"{sum(f.st_size for f in files)} {max(f.st_mtime_ns for f in files)}"
    return ProductRecord(
        path=str(product.path.absolute()),
        kind=product.kind,
        day=product.day,
        baseline=product.baseline,
        clouds=scene.limits.clouds,
        stamp=stamp,
        offset=scene.limits.offset,
        nodata=scene.limits.nodata,
    )


def tiled_copy(scene: Scene, sets: Sequence[TileSet]) -> Scene | None:
    """The scene of a product as one of some tile sets holds it, decoded with the same options; None where none does."""
    product, limits = product_record(scene), scene.limits
    aoi, mask = _named(limits)
    grid = [scene.grid.height, scene.grid.width, *scene.grid.transform[:6]]
    for tiles in sets:
        record = tiles.record
        if product is None or record.product != product or record.bands != list(scene.names):
            continue
        same_grid = [record.height, record.width, *record.transform] == grid
        if same_grid and (record.aoi, record.aoi_layer, record.mask) == (aoi, limits.aoi_layer, mask):
            return scene_again(record, salvage=limits.salvage)
    return None


def _named(limits: Limits) -> tuple[str | None, str | None]:
    """AOI and mask raster as a record names them."""
    return (
        str(limits.aoi.absolute()) if limits.aoi else None,
        str(limits.mask.absolute()) if limits.mask else None,
    )


def _record(scene: Scene, target: Path, how: Cut, tiles: int, counts: _Counts, digest: str) -> Record:
    grid, limits = scene.grid, scene.limits
    files = [SceneFile(path=str(f.path.absolute()), bands=list(f.bands)) for f in scene.files]
    if not scene.is_plain:
        whole = str(target.absolute() / DECODED)
        files = [SceneFile(path=whole, bands=list(range(1, len(scene.names) + 1)))]
    return Record(
        scene=scene.name,
        files=files,
        sha256=digest,
        bands=list(scene.names),
        dtype=scene.dtype,
        scales=list(scene.scales),
        offsets=list(scene.offsets),
        size=how.size,
        overlap=how.overlap,
        min_valid=how.min_valid,
        height=grid.height,
        width=grid.width,
        transform=list(grid.transform)[:6],
        crs=grid.crs,
        aoi=_named(limits)[0],
        mask=_named(limits)[1],
        # what was decoded once has the DN that were asked for, and a mask in place of fill
        nodata=limits.nodata if scene.is_plain else None,
        # what was decoded into the set has it already
        offset=limits.offset if scene.is_plain else 0.0,
        sensor=limits.sensor if scene.is_plain else "",
        embedded=bool(scene.bands[0].coded),
        tiles=tiles,
        left_out=counts.left_out,
        valid_pixels=counts.valid_pixels,
        left_out_pixels=counts.left_out_pixels,
        aoi_layer=limits.aoi_layer,
        product=product_record(scene),
        wavelengths=_any(scene.wavelengths),
        widths=_any(scene.widths),
    )


def _any(numbers: Sequence[float | None]) -> list[float | None] | None:
    """A list of numbers, None where none is known."""
    return None if all(n is None for n in numbers) else list(numbers)


def _footprints(tiles: TileSet) -> Iterator[str]:
    """Lines of a GeoJSON file with one polygon a tile.

    RFC 7946: WGS 84, cut at 180 degrees. Where the grid is not tied to the Earth, its own coordinates in a local
    CRS, which GDAL understands here.
    """
    grid = tiles.grid
    located = raster.is_georeferenced(grid)
    # GeoJSON of 2008 had a CRS, and readers still take it; RFC 7946 knows WGS 84 alone
    crs = {"type": "name", "properties": {"name": grid.crs or NOWHERE}}
    # line by line: of a million tiles no list of features is ever held
    head = {"type": "FeatureCollection"} | ({} if located else {"crs": crs})
    yield json.dumps(head)[:-1] + ', "features": ['
    for i, ring in enumerate(_rings(tiles)):
        row, col = tiles.index[i].tolist()
        feature = {
            "type": "Feature",
            "properties": {"tile": i, "row": row, "col": col},
            "geometry": _outline(ring, wraps=located),
        }
        yield json.dumps(feature) + ("," if i + 1 < len(tiles) else "")
    yield "]}"


def _rings(tiles: TileSet) -> Iterator[npt.NDArray[np.float64]]:
    """The outline of each tile in longitude and latitude, some projected at once: one by one is slow, all are large."""
    for start in range(0, len(tiles), PROJECTED):
        some = range(start, min(start + PROJECTED, len(tiles)))
        xy = np.stack([tiles.grid.footprint(tiles.window(i)) for i in some])
        found = raster.lonlat(tiles.grid, xy)
        yield from tiles.grid.lonlat(xy) if found is None else found


def _outline(ring: npt.NDArray[np.float64], *, wraps: bool) -> dict[str, Any] | None:
    """A ring as GeoJSON; None where it has no finite coordinates."""
    if not np.isfinite(ring).all():
        return None
    if not wraps or np.ptp(ring[:, 0]) <= 180:
        return {"type": "Polygon", "coordinates": [ring.tolist()]}
    import shapely  # for the few outlines that cross the antimeridian, not the whole world

    # from 0 to 360 degrees it is one piece; cut at 180, the eastern one goes back by 360
    shape = shapely.Polygon(np.column_stack([ring[:, 0] % 360, ring[:, 1]]))
    halves = [shape & shapely.box(0, -90, 180, 90), shape & shapely.box(180, -90, 360, 90)]
    shape = shapely.MultiPolygon([halves[0], shapely.transform(halves[1], lambda xy: xy - [360, 0])])
    return dict(json.loads(shapely.to_geojson(shape)))


def _write_patches(tiles: TileSet, folder: Path) -> None:
    """One georeferenced GeoTIFF a tile, `<scene>_<row>_<col>.tif`, with the valid pixels as its mask.

    Each is read back: GDAL does not notice a full disk.
    """
    folder.mkdir()
    for i in range(len(tiles)):
        window = tiles.window(i)
        grid = tiles.grid.part(window)
        path = folder / f"{tiles.record.scene}_{window.row}_{window.col}.tif"
        with output.writing(path, grid, bands=len(tiles.record.bands), dtype=tiles.record.dtype) as out:
            out.write(tiles.images[i], grid.window)
            out.write_mask(tiles.valid[i])
            out.name(tiles.record.bands)
        if not _holds(path, tiles.images[i], tiles.valid[i], grid.window):
            raise OutputError(f"{path.name} could not be written whole; is the disk full?")


def _holds(path: Path, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_], window: Window) -> bool:
    try:
        with readers.open_pixels(readers.source(path)) as file:
            # bytes and not values: NaN must come back as the NaN that it was
            pixels = file.read(range(1, len(image) + 1), window)
            mask = file.mask(1, window)
    except SceneError:
        return False
    return pixels.tobytes() == image.tobytes() and bool((mask == valid).all())
