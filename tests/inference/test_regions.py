"""Regions against the definition by brute force, and their outlines against two polygonisers."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from floods import floods
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from satae.grid import Window
from satae.inference import regions as module
from satae.inference.regions import Anomaly, TooMany, Unit, labels_of, of_array, regions

POLYGONIZE = shutil.which("gdal_polygonize.py")
CORNERS = "X.X.\n.X.X\nX..X\nXXXX"  # holes and neighbours that touch at corners only

# some are the share of another one, which is in
levels = st.sampled_from([np.nan, -2.0, 0.0, 1.0, 3.0, 5.0, 6.0, 7.0, 10.0, 11.0])
maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=11), elements=levels)
thresholds = st.sampled_from([-3.0, 0.5, 3.0, 5.0, 7.5])


def found_in(scores: np.ndarray, threshold: float = 2, floor: float = 2, **options: Any) -> list[Anomaly]:
    return regions(*of_array(scores), threshold, floor, **options)


def placed(anomaly: Anomaly, shape: tuple[int, ...]) -> np.ndarray:
    return anomaly.inside(Window(0, 0, *shape))


def burnt(polygon: Any, shape: tuple[int, ...]) -> np.ndarray:
    return rasterio.features.rasterize([polygon], shape, transform=Affine.identity()).astype(bool)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).exponential(size=(height, width))
    return ndimage.gaussian_filter(drawn, 1).astype(np.float32)


def drawn(text: str) -> np.ndarray:
    return np.array([[2.0 if c == "X" else 0.0 for c in line] for line in text.split()], np.float32)


class Counting:
    """A map in memory that counts the pixels that are read."""

    def __init__(self, scores: np.ndarray) -> None:
        self.inner, self.whole = of_array(scores)
        self.windows: list[Window] = []

    def __call__(self, window: Window) -> np.ndarray:
        assert window.within(self.whole) == window
        self.windows.append(window)
        return self.inner(window)

    @property
    def pixels(self) -> int:
        return sum(w.height * w.width for w in self.windows)


@given(scores=maps, threshold=thresholds, floor=thresholds)
@settings(max_examples=500)
def test_regions_are_the_floods_that_hold_nothing_higher(
    scores: np.ndarray, threshold: float, floor: float
) -> None:
    expected, found = floods(scores, threshold, floor), found_in(scores, threshold, floor)
    assert [(a.row, a.col) for a in found] == [(row, col) for row, col, _ in expected]
    for a, (row, col, mask) in zip(found, expected, strict=True):
        assert np.array_equal(placed(a, scores.shape), mask)
        assert a.pixels == mask.sum() and a.peak == scores[row, col] == scores[mask].max()
        assert a.mean == pytest.approx(scores[mask].mean())
        assert a.mask[0].any() and a.mask[-1].any() and a.mask[:, 0].any() and a.mask[:, -1].any()


@pytest.mark.parametrize("seed", range(4))
def test_the_definition_holds_on_noise_too(seed: int) -> None:
    scores = noise(48, 64, seed)
    scores[np.random.default_rng(seed).random(scores.shape) < 0.05] = np.nan
    floor = float(np.nanquantile(scores, 0.6))
    expected, found = floods(scores, floor, floor), found_in(scores, floor, floor)
    assert len(expected) == len(found) > 10
    for a, (row, col, mask) in zip(found, expected, strict=True):
        assert (a.row, a.col) == (row, col) and np.array_equal(placed(a, scores.shape), mask)


@given(scores=maps, threshold=thresholds)
@settings(max_examples=200)
def test_regions_are_disjoint_and_numbered_by_falling_peak(scores: np.ndarray, threshold: float) -> None:
    found = found_in(scores, threshold, 0.5)
    label = labels_of(found, Window(0, 0, *scores.shape))
    assert np.bincount(label.ravel(), minlength=len(found) + 1)[1:].tolist() == [a.pixels for a in found]
    assert [(-a.peak, a.row, a.col) for a in found] == sorted((-a.peak, a.row, a.col) for a in found)


def described(found: list[Anomaly]) -> list[Any]:
    return [(a.row, a.col, a.window, a.mask.tobytes(), a.peak, a.mean) for a in found]


@given(scores=maps, strip=st.integers(1, 121), side=st.integers(1, 11))
@settings(max_examples=300)
def test_regions_do_not_depend_on_strips_and_windows(scores: np.ndarray, strip: int, side: int) -> None:
    whole = found_in(scores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIP_PIXELS", strip)
        patch.setattr(module, "SIDE", side)
        patch.setattr(module, "SLAB_PIXELS", strip)
        assert [one[:5] for one in described(found_in(scores))] == [one[:5] for one in described(whole)]


def test_regions_do_not_depend_on_how_an_array_lies_in_memory() -> None:
    scores = noise(40, 50)
    assert len(described(found_in(scores))) > 3
    assert described(found_in(np.asfortranarray(scores))) == described(found_in(scores))


@given(scores=maps, threshold=thresholds)
@settings(max_examples=200)
def test_a_higher_threshold_leaves_fewer_regions_and_the_same_outlines(
    scores: np.ndarray, threshold: float
) -> None:
    kept = [a for a in found_in(scores, 0.5, 0.5) if a.peak >= threshold]
    assert threshold < 0.5 or described(found_in(scores, threshold, 0.5)) == described(kept)


@given(scores=maps, count=st.integers(0, 9), smallest=st.integers(1, 5))
@settings(max_examples=200)
def test_the_first_are_the_first_of_all(scores: np.ndarray, count: int, smallest: int) -> None:
    everything = found_in(scores, min_pixels=smallest)
    assert all(a.pixels >= smallest for a in everything)
    assert described(everything) == described([a for a in found_in(scores) if a.pixels >= smallest])
    assert described(found_in(scores, min_pixels=smallest, count=count)) == described(everything[:count])


@pytest.mark.parametrize("seed", range(5))
def test_a_disc_in_noise_that_was_blurred_is_outlined(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, col, radius = (int(v) for v in rng.integers((20, 20, 3), (60, 60, 8)))
    rows, cols = np.indices((80, 80))
    disc = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    scores = ndimage.gaussian_filter(rng.exponential(size=disc.shape) + 6.0 * disc, 1).astype(np.float32)
    (found,) = found_in(scores, count=1, min_pixels=4)
    mask = placed(found, disc.shape)
    assert (mask & disc).sum() > 0.6 * (mask | disc).sum()


def test_a_shoulder_is_no_region_and_a_valley_parts_two() -> None:
    ridge = np.array([[0, 10, 7, 8, 0, 0, 10, 5, 8, 0]], np.float32)
    found = found_in(ridge)
    assert [(a.col, a.pixels) for a in found] == [(1, 3), (6, 1)]
    # the third summit floods down to 4.8, over the valley of 5 to the summit of 10: a shoulder, too
    ridge[0, 7] = 4.5
    assert [(a.col, a.pixels) for a in found_in(ridge)] == [(1, 3), (6, 1), (8, 1)]


def test_a_plateau_is_one_region_whose_peak_comes_first() -> None:
    scores = np.zeros((9, 9), np.float32)
    scores[2:7, 3:8] = 5
    scores[2, 3] = 0
    (found,) = found_in(scores)
    assert (found.row, found.col, found.pixels, found.mean) == (2, 4, 24, 5)


def test_a_constant_map_is_one_region_and_no_trouble() -> None:
    read = Counting(np.full((300, 500), 3.0, np.float32))
    (found,) = regions(read, read.whole, 3, 3, most=1)
    assert found.pixels == 300 * 500 and read.pixels < 5 * found.pixels


@pytest.mark.parametrize(("blur", "share"), [(0, 0.0), (0, 0.5), (0.5, 0.5), (1, 0.5), (1, 0.9), (2, 0.5)])
def test_a_noisy_plateau_takes_few_reads_a_peak(blur: float, share: float) -> None:
    """However its floods flow into each other: one in which another shows up ends at once."""
    drawn = np.random.default_rng(0).exponential(size=(500, 500))
    scores = (1 + ndimage.gaussian_filter(drawn, blur)).astype(np.float32)
    floor = float(np.quantile(scores, share))
    read = Counting(scores)
    found = regions(read, read.whole, floor, floor)
    listed = len(module._peaks(*of_array(scores), floor, None)[0])
    assert found and len(read.windows) < listed + 16
    assert read.pixels < 8 * scores.size + module.SIDE**2 * listed


def test_shoulders_along_a_ridge_end_at_what_is_settled() -> None:
    """Teeth of a comb, each joined to the ridge only at its own level: every flood would be the whole comb."""
    teeth = 80 - 0.1 * np.arange(200)
    scores = np.ones((4, 4 * len(teeth)), np.float32)
    scores[3], scores[3, 0] = 50.0, 100.0
    scores[1, 2::4], scores[2, 2::4] = teeth, 0.6 * teeth + 1e-3
    read = Counting(scores)
    (found,) = regions(read, read.whole, 55, 1.5)
    assert (found.row, found.col, found.pixels) == (3, 0, 1)
    assert len(read.windows) == 2 + len(teeth) and max(w.width for w in read.windows[1:]) == module.SIDE


def test_the_first_region_costs_one_flood() -> None:
    read = Counting(noise(400, 400))
    (found,) = regions(read, read.whole, 0.1, 0.1, count=1)
    assert found.pixels < 100 and 0 < read.pixels - 400 * 400 <= module.SIDE**2


def same(a: Any, b: Any) -> bool:
    """Vertex for vertex, whatever vertex comes first."""
    return bool(shapely.equals_exact(shapely.normalize(a), shapely.normalize(b), 0))


def shapes_of(label: np.ndarray) -> dict[int, Any]:
    """A MultiPolygon a label, by rasterio on the whole image."""
    parts: dict[int, list[Any]] = {}
    for shape, value in rasterio.features.shapes(label.astype(np.int32), mask=label > 0, connectivity=4):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(shape))
    return {value: shapely.MultiPolygon(found) for value, found in parts.items()}


@given(scores=maps)
@settings(max_examples=100)
def test_an_outline_is_valid_and_holds_the_pixels(scores: np.ndarray) -> None:
    for a in found_in(scores):
        assert a.polygon.is_valid and a.polygon.area == a.pixels
        assert np.array_equal(burnt(a.polygon, scores.shape), placed(a, scores.shape))
        left, top, right, bottom = a.polygon.bounds
        assert a.window == Window(int(top), int(left), int(bottom - top), int(right - left))


def test_outlines_are_those_of_the_whole_label_image() -> None:
    scores = noise(64, 80)
    found = found_in(scores, 1.1, 1.1)
    expected = shapes_of(labels_of(found, Window(0, 0, 64, 80)))
    assert len(found) > 10 and max(a.pixels for a in found) > 50
    for number, a in enumerate(found, 1):
        assert same(a.polygon, expected[number])


@pytest.mark.skipif(POLYGONIZE is None, reason="gdal_polygonize.py is not installed")
def test_outlines_are_those_of_gdal_polygonize(tmp_path: Path) -> None:
    scores = noise(120, 150, seed=4)
    found = found_in(scores, 1.1, 1.1)
    label = labels_of(found, Window(0, 0, 120, 150))
    north = Affine(1, 0, 0, 0, -1, 1)  # an identity is not stored
    place = {"transform": north, "height": 120, "width": 150, "count": 1, "dtype": "int32"}
    with rasterio.open(tmp_path / "label.tif", "w", driver="GTiff", **place) as out:
        out.write(label.astype(np.int32), 1)
    command = [str(POLYGONIZE), "label.tif", "-f", "GeoJSON", "out.geojson"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GDAL_", "PYTHON", "PROJ_", "CPL_"))}
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=clean)
    parts: dict[int, list[Any]] = {}
    for feature in json.loads((tmp_path / "out.geojson").read_text())["features"]:
        parts.setdefault(feature["properties"]["DN"], []).append(shapely.geometry.shape(feature["geometry"]))
    for number, a in enumerate(found, 1):
        moved = shapely.transform(a.polygon, lambda xy: np.column_stack(north @ xy.T))
        assert same(moved, shapely.MultiPolygon(parts[number]))


def test_corners_that_touch_are_one_region_and_a_valid_outline() -> None:
    (found,) = found_in(drawn(CORNERS))
    assert found.pixels == 10 and found.polygon.is_valid and found.polygon.area == 10


def test_a_square_has_four_corners() -> None:
    scores = np.zeros((12, 12), np.float32)
    scores[2:10, 3:9] = 5
    (found,) = found_in(scores)
    assert shapely.get_num_coordinates(found.polygon) == 5
    assert found.window == Window(2, 3, 8, 6)


def test_specks_are_dropped() -> None:
    scores = drawn("X...X\nX....\nX..X.\nX....")
    assert [a.pixels for a in found_in(scores, min_pixels=4)] == [4]
    assert sorted(a.pixels for a in found_in(scores)) == [1, 1, 4]


def test_nan_splits_regions_and_belongs_to_none() -> None:
    scores = np.array([[3, np.nan, 3]], np.float32)
    assert [(a.pixels, a.row, a.col) for a in found_in(scores)] == [(1, 0, 0), (1, 0, 2)]
    assert found_in(np.full((4, 4), np.nan, np.float32)) == []


def test_the_threshold_itself_is_in_and_so_is_the_floor() -> None:
    value = np.float32(2.1)
    assert [a.pixels for a in found_in(np.array([[value]]), float(value))] == [1]
    assert [a.pixels for a in found_in(np.array([[value]]), 2.1, 2.1)] == [1]
    assert [a.pixels for a in found_in(np.array([[3, value]]), 3, 2.1)] == [2]


def test_regions_come_by_falling_peak_then_position() -> None:
    scores = np.array([[3, 0, 5, 0, 3], [0, 0, 0, 0, 0], [4, 0, 3, 0, 5]], np.float32)
    assert [(a.peak, a.row, a.col) for a in found_in(scores)] == [
        (5, 0, 2), (5, 2, 4), (4, 2, 0), (3, 0, 0), (3, 0, 4), (3, 2, 2),
    ]  # fmt: skip


@given(scores=maps)
@settings(max_examples=100)
def test_a_map_in_another_unit_has_the_same_regions(scores: np.ndarray) -> None:
    """Exponents, as those of a heatmap, of which the share is taken as a score."""
    unit = Unit(lambda values: 2.0 ** np.asarray(values, np.float64), np.log2)
    positive = np.where(scores > 0, scores, np.nan).astype(np.float32)
    ours = regions(*of_array(np.log2(positive)), 1, 1, unit=unit)
    expected = found_in(positive)
    assert [(a.row, a.col, a.mask.tobytes()) for a in ours] == [
        (a.row, a.col, a.mask.tobytes()) for a in expected
    ]
    assert [(a.peak, a.mean) for a in ours] == [
        (pytest.approx(a.peak, rel=1e-5), pytest.approx(a.mean, rel=1e-5)) for a in expected
    ]


@pytest.mark.parametrize("window", [Window(5, 7, 20, 30), Window(-9, -4, 25, 30), Window(30, 40, 30, 30)])
def test_a_window_sees_its_part_of_a_region(window: Window) -> None:
    scores = noise(40, 53)
    found = found_in(scores, 1.1, 1.1)
    assert len(found) > 5
    for a in found:
        moved = shapely.transform(a.polygon, lambda xy: xy - (window.col, window.row))
        assert np.array_equal(a.inside(window), burnt(moved, (window.height, window.width)))


def checker() -> np.ndarray:
    out = np.zeros((7, 7), np.float32)
    out[::2, ::2] = 2
    return out


def test_more_regions_than_anyone_could_use_are_refused() -> None:
    with pytest.raises(TooMany, match="threshold of 2 gives over 8 regions"):
        found_in(checker(), most=8)
    assert len(found_in(checker(), most=8, min_pixels=2)) == 0
    assert len(found_in(checker(), most=8, count=3)) == 3
    assert len(found_in(checker(), most=16)) == len(found_in(checker())) == 16


def test_specks_alone_are_refused_when_memory_would_follow_them() -> None:
    assert found_in(checker(), most=4, min_pixels=2) == []
    with pytest.raises(TooMany):
        found_in(checker(), most=3, min_pixels=2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5000, 7), (3, 9_000_000)])
def test_strips_cover_the_map_once_in_order(height: int, width: int) -> None:
    found = list(module._strips(Window(0, 0, height, width)))
    assert [w.row for w in found] == [0, *(w.stop[0] for w in found[:-1])]
    assert found[-1].stop == (height, width)
    assert all(w.height * w.width <= max(module.STRIP_PIXELS, width) for w in found)
