"""Which pixels count: every kind of mask, damage, and reading in threads, against whole reads."""

from __future__ import annotations

import threading
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from scenes import spoil

from satae.errors import DamageError, SceneError
from satae.grid import Window
from satae.scene import stream
from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene, Survey

SHAPE = (24, 32)
UTM = Affine(10, 0, 500_000, 0, -10, 5_200_000)


def image(bands: int = 3, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(5).integers(1, 200, (bands, *SHAPE)).astype(dtype)


def whole(scene: Scene | Survey) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def valid(path: Path | list[Path], *, bands: list[int] | None = None, **limits: object) -> np.ndarray:
    paths = [path] if isinstance(path, Path) else path
    return whole(describe(paths, bands=bands, limits=Limits(**limits)))[1]


def holes(*places: tuple[int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """True but at some places."""
    out = np.ones(shape, bool)
    for place in places:
        out[place] = False
    return out


def test_nodata_in_one_used_band_is_enough(make_scene) -> None:
    pixels = image()
    pixels[0, 2, 3], pixels[2, 5, 6] = 0, 0
    path = make_scene(pixels, nodata=0)
    assert (valid(path) == holes((2, 3), (5, 6))).all()
    assert (valid(path, bands=[1, 2]) == holes((2, 3))).all()


def test_internal_mask_and_nodata_both_count(make_scene) -> None:
    pixels = image()
    pixels[1, 2, 3] = 0
    assert (valid(make_scene(pixels, nodata=0, mask=holes((7, 8)))) == holes((2, 3), (7, 8))).all()


RGBA = {"photometric": "RGB", "alpha": "YES"}


def with_alpha() -> np.ndarray:
    pixels = image(4, "uint8")
    pixels[3] = 255
    pixels[3, 4, 5] = pixels[1, 2, 3] = 0
    return pixels


def test_alpha_that_is_not_chosen_is_a_mask(make_scene) -> None:
    scene = describe([make_scene(with_alpha(), **RGBA)])
    pixels, good = whole(scene)
    assert len(pixels) == 3 and scene.alpha == 4 and (good == holes((4, 5))).all()


def test_alpha_and_nodata_both_count(make_scene) -> None:
    assert (valid(make_scene(with_alpha(), nodata=0, **RGBA)) == holes((4, 5), (2, 3))).all()


def test_alpha_that_is_chosen_is_data(make_scene) -> None:
    scene = describe([make_scene(with_alpha(), **RGBA)], bands=[4, 1])
    pixels, good = whole(scene)
    assert (pixels == with_alpha()[[3, 0]]).all() and good.all() and scene.alpha is None


def test_alpha_of_every_stacked_file_counts(make_scene) -> None:
    first, other = with_alpha(), with_alpha()
    other[3] = 255
    other[3, 9, 9] = 0
    paths = [make_scene(first, name="a.tif", **RGBA), make_scene(other, name="b.tif", **RGBA)]
    assert (valid(paths) == holes((4, 5), (9, 9))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_as_float32_is_invalid(make_scene, dtype: str) -> None:
    pixels = image(2, dtype)
    pixels[0, 1, 1], pixels[1, 2, 2], pixels[0, 3, 3], pixels[0, 4, 4] = np.nan, np.inf, -np.inf, 3e38
    bad = [(1, 1), (2, 2), (3, 3)]
    if dtype == "float64":
        pixels[1, 5, 5] = 3e39
        bad.append((5, 5))
    assert (valid(make_scene(pixels)) == holes(*bad)).all()


def test_nodata_nan_and_stray_values_are_invalid(make_scene) -> None:
    pixels = image(2, "float32")
    pixels[0, 1, 1], pixels[1, 2, 2] = np.nan, np.inf
    assert (valid(make_scene(pixels, nodata=np.nan)) == holes((1, 1), (2, 2))).all()
    pixels[0, 3, 3] = -9999
    assert (valid(make_scene(pixels, nodata=-9999)) == holes((1, 1), (2, 2), (3, 3))).all()


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        (kind, value)
        for kind in ("float32", "float64")
        for value in (0.0, 100.0, -9999.0, 0.1, -np.finfo("f4").max)
    ]
    + [("int16", -9999), ("uint8", 100), ("int64", -9999)],
)
def test_declared_nodata_masks_what_gdal_masks(make_scene, dtype: str, nodata: float) -> None:
    pixels = image(1, dtype)
    factors = (1, 1 - 1e-7) if abs(nodata) > 1e38 else (1, 1 - 1e-7, 1 + 1e-7, 1.001)
    for i, factor in enumerate(factors):
        pixels[0, 0, 2 * i] = np.dtype(dtype).type(nodata * factor)
    path = make_scene(pixels, nodata=nodata)
    with rasterio.open(path) as dataset:
        assert (valid(path) == (dataset.read_masks(1) > 0)).all()


@pytest.mark.parametrize("nodata", [7.0, 0.0, 200.0])
def test_nodata_of_the_user_counts_in_any_band(make_scene, nodata: float) -> None:
    pixels = image()
    pixels[1, 2, 2] = 7
    expected = ~(pixels == nodata).any(axis=0)
    assert (valid(make_scene(pixels), nodata=nodata) == expected).all()


def test_pixels_off_the_grid_are_zero_and_invalid(make_scene) -> None:
    pixels = image()
    with describe([make_scene(pixels)]).open() as reader:
        found, good = reader.read(Window(-3, 30, 10, 10))
        beyond, none = reader.read(Window(100, 100, 4, 4))
    assert (found[:, 3:, :2] == pixels[:, :7, 30:]).all() and good[3:, :2].all()
    assert good.sum() == 14 and found[:, ~good].max() == 0
    assert not none.any() and not beyond.any()


def test_single_band_files_are_one_scene(data: Path) -> None:
    folder = data / "formats" / "rasterframes"
    paths = [folder / f"L8-B{b}-Elkton-VA.tiff" for b in (2, 3, 4, 5)]
    pixels, good = whole(describe(paths, bands=[4, 1]))
    expected = [rasterio.open(paths[i], sharing=False).read(1) for i in (3, 0)]
    assert (pixels == np.stack(expected)).all() and good.all()


def lens(inset: float = 0) -> shapely.Polygon:
    """A polygon with a hole, in the scene's UTM coordinates."""
    return shapely.Point(500_150, 5_199_880).buffer(90 - inset) - shapely.Point(500_150, 5_199_880).buffer(30)


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "shp"])
def test_an_aoi_in_degrees_counts_pixels_whose_centre_is_inside(
    make_scene, tmp_path: Path, suffix: str
) -> None:
    aoi = tmp_path / f"aoi.{suffix}"
    degrees = geopandas.GeoDataFrame(geometry=[lens()], crs=32632).to_crs(4326)
    degrees.to_file(aoi)
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    x, y = 500_000 + 10 * cols, 5_200_000 - 10 * rows
    lon, lat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(x, y)
    expected = shapely.contains_xy(degrees.geometry[0], lon, lat)
    assert 0 < expected.sum() < expected.size
    assert (valid(make_scene(image()), aoi=aoi) == expected).all()


