"""A second model's opinion: the same numbers that it gives when it scores alone."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import UTM, MakeScene
from scored import heat, layer, pixels, run
from shared import Shared
from typer.testing import CliRunner

from satae import models
from satae.cli import app, fitting
from satae.demo import synthetic
from satae.errors import ConfigError, ModelError
from satae.grid import Window
from satae.inference import runtime
from satae.inference.regions import Anomaly
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring import baseline
from satae.scoring.baseline import Baseline
from satae.scoring.rule import Threshold

RULE = Threshold(2.0)


def rx_file(shared: Shared, tile_set: Path) -> Path:
    """rx_shrunk as `satae train` makes it, in a file that is called rx."""
    trained = shared.trained(tile_set, "model.name=rx_shrunk")
    return (
        shared.made("rx", lambda folder: shutil.copy(trained / "model.onnx", folder / "rx.onnx")) / "rx.onnx"
    )


def other_of(shared: Shared, tile_set: Path) -> Baseline:
    return baseline.open_baseline(rx_file(shared, tile_set), "cpu", 1)


def test_p_is_that_of_the_largest_score_when_the_baseline_scores_alone(
    scene: Scene, model: runtime.Model, shared: Shared, tile_set: Path, tmp_path: Path
) -> None:
    other = other_of(shared, tile_set)
    frame = layer(run(tmp_path, model, scene, rule=RULE, baseline=other))
    alone = heat(run(tmp_path, other.model, scene, name="alone.gpkg", rule=Threshold(50.0)))
    calibration = other.model.card.calibration
    assert calibration is not None and len(frame) > 3
    for row in frame.itertuples():
        largest = np.nanmax(alone[pixels(row.geometry, UTM, alone.shape)])
        raw = calibration.pixel.score_at(float(largest))
        assert row.baseline_score == pytest.approx(float(calibration.region.exponent(raw)), rel=1e-4)
        assert row.baseline_p == pytest.approx(10**-row.baseline_score)
    assert set(frame["baseline"]) == {"rx"}


def test_a_model_is_a_baseline_of_itself(scene: Scene, model: runtime.Model, tmp_path: Path) -> None:
    result = run(tmp_path, model, scene, rule=RULE, baseline=Baseline("itself", model))
    frame = layer(result)
    assert np.allclose(frame["baseline_score"], frame["score"], rtol=1e-4)


def test_without_a_baseline_its_columns_are_null(scene: Scene, model: runtime.Model, tmp_path: Path) -> None:
    result = run(tmp_path, model, scene, rule=RULE)
    assert layer(result)[["baseline", "baseline_score", "baseline_p"]].isna().all(axis=None)
    assert result.baseline is None and result.scenes[0].agrees is None


def test_agreement_counts_what_is_as_rare_as_the_weakest_of_the_model() -> None:
    assert baseline.agreement([5.0, 2.0, 3.0], np.array([1.9, 2.0, 7.0])) == 2
    assert baseline.agreement([], np.array([])) == 0


def test_a_region_over_several_cells_gets_the_largest_of_all(
    scene: Scene, shared: Shared, tile_set: Path, landscape: synthetic.Synthetic
) -> None:
    other = other_of(shared, tile_set)
    small = Baseline("rx", replace(other.model, card=other.model.card.model_copy(update={"core": 32})))
    square = Window(40, 100, 130, 130)
    found = [Anomaly(square, np.ones((130, 130), bool), peak=1.0, mean=1.0, row=40, col=100)]
    one, several = (float(baseline.exponents(scene, b, found, 1)[0]) for b in (other, small))
    assert one == pytest.approx(several, rel=1e-5) and one > 0


def test_an_uncalibrated_baseline_and_one_that_does_not_fit_are_refused(
    scene: Scene, model: runtime.Model, shared: Shared, tile_set: Path, make_scene: MakeScene, tmp_path: Path
) -> None:
    other = other_of(shared, tile_set)
    bare = replace(model, card=model.card.model_copy(update={"calibration": None}))
    with pytest.raises(ModelError, match="is not calibrated; train it again"):
        Baseline("bare", bare)
    card = other.model.card.model_copy(update={"dtype": "uint8"})
    with pytest.raises(ModelError, match="holds uint16 and the model was trained on uint8"):
        run(tmp_path, model, scene, baseline=Baseline("x", replace(other.model, card=card)))
    assert list(tmp_path.iterdir()) == []


def test_a_named_baseline_is_what_train_would_make_of_the_scenes_tiles(
    scene: Scene, tile_set: Path, shared: Shared
) -> None:
    other = other_of(shared, tile_set)
    made = fitting.fit_baseline("rx_shrunk", [scene], tile_set.parent, size=32, device="cpu", workers=1)
    assert made.name == "rx_shrunk" and made.model.card.calibration == other.model.card.calibration


def test_without_tiles_they_are_cut_and_removed(
    scene: Scene, shared: Shared, tile_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_of(shared, tile_set)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = fitting.fit_baseline(
        "rx_shrunk", [scene, scene], tmp_path / "none", size=32, device="cpu", workers=1
    )
    assert made.model.card.calibration == other.model.card.calibration
    assert list(tmp_path.iterdir()) == []


def test_tiles_count_as_a_scenes_own_only_with_its_bands_and_limits(
    scene: Scene, scene_path: Path, tile_set: Path
) -> None:
    (own,) = fitting.own_tiles([scene], tile_set.parent) or []
    assert own.path == tile_set
    assert fitting.own_tiles([describe([scene_path], bands=[1, 2])], tile_set.parent) is None
    limited = replace(scene, limits=replace(scene.limits, nodata=7.0))
    assert fitting.own_tiles([limited], tile_set.parent) is None
    assert fitting.own_tiles([scene], tile_set.parent / "nowhere") is None


def test_what_is_neither_a_file_nor_an_architecture_is_refused_with_what_there_is(
    scene: Scene, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--baseline magic is neither a model file nor an arch") as caught:
        fitting.fit_baseline("magic", [scene], tmp_path, size=32, device="cpu", workers=1)
    assert all(name in str(caught.value) for name in models.NAMES)


def place(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(model_path.read_bytes())
    return tmp_path


def typed(*words: object) -> Any:
    return CliRunner().invoke(app.app, ["-q", "score", *map(str, words)])


def test_the_command_takes_a_file(
    model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scene_path: Path,
    shared: Shared,
    tile_set: Path,
) -> None:
    place(model_path, tmp_path, monkeypatch)
    result = typed(scene_path, "--top", 3, "--baseline", rx_file(shared, tile_set))
    assert result.exit_code == 0, result.stderr
    assert "baseline rx agrees on " in result.stdout and " of 3 anomalies" in result.stdout


def test_without_torch_a_name_is_one_clear_sentence(
    model_path: Path, tmp_path: Path, scene_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place(model_path, tmp_path, monkeypatch)
    monkeypatch.delitem(sys.modules, "satae.cli.fitting", raising=False)
    monkeypatch.delitem(sys.modules, "satae.training.run", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [n for n in sys.modules if n.startswith("satae.models")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("satae.models")
    result = typed(scene_path, "--baseline", "rx_shrunk")
    assert result.exit_code == 2 and list(here.iterdir()) == [here / "model.onnx"]
    assert (
        "error: --baseline rx_shrunk: fitting a baseline needs torch, which is not installed" in result.stderr
    )
    assert "pass a model file" in result.stderr


def test_a_baseline_file_that_is_missing_is_named(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_path: Path
) -> None:
    place(model_path, tmp_path, monkeypatch)
    result = typed(scene_path, "--baseline", "no.onnx")
    assert result.exit_code == 2 and "no.onnx does not exist" in result.stderr


def test_nothing_is_fitted_where_the_result_is_in_the_way(
    model_path: Path, tmp_path: Path, scene_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place(model_path, tmp_path, monkeypatch)
    (here / "anomalies.gpkg").write_text("mine")
    monkeypatch.setattr(fitting, "fit_baseline", lambda *_, **__: 1 / 0)
    result = typed(scene_path, "--baseline", "rx_shrunk")
    assert result.exit_code == 3 and "anomalies.gpkg exists; pass --overwrite" in result.stderr
