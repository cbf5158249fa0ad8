"""Whole series: what was planted is found where and when it was, and new dates cost themselves alone."""

import json
import pickle
import shutil
from datetime import date, timedelta
from pathlib import Path

import cv2
import geopandas
import numpy as np
import places
import pytest
import rasterio
import shapely

from satae.errors import ConfigError, OutputError, ResultError, SceneError
from satae.grid import Window
from satae.scene.describe import describe
from satae.series import dates, run, shifts

WHEN = places.days(56)  # two years and a half
PAST = 36
STEP, SPIKE = 40, 44  # numbers of dates
HISTORY = (-np.inf, float((WHEN[PAST - 1] - date(1970, 1, 1)).days))
KINDS = ("heatmap", "first_date", "magnitude", "persistence", "state")


def changed():
    """A step of six deviations of the noise in each band from date STEP on, and a cloud that the mask missed."""
    dn = places.cube(WHEN)
    dn[STEP:, :, 10:16, 20:27] += np.array([120, 120, -400])[:, None, None]
    dn[SPIKE, :, 30:40, 5:15] += 1500
    return dn


def series(paths, out, **options):
    scenes = [describe([p]) for p in paths]
    given = {"history": HISTORY, "far": 1.0, "overwrite": True, **options}
    return run.series(scenes, [dates.day_of(s) for s in scenes], out, run.Options(**given))


def resume(paths, state, out):
    scenes = [describe([p]) for p in paths]
    return run.resume(scenes, [dates.day_of(s) for s in scenes], state, out, run.Options(overwrite=True))


def rasters(out):
    found = {}
    for kind in KINDS:
        with rasterio.open(out.with_name(f"{out.stem}_{kind}.tif")) as file:
            found[kind] = file.read()
    return found


def day(number):
    return float((WHEN[number] - date(1970, 1, 1)).days)


def made(shared):
    """The paths of a series with a step and a spike, and what came of it: made once a run."""

    def make(folder):
        paths = places.write(folder / "dates", WHEN, changed())
        (folder / "result.pkl").write_bytes(pickle.dumps((paths, series(paths, folder / "changes.gpkg"))))

    return pickle.loads((shared.made("series", make) / "result.pkl").read_bytes())


def test_a_step_is_found_in_its_place_with_its_days_and_a_spike_is_none(shared):
    _, result = made(shared)
    change = result.changes[0]
    # 0.23 km2 for 0.9 years at one false alarm a km2 and year
    assert len(result.changes) <= 2
    assert (change.first, change.confirmed) == (day(STEP), day(STEP + 1))
    assert change.last == day(len(WHEN) - 1)
    # all of it, and at the most a pixel beside it whose noise looks alike
    planted = Window(10, 20, 6, 7)
    assert change.region.inside(planted).all() and change.region.pixels <= 43
    assert change.persistence > 0.95
    np.testing.assert_allclose(change.magnitude, [120, 120, -400], atol=40)
    # the cloud stood alone: it is counted as a spike of its pixels
    with rasterio.open(result.out.with_name("changes_state.tif")) as file:
        spikes = file.read(file.descriptions.index("spikes") + 1)
    assert (spikes[30:40, 5:15] >= 1).mean() > 0.9


def test_layers_tell_it_with_dates_and_in_the_right_place(shared):
    _, result = made(shared)
    layer = geopandas.read_file(result.out, layer="changes")
    assert layer.crs.to_epsg() == 32632
    assert str(layer.first_date[0])[:10] == WHEN[STEP].isoformat()
    assert layer.top_band[0] == "nir" and layer.direction[0] == "down"
    planted = shapely.box(500_200, 5_199_840, 500_270, 5_199_900)
    assert layer.geometry[0].covers(planted) and layer.geometry[0].area <= planted.area + 100
    assert layer.area_m2[0] == pytest.approx(layer.geometry[0].area, rel=0.01)
    told = geopandas.read_file(result.out, layer="dates")
    assert len(told) == len(WHEN) - PAST
    assert (told.valid_fraction == 1).all()


