"""Tiles of scenes and heatmaps: the raster's own pixels, at a cost that does not follow its size."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from results import finished, result
from scenes import UTM, MakeScene, spoil
from shared import Shared

from satae.errors import DamageError
from satae.grid import Grid
from satae.review import pictures
from satae.review.bands import Look, Part
from satae.review.pictures import Pyramid, View, view

ROW = {"scene": "scene", "path": "scene.tif"}


def ramp(height: int = 600, width: int = 700, bands: int = 3) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return np.stack([(10 * rows + cols + 1000 * b).astype(np.uint16) for b in range(bands)])


def decoded(png: bytes | None) -> np.ndarray:
    """Blue, green, red, opacity."""
    assert png is not None
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_tiles_of_level_0_are_the_raster(make_scene: MakeScene) -> None:
    image = ramp()
    pyramid = Pyramid([Part(make_scene(image, tiled=True, blockxsize=64, blockysize=64), [1, 2, 3])])
    whole = np.zeros((3, 768, 768), np.float32)
    there = np.zeros((768, 768), bool)
    for row in range(3):
        for col in range(3):
            at = slice(256 * row, 256 * row + 256), slice(256 * col, 256 * col + 256)
            whole[:, *at], there[at] = pyramid.tile(0, row, col) or pytest.fail("no tile")
    assert (
        np.array_equal(whole[:, :600, :700], image) and there[:600, :700].all() and there.sum() == 600 * 700
    )
    assert pyramid.levels == 3 and pyramid.tile(0, 3, 0) is None and pyramid.tile(0, 0, 3) is None


@pytest.mark.parametrize("level", [1, 2])
def test_higher_levels_are_means_of_whole_squares(make_scene: MakeScene, level: int) -> None:
    image, step = ramp(512, 768), 2**level
    pyramid = Pyramid([Part(make_scene(image), [2])])
    tile, _ = pyramid.tile(level, 0, 0) or pytest.fail("no tile")
    side = min(256, 512 // step)
    blocks = image[1, : side * step, : side * step].reshape(side, step, side, step).mean(axis=(1, 3))
    assert np.abs(tile[0, :side, :side] - blocks).max() <= 0.5  # means are rounded to the stored type


def test_nodata_and_not_finite_are_transparent(make_scene: MakeScene) -> None:
    image = np.ones((1, 64, 64), np.float32) + np.arange(64, dtype=np.float32)
    image[0, :10], image[0, 20, 20] = -9, np.nan
    path = make_scene(image, nodata=-9)
    shown = decoded(View("s", None, Pyramid([Part(path, [1])]), None, []).picture(0, 0, 0))
    expected = np.zeros((256, 256), bool)
    expected[10:64, :64] = True
    expected[20, 20] = False
    assert np.array_equal(shown[..., 3] > 0, expected)


def test_a_scene_is_stretched_over_its_quantiles_in_its_own_colours(make_scene: MakeScene) -> None:
    path = make_scene(ramp(256, 256), photometric="RGB")
    shown = decoded(view(ROW | {"path": str(path)}, path, alone=True).picture(0, 0, 0)).astype(int)
    red = np.quantile(ramp(256, 256)[0], [0.005, 0.995])
    expected = 255 * np.clip((ramp(256, 256)[0] - red[0]) / (red[1] - red[0]), 0, 1) ** 0.7
    assert np.abs(shown[..., 2] - expected).max() < 12  # the quantiles come from patches
    assert shown[0, 0, :3].tolist() == [0, 0, 0] and shown[255, 255, :3].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("count", "options", "bands"),
    [(4, {}, [1, 2, 3]), (1, {}, [1]), (2, {}, [1]), (3, {"photometric": "RGB"}, [3, 2, 1])],
)
def test_the_bands_that_are_shown(
    make_scene: MakeScene, count: int, options: dict[str, str], bands: list[int]
) -> None:
    path = make_scene(np.ones((count, 16, 16), np.uint16), **options)
    made = view(ROW | {"path": str(path)}, path, alone=True)
    assert made.scene is not None and made.scene.parts[0].bands == bands


def test_a_stack_of_files_is_one_picture(make_scene: MakeScene, tmp_path: Path) -> None:
    paths = [make_scene(ramp(64, 64)[[b]], name=f"b{b}.tif", folder=tmp_path) for b in range(3)]
    made = view(ROW | {"path": ";".join(map(str, paths))}, tmp_path / "x.gpkg", alone=True)
    assert made.scene is not None
    tile, _ = made.scene.tile(0, 0, 0) or pytest.fail("no tile")
    assert np.array_equal(tile[:, :64, :64], ramp(64, 64))


def test_colours_of_the_heatmap_are_those_of_its_style(shared: Shared) -> None:
    made = view(ROW, finished(shared) / "anomalies.gpkg", alone=True)
    assert made.heat is not None and made.top == 9
    shown = decoded(made.heatmap(0, 0, 0))
    assert shown[100, 100, 3] == 0 and shown[0, 0, 3] == 0  # below 1.5, and not scored
    assert shown[20, 20].tolist() == [0xA4, 0xFF, 0xFC, 235]  # the last stop of the ramp
    assert 150 < shown[20, 180, 3] < 235


def test_places_of_pixels_are_their_corners_with_rows_downwards(shared: Shared) -> None:
    made = view(ROW, finished(shared) / "anomalies.gpkg", alone=True)
    place = made.placer(CRS.from_epsg(32632))
    xy = np.array([[500_000.0, 5_200_000.0], [500_030.0, 5_199_980.0]])
    assert place(xy).tolist() == [[0, 0], [3, -2]]


def test_outlines_in_wgs84_meet_a_rotated_scene_on_its_pixels(tmp_path: Path) -> None:
    turned = Affine(8, 6, 500_000, 6, -8, 5_200_000)  # pixels of 10 m
    path = result(tmp_path / "out", transform=turned)
    made = view(ROW, path, alone=True)
    grid = Grid(320, 320, turned, CRS.from_epsg(32632).to_wkt())
    place = made.placer(CRS.from_epsg(4326))
    assert np.allclose(place(grid.lonlat(grid.xy([5, 300], [7, 20]))), [[7, -5], [20, -300]], atol=1e-3)


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"path": "elsewhere/scene.tif"}, set()),  # moved: found beside the result
        ({"path": "absent.tif"}, {"scene"}),
        ({"path": "anomalies.gpkg"}, {"scene"}),
        ({"path": ""}, {"scene"}),
        ({"path": None}, {"scene"}),
        ({"path": "a\0b"}, {"scene"}),
        ({"path": "x" * 5000}, {"scene"}),
        ({"path": "//server/share/scene.tif"}, {"scene"}),
        ({"path": "/vsicurl/http://127.0.0.1/x.tif"}, {"scene"}),
    ],
)
def test_a_scene_that_is_not_there_is_a_remark(
    shared: Shared, row: dict[str, object], missing: set[str]
) -> None:
    made = view(ROW | row, finished(shared) / "anomalies.gpkg", alone=True)
    assert (made.scene is None) == ("scene" in missing) and made.heat is not None
    assert len(made.remarks) == len(missing)


def test_without_a_heatmap_there_is_the_scene_and_without_both_map_coordinates(gpkg: Path) -> None:
    (gpkg.parent / "anomalies_heatmap.tif").unlink()
    made = view(ROW, gpkg, alone=True)
    assert made.heat is None and made.scene is not None and "no anomalies_heatmap.tif" in made.remarks[0]
    (gpkg.parent / "scene.tif").unlink()
    made = view(ROW, gpkg, alone=True)
    xy = np.array([[1.5, 2.5]])
    assert made.grid is None and made.placer(None)(xy) is xy and len(made.remarks) == 2


def test_a_heatmap_of_one_of_several_scenes_bears_its_name(gpkg: Path) -> None:
    plain = gpkg.parent / "anomalies_heatmap.tif"
    assert view(ROW, gpkg, alone=False).heat is None
    plain.rename(gpkg.parent / "anomalies_scene_heatmap.tif")
    assert view(ROW, gpkg, alone=False).heat is not None
    assert view(ROW | {"scene": "../out/anomalies_scene"}, gpkg, alone=False).heat is None


def test_another_raster_under_the_scenes_name_is_not_shown(gpkg: Path, make_scene: MakeScene) -> None:
    make_scene(ramp(64, 64), folder=gpkg.parent)
    made = view(ROW, gpkg, alone=True)
    assert made.scene is None and made.remarks == [
        "scene.tif is not the scene that was scored, so it is not shown"
    ]


def test_damage_is_told_and_the_next_tile_is_right(make_scene: MakeScene) -> None:
    path = make_scene(ramp(512, 512), tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    spoil(path, (0, 0))
    pyramid = Pyramid([Part(path, [1])])
    for _ in range(pictures.READERS + 1):
        with pytest.raises(DamageError, match="is damaged between rows 0 and 256, columns 0 and 256"):
            pyramid.tile(0, 0, 0)
    tile, _ = pyramid.tile(0, 1, 1) or pytest.fail("no tile")
    assert np.array_equal(tile[0], ramp(512, 512)[0, 256:, 256:])


@pytest.mark.parametrize(
    "layout", [{"tiled": True, "blockxsize": 256, "blockysize": 256}, {"blockysize": 16}]
)
def test_what_would_take_too_long_is_drawn_from_some_blocks(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, layout: dict[str, object]
) -> None:
    """A plane stays a plane up to the distance between the blocks; few blocks are decoded."""
    monkeypatch.setattr(pictures, "WHOLE", 2**18)
    monkeypatch.setattr(pictures, "SPARSE", 2**19)
    rows, cols = np.mgrid[:2048, :2048]
    plane = (rows + cols).astype(np.uint16)[None]
    pyramid = Pyramid([Part(make_scene(plane, **layout), [1])])
    tile, valid = pyramid.tile(3, 0, 0) or pytest.fail("no tile")
    assert valid.all() and np.abs(tile[0] - plane[0, 4::8, 4::8]).max() < 1500
    assert np.corrcoef(tile.ravel(), plane[0, 4::8, 4::8].ravel())[0, 1] > 0.95


def test_a_scene_of_40_000_pixels_is_drawn_in_a_moment(tmp_path: Path) -> None:
    """No overviews; all that is drawn at once on a large screen, at every level."""
    kind = {"driver": "GTiff", "count": 3, "height": 40_000, "width": 40_000, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "sparse_ok": True, "compress": "deflate"}
    path = tmp_path / "large.tif"
    with rasterio.open(path, "w", **kind, **tiles, crs="EPSG:32632", transform=UTM) as out:
        noise = np.random.default_rng(0).integers(1, 2000, (3, 1024, 1024)).astype(np.uint16)
        for at in (0, 19_968, 38_912):
            out.write(noise, window=rasterio.windows.Window(at, at, 1024, 1024))
    made = view(ROW | {"path": str(path)}, path, alone=True)
    assert made.scene is not None and made.scene.levels == 9
    for level in range(9):
        middle = (40_000 >> level) // 512
        started = time.process_time()
        assert decoded(made.picture(level, middle, middle)).shape == (256, 256, 4)
        assert time.process_time() - started < 2, level


def test_other_bands_are_drawn_between_the_quantiles_and_as_bright_as_was_asked(
    make_scene: MakeScene,
) -> None:
    rng = np.random.default_rng(1)
    image = rng.gamma(2, 300, (5, 128, 128)).astype(np.float32)
    path = make_scene(image)
    made = view(ROW | {"path": str(path), "bands": "blue,green,red,nir,swir"}, path, alone=True)
    assert [s.name for s in made.bands] == ["blue", "green", "red", "nir", "swir"] and made.usual_bands == [
        2,
        1,
        0,
    ]
    shown = decoded(made.picture(0, 0, 0, Look((4, 3, 1), 5.0, 1.5)))[:128, :128].astype(int)
    for channel, band in ((2, 4), (1, 3), (0, 1)):  # red, green, blue
        low, high = np.quantile(image[band].astype(np.float64), [0.05, 0.95])
        wanted = 255 * np.clip((image[band] - low) / (high - low), 0, 1) ** 1.5
        assert np.abs(shown[..., channel] - wanted).max() <= 1
    grey = decoded(made.picture(0, 0, 0, Look((3, 3, 3))))[:128, :128]
    assert np.array_equal(grey[..., 0], grey[..., 2]) and grey[..., 0].std() > 10
    assert made.picture(0, 0, 0, Look((0, 1, 5))) is None  # there is no sixth


def test_a_band_on_a_coarser_grid_is_brought_to_that_of_the_scene(
    tmp_path: Path, make_scene: MakeScene
) -> None:
    fine, coarse = ramp(64, 64), ramp(32, 32)[:1] * 2
    names = [make_scene(fine[[b]], name=f"b{b}.tif", folder=tmp_path) for b in range(3)]
    half = UTM @ Affine.scale(2)
    names.append(make_scene(coarse, name="swir.tif", folder=tmp_path, transform=half))
    row = ROW | {"path": ";".join(map(str, names)), "bands": "blue,green,red,swir"}
    made = view(row, tmp_path / "x.gpkg", alone=True)
    drawn = made._pyramid((3, 2, 0))
    tile, valid = drawn.tile(0, 0, 0) or pytest.fail("no tile")
    assert np.array_equal(tile[2, :64, :64], coarse[0].repeat(2, axis=0).repeat(2, axis=1))
    assert np.array_equal(tile[1, :64, :64], fine[2]) and valid.sum() == 64 * 64
