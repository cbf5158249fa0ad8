"""Dates that lie beside their place: shifts by Fourier's theorem are told and moved back, and raise no alarms."""

import geopandas
import numpy as np
import places
import pytest
from scipy import ndimage

from satae.grid import Window
from satae.scene.describe import describe
from satae.series import dates, run, shifts

WHEN = places.days(50)
PAST, SIDE = 36, 64
NOISE = 20.0


def texture(seed=0):
    """Fourier transforms of three bands of ground as an optic sees it: blurred by a pixel, of 200 DN."""
    rng = np.random.default_rng(seed)
    ground = ndimage.gaussian_filter(rng.normal(size=(3, SIDE, SIDE)), (0, 1, 1), mode="wrap")
    return np.fft.fft2(200 * ground / ground.std())


def seen(ground, shift):
    """The ground so many pixels further on: exact, for it is periodic."""
    return np.stack([np.fft.ifft2(ndimage.fourier_shift(band, shift)).real for band in ground])


def cube(size, seed=0, history=0.0):
    """DN of a place whose new dates lie `size` pixels beside it, in all directions, and past ones up to `history`."""
    rng = np.random.default_rng(seed + 10)
    ground, out = texture(seed), []
    for i, day in enumerate(WHEN):
        turn = rng.uniform(0, 2 * np.pi)
        far = rng.uniform(0, history) if i < PAST else size
        t = (day - places.START).days / 365.25
        wave = np.array([60, -80, 300])[:, None, None] * np.sin(2 * np.pi * t)
        image = seen(ground, (far * np.sin(turn), far * np.cos(turn)))
        out.append(2000 + image + wave + rng.normal(0, NOISE, image.shape))
    return np.array(out)


def scored(folder, dn, **options):
    paths = places.write(folder / "d", WHEN, dn)
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    return run.series(
        scenes,
        days,
        folder / "c.gpkg",
        run.Options(history=(-np.inf, float(sorted(days)[PAST - 1])), **options),
    )


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-0.2, 0.3), (0.5, 0.5), (0.0, -1.0), (1.4, 0.9)])
def test_a_shift_is_told_to_a_fifteenth_of_a_pixel_and_moving_it_back_leaves_little(shift):
    ground, rng = texture(), np.random.default_rng(1)
    there, good = seen(ground, (0, 0)), np.ones((SIDE, SIDE), bool)
    here = seen(ground, shift)
    good[20:30, 10:25] = False
    noisy = np.where(good, here + rng.normal(0, NOISE, here.shape), np.nan)
    found = shifts.estimate([noisy], [there], [good])
    np.testing.assert_allclose(found, shift, atol=1 / 15)
    moved, known = shifts.back(here, good, shift)
    left = (moved - there)[:, known]
    assert left.std() < 0.2 * (here - there)[:, known].std()
    # a pixel that is not known takes those that are made of it along, and no more than two on either side
    assert not known[20:30, 10:25].all() and known[6:17, 6:58].all() and known[36:55, 6:55].all()


def test_ground_without_a_shift_without_texture_or_with_a_change_is_not_moved():
    rng = np.random.default_rng(2)
    there, good = seen(texture(), (0, 0)), np.ones((SIDE, SIDE), bool)
    for _ in range(10):
        assert shifts.estimate([there + rng.normal(0, NOISE, there.shape)], [there], [good]) == shifts.NONE
    flat = np.full_like(there, 100.0)
    assert shifts.estimate([flat + rng.normal(0, NOISE, there.shape)], [flat], [good]) == shifts.NONE
    changed = there + rng.normal(0, NOISE, there.shape)
    changed[:, 10:30, 10:30] += 600
    assert shifts.estimate([changed], [there], [good]) == shifts.NONE
    assert shifts.estimate([there[:, :5, :5]], [there[:, :5, :5]], [good[:5, :5]]) == shifts.NONE


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, -0.4)])
def test_clouds_that_no_mask_covers_make_no_shift_and_hide_none(shift):
    there, good = seen(texture(), (0, 0)), np.ones((SIDE, SIDE), bool)
    cuts = [np.s_[..., r : r + 32, c : c + 32] for r in (0, 32) for c in (0, 32)]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        field = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 8)
        # soft at its edge, over a quarter of the place
        cloud = np.clip((field - np.quantile(field, 0.75)) / field.std(), 0, 1)
        image = seen(texture(), shift) * (1 - cloud) + 6000 * cloud + rng.normal(0, NOISE, there.shape)
        found = shifts.estimate(*([a[cut] for cut in cuts] for a in (image, there, good)))
        np.testing.assert_allclose(found, shift, atol=0.15)


@pytest.mark.parametrize("size", [0.3, 0.5, 1.0])
def test_dates_beside_their_place_raise_no_more_alarms_than_are_promised(tmp_path, size, monkeypatch):
    dn = cube(size)
    # 0.41 km2 for 0.6 years at five a km2 and year: 1.3 are promised, and five are as rare as one in a hundred
    result = scored(tmp_path, dn, far=5.0)
    assert len(result.changes) <= 5
    told = geopandas.read_file(result.out, layer="dates")
    np.testing.assert_allclose(np.hypot(told.shift_rows, told.shift_cols), size, atol=0.07)
    assert "lay beside the place" in result.remarks[0]
    if size == 0.5:
        monkeypatch.setattr(shifts, "estimate", lambda *_: shifts.NONE)
        (tmp_path / "off").mkdir()
        assert len(scored(tmp_path / "off", dn, far=5.0).changes) > 3


def test_a_step_is_found_on_dates_beside_their_place(tmp_path):
    dn = cube(0.5, history=0.7)
    dn[PAST + 4 :, :, 20:27, 30:37] += np.array([150, 150, -300])[:, None, None]
    result = scored(tmp_path, dn)
    best = result.changes[0]
    assert best.region.inside(Window(18, 28, 11, 11)).sum() == best.region.pixels >= 36
    assert best.first == float(result.scored[4].day)
