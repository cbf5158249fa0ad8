"""A finished result with scene, heatmap and chips, made in code through satae's own writers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from rows import CREATED
from scenes import UTM
from shared import Shared

from satae.formats import gpkg
from satae.gis import columns, layers
from satae.grid import Grid
from satae.report import chips
from satae.scene import output

SIDE = 8  # pixels a side, of every region
HOSTILE = '<img src=x onerror="document.title=1"> \' " &amp; </script>'


def places(number: int, side: int = 320) -> list[tuple[int, int]]:
    """(row, col) of the regions, best first."""
    return (
        [(16 + 40 * (i // 7 % 7), 16 + 40 * (i % 7)) for i in range(number)]
        if side >= 320
        else [(4, 4)] * number
    )


def result(
    folder: Path, *, number: int = 6, crs: str | None = "EPSG:32632", transform: Affine = UTM, side: int = 320
) -> Path:
    """anomalies.gpkg in `folder`, with scene.tif, its heatmap and chips of the first 20 regions but the last."""
    grid = Grid(side, side, transform, None if crs is None else CRS.from_user_input(crs).to_wkt())
    rng = np.random.default_rng(0)
    image = rng.integers(500, 1500, (4, side, side)).astype(np.uint16)
    heat = rng.random((side, side), np.float32)
    regions = []
    (folder / "anomalies_chips").mkdir(parents=True)
    for i, (row, col) in enumerate(places(number, side)):
        inside = slice(row, row + SIDE), slice(col, col + SIDE)
        image[:, *inside] += 3000
        heat[inside] = 9 - i % 7
        outline = shapely.MultiPolygon([shapely.box(col, row, col + SIDE, row + SIDE)])
        chip = f"anomalies_chips/{i}.png" if i < min(number - 1, 20) else None
        if chip:
            chips.write(folder / chip, rng.integers(0, 255, (192, 588, 3)).astype(np.uint8))
        regions.append(region(i, chip, grid, outline))
    image[:, :4] = 0  # nodata
    heat[:4] = np.nan
    with output.writing(folder / "scene.tif", grid, bands=4, dtype="uint16", nodata=0) as out:
        out.write(image, grid.window)
    with output.writing(folder / "plain.tif", grid, nodata=np.nan) as out:
        out.write(heat[None], grid.window)
    output.to_cog(folder / "plain.tif", folder / "anomalies_heatmap.tif")
    (folder / "plain.tif").unlink()
    path = folder / "anomalies.gpkg"
    tiles = columns.Tiles(
        scene=np.array(["scene"], object), row=np.zeros(1), col=np.zeros(1), score=np.ones(1), p_value=np.ones(1),
        valid_fraction=np.ones(1), corners=grid.footprint()[None, :4],
    )  # fmt: skip
    made = layers.SceneLayer(grid, regions, tiles, scene(grid, number), "anomalies_heatmap.tif", 9)
    gpkg.write(path, path.name, [made], CREATED)
    return path


def finished(shared: Shared) -> Path:
    """The folder of a result; to be left as it is."""
    return shared.made("finished", lambda folder: result(folder / "out")) / "out"


def region(i: int, chip: str | None, grid: Grid, outline: Any) -> columns.Region:
    """A row of the layer anomalies; scores fall and areas rise with the rank."""
    score = 9.0 - i / 10
    (polygon,) = grid.polygons(np.array([outline], dtype=object))
    return columns.Region(
        anomaly_id=f"scene-{i}", scene="scene", score=score, p_value=10**-score, peak=20.0 - i, mean=10.0,
        area_m2=1000.0 * (i + 1), pixels=SIDE**2, top_band="red", band_shares='{"red": 0.6, "nir": 0.4}',
        spectral_share=0.7, baseline="rx_shrunk", baseline_score=2.0, baseline_p=0.01, feedback=0.0, signature="",
        chip=chip, polygon=polygon, outline=outline,
    )  # fmt: skip


def scene(grid: Grid, number: int) -> columns.Footprint:
    """The row of the layer scenes."""
    return columns.Footprint(
        scene="scene", path="scene.tif", crs=grid.crs or "", gsd_m=10.0, bands="blue,green,red,nir",
        valid_fraction=1.0, anomalies=number, threshold=3.5, rule="far 10", domain=None, domain_note="",
        model_sha256="ab", satae_version="0", provider="CPU", created=CREATED,
    )  # fmt: skip


def opinions(path: Path) -> list[tuple[Any, ...]]:
    """(status, label, note) of each region by rank, read by a connection of its own."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        sql = "SELECT review_status, review_label, review_note FROM anomalies ORDER BY rank"
        return database.execute(sql).fetchall()


def change(path: Path, sql: str, *values: Any) -> None:
    """What another program does to the file; triggers that need GDAL's functions find stand-ins."""
    with closing(sqlite3.connect(path)) as database, database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MinY", "ST_MaxX", "ST_MaxY"):
            database.create_function(name, 1, lambda blob: 0)
        database.execute(sql, values)


def make_areas(path: Path, *fids: int) -> None:
    """Make some regions of `result` areas, which another model reports: the scene is in the result once a kind."""
    columns = "path, crs, gsd_m, bands, valid_fraction, anomalies, threshold, rule"
    given = "'scene-area', 'area', 'cd'"
    change(
        path,
        f"INSERT INTO scenes (scene, kind, model_sha256, {columns}) SELECT {given}, {columns} FROM scenes",
    )
    for fid in fids:
        change(path, "UPDATE anomalies SET scene = 'scene-area', kind = 'area' WHERE fid = ?", fid)


JUDGED = {"review_status": "accepted", "review_label": "ship", "review_note": "ask again"}


def review(path: Path, anomaly_id: str, **values: str) -> None:
    """A plain SQLite UPDATE, for which the triggers of the R-tree want functions that are never called."""
    values = values or JUDGED
    with closing(sqlite3.connect(path)) as database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda geometry: None)
        fields = ", ".join(f"{name} = ?" for name in values)
        changed = database.execute(
            f"UPDATE anomalies SET {fields} WHERE anomaly_id = ?", [*values.values(), anomaly_id]
        )
        assert changed.rowcount == 1
        database.commit()