def test_long_straight_edges_of_an_aoi_follow_its_own_crs(make_scene, tmp_path: Path) -> None:
    box = shapely.box(8, 46.9, 10, 46.95)  # its upper edge sags 50 pixels of 10 m in UTM
    geopandas.GeoDataFrame(geometry=[box], crs=4326).to_file(tmp_path / "aoi.geojson")
    path = make_scene(image(), transform=Affine(10, 0, 499_900, 0, -10, 5_199_800))
    scene = describe([path], limits=Limits(aoi=tmp_path / "aoi.geojson"))
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    lat = scene.grid.lonlat(scene.grid.xy(rows, cols))[..., 1]
    expected = lat < 46.95
    assert 0 < expected.sum() < expected.size
    assert (whole(scene)[1] == expected).all()


def mask_image() -> np.ndarray:
    return np.random.default_rng(9).integers(0, 2, (1, *SHAPE)).astype("uint8")


def test_a_mask_on_the_same_grid_counts_where_it_is_not_zero(make_scene) -> None:
    mask = mask_image()
    path = make_scene(mask * 7, name="mask.tif")
    assert (valid(make_scene(image()), mask=path) == mask[0]).all()


def test_nodata_and_nan_of_a_mask_do_not_count(make_scene) -> None:
    mask = np.ones((1, *SHAPE), "float32")
    mask[0, 1, 1], mask[0, 2, 2] = np.nan, 255
    path = make_scene(mask, name="mask.tif", nodata=255)
    assert (valid(make_scene(image()), mask=path) == holes((1, 1), (2, 2))).all()


