"""Scenes like those of training, scenes unlike them, and what `score` does with the latter."""

import json
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from maps import passed
from scenes import MakeScene
from scored import heat, layer, run
from typer.testing import CliRunner

from satae.cli import app
from satae.demo import synthetic
from satae.grid import Grid
from satae.inference import runtime
from satae.inference.card import parse
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring import domain as shift
from satae.scoring.rule import Far, Fdr, Rule, Threshold, Top


def noisy(image: np.ndarray, valid: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same DN in another place: of each band's own values, but without any order."""
    rng, out = np.random.default_rng(seed), image.copy()
    for band in out:
        band[valid] = rng.permutation(band[valid])
    return out


def foreign_scene(make_scene: MakeScene, landscape: synthetic.Synthetic) -> Scene:
    return describe([make_scene(noisy(landscape.image, landscape.valid), name="foreign.tif", nodata=0)])


def judged(scene: Scene, model: runtime.Model, folder: Path) -> shift.Verdict:
    """The verdict on a scene after a scan of it."""
    return shift.verdict_on(passed(scene, model, folder), model)


def test_the_training_scene_is_of_its_own_kind(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    assert judged(describe([scene_path]), model, tmp_path) == shift.Verdict("same", "")


def test_another_scene_of_the_same_kind_is_not_foreign(
    make_scene: MakeScene, model: runtime.Model, tmp_path: Path
) -> None:
    other = synthetic.scene(height=256, width=256, seed=7)
    assert judged(describe([make_scene(other.image, nodata=0)]), model, tmp_path).domain == "same"


def test_a_scene_of_the_same_dn_in_another_order_is_foreign(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    foreign = foreign_scene(make_scene, landscape)
    verdict = judged(foreign, model, tmp_path)
    assert verdict.foreign and verdict.note.startswith(
        "25 of 25 sampled tiles score as hardly any of training"
    )
    assert " was learned at " in verdict.note


def test_a_few_odd_objects_in_every_tile_do_not_make_a_scene_foreign(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    image = landscape.image.copy()
    for row in range(6, 256, 16):
        for col in range(6, 320, 16):
            image[:, row : row + 2, col : col + 2] = image.max(axis=(1, 2))[:, None, None]
    scene = describe([make_scene(np.where(landscape.valid, image, 0), nodata=0)])
    tiles = layer(run(tmp_path, model, scene), "tiles")
    assert (tiles["p_value"] <= 0.05).mean() > 0.8  # so that the peaks alone would have said otherwise
    assert judged(scene, model, tmp_path).domain == "same"


def test_values_that_were_never_seen_are_noted(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    low = np.array(model.card.normalization.low)
    image = landscape.image.astype(float)
    image[3] = low[3] * 0.8 + image[3] * 1e-3  # a dead band just below the range
    scene = describe([make_scene(np.where(landscape.valid, image, 0).astype("uint16"), nodata=0)])
    note = judged(scene, model, tmp_path).note
    assert "100% of the sampled pixels lie outside the range that was learned" in note
    assert f"; {model.card.bands[3].name} has a median of" in note


@pytest.mark.parametrize("shape", [(8, 8), (40, 50), (64, 64)])
def test_a_scene_of_few_tiles_is_not_judged(
    shape: tuple[int, int], make_scene: MakeScene, model: runtime.Model, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(500, 900, (4, *shape)).astype("uint16")
    assert judged(describe([make_scene(image)]), model, tmp_path) == shift.Verdict()


def test_an_older_card_without_a_domain_still_judges(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model
) -> None:
    foreign_scene(make_scene, landscape)
    text = model.card.model_dump_json(exclude={"domain"})
    assert parse(text, "old").domain is None
    assert model.card.domain is not None and len(model.card.domain.quantiles) == 4


@pytest.mark.parametrize("size", [(1000, 1200), (70, 2000), (64, 64), (20, 30)])
def test_windows_are_spread_evenly_and_lie_in_the_scene(size: tuple[int, int]) -> None:
    grid = Grid(*size, Affine.identity(), None)
    windows = shift._windows(grid, 64, 4)
    assert len({(w.row, w.col) for w in windows}) == len(windows) <= 49
    assert all(w.row % 4 == w.col % 4 == 0 and w.row < size[0] and w.col < size[1] for w in windows)
    for axis, length in enumerate(size):
        starts = {(w.row, w.col)[axis] for w in windows}
        assert min(starts) == 0 and max(starts) > length - 130


@pytest.mark.parametrize("rule", [Far(1000.0), Fdr(0.9), Threshold(2.0)], ids=str)
def test_of_a_foreign_scene_no_region_is_reported_unless_forced(
    rule: Rule,
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    scene_path: Path,
    model: runtime.Model,
    tmp_path: Path,
) -> None:
    foreign = foreign_scene(make_scene, landscape)
    result = run(tmp_path, model, foreign, describe([scene_path]), rule=rule)
    scenes = layer(result, "scenes").set_index("scene")
    assert scenes["domain"].to_dict() == {"foreign": "foreign", "land": "same"}
    assert scenes["anomalies"]["foreign"] == 0 and np.isnan(scenes["threshold"]["foreign"])
    assert scenes["domain_note"]["foreign"].startswith("25 of 25") and scenes["domain_note"]["land"] == ""
    assert np.isfinite(heat(result)).mean() > 0.8 and len(layer(result, "tiles")) > 100
    (remark,) = (r for r in result.scenes[0].remarks if "foreign" in r)
    assert remark.startswith("foreign to the model: 25 of 25") and "pass --force-domain" in remark
    forced = run(tmp_path, model, foreign, name="forced.gpkg", rule=rule, force_domain=True, chips=0)
    assert len(layer(forced)) > 0 and "--force-domain" not in " ".join(forced.scenes[0].remarks)


def test_of_a_foreign_scene_the_top_are_still_reported(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    foreign = foreign_scene(make_scene, landscape)
    result = run(tmp_path, model, foreign, rule=Top(3))
    assert 0 < len(layer(result)) <= 3 and layer(result, "scenes")["domain"].tolist() == ["foreign"]


def test_the_command_says_so_on_stderr_and_in_json(
    make_scene: MakeScene,
    landscape: synthetic.Synthetic,
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = foreign_scene(make_scene, landscape)
    monkeypatch.chdir(tmp_path)
    words = ["score", str(foreign.path), "--model", str(model_path), "--far", "1000"]
    done = CliRunner().invoke(app.app, words)
    (note,) = (
        line for line in done.stderr.splitlines() if line.startswith("note: foreign: foreign to the model")
    )
    assert "train on it" in note and done.exit_code == 0 and "0 anomalies, " in done.stdout
    told = json.loads(CliRunner().invoke(app.app, [*words, "--overwrite", "--json"]).stdout)["scenes"][0]
    assert told["domain"] == "foreign" and told["domain_note"] in note and told["threshold"] is None
    forced = CliRunner().invoke(app.app, [*words, "--overwrite", "--json", "--force-domain", "--chips", "0"])
    assert json.loads(forced.stdout)["anomalies"] > 0
