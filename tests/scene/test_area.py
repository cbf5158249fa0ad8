"""Which pixels polygons let count, on scenes anywhere: pyproj and shapely, pixel by pixel, are the oracle."""

from __future__ import annotations

import pickle

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from shapely import box

from satae.grid import Grid, Window
from satae.scene import area as areas
from satae.scene.area import Area, area

SIDE = 90
SCENES = {  # pixel size, origin
    "UTM": ("EPSG:32632", 10, (500_000, 5_000_000)),
    "Fiji, at 180 degrees": ("EPSG:32760", 10, (816_000, 8_100_000)),
    "Fiji, across 180 degrees": ("EPSG:32760", 5000, (600_000, 8_100_000)),
    "Samoa, across 180 degrees": ("EPSG:32701", 2000, (160_000, 8_100_000)),
    "Mercator": ("EPSG:3857", 10, (1_000_000, 6_000_000)),
    "Mercator, the world": ("EPSG:3857", 400_000, (-19_200_123, 19_200_123)),
    "Mercator, across 180 degrees": ("EPSG:3857", 10_000, (19_500_321, -1_000_321)),
    "Europe": ("EPSG:3035", 1000, (4_300_000, 3_000_000)),
    "north pole": ("EPSG:3413", 20_000, (-901_003, 900_105)),
    "Greenland": ("EPSG:3413", 100, (-200_000, -2_000_000)),
    "south pole": ("EPSG:3031", 20_000, (-902_003, 900_105)),
    "Ross Sea, across 180 degrees": ("EPSG:3031", 1000, (-45_300, -1_000_000)),
    "degrees": ("EPSG:4326", 0.01, (8.003, 45.001)),
    "degrees, across 180": ("EPSG:4326", 0.1, (175.03, -12.02)),
    "degrees from 0 to 360": ("EPSG:4326", 3.9, (0.3, 89.7)),
}
AREAS = {
    "world": [box(-180, -90, 180, 90)],
    "world from 0": [box(0, -90, 360, 90)],
    "northern half": [box(-180, 0, 180, 90)],
    "western half": [box(-180, -90, 0, 90)],
    "Eurasia": [box(-10, 0, 180, 80)],
    "Africa and Australia": [box(-18, -35, 52, 38), box(113, -39, 154, -11)],
    "north pole": [box(-180, 85, 180, 90)],
    "south pole": [box(-180, -90, 180, -80)],
    "across 180 in one": [box(170, -90, 190, 90)],
    "across 180 in one from the west": [box(-190, -90, -170, 90)],
    "across 180 in two": [box(170, -90, 180, 90), box(-180, -90, -170, 90)],
    "around Fiji": [box(178.51, -19.01, 181.02, -10.03)],
    "nearby": [shapely.Polygon([(8.9, 44.9), (9.3, 45.2), (9.0051, 45.6013), (8.5, 45.02)])],
    "a slope over the world": [shapely.Polygon([(-170, -80), (170, 80), (-170, 80)])],
}
DEGREES = pyproj.CRS("OGC:CRS84")


def grid(crs: str, size: float, origin: tuple[float, float], side: int = SIDE) -> Grid:
    return Grid(side, side, Affine(size, 0, origin[0], 0, -size, origin[1]), pyproj.CRS(crs).to_wkt())


def oracle(of: Grid, shapes: list[shapely.Geometry]) -> np.ndarray:
    """True where the longitude and latitude of a pixel's centre lie in a polygon, which may go around the world."""
    rows, cols = np.mgrid[: of.height, : of.width] + 0.5
    x, y = of.transform.a * cols + of.transform.c, of.transform.e * rows + of.transform.f
    lon, lat = pyproj.Transformer.from_crs(of.crs, DEGREES, always_xy=True).transform(x, y)
    turns = (-360, 0, 360)
    return np.any([shapely.contains_xy(s, lon + turn, lat) for s in shapes for turn in turns], axis=0)


@pytest.mark.parametrize("scene", SCENES)
def test_pixels_count_where_their_longitude_and_latitude_lie_in_the_polygons(scene: str) -> None:
    here, shares = grid(*SCENES[scene]), set()
    for name, shapes in AREAS.items():
        found, expected = area(here, np.array(shapes), DEGREES), oracle(here, shapes)
        assert (found.inside(here.window) == expected).all(), name
        assert found.touches == expected.any(), name
        shares.add(expected.mean())
    assert len(shares) > 1 and min(shares) < 0.3 and max(shares) > 0.5  # or the table would prove little


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3413", "EPSG:32633", "EPSG:4807"])
def test_polygons_may_be_drawn_in_any_crs(crs: str) -> None:
    here, own = grid(*SCENES["Europe"]), pyproj.CRS(crs)
    move = pyproj.Transformer.from_crs(here.crs, own, always_xy=True).transform
    x, y = move(*here.xy(40.3, 40.2))
    shape = shapely.Point(x, y).buffer(0.3 if own.is_geographic else 30_000)
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5
    expected = shapely.contains_xy(shape, *move(*np.moveaxis(here.xy(rows, cols), -1, 0)))
    assert 0 < expected.mean() < 1
    assert (area(here, np.array([shape]), own).inside(here.window) == expected).all()