def test_a_mask_on_another_grid_is_laid_over_by_nearest_neighbour(make_scene) -> None:
    coarse = np.random.default_rng(9).integers(0, 2, (1, 10, 12)).astype("uint8")
    # 30 m pixels from 40 m further east and 20 m further south; nothing beyond its edges counts
    path = make_scene(coarse, name="mask.tif", transform=Affine(30, 0, 500_040, 0, -30, 5_199_980))
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] * 10 + 5
    r, c = (rows - 20) // 30, (cols - 40) // 30
    inside = (r >= 0) & (r < 10) & (c >= 0) & (c < 12)
    expected = inside & (coarse[0, r.clip(0, 9), c.clip(0, 11)] != 0)
    assert (valid(make_scene(image()), mask=path) == expected).all()


def test_a_mask_in_another_crs_is_reprojected(make_scene) -> None:
    grid = np.ones((1, 40, 40), "uint8")
    grid[0, :, 20:] = 0
    lon, lat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(500_150, 5_199_880)
    step = 2e-4
    path = make_scene(
        grid,
        name="m.tif",
        crs="EPSG:4326",
        transform=Affine(step, 0, lon - 20 * step, 0, -step, lat + 20 * step),
    )
    good = valid(make_scene(image()), mask=path)
    assert good[:, :15].all() and not good[:, 16:].any()


def test_a_mask_that_cannot_be_matched_is_refused(make_scene) -> None:
    path = make_scene(mask_image()[:, :20], name="mask.tif", crs=None)
    with pytest.raises(SceneError, match="has 20 x 32 pixels and the scene 24 x 32"):
        valid(make_scene(image()), mask=path)


NOISE = np.random.default_rng(0).integers(1, 200, (2, 160, 192), "uint16")
BLOCKS = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}


def shrink_strips(monkeypatch) -> None:
    monkeypatch.setattr(stream, "STRIP_BYTES", 64 * 192 * 4)