def test_rasters_tell_it_too(shared):
    _, result = made(shared)
    found = rasters(result.out)
    assert found["heatmap"].shape == (len(WHEN) - PAST, 48, 48)
    first = found["first_date"][0]
    assert first[12, 22] == int(WHEN[STEP].strftime("%Y%m%d"))
    # what is no region is in no raster either
    assert np.count_nonzero(first) == sum(c.region.pixels for c in result.changes)
    assert (np.isfinite(found["persistence"][0]) == (first > 0)).all()
    assert (np.isfinite(found["magnitude"]) == (first > 0)).all()
    heat = found["heatmap"]
    assert heat[STEP - PAST, 12, 22] > 3 > heat[STEP - PAST - 1, 12, 22]


def test_one_date_after_the_other_gives_what_all_at_once_give(shared, tmp_path):
    paths, result = made(shared)
    out = tmp_path / "now.gpkg"
    series(paths[: PAST + 4], tmp_path / "begun.gpkg")
    state = tmp_path / "begun_state.tif"
    for path in paths[PAST + 4 :]:
        later = resume([path], state, out)
        state = out.with_name("now_state.tif")
    whole, now = rasters(result.out), rasters(out)
    for kind in ("first_date", "magnitude", "persistence", "state"):
        np.testing.assert_array_equal(whole[kind], now[kind])
    np.testing.assert_array_equal(whole["heatmap"][-1:], now["heatmap"])
    assert [c.first for c in later.changes] == [c.first for c in result.changes]


def declare(paths, scale, offset):
    for path in paths:
        with rasterio.open(path, "r+") as file:
            # the first band declares the same throughout
            file.scales, file.offsets = [scale] * file.count, [0.0, *[offset] * (file.count - 1)]


def test_a_state_goes_on_in_its_own_units(tmp_path):
    """A new date is what its DN stand for where the history has two scales; where it has one, another is refused."""
    when = places.days(30, every=24)
    paths = places.write(tmp_path / "d", when, places.cube(when, side=32))
    history = (-np.inf, float((when[27] - dates.EPOCH).days))
    declare(paths, 1e-4, 0.0)
    series(paths[:-1], tmp_path / "one.gpkg", history=history)
    declare(paths[:1], 1e-4, -0.1)
    whole = rasters(series(paths, tmp_path / "whole.gpkg", history=history).out)
    series(paths[:-1], tmp_path / "two.gpkg", history=history)
    resume(paths[-1:], tmp_path / "two_state.tif", tmp_path / "now.gpkg")
    np.testing.assert_array_equal(rasters(tmp_path / "now.gpkg")["state"], whole["state"])
    declare(paths[-1:], 1e-4, -0.1)
    with pytest.raises(
        SceneError, match=r"an offset of -0\.1 and the state is of dates with 0\.0001 and 0; make it"
    ):
        resume(paths[-1:], tmp_path / "one_state.tif", tmp_path / "no.gpkg")
    assert not (tmp_path / "no.gpkg").exists()


def test_a_state_of_before_is_refused_for_it_would_be_scored_otherwise(shared, tmp_path):
    paths, result = made(shared)
    old = shutil.copy(result.out.with_name("changes_state.tif"), tmp_path)
    with rasterio.open(old, "r+") as file:
        file.update_tags(satae_series=file.tags()["satae_series"].replace('"version":3', '"version":2', 1))
    with pytest.raises(
        ResultError, match=r"changes_state\.tif is a state that this satae cannot read; make it again"
    ):
        resume(paths[-1:], Path(old), tmp_path / "no.gpkg")


@pytest.mark.parametrize("window", [[0, 0, 900, 900], [900, 900, 32, 32]])
def test_a_state_whose_sample_lies_beyond_it_is_refused(shared, tmp_path, window):
    paths, result = made(shared)
    cut = shutil.copy(result.out.with_name("changes_state.tif"), tmp_path)
    with rasterio.open(cut, "r+") as file:
        told = json.loads(file.tags()["satae_series"])
        told["sample"][0] = window
        file.update_tags(satae_series=json.dumps(told))
    with pytest.raises(
        ResultError, match=r"changes_state\.tif holds fewer pixels than it says; make it again"
    ):
        resume(paths[-1:], Path(cut), tmp_path / "no.gpkg")


