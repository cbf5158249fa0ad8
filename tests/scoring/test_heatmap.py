"""The heatmap file: read back in windows, calibrated as the card says."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio

from satae.demo import synthetic
from satae.errors import OutputError
from satae.grid import Window
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.scoring import heatmap
from satae.scoring.heatmap import Heatmap


def write(scene: Scene, model: runtime.Model, tmp_path: Path) -> Heatmap:
    assert model.card.calibration is not None
    path = tmp_path / "h.tif"
    return heatmap.write(scene, model, model.card.calibration, path, 1, lambda pixels: None)


def whole(written: Heatmap) -> np.ndarray:
    with rasterio.open(written.path) as dataset:
        return np.asarray(dataset.read(1))


def test_its_maximum_and_valid_pixels_are_those_of_the_file(
    scene: Scene, model: runtime.Model, tmp_path: Path, landscape: synthetic.Synthetic
) -> None:
    written = write(scene, model, tmp_path)
    assert written.maximum == pytest.approx(np.nanmax(whole(written)), rel=1e-6)
    assert written.valid == landscape.valid.sum() == np.isfinite(whole(written)).sum()
    assert [p.name for p in written.path.parent.iterdir()] == ["h.tif"]


def test_a_file_that_cannot_be_read_back_is_an_output_error(
    scene: Scene, model: runtime.Model, tmp_path: Path
) -> None:
    written = write(scene, model, tmp_path)
    (tmp_path / "cut.tif").write_bytes(written.path.read_bytes()[:2000])
    refused = pytest.raises(OutputError, match=r"the heatmap cannot be read back as it was written")
    with refused, heatmap.open_heat(tmp_path / "cut.tif") as read:
        read(Window(0, 0, 256, 320))


def test_a_scene_without_a_valid_pixel_has_no_maximum(
    model: runtime.Model, make_scene: object, tmp_path: Path
) -> None:
    assert model.card.calibration is not None
    empty = describe([make_scene(np.zeros((4, 40, 50), "uint16"), nodata=0)])  # type: ignore[operator]
    found = heatmap.write(empty, model, model.card.calibration, tmp_path / "h.tif", 1, lambda pixels: None)
    assert math.isnan(found.maximum) and found.valid == 0
