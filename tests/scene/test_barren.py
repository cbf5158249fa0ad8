"""Why no pixel counts: the bands that are empty, or the option that lets none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import spoil

from satae.errors import SceneError
from satae.scene.barren import ranges, reason
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.tiles.cut import Cut, cut

PIXELS = np.random.default_rng(4).integers(1, 200, (12, 32, 32)).astype("int16")


def without(*bands: int) -> np.ndarray:
    """Pixels of which some bands, counted from 1, are nodata everywhere."""
    pixels = PIXELS.copy()
    pixels[[b - 1 for b in bands]] = -9999
    return pixels


def test_empty_bands_are_named_with_the_bands_to_pass(make_scene, tmp_path: Path) -> None:
    path = make_scene(without(5, 6), nodata=-9999)
    with pytest.raises(
        SceneError, match=r"bands 5 \(band5\), 6 \(band6\) hold nothing but nodata.*--bands 1-4,7-12"
    ):
        cut(describe([path]), tmp_path / "tiles", Cut(size=32))
    assert (
        len(cut(describe([path], bands=[*range(1, 5), *range(7, 13)]), tmp_path / "tiles", Cut(size=32))) == 1
    )


def test_empty_bands_of_a_stack_are_counted_over_all_files(make_scene) -> None:
    paths = [
        make_scene(without(2)[:3], name="a.tif", nodata=-9999),
        make_scene(without(1)[:2], name="b.tif", nodata=-9999),
    ]
    assert "bands 2 (a_band2), 4 (b_band1)" in reason(describe(paths)) and "--bands 1,3,5" in reason(
        describe(paths)
    )
    assert reason(describe(paths, bands=[3, 4])).endswith("leave it out with --bands 3")


def test_a_band_of_nan_and_one_of_the_users_nodata_are_empty(make_scene) -> None:
    pixels = PIXELS[:3].astype("float32")
    pixels[1] = np.nan
    assert reason(describe([make_scene(pixels)])).startswith("band 2 (band2) holds nothing but nodata")
    assert "bands 2 (band2), 3" in reason(
        describe([make_scene(without(2, 3)[:4])], limits=Limits(nodata=-9999))
    )


def test_a_scene_of_nodata_alone_and_a_mask_that_lets_none(make_scene) -> None:
    assert reason(describe([make_scene(without(*range(1, 13)), nodata=-9999)])).startswith(
        "all of its pixels are nodata"
    )
    mask = make_scene(np.zeros((1, 32, 32), "uint8"), name="mask.tif")
    assert (
        reason(describe([make_scene(PIXELS)], limits=Limits(mask=mask)))
        == f"--mask {mask} let no pixel count"
    )


def test_nodata_that_shares_the_pixels_among_the_bands(make_scene) -> None:
    pixels = PIXELS[:2].copy()
    pixels[0, :16], pixels[1, 16:] = -9999, -9999
    assert "none lets the same pixels count" in reason(describe([make_scene(pixels, nodata=-9999)]))


def test_damage_is_told_as_damage(make_scene) -> None:
    path = make_scene(PIXELS, compress="deflate", tiled=True, blockxsize=32, blockysize=32, nodata=3)
    spoil(path, (0, 0))
    assert "is damaged between rows 0 and 32" in reason(describe([path], limits=Limits(salvage=True)))


@pytest.mark.parametrize(
    ("numbers", "text"), [([1], "1"), ([1, 2, 3], "1-3"), ([1, 3, 4, 9], "1,3-4,9"), ([3, 1, 2], "3,1-2")]
)
def test_numbers_are_written_as_bands_takes_them(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