def patchy(when, side=40):
    """Four bands with rectangles under masks, on ground that is calm here and there; two dates lie beside it.

    A block differs on the last three dates.
    """
    rng = np.random.default_rng(3)
    t = np.array([(d - when[0]).days / 365.25 for d in when])[:, None, None, None]
    base = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 4)), (0, 0), 1.5).transpose(2, 0, 1)
    dn = 1500 + 2000 * base + 200 * (1 + rng.random((4, side, side))) * np.sin(2 * np.pi * t)
    dn[-3:, :, 10:16, 20:27] += 250
    for number in (5, -2):
        dn[number] = shifts.back(dn[number], np.ones((side, side), bool), (0.4, -0.3))[0]
    dn += rng.normal(0, 1, dn.shape) * (10 + 50 * rng.random((side, side)) ** 3)
    for image in dn[rng.random(len(when)) < 0.6]:
        row, col = rng.integers(0, side - 10, 2)
        image[:, row : row + 10, col : col + 14] = 0
    return dn


def test_clouds_calm_ground_and_dates_that_were_moved_go_on_bit_for_bit(tmp_path, monkeypatch):
    when = places.days(30, every=24)
    paths = places.write(tmp_path / "d", when, patchy(when))
    history = (-np.inf, float((when[25] - dates.EPOCH).days))
    result = series(paths, tmp_path / "whole.gpkg", history=history)
    assert result.changes and [s.shift != shifts.NONE for s in result.scored] == [False, False, True, False]
    # a run over other dates reads other windows
    monkeypatch.setattr(run, "CHUNK", 333)
    series(paths[:27], tmp_path / "begun.gpkg", history=history)
    state = tmp_path / "begun_state.tif"
    for path in paths[27:]:
        later = resume([path], state, tmp_path / "now.gpkg")
        state = tmp_path / "now_state.tif"
    whole, now = rasters(result.out), rasters(tmp_path / "now.gpkg")
    for kind in ("first_date", "magnitude", "persistence", "state"):
        np.testing.assert_array_equal(whole[kind], now[kind])
    np.testing.assert_array_equal(whole["heatmap"][-1:], now["heatmap"])
    assert [s.unrest for s in later.header.scored] == [s.unrest for s in result.header.scored]


def test_the_order_of_files_and_the_size_of_windows_are_of_no_account(shared, tmp_path, monkeypatch):
    from satae.series import stack

    paths, result = made(shared)
    monkeypatch.setattr(stack, "READ_BYTES", 200_000)
    monkeypatch.setattr(run, "CHUNK", 100)
    series(paths[::-1], tmp_path / "changes.gpkg")
    whole, again = rasters(result.out), rasters(tmp_path / "changes.gpkg")
    np.testing.assert_array_equal(whole["first_date"], again["first_date"])
    np.testing.assert_array_equal(whole["state"], again["state"])


def test_clouds_that_are_masked_are_not_scored(tmp_path):
    dn = places.cube(WHEN)
    dn[PAST + 2, :, :20, :] = 0  # nodata
    paths = places.write(tmp_path / "d", WHEN, dn)
    result = series(paths, tmp_path / "changes.gpkg")
    heat = rasters(result.out)["heatmap"]
    assert np.isnan(heat[2, :20]).all()
    assert np.isnan(heat[2, 20:25]).all()  # and not what is within 50 m of them
    assert np.isfinite(heat[2, 27:]).all() and np.isfinite(heat[3]).all()


