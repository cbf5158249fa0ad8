"""The output formats: regions, tiles and footprints as vector layers with their styles.

A writer takes finished records and writes one new file; staging, checking and publishing are done around it.
A new format is a function here and a line in WRITERS.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import pyproj
import shapely

from satae import qgis
from satae.errors import ConfigError, OutputError
from satae.grid import Grid

CHUNK = 50_000  # tile rows held at once
ANOMALY_COLUMNS = {
    "anomaly_id": "str", "rank": "int32", "scene": "str", "score": "float64", "p_value": "float64",
    "peak": "float64", "mean": "float64", "area_m2": "float64", "pixels": "int64", "top_band": "str",
    "band_shares": "str", "spectral_share": "float64", "baseline": "str", "baseline_score": "float64",
    "baseline_p": "float64", "chip": "str", "review_status": "str", "review_label": "str",
    "review_note": "str",
}  # fmt: skip
TILE_COLUMNS = {
    "scene": "str", "row": "int32", "col": "int32", "score": "float64", "p_value": "float64",
    "valid_fraction": "float64",
}  # fmt: skip
SCENE_COLUMNS = {
    "scene": "str", "path": "str", "crs": "str", "gsd_m": "float64", "bands": "str",
    "valid_fraction": "float64", "anomalies": "int64", "threshold": "float64", "rule": "str",
    "domain": "str", "domain_note": "str", "model_sha256": "str", "satae_version": "str", "provider": "str",
    "created": "str",
}  # fmt: skip


@dataclass(frozen=True)
class SceneLayer:
    """What one scene puts into the layers.

    `anomalies` and `scene` are rows as named in ANOMALY_COLUMNS and SCENE_COLUMNS; `polygons` belong to
    `anomalies`, in map coordinates. `tiles` gives columns as in TILE_COLUMNS, `corners` (n, 4, 2) the tiles'
    map coordinates. `heatmap` is the file name beside the result, `maximum` its largest value.
    """

    grid: Grid
    anomalies: list[dict[str, Any]]
    polygons: npt.NDArray[Any]
    tiles: dict[str, npt.NDArray[Any]]
    corners: npt.NDArray[np.float64]
    scene: dict[str, Any]
    heatmap: str
    maximum: float


def ranked(rows: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of several scenes in the order of their ranks."""
    every = [row for scene in rows for row in scene]
    return sorted(every, key=lambda row: (-row["score"], -row["peak"], row["anomaly_id"]))


def common_crs(grids: Sequence[Grid]) -> str | None:
    """The CRS of the result: the scenes' own where they agree, else WGS 84; None where none has one.

    Raises ConfigError where some scenes have a CRS and others do not.
    """
    kinds = {grid.crs for grid in grids}
    if len(kinds) == 1:
        return kinds.pop()
    if None in kinds:
        raise ConfigError("scenes with and without a CRS cannot share one result; score them one by one")
    return pyproj.CRS.from_epsg(4326).to_wkt()


def write_gpkg(path: Path, name: str, scenes: Sequence[SceneLayer], created: str) -> None:
    """A GeoPackage 1.3 with the layers anomalies, tiles and scenes, default styles and a QGIS project.

    `name` is the final file's name, to which the project refers. Raises OutputError where what can be read
    back is not what was written.
    """
    crs = common_crs([s.grid for s in scenes])
    moment = datetime.fromisoformat(created)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")})
    try:
        counts = {
            "anomalies": _append(path, "anomalies", "MultiPolygon", crs, _anomaly_frames(scenes, crs)),
            "tiles": _append(path, "tiles", "Polygon", crs, _tile_frames(scenes, crs)),
            "scenes": _append(path, "scenes", "Polygon", crs, _scene_frames(scenes, crs)),
        }
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError, RuntimeError) as error:
        raise OutputError(f"{name} could not be written: {error}") from error
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    extent = _extent(scenes, crs)
    heatmaps = [qgis.Heatmap(s.heatmap, s.maximum, _qgis_crs(s.grid.crs)) for s in scenes]
    stem = Path(name).stem
    archive = qgis.project(stem, gpkg=name, heatmaps=heatmaps, crs=_qgis_crs(crs), extent=extent)
    try:
        qgis.embed(path, name=stem, archive=archive, updated=moment.astimezone(UTC))
        _check(path, name, counts)
    except sqlite3.Error as error:
        raise OutputError(f"{name} could not be written: {error}") from error


