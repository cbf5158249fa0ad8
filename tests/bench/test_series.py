"""`satae bench series`: what is planted is what is said, rules are beside loops, and the tool is the tool."""

import json

import numpy as np
import places
import pytest
from typer.testing import CliRunner

from satae.bench import changes, place, rivals, series
from satae.cli import app
from satae.errors import ConfigError
from satae.scene.describe import describe
from satae.series import dates, run
from satae.series.learning import Options

WHEN = places.days(50)
PAST = 36


def patchwork(seed=0):
    """A place of three kinds of ground, each with its own mean, with seasons and noise."""
    dn = places.cube(WHEN, side=64, seed=seed)
    kinds = np.random.default_rng(seed).integers(0, 3, (8, 8)).repeat(8, 0).repeat(8, 1)
    return dn + np.array([[0, 0, 0], [150, 200, -300], [-200, 100, 250]]).T[:, kinds]


def ground(folder, dn=None, **options):
    paths = places.write(folder / "d", WHEN, patchwork() if dn is None else dn)
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    how = Options(history=(-np.inf, float(days[PAST - 1])), **options)
    return place.ground(scenes, days, how, 1.0), scenes, days, how


def test_planted_changes_have_their_contrast_their_date_and_their_kind(tmp_path):
    there, *_ = ground(tmp_path)
    planting = changes.Planting(number=12, rounds=1)
    new, valid, made = changes.plant(there, planting, np.random.default_rng(0))
    was, _ = there.new()
    assert [c.kind for c in made].count("slow") == 4 and {c.contrast for c in made} == {2.0, 4.0, 8.0}
    difference = new.astype(float) - was
    for change in made:
        box = difference[:, :, change.rows, change.cols]
        assert not box[: change.date].any()
        if change.kind == "spike":
            assert box[change.date].any() and not box[change.date + 1 :].any()
        if change.kind == "step":
            mean = box[change.date :].mean(axis=(0, 2, 3)) / there.noise
            assert np.sqrt((mean**2).mean()) == pytest.approx(change.contrast, rel=0.3)
        difference[:, :, change.rows, change.cols] = 0
    assert not difference.any() and valid.all()


def test_alarms_of_the_bench_are_those_of_the_tool(tmp_path):
    dn = patchwork()
    dn[PAST + 3 :, :, 10:16, 20:27] += np.array([120, 120, -400])[:, None, None]
    there, scenes, days, how = ground(tmp_path, dn)
    agreement = place.ours(there)[1](*(a.reshape(*a.shape[:-2], -1) for a in there.new()))
    number, held = series.regions(there, series.alarm_dates(agreement, there.rules.threshold), there.new_days)
    result = run.series(scenes, days, tmp_path / "c.gpkg", how)
    wanted = np.zeros((64, 64), bool)
    for change in result.changes:
        wanted[change.region.window.slices(there_window())] |= change.region.mask
    # the tool takes the unrest of a date from a sample and the bench from all pixels: here they are one
    assert number == len(result.changes) and (held == wanted).all()


def there_window():
    from satae.grid import Window

    return Window(0, 0, 64, 64)


def test_k_of_n_is_the_kth_largest_of_the_last_valid_dates():
    rng = np.random.default_rng(0)
    distance = np.where(rng.random((12, 5)) > 0.3, rng.random((12, 5)), np.nan)
    found = place.k_of_n(distance, (2, 3))
    for p in range(5):
        kept = []
        for i in range(12):
            if np.isnan(distance[i, p]):
                assert np.isnan(found[i, p])
                continue
            kept = [*kept[-2:], distance[i, p]]
            assert found[i, p] == (sorted(kept)[-2] if len(kept) > 1 else -np.inf)