def test_untouched_ground_keeps_the_promise(tmp_path):
    alarms = 0
    for seed in range(4):
        paths = places.write(tmp_path / str(seed), WHEN, places.cube(WHEN, side=64, seed=seed))
        alarms += len(series(paths, tmp_path / f"{seed}.gpkg", far=2.0).changes)
    # 0.41 km2 for 0.9 years each, four times: three promised
    assert alarms <= 9


@pytest.mark.parametrize(("count", "model"), [(2, "pair"), (6, "median"), (56, "seasonal")])
def test_few_dates_are_compared_with_their_medians(tmp_path, count, model):
    when = WHEN[:count]
    dn = places.cube(when)
    dn[-1, :, 10:16, 20:27] += 800
    result = series(places.write(tmp_path / "d", when, dn), tmp_path / "c.gpkg", history=None, keep=(1, 1))
    assert result.header.model == model
    places_found = [c.region.inside(Window(10, 20, 6, 7)).mean() for c in result.changes]
    assert max(places_found) > 0.9
    assert bool(result.remarks) == (count == 2)


def test_pixels_that_one_date_of_a_short_history_alone_knows_spoil_nothing(tmp_path):
    dn = places.cube(WHEN[:8])
    dn[1:, :, :10, :10] = 0
    result = series(places.write(tmp_path / "d", WHEN[:8], dn), tmp_path / "c.gpkg", history=None)
    assert result.header.model == "median" and np.isfinite(result.header.threshold)


def test_what_cannot_be_is_refused(shared, tmp_path):
    paths, result = made(shared)
    with pytest.raises(ConfigError, match="two dates"):
        series(paths[:1], tmp_path / "a.gpkg")
    with pytest.raises(ConfigError, match="as dates to monitor"):
        series(paths[:5], tmp_path / "a.gpkg")
    with pytest.raises(ConfigError, match=r"\.gpkg"):
        series(paths, tmp_path / "a.shp")
    with pytest.raises(OutputError, match="--overwrite"):
        series(paths, result.out, overwrite=False)
    with pytest.raises(ResultError, match="no state"):
        resume(paths[-1:], paths[0], tmp_path / "a.gpkg")
    state = result.out.with_name("changes_state.tif")
    with pytest.raises(ConfigError, match="has scored all"):
        resume(paths[-1:], state, tmp_path / "a.gpkg")
    late = places.write(tmp_path / "x", [WHEN[40] + timedelta(days=3)], places.cube(WHEN[:1]))
    with pytest.raises(ConfigError, match="gone on to"):
        resume(late, state, tmp_path / "a.gpkg")
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "a.gpkg").exists()


def test_a_history_of_clouds_that_no_mask_covers_is_said_to_hide_changes(tmp_path):
    when = places.days(30)
    dn = places.cube(when, side=24)
    clear = series(places.write(tmp_path / "clear", when, dn), tmp_path / "a.gpkg", history=None)
    assert clear.header.threshold < run.DEAF**2 and not any("threshold" in line for line in clear.remarks)
    rng = np.random.default_rng(1)
    for image in dn[:18]:
        row, col = rng.integers(0, 14, 2)
        image[:, row : row + 10, col : col + 10] = 9000
    cloudy = series(places.write(tmp_path / "cloudy", when, dn), tmp_path / "b.gpkg", history=None)
    size = np.sqrt(cloudy.header.threshold)
    assert size > run.DEAF
    (line,) = [line for line in cloudy.remarks if "threshold" in line]
    assert line.startswith(f"the threshold is {size:,.0f} deviations") and "--history" in line


def test_a_rate_that_stands_for_thousands_of_false_alarms_is_said_with_another(tmp_path):
    paths = places.write(tmp_path / "d", WHEN, places.cube(WHEN, side=24))
    # 0.0576 km2 for 20 steps of 16 days
    said = series(paths, tmp_path / "a.gpkg", far=50_000.0).remarks
    assert any(
        line.startswith("--far 50000 stands for 2,523 false alarms") and "--far 2e+02" in line
        for line in said
    )
    assert not any("stands for" in line for line in series(paths, tmp_path / "a.gpkg", far=1.0).remarks)
