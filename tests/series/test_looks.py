"""What a region showed on every date beside what was expected: numbers beside the ground that was made up."""

import pickle
from datetime import timedelta

import cv2
import numpy as np
import places
import pyogrio
import pytest
from affine import Affine
from scenes import UTM

from satae.report.chips import GAP
from satae.review import series
from satae.review.store import Review
from satae.scene.describe import describe
from satae.series import dates, looks, report, run, tables

WHEN = places.days(56)
PAST, STEP, CLOUD, HALF = 36, 40, 46, 50
ROWS, COLS = slice(10, 16), slice(20, 27)
CHANGE = np.array([120, 120, -400])


def ground():
    """A step in a block that is under a cloud on one date and half under one on another; and what it was without."""
    plain = places.cube(WHEN)
    dn = plain.copy()
    dn[STEP:, :, ROWS, COLS] += CHANGE[:, None, None]
    dn[CLOUD, :, 5:20, 15:35] = 0
    dn[HALF, :, :20, 28:48] = 0
    return dn, plain


def made(folder, begin=0, end=None, **given):
    """The result of dates `begin` to `end`, and the looks that were taken at its regions."""
    dn, _ = ground()
    paths = places.write(folder / "d", WHEN[begin:end], dn[begin:end])
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    taken, own = [], looks.looks

    def keep(*args):
        for look in own(*args):
            taken.append(look)
            yield look

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "looks", keep)
        out = folder / f"c{begin}.gpkg"
        state = given.pop("state", None)
        if state is None:
            history = (-np.inf, float((WHEN[PAST - 1] - dates.EPOCH).days))
            run.series(scenes, days, out, run.Options(history=history, far=0.1, **given))
        else:
            run.resume(scenes, days, state, out, run.Options())
    return out, taken


def whole(shared):
    """The result of all dates, and its looks: made once a run."""

    def make(folder):
        (folder / "looks.pkl").write_bytes(pickle.dumps(made(folder)))

    return pickle.loads((shared.made("looks", make) / "looks.pkl").read_bytes())


def test_means_over_a_region_are_those_of_its_ground(shared):
    _, (look, *_) = whole(shared)
    dn, plain = ground()
    clear = [i for i in range(len(WHEN)) if i not in (CLOUD, HALF)]
    seen = np.rint(dn)[:, :, ROWS, COLS].mean(axis=(2, 3))
    np.testing.assert_allclose(look.seen[clear], seen[clear], atol=1.0)
    # what was expected is the ground without the step, and without noise
    t = np.array([(d - places.START).days / 365.25 for d in WHEN])
    wave = np.stack([np.ones_like(t), np.sin(2 * np.pi * t)], axis=1)
    smooth = wave @ np.linalg.lstsq(wave, plain[:, :, ROWS, COLS].mean(axis=(2, 3)), rcond=None)[0]
    np.testing.assert_allclose(look.expected, smooth, atol=20)
    # noise of 20 DN, and how sure a fit to 36 dates is
    assert ((look.spread > 17) & (look.spread < 30)).all()
    assert look.past.sum() == PAST and list(np.diff(look.days)) == [16] * 55


def test_what_clouds_cover_does_not_count(shared):
    _, (look, *_) = whole(shared)
    assert look.share[CLOUD] == 0 and np.isnan(look.seen[CLOUD]).all()
    assert np.isfinite(look.expected[CLOUD]).all()
    # four of seven columns lie within 50 m of it; the rest tells by how much the whole differs
    assert look.share[HALF] == pytest.approx(3 / 7)
    np.testing.assert_allclose(look.seen[HALF] - look.expected[HALF], CHANGE, atol=40)
    assert (look.share[[i for i in range(56) if i not in (CLOUD, HALF)]] == 1).all()


def test_the_strip_shows_the_dates_that_tell_a_change(shared):
    _, (look, *_) = whole(shared)
    roles = {number: role for number, role in look.shown if role}
    assert roles[STEP] == "first" and roles[STEP - 1] == "before"
    assert roles[STEP + 1].startswith("confirmed") and roles[55].endswith("last")
    (past,) = [n for n, role in roles.items() if "a year before" in role]
    (peak,) = [n for n, role in roles.items() if "peak" in role.split(", ")]
    assert abs(WHEN[peak] - WHEN[past]).days == pytest.approx(365, abs=16)
    assert len(look.shown) == looks.PANELS and CLOUD not in dict(look.shown)
    assert [n for n, _ in look.shown] == sorted(n for n, _ in look.shown)
    before, after = (look.panels[[n for n, _ in look.shown].index(i)].astype(int) for i in (STEP - 1, STEP))
    # the region in its window of 32 pixels, three to one: it lies around its middle, and is what changed
    apart = np.abs(after - before).mean(axis=2)
    assert apart[42:54, 42:54].mean() > 2 * apart[:20].mean()