Writer = Callable[[Path, str, Sequence[SceneLayer], str], None]
WRITERS: dict[str, Writer] = {".gpkg": write_gpkg}


def writer(out: Path) -> Writer:
    """The writer for a file name; ConfigError lists the suffixes that there are."""
    if out.suffix.lower() not in WRITERS:
        raise ConfigError(
            f"--out {out}: no format has the suffix {out.suffix!r}; there are {', '.join(WRITERS)}"
        )
    return WRITERS[out.suffix.lower()]


def _append(path: Path, layer: str, kind: str, crs: str | None, frames: Iterable[Any]) -> int:
    """Write frames to one layer, which exists with its columns even where they are empty; gives the rows."""
    count, first = 0, not path.exists()
    for number, frame in enumerate(frames):
        _check_geometry(frame, layer)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.write_dataframe(
                frame, path, layer=layer, driver="GPKG", append=number > 0, geometry_type=kind,
                promote_to_multi=kind == "MultiPolygon",
                layer_options={} if number else {"GEOMETRY_NAME": "geom", "FID": "fid"},
                dataset_options={"VERSION": "1.3"} if first and number == 0 else {},
            )  # fmt: skip
        count += len(frame)
    return count


def _check_geometry(frame: Any, layer: str) -> None:
    bounds = shapely.bounds(frame.geometry.to_numpy())
    if len(frame) and not (np.isfinite(bounds).all() and frame.geometry.is_valid.all()):
        raise OutputError(
            f"layer {layer} would hold geometries that are not finite or not valid; nothing written"
        )


def _frame(
    columns: dict[str, str], data: Any, geometry: npt.NDArray[Any], crs: str | None, scene: Grid
) -> Any:
    table = pd.DataFrame(data, columns=list(columns)).astype(columns)
    frame = geopandas.GeoDataFrame(
        table, geometry=geopandas.GeoSeries(geometry, crs=scene.crs), crs=scene.crs
    )
    return frame if scene.crs == crs else frame.to_crs(crs)


def _anomaly_frames(scenes: Sequence[SceneLayer], crs: str | None) -> Iterator[Any]:
    for rank, row in enumerate(ranked(s.anomalies for s in scenes), 1):
        row["rank"] = rank
    frames = [_frame(ANOMALY_COLUMNS, s.anomalies, s.polygons, crs, s.grid) for s in scenes]
    yield geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=crs).sort_values("rank")


def _tile_frames(scenes: Sequence[SceneLayer], crs: str | None) -> Iterator[Any]:
    for s in scenes:
        for start in range(0, max(1, len(s.corners)), CHUNK):
            part = slice(start, start + CHUNK)
            data = {name: values[part] for name, values in s.tiles.items()}
            yield _frame(TILE_COLUMNS, data, shapely.polygons(s.corners[part]), crs, s.grid)


def _scene_frames(scenes: Sequence[SceneLayer], crs: str | None) -> Iterator[Any]:
    for s in scenes:
        footprint = np.array([shapely.Polygon(s.grid.footprint())], dtype=object)
        yield _frame(SCENE_COLUMNS, [s.scene], footprint, crs, s.grid)


def _extent(scenes: Sequence[SceneLayer], crs: str | None) -> tuple[float, float, float, float]:
    shapes = pd.concat([frame.geometry for frame in _scene_frames(scenes, crs)])
    left, bottom, right, top = shapes.total_bounds
    return float(left), float(bottom), float(right), float(top)


def _qgis_crs(wkt: str | None) -> qgis.Crs | None:
    if wkt is None:
        return None
    authority = pyproj.CRS.from_wkt(wkt).to_authority(min_confidence=100)
    return qgis.Crs(wkt, ":".join(authority) if authority else "")


def _check(path: Path, name: str, counts: dict[str, int]) -> None:
    """Read back: SQLite finds no damage, every layer has its rows, no side file is left."""
    with sqlite3.connect(path) as database:
        state = database.execute("PRAGMA integrity_check").fetchone()[0]
        found = {t: database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in counts}
    database.close()
    if state != "ok" or found != counts:
        raise OutputError(f"{name} reads back as {found} instead of {counts} ({state}); is the disk full?")
    left = [p for p in os.listdir(path.parent) if p.startswith(path.name + "-")]
    if left:
        raise OutputError(f"{name} was not closed ({', '.join(left)} is left)")
