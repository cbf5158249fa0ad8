"""Several small scenes, runs over them, and what is in their folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
from affine import Affine
from shared import Shared

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
