"""GeoJSON as RFC 7946 has it: WGS 84, outer rings counter-clockwise, cut at the antimeridian."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyproj

from satae.errors import ConfigError
from satae.gis import layers
from satae.gis.layers import SceneLayer
from satae.later import Later

if TYPE_CHECKING:
    import geopandas
    import pyogrio
else:
    geopandas = Later("geopandas")
    pyogrio = Later("pyogrio")

# Nine decimals are 0.1 mm: the usual seven would bend the corners of small pixels.
STANDARD = {
    "RFC7946": "YES",
    "WRITE_BBOX": "YES",
    "COORDINATE_PRECISION": "9",
    "AUTODETECT_JSON_STRINGS": "NO",
}


def check(crs: str | None) -> None:
    """ConfigError where the CRS leads to no WGS 84."""
    if crs is None:
        raise ConfigError("GeoJSON is in WGS 84 and the scene has no CRS; choose --out with .gpkg or .fgb")
    try:
        pyproj.Transformer.from_crs(crs, "OGC:CRS84")
    except pyproj.exceptions.ProjError as error:
        raise ConfigError(
            f"GeoJSON is in WGS 84, and the CRS {pyproj.CRS.from_wkt(crs).name} cannot be transformed to it; "
            "choose --out with .gpkg or .fgb"
        ) from error


def write(path: Path, name: str, scenes: Sequence[SceneLayer], created: str) -> None:
    """The anomalies layer. An empty one has no columns, which GeoJSON knows of rows only."""
    frame = layers.anomalies(scenes)
    layers.store(
        frame,
        path,
        name=name,
        driver="GeoJSON",
        layer="anomalies",
        kind="MultiPolygon",
        layer_options=STANDARD,
    )
    layers.check_rows(frame, path, name)


def feature_geometry(geometry: Any, crs: str) -> dict[str, Any]:
    """A geometry in `crs` as the `geometry` and `bbox` of a GeoJSON feature."""
    (found,) = feature_geometries([geometry], crs)
    return found


def feature_geometries(geometries: Sequence[Any], crs: str) -> list[dict[str, Any]]:
    """Each geometry as `feature_geometry` gives it, all written at once."""
    buffer = BytesIO()
    frame = geopandas.GeoDataFrame(geometry=list(geometries), crs=crs)
    pyogrio.write_dataframe(frame, buffer, driver="GeoJSON", layer_options=STANDARD)
    found = json.loads(buffer.getvalue())["features"]
    return [{"geometry": feature["geometry"], "bbox": feature["bbox"]} for feature in found]
