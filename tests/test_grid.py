"""The grid: tiles, windows, positions and areas, against brute force, shapely and pyproj."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from satae.grid import Grid, Window

NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_200_000)
TRANSFORMS = {
    "north up": NORTH_UP,
    "south up": Affine(10, 0, 500_000, 0, 10, 5_200_000),
    "mirrored": Affine(-10, 0, 500_000, 0, -10, 5_200_000),
    "rotated": Affine(8, 6, 500_000, 6, -8, 5_200_000),
    "sheared": Affine(10, -4, 500_000, 2, -20, 5_200_000),
}
windows = st.builds(
    Window, st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 50), st.integers(1, 50)
)
any_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


def wkt(code: int | str) -> str:
    return pyproj.CRS(code).to_wkt()


def grid(height: int = 40, width: int = 50, transform: Affine = NORTH_UP, crs: int | None = 32632) -> Grid:
    return Grid(height, width, transform, None if crs is None else wkt(crs))


def covered(windows: list[Window], outer: Window) -> np.ndarray:
    """How often each pixel of `outer` lies in one of the windows."""
    count = np.zeros((outer.height, outer.width), int)
    for window in windows:
        inside = window.within(outer)
        if inside:
            count[inside.slices(outer)] += 1
    return count


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_tiles_cover_every_pixel_exactly_once(height: int, width: int, size: int) -> None:
    g = grid(height, width)
    assert (covered(list(g.tiles(size)), g.window) == 1).all()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(2, 40), st.data())
def test_overlapping_tiles_cover_every_pixel_and_none_is_superfluous(height, width, size, data) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    tiles = list(grid(height, width).tiles(size, overlap))
    assert (covered(tiles, Window(0, 0, height, width)) >= 1).all()
    rows = sorted({t.row for t in tiles})
    assert all(b - a == size - overlap for a, b in pairwise(rows))
    assert rows[-1] == 0 or rows[-1] + overlap < height


@given(windows, windows)
def test_within_is_the_set_of_shared_pixels(one: Window, other: Window) -> None:
    def pixels(w: Window | None) -> set:
        return (
            set() if w is None else {(r, c) for r in range(w.row, w.stop[0]) for c in range(w.col, w.stop[1])}
        )

    assert pixels(one.within(other)) == pixels(one) & pixels(other)


@given(windows, st.integers(0, 9))
def test_a_grown_window_holds_the_window_in_its_middle(window: Window, margin: int) -> None:
    rows, cols = window.slices(window.with_margin(margin))
    assert (rows.start, cols.start) == (margin, margin)
    assert (rows.stop - rows.start, cols.stop - cols.start) == (window.height, window.width)


@given(windows, st.integers(1, 9))
def test_a_square_around_the_middle_of_a_window_has_it_in_its_own(window: Window, side: int) -> None:
    square = Window.around(*window.middle, side)
    assert square.middle == window.middle and (square.height, square.width) == (side, side)
    before = window.middle[0] - window.row, window.middle[1] - window.col
    behind = window.stop[0] - window.middle[0], window.stop[1] - window.middle[1]
    assert all(0 <= b - a <= 1 for b, a in zip(behind, before, strict=True))


@given(windows, st.integers(1, 9))
def test_a_window_from_a_multiple_of_a_step_is_the_smallest_one(window: Window, step: int) -> None:
    found = window.from_multiple(step)
    assert found.stop == window.stop and found.row % step == found.col % step == 0
    assert 0 <= window.row - found.row < step and 0 <= window.col - found.col < step


@given(windows, st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_cells_divide_a_window_along_block_lines(window: Window, block: tuple[int, int]) -> None:
    cells = list(window.cells(block))
    assert (covered(cells, window) == 1).all()
    assert all(c.cell(block) == c.cell(block) and c.within(c.cell(block)) == c for c in cells)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 5)])
def test_a_window_without_pixels_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Window(0, 0, *shape)


@any_transform
def test_positions_survive_the_way_to_the_map_and_back(transform: Affine) -> None:
    rows, cols = np.mgrid[0:40:7, 0:50:9]
    xy = grid(transform=transform).xy(rows + 0.5, cols + 0.5)
    t = transform
    back = np.linalg.solve([[t.a, t.b], [t.d, t.e]], (xy.reshape(-1, 2) - [t.c, t.f]).T)
    np.testing.assert_allclose(back, [cols.ravel() + 0.5, rows.ravel() + 0.5], atol=1e-6)


@any_transform
@pytest.mark.parametrize("window", [None, Window(3, 4, 10, 12), Window(35, 45, 64, 64)])
def test_footprints_are_closed_valid_and_counter_clockwise(transform: Affine, window: Window | None) -> None:
    g = grid(transform=transform)
    ring = g.footprint(window)
    polygon = shapely.Polygon(ring)
    inside = (window or g.window).within(g.window)
    assert (ring[0] == ring[-1]).all() and polygon.is_valid and polygon.exterior.is_ccw
    pixel = abs(transform.determinant)
    assert polygon.area == pytest.approx(inside.height * inside.width * pixel)


def test_a_window_off_the_grid_has_no_footprint() -> None:
    with pytest.raises(ValueError, match="do not touch"):
        grid().footprint(Window(40, 0, 5, 5))


@any_transform
def test_pixel_polygons_land_where_pixels_do(transform: Affine) -> None:
    g = grid(transform=transform)
    moved = g.polygons(np.array([shapely.box(4, 3, 5, 4)]))[0]
    assert moved.normalize().equals_exact(shapely.Polygon(g.footprint(Window(3, 4, 1, 1))).normalize(), 1e-6)


@any_transform
def test_the_grid_of_a_window_has_its_pixels_where_the_whole_has_them(transform: Affine) -> None:
    g = grid(transform=transform)
    part = g.part(Window(3, 4, 10, 12))
    assert (part.height, part.width, part.crs) == (10, 12, g.crs)
    np.testing.assert_allclose(part.xy([0, 7], [0, 5]), g.xy([3, 10], [4, 9]))


@any_transform
def test_a_utm_pixel_has_its_planar_area(transform: Affine) -> None:
    assert grid(transform=transform).pixel_area_m2 == pytest.approx(abs(transform.determinant))


def test_us_survey_feet_are_converted() -> None:
    g = Grid(40, 50, Affine(30, 0, 2_000_000, 0, -30, 700_000), wkt(2225))
    assert g.gsd_m == pytest.approx(30 * 1200 / 3937, rel=1e-6)


@pytest.mark.parametrize("latitude", [0.0, 47.0, -70.0])
def test_geographic_pixels_are_measured_on_the_ellipsoid(latitude: float) -> None:
    step = 0.001
    g = Grid(40, 50, Affine(step, 0, 10, 0, -step, latitude + 20 * step), wkt(4326))
    # the zone between two parallels of the ellipsoid, in closed form
    a, f = 6378137.0, 1 / 298.257223563
    e = math.sqrt(f * (2 - f))

    def q(phi: float) -> float:
        s = math.sin(math.radians(phi))
        return s / (1 - (e * s) ** 2) + math.atanh(e * s) / e

    south = latitude - step
    area = math.radians(step) * (a * a * (1 - e * e) / 2) * (q(latitude) - q(south))
    assert g.pixel_area_m2 == pytest.approx(area, rel=1e-4)


def test_geographic_gsd_agrees_with_geodesic_sides() -> None:
    g = Grid(40, 50, Affine(0.001, 0, 10, 0, -0.001, 47), wkt(4326))
    (west, north), (east, south) = g.xy(20, 25), g.xy(21, 26)
    geod = pyproj.Geod(ellps="WGS84")
    sides = geod.inv(west, north, east, north)[2], geod.inv(west, north, west, south)[2]
    assert g.gsd_m == pytest.approx(math.sqrt(sides[0] * sides[1]), rel=1e-4)


def test_web_mercator_pixels_shrink_with_latitude() -> None:
    y = 6_378_137 * math.log(math.tan(math.pi / 4 + math.radians(60) / 2))
    g = Grid(40, 50, Affine(10, 0, 1_000_000, 0, -10, y + 200), wkt(3857))
    assert g.pixel_area_m2 == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["site",UNIT["parsec",0]]'])
def test_without_a_unit_there_is_no_area(crs: str | None) -> None:
    g = Grid(40, 50, NORTH_UP, crs)
    assert g.pixel_area_m2 is None and g.gsd_m is None and not g.is_georeferenced
    assert np.isnan(g.area_m2(np.array([shapely.box(0, 0, 1, 1)]))).all()
    assert (g.lonlat(g.footprint()) == g.footprint()).all()


def test_a_local_crs_has_areas_but_no_place_on_earth() -> None:
    g = Grid(40, 50, NORTH_UP, 'LOCAL_CS["site",UNIT["metre",1]]')
    assert g.pixel_area_m2 == pytest.approx(100) and not g.is_georeferenced


def holed(x: float, y: float, side: float) -> shapely.Polygon:
    ring = shapely.box(x, y, x + side, y + side)
    return ring - shapely.box(x + side / 4, y + side / 4, x + side / 2, y + side / 2)


def test_planar_areas_subtract_holes() -> None:
    shapes = np.array([holed(500_100, 5_199_900, 40), shapely.box(500_000, 5_199_990, 500_010, 5_200_000)])
    np.testing.assert_allclose(grid().area_m2(shapes), [1600 * 15 / 16, 100])


@pytest.mark.parametrize("code", [4326, 3857])
def test_ellipsoidal_areas_subtract_holes_and_add_parts(code: int) -> None:
    x, y, side = (10, 47, 0.01) if code == 4326 else (1_113_194, 5_942_074, 1000)
    g = Grid(40, 50, Affine(side / 10, 0, x, 0, -side / 10, y), wkt(code))
    parts = [holed(x, y, side), holed(x + 2 * side, y, side)]
    equal_area = pyproj.Transformer.from_crs(
        code, "+proj=laea +lat_0=47 +lon_0=10 +ellps=WGS84", always_xy=True
    )
    expected = [shapely.transform(p, equal_area.transform, interleaved=False).area for p in parts]
    found = g.area_m2(np.array([parts[0], shapely.MultiPolygon(parts)]))
    np.testing.assert_allclose(found, [expected[0], sum(expected)], rtol=1e-3)


def test_lonlat_agrees_with_pyproj() -> None:
    g = grid()
    lon, lat = pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(*g.footprint().T)
    np.testing.assert_allclose(g.lonlat(g.footprint()), np.column_stack([lon, lat]), atol=1e-9)


def test_another_body_keeps_its_own_longitudes() -> None:
    mars = "+proj=eqc +R=3396190 +units=m +no_defs"
    g = Grid(40, 50, Affine(10, 0, 0, 0, -10, 0), wkt(mars))
    degrees = math.degrees(500 / 3_396_190)
    assert g.lonlat(g.footprint())[:, 0].max() == pytest.approx(degrees, rel=1e-6)
    assert g.gsd_m == pytest.approx(10, rel=1e-3)