def test_the_table_of_courses_and_the_chips_hold_the_same(shared):
    out, taken = whole(shared)
    table = pyogrio.read_dataframe(out, layer="courses")
    layer = pyogrio.read_dataframe(out, layer="changes")
    assert len(table) == sum(len(look.days) * 3 for look in taken)
    first = table[table.change_id == layer.change_id[0]]
    for band, name in enumerate(places.BANDS):
        own = first[first.band == name].sort_values("date")
        assert [str(d)[:10] for d in own.date] == [d.isoformat() for d in WHEN]
        for kind in ("seen", "expected", "spread"):
            np.testing.assert_array_equal(own[kind], getattr(taken[0], kind)[:, band])
    shown = own[own.panel >= 0].sort_values("panel")
    assert list(shown.role) == [role for _, role in taken[0].shown]
    strip = cv2.imread(str(out.parent / layer.chip[0]))
    side = len(taken[0].panels[0])
    for place, panel in enumerate(taken[0].panels):
        np.testing.assert_array_equal(strip[:, place * (side + GAP) :][:, :side], panel)
    # dates are dates in the file, for whoever filters by them
    fields = dict(
        zip(*(pyogrio.read_info(out, layer="changes")[k] for k in ("fields", "ogr_types")), strict=True)
    )
    days = ("first_date", "confirmed_date", "peak_date", "last_date")
    assert {fields[d] for d in days} == {"OFTDateTime"}
    assert layer.geometry[0].centroid.x == pytest.approx((UTM @ (23.5, 13))[0])


def test_going_on_from_a_state_looks_at_the_new_dates_as_all_at_once_does(shared, tmp_path):
    _, (look, *_) = whole(shared)
    out, *_ = made(tmp_path, 0, STEP + 4)
    _, (later, *_) = made(tmp_path, STEP + 4, state=out.with_name("c0_state.tif"))
    assert not later.past.any() and len(later.days) == 56 - STEP - 4
    for kind in ("seen", "expected", "spread", "share"):
        np.testing.assert_allclose(getattr(later, kind), getattr(look, kind)[STEP + 4 :], rtol=1e-6)


def test_scenes_that_are_named_again_are_shown_before_the_new_dates_of_a_state(shared, tmp_path):
    _, (look, *_) = whole(shared)
    out, *_ = made(tmp_path / "a", 0, STEP + 4)
    state = out.with_name("c0_state.tif")
    _, (alone, *_) = made(tmp_path / "b", STEP + 4, state=state)
    out, (later, *_) = made(tmp_path / "c", 0, state=state)
    new = len(alone.days)
    for kind in ("seen", "expected", "spread", "share"):
        np.testing.assert_array_equal(getattr(later, kind)[-new:], getattr(alone, kind))
    assert (
        tables.name_of(later.change) == tables.name_of(alone.change)
        and later.change.first == alone.change.first
    )
    # the last six of those that were scored or learned, and six of a year before
    earlier = later.days[:-new]
    of_look = np.isin(look.days, earlier)
    assert 6 < len(earlier) <= 12 and np.array_equal(earlier[-6:], look.days[: STEP + 4][-6:])
    assert np.abs(earlier[:6] - (look.days[-1] - 365.25)).max() < np.ptp(look.days) / 4
    assert np.isnan(later.expected[:-new]).all() and np.isnan(later.spread[:-new]).all()
    np.testing.assert_allclose(later.seen[:-new], look.seen[of_look], rtol=1e-6)
    assert later.past.tolist() == [d in look.days[:PAST] for d in later.days]
    assert "before" in [role for _, role in later.shown]
    courses = pyogrio.read_dataframe(out, layer="courses", read_geometry=False)
    told = courses[courses["date"].notna() & courses["expected"].notna()]
    assert courses["date"].nunique() == len(set(later.days)) > told["date"].nunique() == new


@pytest.mark.parametrize("where", ["clouds", "over the region", "elsewhere"])
def test_a_state_goes_on_where_no_new_date_shows_its_change(tmp_path, where):
    state = places.scored(tmp_path).with_name("changes_state.tif")
    when = [places.START + timedelta(days=365 * 8)]
    dn = places.cube(when, side=32)
    if where == "clouds":
        dn[:] = 0
    elif where == "over the region":
        dn[..., :30, :30] = 0
    move = 26 if where == "elsewhere" else 0
    (path,) = places.write(tmp_path / "new", when, dn, transform=UTM @ Affine.translation(move, move))
    scene = describe([path])
    out = tmp_path / "x.gpkg"
    result = run.resume([scene], [dates.day_of(scene)], state, out, run.Options())
    layer = pyogrio.read_dataframe(out, layer="changes")
    assert len(layer) == len(result.changes) >= 2 and list(layer.chip[:2]) == ["", ""]
    page = out.with_suffix(".html").read_text()
    assert page.count(report.UNSEEN) == len(layer) and 'class="strip"' not in page
    opened = Review(out)
    series.views(opened)
    told = [series.content(row, opened.courses(row["anomaly_id"])) for row in opened.regions]
    opened.close()
    assert len(told) == len(layer) and not any(t["panels"] for t in told)
    assert all(plot["svg"] for t in told for plot in t["plots"])


def test_of_a_large_region_some_pixels_tell(shared, tmp_path, monkeypatch):
    _, (look, *_) = whole(shared)
    monkeypatch.setattr(looks, "MOST", 5)
    _, (few, *_) = made(tmp_path)
    np.testing.assert_allclose(few.seen[STEP + 1], look.seen[STEP + 1], atol=60)
    assert not np.array_equal(few.seen[STEP + 1], look.seen[STEP + 1])
