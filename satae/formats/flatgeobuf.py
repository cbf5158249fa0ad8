"""FlatGeobuf: one streamable file with a spatial index, whose order the rows are in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from satae.gis import layers
from satae.gis.layers import SceneLayer


def write(path: Path, name: str, scenes: Sequence[SceneLayer], created: str) -> None:
    """The anomalies layer."""
    frame = layers.anomalies(scenes)
    layers.store(frame, path, name=name, driver="FlatGeobuf", layer="anomalies", kind="MultiPolygon")
    layers.check_rows(frame, path, name)
