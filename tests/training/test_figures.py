"""Pictures open, show something, and are the same for the same numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from shared import run_of

from satae.training import figures

FALLING = list(0.9 * 0.7 ** np.arange(20) + 0.1)


@pytest.mark.parametrize("name", ["curves.png", "reconstructions.png"])
def test_the_pictures_of_a_run_open_and_show_something(model_path: Path, name: str):
    run = run_of(model_path)
    picture = matplotlib.image.imread(run / name)
    assert picture.shape[0] > 200 and picture.shape[1] > 500 and picture[..., :3].std() > 0.05


def test_losses_of_a_single_epoch_are_bars_for_there_is_no_curve(tmp_path):
    figures.curves(tmp_path / "c.png", [0.5], [0.25], 1, float("nan"))
    picture = matplotlib.image.imread(tmp_path / "c.png")[..., :3]
    blue, red = (
        np.abs(picture - np.array(colour) / 255).max(axis=2) < 0.01
        for colour in ([59, 111, 182], [209, 96, 61])
    )
    # as long as the losses
    assert abs(blue.any(axis=0).sum() / red.any(axis=0).sum() - 2) < 0.05


def test_the_same_losses_give_the_same_picture(tmp_path):
    for name in ("a.png", "b.png"):
        figures.curves(tmp_path / name, FALLING, FALLING, 20, 1.0)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


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


def test_a_pca_is_drawn_beside_the_losses(tmp_path):
    for name, pca in (("a.png", float("nan")), ("b.png", 0.3)):
        figures.curves(tmp_path / name, FALLING, FALLING, 20, 1.0, pca, "held-out")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