@pytest.mark.parametrize("name", rivals.RIVALS)
def test_rivals_see_a_large_change_and_say_nothing_of_what_is_not_valid(name):
    x = patchwork()[:, :, :20, :20].reshape(50, 3, -1)
    valid, days = np.ones((50, 400), bool), np.array([d.toordinal() for d in WHEN], float)
    valid[PAST:, 7] = False
    x[PAST:, :, :30] += 1000
    distance = rivals.RIVALS[name](x[:PAST], valid[:PAST], days[:PAST])(x[PAST:], valid[PAST:], days[PAST:])
    assert np.isnan(distance[:, 7]).all() and np.isfinite(distance[:, 8:]).all()
    changed = np.delete(distance[:, :30], 7, axis=1)
    assert (np.median(changed, axis=1) > np.quantile(distance[:, 30:], 0.99, axis=1)).all()


def test_delays_count_valid_dates_until_a_region_is_there():
    change = changes.Change("step", 4.0, slice(1, 3), slice(1, 3), 2)
    valid = np.ones((20, 4, 4), bool)
    valid[3] = False
    when, held = np.full(16, -1), np.zeros((4, 4), bool)

    def delay(least=4):
        return changes.delay(change, when, held, valid, least)

    assert delay() is None
    when[5], held[1, 1] = 4, True
    assert delay() == 2
    # one pixel is no region of two: the second of them tells when it is one
    when[6], held[1, 2] = 6, True
    assert (delay(1), delay(2), delay(4)) == (2, 4, 4)
    when[5] = 1  # an alarm before the change is none of it
    assert delay(1) == 4
    when[6] = 19
    assert delay(1) is None  # too late


def test_a_step_starts_with_what_its_first_two_clear_dates_show(tmp_path):
    there, *_ = ground(tmp_path)
    planting = changes.Planting(kinds=("step",), number=9, rounds=1)
    new, _, made = changes.plant(there, planting, np.random.default_rng(0))
    was, _ = there.new()
    for change in made:
        box = (new - was.astype(float))[change.date : change.date + 2, :, change.rows, change.cols]
        each = np.sqrt(((box.mean(axis=(2, 3)) / there.noise) ** 2).mean(axis=1))
        assert change.start == pytest.approx(each.min())
        # kinds of ground here have one season, and a step shows the same all year
        assert change.start == pytest.approx(change.contrast, rel=0.4)


def test_shares_by_start_are_of_all_steps():
    def change(start, kind="step"):
        return changes.Change(kind, 4.0, slice(0, 2), slice(0, 2), 0, start)

    delays = [
        (change(0.5), None),
        (change(2.5), 2),
        (change(2.5), 3),
        (change(9.0), 1),
        (change(9.0, "spike"), 1),
    ]
    tally = series.Tally(1.0, 0, 0, delays)
    assert tally.starts(2) == [(1, 0.0), (0, None), (2, 0.5), (0, None), (0, None), (1, 1.0)]
    assert (tally.share("step"), tally.share("step", most=2), tally.prompt("step", 2)) == (0.75, 0.5, 2 / 3)


def test_a_method_by_another_name_gets_the_same_thresholds_regions_and_delays(tmp_path):
    there, *_ = ground(tmp_path)
    one = place.ours(there)
    planting = changes.Planting(kinds=("step",), number=9, rounds=1)
    found = series.search(there, planting, {series.OURS: one, "another": one}, lambda *_: None)
    assert found[series.OURS] == found["another"]
    assert found[series.OURS + series.NOW] == found["another" + series.NOW]
    # and what is allowed is kept, on the history and on the new dates
    assert found["another"].in_history <= max(1, there.promise(there.history_years))
    assert found["another" + series.NOW].alarms <= max(1, there.allowance)


def test_the_command_writes_its_table_and_says_what_it_cannot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places.write(tmp_path / "d", WHEN, patchwork())
    words = ["-q", "bench", "series", "d", "--history", f"..{WHEN[PAST - 1]}", "--rounds", "1", "--json"]
    done = CliRunner().invoke(app.app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["methods"]["satae"]["mean"]["step"] >= 0.75
    assert said["methods"]["satae"]["mean"]["spike"] <= 0.1
    assert (tmp_path / "bench" / "table.txt").read_text().count("\n") >= 8
    with pytest.raises(ConfigError, match="--kinds"):
        changes.Planting(kinds=("sudden",))
    with pytest.raises(ConfigError, match="--steady"):
        changes.Planting(steady=0)
