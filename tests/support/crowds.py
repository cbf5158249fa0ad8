"""Several small scenes, runs over them, and what is in their folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import orders
import pandas as pd
import pytest
from affine import Affine
from shared import Shared

from satae.batch import worker
from satae.batch.pool import Tell
from satae.batch.run import Options, Result, run
from satae.batch.task import Request
from satae.demo import synthetic
from satae.grid import Grid
from satae.inference import runtime
from satae.scene import output, raster
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options as ScoreOptions
from satae.scoring.rule import Top

SIDE = 96
# two strips of 2 MB
ROWS, COLS = 830, 300
REQUEST = Request(rule=Top(3), chips=2)
# a run in a process of its own, with scoring that does as it is ordered
PROGRAM = """
import sys
from pathlib import Path
from satae import interrupts
interrupts.listen()
from satae.batch import run as batch
from satae.batch.task import Request
from satae.scoring.rule import Top
if __name__ == "__main__":
    batch.SCORE = "orders:score"
    try:
        request = Request(rule=Top(3), chips=2)
        options = batch.Options(Path(sys.argv[2]), Path(sys.argv[3]), lambda row: request, jobs=2, threads=1,
            scheduler=(sys.argv[4:] or [None])[0])
        batch.run([sys.argv[1]], options)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def crowd(folder: Path, number: int = 6) -> Path:
    """Parts of a landscape as scenes s0.tif, s1.tif, ... in a folder `in`, each in a place of its own."""
    inside, image = folder / "in", synthetic.scene(height=256, width=320, seed=1).image
    inside.mkdir(parents=True)
    for i in range(number):
        row, col = 40 * (i % 4), 60 * (i % 3)
        part = image[:, row : row + SIDE, col : col + SIDE + i]
        grid = Grid(
            *part.shape[1:], Affine(10, 0, 500_000 + 2000 * i, 0, -10, 5_200_000), raster.wkt("EPSG:32632")
        )
        with output.writing(inside / f"s{i}.tif", grid, bands=4, dtype="uint16", nodata=0) as out:
            out.write(part, grid.window)
    return inside


def serial(shared: Shared, model_path: Path) -> Path:
    """A folder with six scenes `in`, and `out.gpkg` as `satae score` makes it of them in one process."""

    def score(folder: Path) -> None:
        scenes = [describe([path]) for path in sorted(crowd(folder).iterdir())]
        model = runtime.load(model_path, "cpu", 1)
        scoring.score(scenes, model, folder / "out.gpkg", ScoreOptions(Top(3), workers=1, chips=2))

    return shared.made("crowd", score)


def expected(alone: Path) -> dict[str, str]:
    """The SHA-256 of the heatmap of each scene of `serial`."""
    found = {p.name[4:-12]: p for p in alone.glob("out_*_heatmap.tif")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def asked(row: tuple[tuple[str, str], ...] = ()) -> Request:
    return REQUEST


def options(out: Path, model: Path, **others: Any) -> Options:
    given: dict[str, Any] = {"asked_of": asked, "threads": 1, "device": "cpu"}
    return Options(out, model, **(given | others))


def ran(names: Path | str, out: Path, model: Path, **others: Any) -> Result:
    return run([str(names)], options(out, model, **others))


class Inline:
    """In the place of a pool: each task once, in this process, for what is not about processes."""

    def __init__(self, function: str, slots: object, **others: object) -> None:
        self.function = function

    def run(self, tasks: Iterator[Any], tell: Tell) -> None:
        notes = worker._Notes()
        logging.getLogger("satae").addHandler(notes)
        try:
            for task in tasks:
                done = worker.attempt(worker.function_of(self.function), task, notes)
                if not tell(task, done, 1, True):
                    return
        finally:
            logging.getLogger("satae").removeHandler(notes)


def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score in this process from here on."""
    monkeypatch.setattr("satae.batch.run.Pool", Inline)


def hurt(shared: Shared, model_path: Path) -> Path:
    """The folder of a run over the scenes of `serial` by two processes, of which three were killed in mid-scene."""
    inside = serial(shared, model_path) / "in"

    def score(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("satae.batch.run.SCORE", "orders:score")
            orders.order(inside, s2=["kill"], s4=["kill", "kill"])
            ran(inside, folder / "out", model_path, jobs=2)
        for path in (inside / orders.ORDERS, *inside.glob("*.tried")):
            path.unlink()

    return shared.made("crowd-run", score) / "out"


def finished(shared: Shared, model_path: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to work on; scenes and model lie elsewhere."""
    return Path(shutil.copytree(hurt(shared, model_path), tmp_path / "out"))


def tall(folder: Path) -> Path:
    """A scene of several strips, of which a part does not count, with something bright across two of them."""
    folder.mkdir()
    image = synthetic.scene(height=ROWS, width=COLS, seed=3).image.copy()
    image[:, 120:180, 40:90] = 0
    image[:, 762:774, 200:212] += 4000
    grid = Grid(ROWS, COLS, Affine(10, 0, 500_000, 0, -10, 5_200_000), raster.wkt("EPSG:32632"))
    with output.writing(folder / "tall.tif", grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(image, grid.window)
    return folder


def whole(shared: Shared, model: Path) -> Path:
    """A folder with the scene `in` and, in `out`, what a run makes of it in one piece."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            inline(patch)
            assert ran(tall(folder / "in"), folder / "out", model).failures == ()

    return shared.made("tall", make)


def about(out: Path) -> dict[str, object]:
    """What the finished folder says of itself, but for the time of scoring and where the scene lies."""
    (path,) = out.glob("scenes/*/scene.json")
    said = json.loads(path.read_text())
    said["row"].pop("created")
    said.pop("files")
    said["row"].pop("path")
    said["backdrop"].pop("file")
    return dict(said)


def heatmaps(out: Path) -> dict[str, str]:
    """The SHA-256 of the heatmap of each scene by name."""
    found = {p.parent.name.rpartition("-")[0]: p for p in out.glob("scenes/*/heatmap.tif")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def everything(out: Path) -> dict[str, str]:
    """The SHA-256 of every file in finished folders but for the time of scoring."""
    files = {p for p in out.glob("scenes/*/*") if p.name != "scene.json"}
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rows(path: Path, layer: str = "anomalies") -> pd.DataFrame:
    """A layer in one order, without what says when it was made and which files belong to it."""
    frame = geopandas.read_file(path, layer=layer).drop(columns=["created", "chip"], errors="ignore")
    keys = ["rank"] if layer == "anomalies" else [c for c in ("scene", "row", "col") if c in frame]
    return frame.sort_values(keys).reset_index(drop=True)


def diary(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(out.glob("journal*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def leftovers(out: Path) -> list[str]:
    """What no finished run has: parts, staging folders, locks."""
    return [p.name for p in out.rglob(".*")]


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def children(process: int) -> list[int]:
    """The processes that one has started, and those that these have."""
    try:
        own = [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return own + [n for child in own for n in children(child)]


def begun(inside: Path, out: Path, model: Path, *more: str) -> subprocess.Popen[bytes]:
    """The program, once a scene is in its middle."""
    script = out.parent / "program.py"
    script.write_text(PROGRAM)
    place = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, script, inside, out, model, *more], env=os.environ | {"PYTHONPATH": place}
    )
    while not list(out.glob(".parts/begun")):
        assert process.poll() is None
        time.sleep(0.02)
    return process
