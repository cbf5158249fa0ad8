"""Tile sets: every raster at hand against whole reads, coverage, places on the map, memory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from commands import PEAK
from scenes import spoil
from told import Told

from satae import publish
from satae.errors import ConfigError, DamageError, OutputError, SceneError
from satae.grid import Window
from satae.scene import output, stream
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.tiles import cut as tiling
from satae.tiles import store
from satae.tiles.cut import Cut, cut

REFUSED = {
    "formats/rasterio/all-nodata.tif": "has no valid pixel: all of its pixels are nodata",
    "formats/rasterio/corrupt.tif": "is damaged between rows 512 and 1024, columns 512 and 1024",
    "formats/rasterio/float_nan.tif": "has 2 x 3 pixels; the smallest scene is 8 x 8",
    "formats/rasterio/test_esri_wkt.tif": "has 2 x 2 pixels; the smallest scene is 8 x 8",
    "formats/rio_cogeo/bad_output_vrt.tif": "band 1 holds palette indices",
    "formats/rio_tiler/cog_gcps.tif": "is located by 210 ground control points only",
}
FOLDER = Path(os.environ.get("SATAE_DATA", Path(__file__).parents[3] / "shared" / "data"))
RASTERS = sorted(str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.tif*")) or ["formats"]
NOISE = np.random.default_rng(0).integers(1, 200, (2, 150, 190)).astype("uint16")


def expected(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All bands but alpha of one file, and which pixels GDAL and arithmetic call good, from one whole read."""
    with rasterio.open(path, sharing=False) as dataset:
        kinds = dataset.colorinterp
        bands = [i for i, kind in enumerate(kinds, 1) if kind != rasterio.enums.ColorInterp.alpha]
        image = dataset.read(bands)
        masks = dataset.read_masks(bands) > 0
        if rasterio.enums.ColorInterp.alpha in kinds:
            masks &= dataset.read(1 + kinds.index(rasterio.enums.ColorInterp.alpha)) > 0
    return image, (masks & np.isfinite(image.astype("float64"))).all(axis=0)


