"""What a run says about itself: every finding provoked, a healthy run with none, and pictures that open."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from satae import diagnosis, figures, normalize
from satae.checkpoint import Epoch
from satae.diagnosis import findings


def history(train: list[float], held_out: list[float]) -> list[Epoch]:
    pairs = enumerate(zip(train, held_out, strict=True), start=1)
    return [Epoch(i, t, v, 1e-3, 0.5, 1.0) for i, (t, v) in pairs]


def faults(
    train: list[float], held_out: list[float], *, epochs: int | None = None, mean: float = 1.0
) -> list[str]:
    best = int(np.argmin(held_out)) + 1
    return [f.fault for f in findings(history(train, held_out), best, mean, epochs or len(train))]


FALLING = list(0.9 * 0.7 ** np.arange(20) + 0.1)


def test_a_healthy_run_raises_nothing():
    assert faults(FALLING, [1.05 * v for v in FALLING]) == []


def test_a_run_that_stopped_early_is_healthy_too():
    assert faults([*FALLING, 0.09, 0.08], [*FALLING, 0.11, 0.12], epochs=100) == []


def test_a_run_that_learns_only_the_mean_is_told_so():
    assert faults([1.0] * 10, [0.97] * 10) == ["reconstructs little more than the mean"]


def test_a_run_that_overfits_is_told_so():
    assert faults([0.5, 0.2, 0.1, 0.05], [0.5, 0.4, 0.3, 0.3]) == ["overfitting"]


def test_a_run_that_ends_while_the_loss_falls_is_told_so():
    line = list(np.linspace(0.8, 0.1, 10))
    assert faults(line, line) == ["still falling at the end"]


def test_a_run_of_one_epoch_is_told_nothing_of_its_end():
    assert faults([0.5], [0.5]) == []


def test_findings_name_numbers_and_the_setting_to_change():
    worst = findings(history([0.1, 0.1], [2.0, 1.0]), 2, 1.0, 2)
    assert len(worst) == 3
    for found in worst:
        assert any(c.isdigit() for c in found.evidence)
        assert "train." in found.remedy or "model." in found.remedy
        assert "\n" not in str(found)


def test_the_report_holds_losses_and_findings():
    lines = history([0.1, 0.1], [2.0, 1.0])
    found = findings(lines, 2, 1.0, 2)
    text = diagnosis.report(lines, 2, 1.0, found)
    assert text.startswith("# Diagnosis\n") and all(f.fault in text for f in found)
    assert "Nothing stands out." in diagnosis.report(lines, 2, 1.0, [])


@pytest.fixture(scope="module")
def run(model_path: Path) -> Path:
    return model_path.parent / "runs" / "model"


@pytest.mark.parametrize("name", ["curves.png", "reconstructions.png"])
def test_the_pictures_of_a_run_open_and_show_something(run, name: str):
    picture = matplotlib.image.imread(run / name)
    assert picture.shape[0] > 200 and picture.shape[1] > 500 and picture[..., :3].std() > 0.05


def test_a_run_holds_its_history_and_its_diagnosis(run):
    lines = [Epoch(**json.loads(line)) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [e.epoch for e in lines] == [1, 2]
    assert (
        (run / "diagnosis.md")
        .read_text()
        .startswith("# Diagnosis\n\n- epochs run: 2, weights kept from epoch")
    )


def test_curves_of_a_single_epoch_are_drawn(tmp_path):
    figures.curves(tmp_path / "c.png", [0.5], [0.6], 1, 1.0)
    assert (tmp_path / "c.png").stat().st_size > 1_000


def test_the_same_losses_give_the_same_picture(tmp_path):
    for name in ("a.png", "b.png"):
        figures.curves(tmp_path / name, FALLING, FALLING, 20, 1.0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("bands", [1, 2, 3, 13])
def test_a_composite_is_rgb_between_0_and_1(bands: int):
    rng = np.random.default_rng(0)
    sample = rng.integers(0, 5_000, (500, bands))
    made = normalize.fit(sample, whitened=True)
    shown = figures.composite(rng.integers(0, 9_000, (bands, 20, 30)), made)
    assert shown.shape == (20, 30, 3) and shown.min() >= 0 and shown.max() <= 1
    assert bands >= 3 or (shown[..., 0] == shown[..., 2]).all()


def test_an_overview_shows_scene_heatmap_and_outlines(tmp_path):
    rng = np.random.default_rng(0)
    heatmap = rng.random((60, 80)).astype(np.float32)
    heatmap[:10] = np.nan
    ring = np.array([[10, 20], [15, 20], [15, 28], [10, 20]], float)
    figures.overview(tmp_path / "o.png", rng.random((60, 80, 3)), heatmap, [ring], "scene")
    assert matplotlib.image.imread(tmp_path / "o.png").shape[1] > 1_000


def test_reconstructions_with_masked_pixels_are_drawn(tmp_path):
    shown, error = np.random.default_rng(0).random((16, 16, 3)), np.full((16, 16), np.nan)
    error[4:] = 2.0
    figures.reconstructions(
        tmp_path / "r.png", [("worst", shown, shown, error), ("median", shown, shown, error)]
    )
    assert matplotlib.image.imread(tmp_path / "r.png").size


def test_a_model_that_was_fitted_in_closed_form_is_not_told_to_train_longer():
    only = Epoch(1, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert findings([only], 1, 1.0, 30) == []