def test_a_mercator_area_across_180_degrees_counts_on_both_sides() -> None:
    here, half = grid(*SCENES["Fiji, across 180 degrees"]), 20_037_508.342789244
    shape = box(half - 100_000, -5_000_000, half + 100_000, 0)
    good = area(here, np.array([shape]), pyproj.CRS(3857)).inside(here.window)
    degrees = 180 * 100_000 / half
    assert (good == oracle(here, [box(180 - degrees, -40, 180 + degrees, 0)])).all() and good.any()


@pytest.mark.parametrize("seed", range(12))
def test_a_window_is_what_its_pixels_are_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = list(SCENES)[int(rng.integers(len(SCENES)))]
    crs, size, origin = SCENES[name]
    here = grid(crs, size / 6, origin, 6 * SIDE)
    middle = here.lonlat(here.xy(270, 270))
    angles, reach = (
        np.sort(rng.uniform(0, 2 * np.pi, 40)),
        size / (1 if crs == "EPSG:4326" else 111_000) * SIDE,
    )
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.1, 1, (40, 1)) * reach
    found = area(here, np.array([shapely.make_valid(shapely.Polygon(middle + ring))]), DEGREES)
    row, col = rng.integers(0, 250, 2)
    window = Window(int(row), int(col), int(rng.integers(1, 290)), int(rng.integers(1, 290)))
    assert (found.inside(window) == found._asked(window)).all()


@pytest.mark.parametrize("scene", ["Greenland", "Europe"])
def test_a_large_area_costs_a_window_no_more_than_a_small_one(scene: str, monkeypatch) -> None:
    crs, size, origin = SCENES[scene]
    here, asked = grid(crs, size / 20, origin, 4096), []
    one_by_one = Area._asked
    monkeypatch.setattr(
        Area, "_asked", lambda self, w: asked.append(w.height * w.width) or one_by_one(self, w)
    )
    found = area(here, np.array([box(-170, -80, 170, 89)]), DEGREES)
    assert all(found.inside(w).all() for w in here.window.cells((1024, 1024))) and asked == []


def test_polygons_that_overlap_count_once_and_edges_between_them_count() -> None:
    here = Grid(8, 8, Affine(1, 0, 0, 0, -1, 8), None)
    found = area(here, np.array([box(0, 0, 4.5, 8), box(3, 0, 6, 8), box(6, 0, 7.5, 8)]), None)
    assert found.inside(here.window).all()


def test_pixels_without_a_place_on_earth_do_not_count() -> None:
    # the Earth as seen from above the equator, and the dark around it
    here = grid("+proj=ortho +lat_0=0 +lon_0=0", 200_000, (-9_000_000, 9_000_000))
    good = area(here, np.array(AREAS["world"]), DEGREES).inside(here.window)
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5
    assert (good == (np.hypot(*np.moveaxis(here.xy(rows, cols), -1, 0)) < 6_367_000)).mean() > 0.99
    assert not good[0, 0] and good[45, 45]


def test_an_area_pickles_without_what_geos_and_proj_made_of_it() -> None:
    here = grid(*SCENES["Europe"])
    found = area(here, np.array(AREAS["Eurasia"]), DEGREES)
    before = found.inside(here.window)
    again = pickle.loads(pickle.dumps(found))
    assert (
        set(vars(again)) == {"grid", "geometry", "wkt", "turn"}
        and (again.inside(here.window) == before).all()
    )


def test_longitudes_repeat_every_turn_and_other_axes_do_not() -> None:
    assert areas._turn(DEGREES) == pytest.approx((-180, 360))
    assert areas._turn(pyproj.CRS(4807)) == pytest.approx((-200, 400))  # grads
    assert areas._turn(pyproj.CRS(3857)) == pytest.approx((-20_037_508.34, 2 * 20_037_508.34))
    assert areas._turn(pyproj.CRS(32632)) is None and areas._turn(pyproj.CRS(3413)) is None
