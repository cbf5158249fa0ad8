"""GeoParquet 1.1 with a column of bounding boxes, by which readers skip what lies elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from satae.errors import ConfigError, OutputError
from satae.gis import layers
from satae.gis.layers import SceneLayer
from satae.later import Later

if TYPE_CHECKING:
    import geopandas
else:
    geopandas = Later("geopandas")


def check(crs: str | None) -> None:
    """ConfigError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise ConfigError("writing .parquet needs pyarrow: pip install 'satae[parquet]', or choose .gpkg")


def write(path: Path, name: str, scenes: Sequence[SceneLayer], created: str) -> None:
    """The anomalies layer."""
    frame = layers.anomalies(scenes)
    frame.to_parquet(path, index=False, compression="zstd", schema_version="1.1.0", write_covering_bbox=True)
    found = len(geopandas.read_parquet(path))
    if found != len(frame):
        raise OutputError(f"{name} reads back with {found} of {len(frame)} rows; is the disk full?")
