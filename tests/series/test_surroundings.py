"""How ground varies around a pixel: sums beside loops, and a place of which one half is calm."""

from datetime import date

import numpy as np
import places
import pytest
import rasterio

from satae.grid import Grid, Window
from satae.scene.describe import describe
from satae.series import dates, persistence, run, surroundings
from satae.series.surroundings import REACH, STEP, Lattice, Sums

WHEN = places.days(70)  # three years
PAST, LATER = 50, 60
SIDE = 80
CALM = slice(20, 26), slice(50, 57)  # rows and columns of a change on calm ground


def test_sums_are_those_of_a_loop_over_what_is_judged_around_each_pixel():
    rng = np.random.default_rng(0)
    grid = Grid(70, 61, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), None)
    squares, counts = rng.random((2, 3, 70, 61)), rng.integers(0, 9, (2, 70, 61)).astype(float)
    judged = np.zeros((70, 61), bool)
    judged[::STEP, ::STEP] = True
    whole = {}
    for window in (Window(0, 0, 70, 61), Window(20, 31, 9, 30), Window(69, 60, 1, 1), Window(0, 7, 3, 2)):
        lattice = Lattice.around(window, grid)
        outer = lattice.outer.slices(grid.window)
        pixels = lattice.pixels
        of = (a[..., *outer].reshape(*a.shape[:-2], -1)[..., pixels] for a in (squares, counts))
        found = lattice.sums(*of)
        for i, (row, col) in enumerate(np.ndindex(window.height, window.width)):
            r, c = window.row + row, window.col + col
            box = np.zeros_like(judged)
            box[max(r - REACH, 0) : r + REACH + 1, max(c - REACH, 0) : c + REACH + 1] = True
            np.testing.assert_allclose(found.squares[..., i], squares[..., box & judged].sum(axis=-1))
            np.testing.assert_allclose(found.counts[..., i], counts[..., box & judged].sum(axis=-1))
            # and to the last bit the same in every window
            both = np.append(found.squares[..., i].ravel(), found.counts[..., i].ravel())
            np.testing.assert_array_equal(both, whole.setdefault((r, c), both))


def test_what_two_dates_share_is_the_shorter_residual_of_the_pair_that_agrees_best():
    rng = np.random.default_rng(1)
    recent = rng.normal(size=(2, 3, 400)).astype(np.float32)
    recent[0, :, :40] = recent[1, :, 20:60] = np.nan
    white = rng.normal(size=(3, 400))
    found = persistence.in_common(recent, white)
    for pixel in range(400):
        known = [r[:, pixel].astype(float) for r in recent if np.isfinite(r[0, pixel])]
        best, wanted = -1.0, np.full(3, np.nan)
        for old in known[::1]:
            one, two = sorted((old, white[:, pixel]), key=lambda v: (v**2).sum())
            alike = (one @ two > 0) * ((two**2).sum() <= 25 * (one**2).sum()) * (one**2).sum()
            if alike > best:
                best, wanted = alike, one * (alike > 0)
        np.testing.assert_array_equal(found[:, pixel], wanted)
    assert persistence.in_common(recent[:0], white) is white  # by itself, where no other is asked for


def test_usual_is_the_median_and_nothing_makes_nothing_of_itself():
    squares, counts = np.array([[[2.0, 8.0, 50.0], [0.0, 0.0, 0.0]]]), np.array([[2.0, 4.0, 5.0]])
    sums = Sums(squares, counts)
    assert surroundings.usual(sums).tolist() == [2.0, 0.0]
    around = sums.beside(np.array([2.0, 0.0]))
    np.testing.assert_allclose(around[0], [101 / 102, 104 / 104, 125 / 105])
    assert (around[1] == 1).all()
    # ground that was never far from its season is trusted so far and no further
    calm = Sums(np.zeros((1, 1, 1)), np.full((1, 1), 1e9))
    assert calm.beside(np.ones(1)).item() == pytest.approx(surroundings.LEAST)
    none = Sums(np.zeros((1, 2, 3)), np.zeros((1, 3)))
    assert (none.beside(surroundings.usual(none)) == 1).all()


def halves():
    """Fields in the west, which are cut on another day each summer for two months; the east is calm.

    In the east a block differs from date LATER on, by less than the fields do.
    """
    rng = np.random.default_rng(5)
    dn = places.cube(WHEN, side=SIDE)
    year = np.array([d.year for d in WHEN])
    day = np.array([(d - date(d.year, 1, 1)).days for d in WHEN])
    for row in range(0, SIDE, 8):
        for col in range(0, SIDE // 2, 8):
            for one in np.unique(year):
                begin = rng.integers(120, 260)
                cut = (year == one) & (day >= begin) & (day < begin + 60)
                dn[cut, 2, row : row + 8, col : col + 8] -= 500
    dn[LATER:, :, *CALM] += np.array([60, 60, -80])[:, None, None]
    return dn


def scored(folder, name):
    scenes = [describe([p]) for p in sorted((folder / "d").glob("*.tif"))]
    history = (-np.inf, float((WHEN[PAST - 1] - dates.EPOCH).days))
    how = run.Options(history=history, far=1.0)
    return run.series(scenes, [dates.day_of(s) for s in scenes], folder / name, how)


def test_calm_ground_beside_fields_is_judged_by_its_own_kind(tmp_path, monkeypatch):
    places.write(tmp_path / "d", WHEN, halves())
    planted = Window(CALM[0].start, CALM[1].start, 6, 7)

    def of_the_block(result):
        """Of the planted pixels those in regions that began on its first dates."""
        days = [float((WHEN[i] - dates.EPOCH).days) for i in range(LATER, LATER + 3)]
        return sum(
            c.region.inside(planted).sum() for c in result.changes if c.first in days and c.confirmed in days
        )

    result = scored(tmp_path, "c.gpkg")
    with rasterio.open(tmp_path / "c_state.tif") as file:
        number = file.descriptions.index("around_3") + 1
        around = file.read(number)
    west, east = around[:, : SIDE // 2 - REACH], around[:, SIDE // 2 + REACH :]
    assert np.median(west) > 3 * np.median(east)
    # from one to the other it goes on evenly
    assert np.abs(np.diff(around, axis=1)).max() < 0.15 * np.ptp(around)
    assert of_the_block(result) > 30
    # with one scale for all ground the threshold is that of the fields
    monkeypatch.setattr(surroundings, "NOTHING", np.inf)
    plain = scored(tmp_path, "plain.gpkg")
    with rasterio.open(tmp_path / "plain_state.tif") as file:
        assert (file.read(number) == 1).all()
    assert of_the_block(plain) < 5
