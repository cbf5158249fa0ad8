"""A network after the season: what it may not know, what it changes, and a state that goes on with it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import places
import pytest
import rasterio
from typer.testing import CliRunner

from satae import config
from satae.cli import app
from satae.errors import ConfigError, ResultError
from satae.inference import network
from satae.scene.describe import describe
from satae.series import dates, detector, heldout, networks, run
from satae.series.rules import SEASONAL
from satae.training.sequence import trainer

WHEN = places.days(50)
PAST = 36
DAYS = np.array([float(d.toordinal()) for d in WHEN])
NAME = "sequence_transformer"
KINDS = ("first_date", "magnitude", "persistence", "state")
BANDS = ("green", "red", "nir")


@dataclass(frozen=True)
class Same:
    """A network that expects the same of every date: `mean` in deviations, and a `variance`."""

    mean: float = 0.0
    variance: float = 0.0
    content: bytes = b""
    card: None = None

    def expectation(self, seen, days, day):
        shape = seen.shape[1:]
        return np.full(shape, self.mean), np.full(shape[1], self.variance)

    def with_threshold(self, far, threshold):
        return self


def pixels(seed=0, side=12):
    dn = places.cube(WHEN, side=side, seed=seed).reshape(len(WHEN), 3, -1)
    valid = np.random.default_rng(seed).random(dn.shape[::2]) > 0.2
    return dn, valid


def rules_of(dn, valid, model=NAME):
    return detector.rules_of(model, DAYS[:PAST], dn[:PAST], valid[:PAST], (2, 3))


def squares(rules, dn, valid):
    memory, out = detector.learn(rules, dn[:PAST], valid[:PAST]), []
    for now, good, day in zip(dn[PAST:], valid[PAST:], DAYS[PAST:], strict=True):
        judged, _ = detector.apart(rules, memory, now, day, good)
        memory = detector.absorb(rules, memory, judged, good, day)
        out.append(judged)
    return out


def test_a_network_that_expects_nothing_scores_as_seasonal_does():
    dn, valid = pixels()
    plain = squares(rules_of(dn, valid, SEASONAL), dn, valid)
    after = squares(replace(rules_of(dn, valid), network=Same()), dn, valid)
    for one, two in zip(plain, after, strict=True):
        np.testing.assert_allclose(one.white, two.white, rtol=1e-12)
        np.testing.assert_allclose(one.residual, two.residual, rtol=1e-9, atol=1e-9)


def test_what_a_network_expects_is_taken_off_and_its_variance_widens_the_deviation():
    dn, valid = pixels()
    plain = squares(rules_of(dn, valid), dn, valid)[0]
    after = squares(replace(rules_of(dn, valid), network=Same(0.5, 3.0)), dn, valid)[0]
    np.testing.assert_allclose(after.white, (plain.white - 0.5) / 2)
    # in DN by the same whitening: what is left of a date whose deviations are all expected is nothing
    whole = rules_of(dn, valid)
    scale = np.sqrt(detector.learn(whole, dn[:PAST], valid[:PAST])["scale"] * (1 + plain.variance))
    np.testing.assert_allclose(whole.whitening @ after.residual / scale, plain.white - 0.5, atol=1e-6)


def test_dates_that_agree_are_looked_back_at_and_others_are_not():
    dn, valid = pixels()
    dn[PAST, :, :40] += 2000
    rules = rules_of(dn, valid)
    memory = detector.learn(rules, dn[:PAST], valid[:PAST])
    assert memory["left"].shape == (PAST * 3, 144) and (memory["left_day"][:, 0] == DAYS[:PAST]).all()
    judged, _ = detector.apart(rules, memory, dn[PAST], DAYS[PAST], valid[PAST])
    later = detector.absorb(rules, memory, judged, valid[PAST], DAYS[PAST])
    newest = later["left"].reshape(PAST, 3, 144)[-1]
    agreed = valid[PAST] & (judged.square < 9)
    assert not agreed[:40].any() and agreed[40:].mean() > 0.5
    np.testing.assert_array_equal(np.isfinite(newest[0]), agreed)
    np.testing.assert_allclose(newest[:, agreed], judged.white[:, agreed], rtol=1e-6)
    assert later["left_day"][-1, 0] == DAYS[PAST] and later["left_day"][0, 0] == DAYS[1]


def test_an_episode_does_not_know_what_its_part_holds():
    dn, valid = pixels()
    rules = rules_of(dn, valid)
    found = networks.episodes(rules, dn[:PAST], valid[:PAST])
    assert np.concatenate([e.days_left for e in found]).tolist() == DAYS[:PAST].tolist()
    assert all(not np.isin(e.days, e.days_left).any() for e in found)
    other = dn.copy()
    part = heldout.parts(PAST)[3]
    other[part] += 500
    again = networks.episodes(rules, other[:PAST], valid[:PAST])
    np.testing.assert_array_equal(found[3].seen, again[3].seen)
    assert np.nanmean(again[3].left - found[3].left) != 0
    assert not np.array_equal(found[2].seen, again[2].seen, equal_nan=True)


def test_half_a_history_is_scored_by_a_network_that_never_saw_what_it_left():
    dn, valid = pixels()
    rules, taught = rules_of(dn, valid), []

    def noted(episodes, place, tell):
        taught.append(episodes)
        return Same(variance=float(len(taught)))

    learned = networks.learn(rules, dn[:PAST], valid[:PAST], BANDS, noted)
    assert [n.variance for n in (*learned.apart, learned.network)] == [1, 2, 3]
    parts = heldout.parts(PAST)
    for number in range(heldout.HALVES):
        own = np.concatenate([DAYS[p] for i, p in enumerate(parts) if i % heldout.HALVES == number])
        for episode in taught[number]:
            assert not np.isin(episode.days_left, own).any()
            assert np.isnan(episode.seen[np.isin(episode.days, own)]).all()
            assert np.isfinite(episode.seen).any()
    assert len(taught[2]) == len(parts)
    # dates of the first part are scored by the first network, of the second by the second
    plain = heldout.of_sample(replace(learned, apart=(), network=None), dn[:PAST], valid[:PAST])
    for turn, before in zip(
        heldout.of_sample(learned, dn[:PAST], valid[:PAST]).turns, plain.turns, strict=True
    ):
        found, was = (
            [
                o.square * wide
                for (*_, o), wide in zip(t.outcomes(dn[:PAST], valid[:PAST]), t.wide, strict=True)
            ]
            for t in (turn, before)
        )
        np.testing.assert_allclose(found, np.array(was) / (2 + parts.index(list(turn.numbers)) % 2))


def place(folder):
    """A place with a step, whose history is known to `series`; a trainer of few steps."""
    dn = places.cube(WHEN, side=24)
    dn[PAST + 3 :, :, 8:14, 8:15] += np.array([120, 120, -400])[:, None, None]
    paths = places.write(folder / "d", WHEN, dn)
    recipe = config.load(Path(NAME), ["train.epochs=2", "train.min_steps=4", "train.batch=64"])
    last = float((WHEN[PAST - 1] - WHEN[0]).days) + dates.day_of(describe([paths[0]]))
    how = run.Options(history=(-np.inf, last), model=NAME, overwrite=True, trainer=trainer(recipe))
    return paths, how


def series(paths, out, how, state=None):
    scenes = [describe([p]) for p in paths]
    days = [dates.day_of(s) for s in scenes]
    return run.series(scenes, days, out, how) if state is None else run.resume(scenes, days, state, out, how)


def rasters(out):
    found = {}
    for kind in KINDS:
        with rasterio.open(out.with_name(f"{out.stem}_{kind}.tif")) as file:
            found[kind] = file.read()
    return found


def test_a_state_goes_on_with_its_network_and_gives_what_all_dates_at_once_give(tmp_path):
    paths, how = place(tmp_path)
    whole = series(paths, tmp_path / "whole.gpkg", how)
    assert whole.changes[0].first == dates.day_of(describe([paths[PAST + 3]]))
    assert whole.header.model == NAME and (tmp_path / "whole_model.onnx") in whole.files
    series(paths[: PAST + 4], tmp_path / "begun.gpkg", how)
    state = tmp_path / "begun_state.tif"
    for path in paths[PAST + 4 : PAST + 7]:
        series([path], tmp_path / "now.gpkg", how, state)
        state = tmp_path / "now_state.tif"
    series(paths[PAST + 7 :], tmp_path / "now.gpkg", how, state)
    one, two = rasters(tmp_path / "whole.gpkg"), rasters(tmp_path / "now.gpkg")
    for kind in KINDS:
        np.testing.assert_array_equal(one[kind], two[kind])
    card = network.load(tmp_path / "now_model.onnx").card
    assert card.threshold == whole.header.threshold and card.bands == BANDS and card.dates == PAST
    assert card.history == (WHEN[0].isoformat(), WHEN[PAST - 1].isoformat())
    (tmp_path / "now_model.onnx").write_bytes((tmp_path / "now_model.onnx").read_bytes() + b"\x72\x00")
    with pytest.raises(ResultError, match="not the network that the state goes on with"):
        series(paths[-1:], tmp_path / "x.gpkg", how, tmp_path / "now_state.tif")
    (tmp_path / "now_model.onnx").unlink()
    with pytest.raises(ResultError, match=r"now_model.onnx is missing"):
        series(paths[-1:], tmp_path / "x.gpkg", how, tmp_path / "now_state.tif")


def test_a_network_needs_a_season():
    with pytest.raises(ConfigError, match="12 dates over 330 days"):
        run.model_of("sequence_rnn", np.arange(8) * 100.0, 3)


def test_a_network_that_nobody_trains_is_refused(tmp_path):
    paths, how = place(tmp_path)
    with pytest.raises(ConfigError, match="no trainer"):
        series(paths, tmp_path / "a.gpkg", replace(how, trainer=None))


def test_the_command_takes_a_recipe_and_info_tells_of_the_file(tmp_path):
    place(tmp_path)
    recipe = tmp_path / "own.yaml"
    recipe.write_text("model: {name: sequence_rnn}\nobjective: surprise\ntrain: {epochs: 1, min_steps: 2}\n")
    out = tmp_path / "c.gpkg"
    command = ["series", str(tmp_path / "d"), "--model", str(recipe), "--out", str(out), "--history"]
    done = CliRunner().invoke(app.app, [*command, f"..{WHEN[PAST - 1]}"])
    assert done.exit_code == 0, done.output
    assert "(sequence_rnn)" in done.output
    told = CliRunner().invoke(app.app, ["info", str(tmp_path / "c_model.onnx")])
    assert told.exit_code == 0 and "network over dates" in told.output and "sequence_rnn" in told.output
    recipe.write_text("model: {name: pca}\n")
    refused = CliRunner().invoke(app.app, ["series", str(tmp_path / "d"), "--model", str(recipe)])
    assert refused.exit_code == 2 and "sequence_transformer" in refused.output
