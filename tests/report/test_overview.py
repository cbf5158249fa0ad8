"""The small picture of a scene, compared with loops over its cells."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from looks import fitted
from scenes import MakeScene

from satae import composite
from satae.gis import qgis
from satae.grid import Window
from satae.report.overview import Overview
from satae.scene.describe import describe
from satae.scene.stream import strips

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(100, 1100, (4, 101, 67)).astype("uint16")
IMAGE[:, 30:50, 20:40] = 0  # nodata


def written(make_scene: MakeScene) -> Path:
    return make_scene(IMAGE, nodata=0, tiled=True, blockxsize=16, blockysize=16)


def read(view: Overview, margin: int) -> Overview:
    """The view after its scene was read window by window, as a scan does."""
    with view.open() as reader:
        for window in strips(view, 16, margin):
            image, valid = reader.read(window.with_margin(margin))
            assert image.shape[1:] == valid.shape == (window.height + 2 * margin, window.width + 2 * margin)
    return view


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED))


def averaged(step: int) -> np.ndarray:
    """Each cell as the mean of its valid pixels in two rows and two columns, NaN where there is none."""
    rows, cols = -(-101 // step), -(-67 // step)
    out = np.full((3, rows, cols), np.nan)
    for i in range(rows):
        for j in range(cols):
            ys = [min(100, i * step + k * step // 4) for k in (1, 3)]
            xs = [min(66, j * step + k * step // 4) for k in (1, 3)]
            cell = IMAGE[:3][:, ys][:, :, xs].reshape(3, 4).astype(float)
            cell = cell[:, cell[0] > 0]
            if cell.size:
                out[:, i, j] = cell.mean(axis=1)
    return out


@pytest.mark.parametrize(("side", "step"), [(101, 1), (60, 2), (13, 8), (1, 101)])
@pytest.mark.parametrize("margin", [0, 5])
def test_cells_show_the_mean_of_pixels_spread_over_them(
    make_scene: MakeScene, side: int, step: int, margin: int
) -> None:
    path = written(make_scene)
    view = read(Overview(describe([path]), side), margin)
    expected = averaged(step)
    assert view.step == step and max(view.shape) <= side and view.shape == expected.shape[1:]
    drawn = composite.bgr(np.nan_to_num(expected), fitted(4).low, fitted(4).high)
    drawn[np.isnan(expected[0])] = 128
    assert (decoded(view.scene_png(fitted(4))) == drawn).all()


@pytest.mark.parametrize("bands", [1, 2])
def test_fewer_than_three_bands_are_grey(make_scene: MakeScene, bands: int) -> None:
    view = read(Overview(describe([make_scene(IMAGE[:bands])]), 50), 3)
    picture = decoded(view.scene_png(fitted(bands)))
    assert (picture == picture[..., :1]).all() and picture.std() > 0


def test_a_cell_of_the_heatmap_has_the_colour_of_its_largest_value(make_scene: MakeScene) -> None:
    path = written(make_scene)
    view = Overview(describe([path]), 13)
    heat = RNG.exponential(0.4, (101, 67)).astype(np.float32)
    heat[3, 5], heat[30:50, 20:40] = 7.0, np.nan
    for window in Window(0, 0, 101, 67).cells((32, 32)):
        view.add(window, heat[window.slices(Window(0, 0, 101, 67))])
    shown = decoded(view.heat_png())
    largest = np.array(
        [
            [np.nanmax(heat[i : i + 8, j : j + 8], initial=0) for j in range(0, 67, 8)]
            for i in range(0, 101, 8)
        ]
    )
    assert shown.shape == (13, 9, 4)
    assert bytes(shown[0, 0, 2::-1]).hex() == qgis.HEAT[-1][1:] and shown[0, 0, 3] == qgis.OPACITY[-1]
    assert ((shown[..., 3] == 0) == (largest <= qgis.CLEAR_BELOW)).mean() > 0.98  # alphas under one half
    order = np.argsort(largest.ravel())
    assert (np.diff(shown[..., 3].ravel()[order].astype(int)) >= 0).all()


def test_what_it_holds_follows_the_picture_and_not_the_scene(make_scene: MakeScene) -> None:
    path = written(make_scene)
    view = Overview(describe([path]), 10)
    assert view.sample.nbytes <= 2 * 3 * 20 * 20 and view.heat.peak.size <= 100
