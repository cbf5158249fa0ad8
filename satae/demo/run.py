"""The tool inside `satae demo`: a made-up scene, the three commands as a user would type them, a picture."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from satae import composite
from satae.console import SILENT, Steps
from satae.demo import synthetic
from satae.errors import OutputError
from satae.grid import Grid
from satae.scene import output, raster, readers
from satae.training import figures

ORIGIN = Affine(10, 0, 500_000, 0, -10, 5_200_000)  # 10 m pixels, on a meridian in UTM zone 32
CRS = "EPSG:32632"
OWN = "scene.tif"
TOP = 20  # regions to report: more than are planted, for villages are out of place too


def run(folder: Path, steps: Steps = SILENT) -> None:
    """Work in `folder`, which is made; what an earlier demo left there is replaced.

    Raises OutputError where the folder holds other things, SataeError as the commands do.
    """
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
    if any(folder.iterdir()) and not (folder / OWN).exists():
        raise OutputError(f"{folder} is not empty and no earlier demo; choose another --out")
    with steps.stage("make a scene up"):
        made = synthetic.scene()
        write(made, folder / OWN)
    print(f"{folder / OWN}: {made.image.shape[1]} x {made.image.shape[2]} pixels, 4 bands, ", end="")
    print(f"{len(made.planted)} planted anomalies")
    _type(folder, "tile", OWN, "--overwrite")
    _type(folder, "train", "--overwrite")
    _type(folder, "score", "--out", "anomalies.gpkg", "--top", str(TOP), "--overwrite")
    regions = geopandas.read_file(folder / "anomalies.gpkg", layer="anomalies").sort_values("rank")
    _tell(folder, made, regions)
    with steps.stage("draw the overview"):
        _draw(folder, made, regions)
    print(f"done in {time.monotonic() - started:.0f} s; look at {folder / 'overview.png'}, or in QGIS choose")
    print(f"  Project > Open From > GeoPackage..., {folder / 'anomalies.gpkg'}: all layers, styled")


def write(made: synthetic.Synthetic, path: Path) -> None:
    """The scene as a GeoTIFF with nodata 0."""
    _, height, width = made.image.shape
    grid = Grid(height, width, ORIGIN, raster.wkt(CRS))
    with output.writing(path, grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(made.image, grid.window)
        out.name(synthetic.BANDS)


def _type(folder: Path, *words: str) -> None:
    print(f"\n$ satae {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "satae", *words], cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _pixels(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map coordinates (n, 2) as (col, row)."""
    return (xy - [ORIGIN.c, ORIGIN.f]) / [ORIGIN.a, ORIGIN.e]


def hits(made: synthetic.Synthetic, outline: Any) -> set[int]:
    """The planted objects (1 to n) that share a pixel with an outline in pixel coordinates (x = col, y = row)."""
    _, height, width = made.image.shape
    inside = raster.burn([outline], Grid(height, width, ORIGIN, None).window, Affine.identity())
    return set(np.unique(made.truth[inside]).tolist()) - {0}


def ranks_of(made: synthetic.Synthetic, outlines: Iterable[Any]) -> dict[int, int]:
    """By planted object, for those found: the rank (from 1) of the first outline that hits it, see `hits`."""
    ranks: dict[int, int] = {}
    for rank, outline in enumerate(outlines, 1):
        for number in hits(made, outline):
            ranks.setdefault(number, rank)
    return ranks


def _tell(folder: Path, made: synthetic.Synthetic, regions: Any) -> None:
    """How many planted anomalies are among the regions, which, and at what rank."""
    count = len(made.planted)
    ranks = ranks_of(made, (shapely.transform(polygon, _pixels) for polygon in regions.geometry))
    print(f"\n{len(ranks)} of {count} planted anomalies are among the top {len(regions)} regions")
    for number, planted in enumerate(made.planted, 1):
        place = f"rank {ranks[number]}" if number in ranks else "not reported"
        print(f"  {planted.kind:<10} {planted.pixels:3d} px  {place}")
    summary = {"planted": count, "found": len(ranks), "regions": len(regions)}
    (folder / "demo.json").write_text(json.dumps(summary, indent=1))


def _draw(folder: Path, made: synthetic.Synthetic, regions: Any) -> None:
    path = folder / "anomalies_heatmap.tif"
    source = readers.source(path)
    with readers.open_pixels(source) as pixels:
        heat = pixels.read([1], source.grid.window)[0]
    rings = []
    for polygon in regions.geometry:
        rings.append(_pixels(shapely.get_coordinates(shapely.get_parts(polygon)[0].exterior)))
    title = "scene with the regions that satae reports"
    ends = composite.contrast(made.image[:, made.valid])
    shown = composite.rgb(made.image, *ends, made.valid)
    figures.overview(folder / "overview.png", shown, heat, rings, title)
