"""Regions against brute force, and their outlines against two polygonisers."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from satae.grid import Grid, Window
from satae.inference import regions as anomalies
from satae.inference.regions import Anomaly, TooMany, regions

POLYGONIZE = shutil.which("gdal_polygonize.py")
EIGHT = np.ones((3, 3), int)
CORNERS = "X.X.\n.X.X\nX..X\nXXXX"  # holes and neighbours that touch at corners only

levels = st.sampled_from([np.nan, 0.0, 1.0, 2.0, 3.0])
maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=11), elements=levels)


def strips(scores: np.ndarray, height: int) -> Iterator[tuple[Window, np.ndarray]]:
    for row in range(0, len(scores), height):
        part = scores[row : row + height]
        yield Window(row, 0, *part.shape), part


def cut(scores: np.ndarray, height: int, threshold: float = 2, **options: Any) -> list[Anomaly]:
    return regions(strips(scores, height), threshold, **options)


def labels(scores: np.ndarray, threshold: float = 2) -> tuple[np.ndarray, int]:
    found, count = ndimage.label(np.nan_to_num(scores, nan=-9) >= threshold, EIGHT)
    return found, count


def burnt(polygon: Any, shape: tuple[int, int]) -> np.ndarray:
    return rasterio.features.rasterize([polygon], shape, transform=Affine.identity()).astype(bool)


def noise(height: int, width: int, share: float, seed: int = 0) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random((height, width)), 1)
    return (smooth >= np.quantile(smooth, 1 - share)).astype(np.float32) * 2


def drawn(text: str) -> np.ndarray:
    return np.array([[2.0 if c == "X" else 0.0 for c in line] for line in text.split()], np.float32)


@given(scores=maps, height=st.integers(1, 11))
@settings(max_examples=300)
def test_regions_are_the_eight_connected_components(scores: np.ndarray, height: int) -> None:
    label, count = labels(scores)
    found = cut(scores, height)
    assert len(found) == count
    for a in found:
        mask = label == label[a.row, a.col]
        assert np.array_equal(burnt(a.polygon, scores.shape), mask)
        assert a.pixels == mask.sum() == a.polygon.area and a.polygon.is_valid
        assert a.mean == pytest.approx(scores[mask].mean()) and a.peak == scores[mask].max()
        first = np.argwhere(mask & (scores == a.peak))[0]
        assert (a.row, a.col) == tuple(first)


@given(scores=maps, height=st.integers(1, 11))
@settings(max_examples=300)
def test_outlines_do_not_depend_on_the_strips(scores: np.ndarray, height: int) -> None:
    whole, pieces = cut(scores, len(scores)), cut(scores, height)
    assert [(a.row, a.col, a.pixels, a.peak) for a in whole] == [
        (a.row, a.col, a.pixels, a.peak) for a in pieces
    ]
    for one, other in zip(whole, pieces, strict=True):
        assert same(one.polygon, other.polygon)


def same(a: Any, b: Any) -> bool:
    """Vertex for vertex, whatever vertex comes first."""
    return bool(shapely.equals_exact(shapely.normalize(a), shapely.normalize(b), 0))


def shapes_of(label: np.ndarray) -> dict[int, Any]:
    """A MultiPolygon a label, by rasterio on the whole image."""
    parts: dict[int, list[Any]] = {}
    for shape, value in rasterio.features.shapes(label.astype(np.int32), mask=label > 0, connectivity=4):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(shape))
    return {value: shapely.MultiPolygon(found) for value, found in parts.items()}


@pytest.mark.parametrize("height", [1, 2, 3, 7, 50, 64])
def test_outlines_are_those_of_the_whole_label_image(height: int) -> None:
    scores = noise(64, 80, 0.4)
    label, _ = labels(scores)
    expected = shapes_of(label)
    for a in cut(scores, height):
        assert same(a.polygon, expected[label[a.row, a.col]])


@pytest.mark.skipif(POLYGONIZE is None, reason="gdal_polygonize.py is not installed")
def test_outlines_are_those_of_gdal_polygonize(tmp_path: Path) -> None:
    scores = noise(120, 150, 0.3, seed=4)
    label, _ = labels(scores)
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
    for a in cut(scores, 33):
        moved = shapely.transform(a.polygon, lambda xy: np.column_stack(north @ xy.T))
        assert same(moved, shapely.MultiPolygon(parts[label[a.row, a.col]]))


@pytest.mark.parametrize("height", [1, 2, 4])
def test_corners_that_touch_are_one_region_and_a_valid_outline(height: int) -> None:
    (found,) = cut(drawn(CORNERS), height)
    assert found.pixels == 10 and found.polygon.is_valid and found.polygon.area == 10


def test_a_square_has_four_corners_however_it_was_cut() -> None:
    scores = np.zeros((12, 12), np.float32)
    scores[2:10, 3:9] = 5
    for height in range(1, 13):
        (found,) = cut(scores, height)
        assert shapely.get_num_coordinates(found.polygon) == 5
        assert found.window == Window(2, 3, 8, 6)


def test_specks_are_dropped_by_their_whole_size() -> None:
    scores = drawn("X...X\nX....\nX..X.\nX....")
    for height in range(1, 5):
        assert [a.pixels for a in cut(scores, height, min_pixels=4)] == [4]
    assert sorted(a.pixels for a in cut(scores, 2)) == [1, 1, 4]


def test_nan_splits_regions_and_belongs_to_none() -> None:
    scores = np.array([[3, np.nan, 3]], np.float32)
    assert [(a.pixels, a.row, a.col) for a in cut(scores, 1)] == [(1, 0, 0), (1, 0, 2)]
    assert cut(np.full((4, 4), np.nan, np.float32), 2) == []


def test_the_threshold_itself_is_in() -> None:
    value = np.float32(2.1)
    assert [a.pixels for a in cut(np.array([[value]]), 1, threshold=float(value))] == [1]
    assert [a.pixels for a in cut(np.array([[value]]), 1, threshold=2.1)] == [1]


def test_regions_come_by_falling_peak_then_position() -> None:
    scores = np.array([[3, 0, 5, 0, 3], [0, 0, 0, 0, 0], [4, 0, 3, 0, 5]], np.float32)
    assert [(a.peak, a.row, a.col) for a in cut(scores, 2)] == [
        (5, 0, 2), (5, 2, 4), (4, 2, 0), (3, 0, 0), (3, 0, 4), (3, 2, 2),
    ]  # fmt: skip


def test_peak_and_mean_are_taken_of_the_measure() -> None:
    (found,) = cut(np.array([[2, 3]], np.float32), 1, measure=lambda s: 10.0**s)
    assert (found.peak, found.mean, found.col) == (1000, 550, 1)


def test_more_regions_than_anyone_could_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "MOST", 8)
    checker = np.zeros((7, 7), np.float32)
    checker[::2, ::2] = 2
    with pytest.raises(TooMany, match="threshold of 2 gives over 8 regions"):
        cut(checker, 2)
    assert len(cut(checker, 2, min_pixels=2)) == 0


def test_specks_alone_are_refused_when_memory_would_follow_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies, "MOST", 2)
    checker = np.zeros((7, 7), np.float32)
    checker[::2, ::2] = 2
    with pytest.raises(TooMany):
        cut(checker, 2, min_pixels=2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5000, 7), (3, 9_000_000)])
def test_strips_cover_the_grid_once_in_order(height: int, width: int) -> None:
    found = list(anomalies.strips_of(Grid(height, width, Affine.identity(), None)))
    assert [w.row for w in found] == [0, *(w.stop[0] for w in found[:-1])]
    assert found[-1].stop == (height, width)
    assert all(w.height * w.width <= max(anomalies.STRIP_PIXELS, width) for w in found)
