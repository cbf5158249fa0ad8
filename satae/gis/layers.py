"""What is written: regions, tiles and footprints as frames with the columns of each layer. `formats` writes them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import pyproj
import shapely

from satae.errors import ConfigError, OutputError
from satae.grid import Grid

CHUNK = 50_000  # tile rows held at once
ANOMALY_COLUMNS = {
    "anomaly_id": "str", "rank": "int32", "scene": "str", "score": "float64", "p_value": "float64",
    "peak": "float64", "mean": "float64", "area_m2": "float64", "pixels": "int64", "top_band": "str",
    "band_shares": "str", "spectral_share": "float64", "baseline": "str", "baseline_score": "float64",
    "baseline_p": "float64", "feedback": "float64", "signature": "str", "chip": "str", "review_status": "str",
    "review_label": "str", "review_note": "str",
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
COLUMNS = {"anomalies": ANOMALY_COLUMNS, "tiles": TILE_COLUMNS, "scenes": SCENE_COLUMNS}


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
    """The rows of several scenes in the order of their ranks: by score, moved by feedback where there is some."""

    def key(row: dict[str, Any]) -> tuple[float, float, str]:
        feedback = row["feedback"]
        return -(row["score"] + (0.0 if math.isnan(feedback) else feedback)), -row["peak"], row["anomaly_id"]

    return sorted((row for scene in rows for row in scene), key=key)


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


def anomalies(scenes: Sequence[SceneLayer]) -> Any:
    """The anomalies of all scenes by rank, which is filled in, as a GeoDataFrame in the common CRS.

    Raises OutputError, as those below do, where a geometry is not finite or not valid.
    """
    for rank, row in enumerate(ranked(s.anomalies for s in scenes), 1):
        row["rank"] = rank
    crs = common_crs([s.grid for s in scenes])
    frames = [_frame("anomalies", s.anomalies, s.polygons, crs, s.grid) for s in scenes]
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=crs).sort_values("rank")


def tiles(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The tiles of all scenes, so many rows at once, at least one frame a scene."""
    crs = common_crs([s.grid for s in scenes])
    for s in scenes:
        for start in range(0, max(1, len(s.corners)), CHUNK):
            part = slice(start, start + CHUNK)
            data = {name: values[part] for name, values in s.tiles.items()}
            yield _frame("tiles", data, shapely.polygons(s.corners[part]), crs, s.grid)


def footprints(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The outline of each scene, a frame each."""
    crs = common_crs([s.grid for s in scenes])
    for s in scenes:
        yield _frame("scenes", [s.scene], np.array([shapely.Polygon(s.grid.footprint())]), crs, s.grid)


def _frame(layer: str, data: Any, geometry: npt.NDArray[Any], crs: str | None, scene: Grid) -> Any:
    columns = COLUMNS[layer]
    table = pd.DataFrame(data, columns=list(columns)).astype(columns)
    shapes = geopandas.GeoSeries(geometry, crs=scene.crs)
    frame = geopandas.GeoDataFrame(table, geometry=shapes, crs=scene.crs)
    frame = frame if scene.crs == crs else frame.to_crs(crs)
    bounds = shapely.bounds(frame.geometry.to_numpy())
    if len(frame) and not (np.isfinite(bounds).all() and frame.geometry.is_valid.all()):
        raise OutputError(
            f"layer {layer} would hold geometries that are not finite or not valid; nothing written"
        )
    return frame


def store(frame: Any, path: Path, *, name: str, driver: str, layer: str, kind: str, **how: Any) -> None:
    """Write a frame as a layer of geometries of one `kind` by GDAL; `how` are options of pyogrio.

    Raises OutputError, with the file called `name`, where GDAL fails.
    """
    multi = kind == "MultiPolygon"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.write_dataframe(
                frame, path, driver=driver, layer=layer, geometry_type=kind, promote_to_multi=multi, **how
            )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError, RuntimeError) as error:
        raise OutputError(f"{name} could not be written: {error}") from error


def check_rows(frame: Any, path: Path, name: str) -> None:
    """Read a file of one layer back by GDAL; OutputError where it does not hold the rows of `frame`."""
    try:
        found = len(pyogrio.read_dataframe(path))
    except (pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError, RuntimeError) as error:
        raise OutputError(f"{name} cannot be read back ({error}); is the disk full?") from error
    if found != len(frame):
        raise OutputError(f"{name} reads back with {found} of {len(frame)} rows; is the disk full?")
