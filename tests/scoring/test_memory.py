"""What scoring holds at most, whatever the size of a scene, and that many scenes hold no more than one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from commands import PEAK, typed
from scenes import UTM

from satae.demo import synthetic

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# The budget is half a gigabyte; libraries that were mapped are a third of it, and not all systems count them alike.
MOST = 500  # MiB
SCORE = (
    PEAK
    + """
import gc, os
from pathlib import Path
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring.outputs import Options
from satae.scoring.rule import Top
from satae.scoring.run import score
model = runtime.load(Path(sys.argv[1]), "cpu", threads=2)
for count in map(int, sys.argv[3].split(",")):
    scenes = [describe([Path(sys.argv[2])])] * count
    score(scenes, model, Path(f"out{count}.gpkg"), Options(rule=Top(3), workers=2))
    gc.collect()
    print(peak(), len(os.listdir("/proc/self/fd")))
"""
)


def held(folder: Path, *words: object) -> list[tuple[float, int]]:
    """(peak in MiB, open descriptors) after each result of a process of its own."""
    command = [sys.executable, "-c", SCORE, *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(float(peak), int(files)) for peak, files in rows]


@LINUX
@pytest.mark.slow
def test_a_large_scene_and_the_default_stay_in_the_budget(
    tmp_path: Path, tile_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    monkeypatch.chdir(tmp_path)
    words = ("--config", "sentinel2", "--device", "cpu")
    assert typed("train", tile_set, "--out", model, *words).exit_code == 0
    land = synthetic.scene(height=1024, width=1024, seed=2).image
    kind = {"driver": "GTiff", "count": 4, "height": 8192, "width": 8192, "dtype": "uint16", "nodata": 0}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "SPARSE_OK": True}
    with rasterio.open(tmp_path / "s.tif", "w", **kind, **layout, crs="EPSG:32632", transform=UTM) as out:
        for place in (0, 3072):
            out.write(land, window=rasterio.windows.Window(place, place, 1024, 1024))
    ((peak, _),) = held(tmp_path, model, tmp_path / "s.tif", "1")
    assert peak < MOST


@LINUX
@pytest.mark.slow
def test_thirty_scenes_in_one_result_hold_what_ten_do(
    tmp_path: Path, model_path: Path, make_scene, landscape: synthetic.Synthetic
) -> None:
    scene = make_scene(np.ascontiguousarray(landscape.image[:, :96, :96]), nodata=0)
    _, (ten, files), (thirty, more) = held(tmp_path, model_path, scene, "2,10,30")
    assert more <= files and thirty < ten + 50  # a record, a picture and rows of each
