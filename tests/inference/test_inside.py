"""Outlines turned back into masks, against rasterio's rasteriser and against the mask that was outlined."""

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage

from satae.grid import Window
from satae.inference.regions import inside, regions


def blobs(seed: int, shape: tuple[int, int] = (40, 53)) -> np.ndarray:
    """Regions with holes, corners that touch, and contact with the edges."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(ndimage.gaussian_filter(noise, 1.2), np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_was_outlined(seed: int) -> None:
    scores = blobs(seed)
    whole = Window(0, 0, *scores.shape)
    label, count = ndimage.label(scores >= np.float32(0.1), np.ones((3, 3)))
    found = regions([(whole, scores)], 0.1)
    assert len(found) == count > 1
    for anomaly in found:
        assert np.array_equal(inside(anomaly.polygon, whole), label == label[anomaly.row, anomaly.col])


@pytest.mark.parametrize("window", [Window(5, 7, 20, 30), Window(-9, -4, 25, 30), Window(30, 40, 30, 30)])
def test_a_window_sees_its_part_as_rasterio_does(window: Window) -> None:
    scores = blobs(9)
    for anomaly in regions([(Window(0, 0, *scores.shape), scores)], 0.1):
        moved = shapely.transform(anomaly.polygon, lambda xy: xy - (window.col, window.row))
        shape = (window.height, window.width)
        truth = rasterio.features.rasterize([moved], shape, transform=Affine.identity()).astype(bool)
        assert np.array_equal(inside(anomaly.polygon, window), truth)


def test_a_region_that_crosses_strips_is_whole() -> None:
    scores = blobs(3)
    strips = [(Window(r, 0, 8, 53), scores[r : r + 8]) for r in range(0, 40, 8)]
    masks = [inside(a.polygon, Window(0, 0, 40, 53)) for a in regions(strips, 0.1)]
    assert np.array_equal(np.sum(masks, axis=0), scores >= np.float32(0.1))
