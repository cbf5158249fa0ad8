"""What `score` refuses, and what is left behind when it fails or meets a large scene: nothing, and little."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
from affine import Affine
from commands import PEAK
from rio_cogeo import cog_validate
from scenes import UTM, MakeScene
from scored import heat, layer, run

from satae.demo import synthetic
from satae.errors import ConfigError, ModelError, OutputError, SataeError, SceneError
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring.rule import Top

OLD_PAGE = 'mine, <meta name="generator" content="satae 0">'  # of a page that is ours to replace


def unfit(make_scene: MakeScene, image: np.ndarray, kind: str) -> Path:
    if kind == "bands":
        return make_scene(image[:3])
    if kind == "dtype":
        return make_scene(image.astype("float32"))
    if kind == "gsd":
        return make_scene(image, transform=Affine(30, 0, 5e5, 0, -30, 5.2e6))
    if kind == "range":
        # one band alone: what is done to all of them has sentences of its own
        return make_scene(image + np.array([0, 0, 30000, 0], "uint16")[:, None, None])
    path = make_scene(image)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.0001,) * 4
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bands", "gives 3 bands and the model takes 4"),
        ("dtype", "holds float32 and the model was trained on uint16"),
        ("gsd", "has pixels of 30 m and the model was trained on 10 m"),
        ("range", r"has DN from \S+ to \S+ in \S+ and the model was trained on \S+ to \S+;"),
        ("scale", r"declares scale .*0\.0001.* and the model was trained on .*1"),
    ],
)
def test_scenes_that_do_not_fit_are_refused_in_one_sentence_with_both_values(
    kind: str, message: str, make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model,
    tmp_path: Path,
) -> None:  # fmt: skip
    scene = describe([unfit(make_scene, landscape.image, kind)])
    with pytest.raises(ModelError, match=message) as caught:
        run(tmp_path, model, scene)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_scene_without_a_valid_pixel_gives_an_empty_result(
    make_scene: MakeScene, model: runtime.Model, tmp_path: Path
) -> None:
    result = run(tmp_path, model, describe([make_scene(np.zeros((4, 40, 50), "uint16"), nodata=0)]))
    assert len(layer(result)) == len(layer(result, "tiles")) == 0 and np.isnan(heat(result)).all()
    assert layer(result, "scenes")["valid_fraction"].tolist() == [0]


@pytest.mark.parametrize("shape", [(8, 8), (9, 300), (300, 9), (257, 255)])
def test_scenes_smaller_than_a_tile_or_no_multiple_of_it_are_scored_whole(
    shape: tuple[int, int], make_scene: MakeScene, model: runtime.Model, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(500, 900, (4, *shape)).astype("uint16")
    result = run(tmp_path, model, describe([make_scene(image)]), rule=Top(2))
    assert np.isfinite(heat(result)).all() and heat(result).shape == shape
    assert cog_validate(result.scenes[0].heatmap, strict=True)[0]


def test_existing_outputs_are_refused_then_replaced(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    scene = describe([scene_path])
    for name in ("out.gpkg", "out_heatmap.tif", "out_heatmap.qml", "out.html"):
        (tmp_path / name).write_text(OLD_PAGE)
        with pytest.raises(OutputError, match=f"{name} exists; pass --overwrite"):
            run(tmp_path, model, scene)
        assert [p.read_text() for p in tmp_path.iterdir()] == [OLD_PAGE]
        run(tmp_path, model, scene, overwrite=True, rule=Top(1), chips=0)
        for path in tmp_path.iterdir():
            path.unlink()


def test_inputs_are_never_replaced(
    make_scene: MakeScene, landscape: synthetic.Synthetic, model: runtime.Model, tmp_path: Path
) -> None:
    path = make_scene(landscape.image, nodata=0, folder=tmp_path, name="out_heatmap.tif")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is an input of this run"):
        run(tmp_path, model, describe([path]), overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("heatmap", "message"), [("other/h.tif", "must lie in the folder"), ("h.png", "must end in .tif")]
)
def test_heatmaps_that_the_project_could_not_show_are_refused(
    heatmap: str, message: str, scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, model, describe([scene_path]), heatmap=tmp_path / heatmap)


def test_a_failure_at_the_end_keeps_old_outputs_and_leaves_nothing(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = describe([scene_path])
    run(tmp_path, model, scene, rule=Top(1))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("satae.gis.qgis.embed", fail)
    with pytest.raises(OutputError, match=r"out.gpkg could not be written: disk I/O error"):
        run(tmp_path, model, scene, rule=Top(1), overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_heatmap_that_reads_back_differently_is_not_published(
    scene_path: Path, model: runtime.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_zeroed(source: Path, target: Path, name: str) -> None:
        with rasterio.open(source) as dataset:
            profile, values = dataset.profile, dataset.read()
        values[:, 100:110] = 0
        with rasterio.open(target, "w", **profile) as out:
            out.write(values)

    monkeypatch.setattr("satae.scene.output.to_cog", copy_zeroed)
    with pytest.raises(OutputError, match="reads back differently"):
        run(tmp_path, model, describe([scene_path]))
    monkeypatch.setattr(
        "satae.scene.output.to_cog",
        lambda source, target, name: target.write_bytes(source.read_bytes()[:900]),
    )
    with pytest.raises(OutputError, match="cannot be read back"):
        run(tmp_path, model, describe([scene_path]))
    assert list(tmp_path.iterdir()) == []


def test_damage_found_midway_publishes_nothing(
    scene_path: Path, model: runtime.Model, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene_path.read_bytes()[:-9000])
    with pytest.raises(SataeError) as caught:
        run(tmp_path, model, describe([cut]))
    assert isinstance(caught.value, SceneError) and [p.name for p in tmp_path.iterdir()] == ["cut.tif"]


def test_an_uncalibrated_model_is_refused(model: runtime.Model, scene_path: Path, tmp_path: Path) -> None:
    bare = replace(model, card=model.card.model_copy(update={"calibration": None}))
    with pytest.raises(ModelError, match="is not calibrated; train it again"):
        run(tmp_path, bare, describe([scene_path]))


MEASURE = f"""{PEAK}
from pathlib import Path
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring.outputs import Options
from satae.scoring.run import score
model, scene, out = map(Path, sys.argv[1:])
options = Options(workers=1)
score([describe([scene])], runtime.load(model, "cpu", 1), out, options)
print(peak())
"""


def sparse(path: Path, side: int, landscape: synthetic.Synthetic) -> Path:
    """A square scene of which only a few blocks are there."""
    kind = {"driver": "GTiff", "count": 4, "height": side, "width": side, "dtype": "uint16", "nodata": 0}
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256, "SPARSE_OK": True}
    with rasterio.open(path, "w", **kind, **blocks, crs="EPSG:32632", transform=UTM) as out:
        for k in range(6):
            window = rasterio.windows.Window(k * side // 8 // 256 * 256, k * side // 7 // 256 * 256, 256, 256)
            out.write(landscape.image[:, :, :256], window=window)
    return path


@pytest.mark.slow
def test_peak_memory_does_not_follow_the_size_of_the_scene(
    model_path: Path, landscape: synthetic.Synthetic, tmp_path: Path
) -> None:
    peaks = []
    for side in (3000, 9000):
        scene = sparse(tmp_path / f"{side}.tif", side, landscape)
        command = [sys.executable, "-c", MEASURE, str(model_path), str(scene), str(tmp_path / f"{side}.gpkg")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] * 1.1 + 60 and peaks[1] < 1000  # MiB