def assembled(found: store.TileSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, valid and how often a pixel lies in a tile, by pasting."""
    height, width, size = found.record.height, found.record.width, found.record.size
    image = np.zeros((len(found.record.bands), height + size, width + size), found.images.dtype)
    valid = np.zeros(image.shape[1:], bool)
    count = np.zeros(image.shape[1:], int)
    for (row, col), tile, good in zip(found.index, found.images, found.valid, strict=True):
        there = slice(row, row + size), slice(col, col + size)
        image[:, *there][:, good] = tile[:, good]
        valid[there] |= good
        count[there] += good
    assert not valid[height:].any() and not valid[:, width:].any()
    return image[:, :height, :width], valid[:height, :width], count[:height, :width]


@pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning", "ignore::rasterio.errors.NodataShadowWarning"
)
@pytest.mark.parametrize("name", RASTERS)
def test_every_raster_is_tiled_as_it_is_or_refused(data: Path, tmp_path: Path, name: str) -> None:
    path = data / name
    how = Cut(min_valid=0, workers=1)
    if name in REFUSED:
        with pytest.raises(SceneError) as info:
            cut(describe([path]), tmp_path / "out", how)
        assert str(info.value).startswith(f"{path} {REFUSED[name]}") and "\n" not in str(info.value)
        assert list(tmp_path.iterdir()) == []
        return
    image, valid = expected(path)
    got, good, count = assembled(cut(describe([path]), tmp_path / "out", how))
    assert got.dtype == image.dtype and (good == valid).all() and (count == valid).all()
    assert (got[:, valid] == image[:, valid]).all() and not got[:, ~valid].any()


def shrink_strips(monkeypatch) -> None:
    monkeypatch.setattr(stream, "STRIP_BYTES", 64 * 64 * 4)


@pytest.mark.parametrize("overlap", [0, 5, 16, 28])
@pytest.mark.parametrize("tiled", [False, True])
def test_tiles_hold_their_pixels_whatever_the_overlap(
    make_scene, tmp_path, monkeypatch, overlap, tiled
) -> None:
    shrink_strips(monkeypatch)
    blocks = {"tiled": True, "blockxsize": 48, "blockysize": 16} if tiled else {}
    scene = describe([make_scene(NOISE, **blocks)])
    found = cut(scene, tmp_path / "out", Cut(32, overlap, min_valid=0))
    windows = list(scene.grid.tiles(32, overlap))
    assert {found.window(i) for i in range(len(found))} == set(windows) and len(found) == len(windows)
    span = found.span(np.arange(len(found)))
    assert all(w.clip(span) == w for w in windows) and span.stop == max(w.stop for w in windows)
    image, valid, count = assembled(found)
    assert valid.all() and (image == NOISE).all() and (count.max() == 1) == (overlap == 0)
    again, good = found.read(Window(-3, -3, 160, 200))
    assert (again[:, 3:153, 3:193] == NOISE).all() and good.sum() == valid.size


def test_edge_tiles_are_padded_and_masked(make_scene, tmp_path) -> None:
    found = cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(64))
    last = found.index.tolist().index([128, 128])
    assert found.valid[last][:22, :62].all() and found.valid[last].sum() == 22 * 62
    assert not found.images[last][:, 22:].any() and not found.images[last][:, :, 62:].any()


def test_a_scene_smaller_than_a_tile_is_one_tile(make_scene, tmp_path) -> None:
    found = cut(describe([make_scene(NOISE[:, :9, :11])]), tmp_path / "out", Cut(64))
    assert len(found) == 1 and found.valid.sum() == 99


@pytest.mark.parametrize("min_valid", [0.0, 0.25, 0.5, 0.9])
def test_what_is_left_out_is_counted(make_scene, tmp_path, min_valid: float) -> None:
    rng = np.random.default_rng(1)
    share = np.kron(rng.random((5, 6)), np.ones((32, 32)))[:150, :190]  # another one in each tile
    good = rng.random((150, 190)) < share
    scene = describe([make_scene(NOISE * good, nodata=0)])
    record = cut(scene, tmp_path / "out", Cut(32, min_valid=min_valid)).record
    parts = [good[w.clip(scene.grid.window).slices(scene.grid.window)] for w in scene.grid.tiles(32)]
    kept = [p for p in parts if p.mean() >= min_valid and p.any()]
    assert (record.tiles, record.left_out) == (len(kept), len(parts) - len(kept))
    assert record.valid_pixels == sum(p.sum() for p in kept)
    assert record.left_out_pixels == good.sum() - record.valid_pixels


def test_nothing_kept_is_explained(make_scene, tmp_path) -> None:
    pixels = NOISE.copy()
    pixels[:, 10:] = 0
    with pytest.raises(SceneError, match=r"at least 50% valid pixels \(1900 valid in all\)"):
        cut(describe([make_scene(pixels, nodata=0)]), tmp_path / "out", Cut(64))


def digest(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("overlap", [0, 8])
def test_one_and_four_workers_write_equal_bytes(make_scene, tmp_path, monkeypatch, overlap: int) -> None:
    shrink_strips(monkeypatch)
    path = make_scene(NOISE, nodata=7)
    for workers in (1, 4):
        cut(describe([path]), tmp_path / str(workers), Cut(32, overlap, workers=workers, patches=True))
    assert digest(tmp_path / "1") == digest(tmp_path / "4")


def test_the_folder_of_the_scene_is_left_as_it_was(data: Path, make_scene, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make_scene(NOISE, name="a.tif", folder=folder, nodata=0, mask=NOISE[0] > 3)
    make_scene(NOISE, name="b.tif", folder=folder, tiled=True, compress="deflate")
    before = digest(folder), {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    for name in ("a.tif", "b.tif"):
        cut(describe([folder / name]), tmp_path / name, Cut(patches=True))
    assert (digest(folder), {p: p.stat().st_mtime_ns for p in folder.iterdir()}) == before


TRANSFORMS = {
    "north up": Affine(10, 0, 500_000, 0, -10, 5_200_000),
    "south up": Affine(10, 0, 500_000, 0, 10, 5_200_000),
    "rotated": Affine(8, 6, 500_000, 6, -8, 5_200_000),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_patches_lie_on_the_map_where_their_pixels_do(make_scene, tmp_path, transform: Affine) -> None:
    pixels = NOISE.copy()
    pixels[0, 70:80, 70:80] = 0
    path = make_scene(pixels, name="s.tif", nodata=0, transform=transform)
    found = cut(describe([path]), tmp_path / "out", Cut(64, overlap=4, patches=True))
    assert len(list((tmp_path / "out" / "patches").iterdir())) == len(found)
    with rasterio.open(path) as whole:
        for i, (row, col) in enumerate(found.index):
            with rasterio.open(tmp_path / "out" / "patches" / f"s_{row}_{col}.tif") as patch:
                assert patch.crs == whole.crs
                np.testing.assert_allclose(patch.xy(3, 5), whole.xy(row + 3, col + 5), atol=1e-6)
                assert (patch.read() == found.images[i]).all()
                assert ((patch.dataset_mask() > 0) == found.valid[i]).all()


def test_a_patch_that_the_disk_did_not_take_is_noticed(make_scene, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(output.Output, "write", lambda *_: None)  # GDAL reports no full disk
    with pytest.raises(OutputError, match="could not be written whole"):
        cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(patches=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_footprints_open_in_geopandas_and_lie_on_the_scene(make_scene, tmp_path, transform: Affine) -> None:
    scene = describe([make_scene(NOISE, transform=transform)])
    cut(scene, tmp_path / "out", Cut(64))
    frame = geopandas.read_file(tmp_path / "out" / "footprints.geojson")
    assert frame.crs == "EPSG:4326" and frame.is_valid.all() and list(frame.tile) == list(range(9))
    corners = [(0, 0), (0, 190), (150, 190), (150, 0)]
    ring = [(transform.a * c + transform.b * r + transform.c, transform.d * c + transform.e * r + transform.f)
            for r, c in corners]  # fmt: skip
    outline = geopandas.GeoSeries([shapely.Polygon(ring)], crs=32632)
    union = frame.to_crs(32632).union_all()
    assert union.symmetric_difference(outline[0]).area < 1e-4 * outline[0].area
    assert frame.to_crs(32632).area.sum() == pytest.approx(outline[0].area, rel=1e-4)


def test_reading_and_hashing_a_scene_say_how_far_they_are(make_scene, tmp_path) -> None:
    path, steps = make_scene(NOISE), Told()
    found = cut(describe([path]), tmp_path / "out", Cut(64), steps)
    pixels, size = NOISE[0].size, path.stat().st_size
    assert steps.told == [
        (f"tile {path.stem}", pixels, pixels), (f"hash {path.stem}", size, size), (f"write {path.stem}", 0, 0),
    ]  # fmt: skip
    assert found.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_footprints_without_a_place_on_earth_claim_none(make_scene, tmp_path) -> None:
    cut(describe([make_scene(NOISE, crs=None)]), tmp_path / "out", Cut(64))
    frame = geopandas.read_file(tmp_path / "out" / "footprints.geojson")
    assert frame.crs.to_epsg() is None and not frame.crs.is_geographic
    assert list(frame.total_bounds) == [500_000, 5_198_500, 501_900, 5_200_000]


def test_footprints_are_cut_at_the_antimeridian(data: Path, tmp_path) -> None:
    path = data / "formats" / "rio_tiler" / "cog_dateline.tif"
    cut(describe([path]), tmp_path / "out", Cut(256))
    frame = geopandas.read_file(tmp_path / "out" / "footprints.geojson")
    assert frame.is_valid.all() and (frame.geom_type == "MultiPolygon").any()
    geod = pyproj.Geod(ellps="WGS84")
    areas = [abs(geod.geometry_area_perimeter(g)[0]) for g in frame.geometry]
    assert max(areas) < 1.1 * (256 * 100.1) ** 2


def test_a_scene_that_a_tile_set_remembers_is_described_the_same(make_scene, tmp_path) -> None:
    paths = [make_scene(NOISE, name="a1.tif"), make_scene(NOISE + 1, name="a2.tif")]
    scene = describe(paths, bands=[4, 1, 3], limits=Limits(nodata=5.0))
    record = cut(scene, tmp_path / "out", Cut(64)).record
    assert tiling.scene_again(record) == scene


@pytest.mark.parametrize("how", [{"size": 7}, {"size": 5000}, {"overlap": 64}, {"overlap": -1}, {"min_valid": 1.5},
                                 {"min_valid": float("nan")}])  # fmt: skip
def test_cuts_that_make_no_sense_are_refused(how: dict) -> None:
    with pytest.raises(ConfigError, match="--"):
        Cut(**how)


def test_a_failed_cut_leaves_the_older_tile_set(make_scene, tmp_path) -> None:
    cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(64))
    before = digest(tmp_path)
    bad = make_scene(NOISE, compress="deflate", tiled=True, blockxsize=32, blockysize=32)
    spoil(bad, (2, 2))
    with pytest.raises(DamageError, match="rows 64 and 96, columns 64 and 96"):
        cut(describe([bad]), tmp_path / "out", Cut(64))
    assert digest(tmp_path) == before


@pytest.mark.parametrize("spoil", ["truncate", "length", "version", "text"])
def test_a_tile_set_that_is_not_whole_is_refused(make_scene, tmp_path, spoil: str) -> None:
    folder = cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(64)).path
    if spoil == "truncate":
        os.truncate(folder / "tiles.npy", 1000)
    elif spoil == "length":
        np.save(folder / "index.npy", np.zeros((3, 2), np.int64))
    elif spoil == "version":
        record = json.loads((folder / "tileset.json").read_text())
        (folder / "tileset.json").write_text(json.dumps(record | {"version": 99}))
    else:
        (folder / "tileset.json").write_text("[" * 100_000)
    with pytest.raises(store.TilesError, match="again"):
        store.load(folder)


def tamper(folder: Path, **claims: object) -> None:
    record = json.loads((folder / "tileset.json").read_text())
    (folder / "tileset.json").write_text(json.dumps(record | claims))


def claim(path: Path, shape: tuple[int, ...], kind: str) -> None:
    """A .npy file whose header says more than there is."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})


TAMPERED = {
    "an index far outside": lambda f: np.save(f / "index.npy", np.load(f / "index.npy") + 64_000),
    "one below 0": lambda f: np.save(f / "index.npy", np.load(f / "index.npy") - 64),
    "one off the lattice": lambda f: np.save(f / "index.npy", np.load(f / "index.npy") + 1),
    "one place twice": lambda f: np.save(f / "index.npy", np.load(f / "index.npy") * 0),
    "an index of fractions": lambda f: np.save(f / "index.npy", np.load(f / "index.npy") + 0.5),
    "an index of three columns": lambda f: np.save(f / "index.npy", np.zeros((6, 3), np.int64)),
    "objects": lambda f: np.save(f / "index.npy", np.array([{}] * 6, object), allow_pickle=True),
    "an index of a terabyte": lambda f: claim(f / "index.npy", (2**36, 2), "<i8"),
    "tiles of a terabyte": lambda f: claim(f / "tiles.npy", (2**30, 2, 64, 64), "<u2"),
    "a size beyond all": lambda f: claim(f / "tiles.npy", (2**62, 2**62, 64, 64), "<u2"),
    "masks that are numbers": lambda f: np.save(f / "valid.npy", np.load(f / "valid.npy").astype("uint8")),
    "pixels of another type": lambda f: np.save(f / "tiles.npy", np.load(f / "tiles.npy").astype("float64")),
    "no size": lambda f: tamper(f, size=0),
    "an overlap of all": lambda f: tamper(f, overlap=64),
    "a negative overlap": lambda f: tamper(f, overlap=-8),
    "a transform cut short": lambda f: tamper(f, transform=[1.0, 0.0]),
    "a scene of no pixels": lambda f: tamper(f, height=0),
    "a number of tiles beyond all": lambda f: tamper(f, tiles=10**18),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tile_set_that_was_tampered_with_is_refused(make_scene, tmp_path, how: str) -> None:
    folder = cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(64)).path
    TAMPERED[how](folder)
    with pytest.raises(store.TilesError, match="again"):
        store.load(folder)


def test_a_tile_set_of_a_busy_folder_is_refused(make_scene, tmp_path) -> None:
    with publish.lock(tmp_path / "out"), pytest.raises(OutputError, match="another satae is writing"):
        cut(describe([make_scene(NOISE)]), tmp_path / "out", Cut(64))


MEASURE = f"""{PEAK}
from satae.cli.app import app
try: app(sys.argv[1:])
finally: print(peak(), file=sys.stderr)
"""


def peak_mib(scene: Path, out: Path) -> float:
    command = [sys.executable, "-c", MEASURE, "-q", "tile", str(scene), "--out", str(out), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks", [{"tiled": True, "blockxsize": 256, "blockysize": 256}, {}], ids=["tiles", "strips"]
)
def test_memory_does_not_follow_the_size_of_the_scene(tmp_path, blocks: dict) -> None:
    peaks = []
    for side in (8000, 16000):
        path = tmp_path / f"{side}.tif"
        shape = {"height": side, "width": side, "count": 1, "dtype": "uint16", "nodata": 0}
        place = {"crs": "EPSG:32632", "transform": TRANSFORMS["north up"]}
        with rasterio.open(
            path, "w", driver="GTiff", compress="deflate", sparse_ok=True, **shape, **place, **blocks
        ) as out:
            out.write(np.full((1, 512, 512), 9, "uint16"), window=((512, 1024), (512, 1024)))
        # how far the threads are ahead of each other is chance, some 20 MiB: the least is what it takes
        peaks.append(min(peak_mib(path, tmp_path / f"tiles-{side}-{i}") for i in range(2)))
    assert peaks[1] < peaks[0] + 40  # MiB, of 366 that the larger one holds more
