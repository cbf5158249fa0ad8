"""Rules turned into regions on a heatmap made by hand; what they give on a real one is in test_detect."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS

from satae.grid import Grid
from satae.inference import calibrate
from satae.inference.calibrate import Alarms, Calibration
from satae.inference.tilepeaks import Maxima
from satae.scoring import selection
from satae.scoring.heatmap import Heatmap
from satae.scoring.rule import Far, Fdr, Rule, Threshold, Top
from satae.scoring.selection import Field, Selection

GRID = Grid(64, 64, Affine(10, 0, 5e5, 0, -10, 5e6), CRS.from_epsg(32632).to_wkt())
SAMPLE = np.random.default_rng(0).exponential(size=20_000)
TAIL = calibrate.fit(SAMPLE)
CALIBRATION = Calibration(
    pixel=TAIL, tile=TAIL, region=TAIL, candidate=float(np.quantile(SAMPLE, 0.99)), pixels=20_000, blocks=9,
    alarms=[Alarms(pixels=1, per_pixel=1e-3, tail=TAIL), Alarms(pixels=4, per_pixel=1e-4, tail=TAIL)],
)  # fmt: skip
RAW = [12.0, 9.0, 7.0, 5.5]  # peaks of four squares of 3 x 3 pixels


def heat_of(tmp_path: Path) -> Heatmap:
    raw = np.full((64, 64), 0.5)
    for i, peak in enumerate(RAW):
        raw[10 * i : 10 * i + 3, 5:8] = peak
    path = tmp_path / "h.tif"
    kind = {"height": 64, "width": 64, "count": 1, "dtype": "float32", "transform": GRID.transform}
    with rasterio.open(path, "w", driver="GTiff", **kind, crs="EPSG:32632") as out:
        out.write(TAIL.exponent(raw).astype("float32"), 1)
    tiles = Maxima(GRID, 32)
    tiles.count += 1024
    return Heatmap(path, tiles, float(TAIL.exponent(12.0)))


def selected(heat: Heatmap, rule: Rule, area: float | None = None) -> Selection:
    return rule.select(Field(heat, GRID, CALIBRATION, selection.min_pixels(GRID, area)))


def peaks(heat: Heatmap, rule: Rule, area: float | None = None) -> list[float]:
    return [a.peak for a in selected(heat, rule, area).found]


def test_a_threshold_gives_what_reaches_it(tmp_path: Path) -> None:
    heat = heat_of(tmp_path)
    level = float(TAIL.exponent(8.0))
    assert peaks(heat, Threshold(level)) == pytest.approx([12, 9], rel=1e-4)


def test_top_gives_the_highest_and_the_lowest_of_them_is_the_threshold(tmp_path: Path) -> None:
    found = selected(heat_of(tmp_path), Top(3))
    assert [a.peak for a in found.found] == pytest.approx([12, 9, 7], rel=1e-4)
    assert found.threshold == pytest.approx(float(TAIL.exponent(7.0)), rel=1e-4) and found.remark == ""


def test_far_is_the_level_at_which_background_leaves_that_many(tmp_path: Path) -> None:
    heat = heat_of(tmp_path)
    rate = 1e-4 * 1e6 * 1e-3  # regions per 100 km2 of 100 m2 pixels, of which one in a thousand is left
    found = selected(heat, Far(rate))
    assert found.threshold == pytest.approx(3.0, abs=0.01)
    assert [a.peak for a in found.found] == pytest.approx([12, 9, 7], rel=1e-4)


def test_fdr_stops_at_chance(tmp_path: Path) -> None:
    heat = heat_of(tmp_path)
    assert len(peaks(heat, Fdr(0.5))) == 4
    nothing = selected(heat, Fdr(1e-9))
    assert nothing.found == [] and nothing.threshold == math.inf and "are false" in str(nothing.doubt)


def test_an_outline_does_not_follow_from_the_rule_unless_it_asks_for_less_than_candidates(
    tmp_path: Path,
) -> None:
    heat = heat_of(tmp_path)
    with rasterio.open(heat.path, "r+") as file:  # a slope to the right of the highest square
        slope = np.array([[8.0, 6.0, 4.9, 1.0]])
        assert slope[0, 2] > CALIBRATION.candidate > slope[0, 3]
        values = file.read(1)
        values[0:3, 8:12] = TAIL.exponent(slope)
        file.write(values, 1)
    low = float(TAIL.exponent(0.8))
    first = [selected(heat, rule).found for rule in (Top(1), Top(4), Far(0.1), Fdr(0.5), Threshold(low))]
    # 8 is more than 0.6 of 12 and 6 is not, whatever the rule
    assert [found[0].pixels for found in first] == [12] * 5
    squares = [a.pixels for a in first[1]]
    assert squares == [12, 9, 9, 9] and [a.pixels for a in first[2]] == squares[: len(first[2])]


def test_a_threshold_under_the_candidates_reaches_lower(tmp_path: Path) -> None:
    heat = heat_of(tmp_path)
    with rasterio.open(heat.path, "r+") as file:
        values = file.read(1)
        values[30:33, 8] = TAIL.exponent(0.7 * 5.5)  # beside the lowest square, not under its share
        file.write(values, 1)
    assert CALIBRATION.candidate > 0.7 * 5.5
    assert [a.pixels for a in selected(heat, Top(4)).found] == [9] * 4
    low = selected(heat, Threshold(float(TAIL.exponent(3.0)))).found
    assert [a.pixels for a in low] == [9, 9, 9, 12]


def test_regions_smaller_than_asked_for_are_dropped(tmp_path: Path) -> None:
    heat = heat_of(tmp_path)
    assert len(peaks(heat, Top(9), area=900)) == 4 and peaks(heat, Top(9), area=901) == []


@pytest.mark.parametrize(("area", "pixels"), [(None, 4), (0.0, 1), (100.0, 1), (101.0, 2), (1000.0, 10)])
def test_the_smallest_region_in_pixels(area: float | None, pixels: int) -> None:
    assert selection.min_pixels(GRID, area) == pixels


@pytest.mark.parametrize("rule", [Far(0.5), Fdr(0.5), Top(3), Threshold(1.5)], ids=str)
def test_no_pixel_of_a_region_lies_below_the_floor_of_its_rule(tmp_path: Path, rule: Rule) -> None:
    heat = heat_of(tmp_path)
    found = selected(heat, rule)
    floor = rule.floor(CALIBRATION, GRID.pixel_area_m2, 4)
    assert found.found and 1.5 <= floor <= found.threshold
    with rasterio.open(heat.path) as dataset:
        values = dataset.read(1)
    for region in found.found:
        left, top, right, bottom = map(int, region.polygon.bounds)
        assert values[top:bottom, left:right].min() >= np.float32(floor)