def streamed(survey: Survey, workers: int, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The whole scene from strips read in threads."""
    scene = survey.scene
    pixels = np.zeros((len(scene.names), scene.grid.height, scene.grid.width), scene.dtype)
    good = np.zeros(pixels.shape[1:], bool)
    for window, part, known in stream.ahead(survey, stream.strips(scene, 32, margin), margin, workers):
        inside = window.clip(scene.grid.window)
        here, there = inside.slices(scene.grid.window), inside.slices(window.with_margin(margin))
        pixels[:, *here], good[here] = part[:, *there], known[there]
    return pixels, good


@pytest.mark.parametrize("margin", [0, 5])
@pytest.mark.parametrize("options", [BLOCKS, {"compress": "lzw"}, {"interleave": "band"}])
def test_four_threads_equal_a_whole_read(make_scene, monkeypatch, options: dict, margin: int) -> None:
    shrink_strips(monkeypatch)
    pixels = NOISE.copy()
    pixels[0, ::7, ::5] = 0
    pixels_read, good = streamed(Survey(describe([make_scene(pixels, nodata=0, **options)])), 4, margin)
    assert (pixels_read == pixels).all() and (good == (pixels != 0).all(axis=0)).all()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_damage_ends_the_reading_in_every_thread(make_scene, monkeypatch, workers: int) -> None:
    shrink_strips(monkeypatch)
    path = spoil(make_scene(NOISE, **BLOCKS), (2, 3))
    threads = threading.active_count()
    with pytest.raises(DamageError, match="between rows 64 and 96, columns 96 and 128"):
        streamed(Survey(describe([path])), workers)
    assert threading.active_count() == threads


def test_a_reader_that_failed_fails_again(make_scene) -> None:
    with describe([spoil(make_scene(NOISE, **BLOCKS), (2, 3))]).open() as reader:
        for window in (Window(64, 96, 8, 8), Window(64, 96, 8, 8), Window(0, 0, 8, 8)):
            with pytest.raises(DamageError):
                reader.read(window)


@pytest.mark.parametrize("workers", [1, 3])
def test_salvage_masks_the_damaged_blocks_and_nothing_else(make_scene, monkeypatch, workers: int) -> None:
    shrink_strips(monkeypatch)
    path = spoil(make_scene(NOISE, **BLOCKS), (2, 3), (0, 0), (4, 5))
    scene = Survey(describe([path], limits=Limits(salvage=True)))
    pixels, good = streamed(scene, workers, margin=7)
    assert scene.damage == (Window(0, 0, 32, 32), Window(64, 96, 32, 32), Window(128, 160, 32, 32))
    expected = np.ones(good.shape, bool)
    for w in scene.damage:
        expected[w.slices(scene.grid.window)] = False
    assert (good == expected).all()
    assert (pixels[:, good] == NOISE[:, good]).all() and not pixels[:, ~good].any()


@pytest.mark.parametrize("options", [BLOCKS, {"compress": "zstd"}, {"compress": "lzw"}, {}])
def test_salvage_of_a_file_cut_short_keeps_what_is_there(make_scene, options: dict) -> None:
    path = spoil(make_scene(NOISE, **options), cut=0.6)
    scene = Survey(describe([path], limits=Limits(salvage=True)))
    pixels, good = whole(scene)
    assert 0.4 < good.mean() < 0.7
    assert (pixels[:, good] == NOISE[:, good]).all()
    assert sum(w.height * w.width for w in scene.damage) == (~good).sum()
    with pytest.raises(DamageError, match="half copied"):
        whole(describe([path]))


def test_salvage_of_a_damaged_image_of_the_wild(data: Path) -> None:
    path = data / "formats" / "rasterio" / "corrupt.tif"
    scene = Survey(describe([path], limits=Limits(salvage=True)))
    pixels, good = whole(scene)
    assert scene.damage == (Window(512, 512, 512, 512),)
    assert not good[512:, 512:].any()
    with rasterio.open(path) as dataset:
        expected = dataset.read(window=((0, 512), (0, 1024)))
    assert (pixels[:, :512][:, good[:512]] == expected[:, good[:512]]).all()


def test_a_damaged_mask_is_no_permission(make_scene) -> None:
    mask = np.random.default_rng(0).integers(1, 9, (1, 160, 192), "uint8")
    same = make_scene(mask, name="same.tif", **BLOCKS)
    other = make_scene(mask, name="other.tif", **BLOCKS, transform=Affine(10, 0, 500_003, 0, -10, 5_200_000))
    for path in (same, other):
        with pytest.raises(DamageError, match=path.name):
            valid(make_scene(NOISE), mask=spoil(path, (2, 3)))


def test_no_vector_side_file_is_read(make_scene) -> None:
    path = make_scene(image(), transform=UTM)
    path.with_suffix(".tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><NoDataValue>5</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    assert valid(path).all()


def test_strips_cover_the_grid_once_and_hold_whole_blocks(make_scene, monkeypatch) -> None:
    shrink_strips(monkeypatch)
    scene = describe([make_scene(NOISE, **BLOCKS)])
    count = np.zeros(NOISE.shape[1:], int)
    for window in stream.strips(scene, 32, 0):
        assert window.row % 32 == window.col % 32 == 0
        count[window.slices(scene.grid.window)] += 1
    assert (count == 1).all()
