"""Layers of a scene with rows written by hand, and what their columns are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS
from scenes import UTM

from satae.gis.columns import Footprint, Region, Tiles
from satae.gis.layers import SceneLayer
from satae.grid import Grid

CREATED = "2026-01-02T03:04:05Z"
SQUARE = shapely.MultiPolygon([shapely.box(4, 6, 8, 9)])  # pixels (rows 6 to 8, columns 4 to 7)
COLUMNS = {
    "anomalies": "anomaly_id rank scene kind score p_value peak mean area_m2 pixels top_band band_shares "
    "spectral_share baseline baseline_score baseline_p feedback signature chip review_status review_label review_note "
    "review_by review_time",
    "tiles": "scene row col score p_value valid_fraction",
    "scenes": "scene path crs gsd_m bands valid_fraction anomalies threshold kind rule domain domain_note "
    "model_sha256 satae_version provider created",
}


def grid(crs: str | None = "EPSG:32632", transform: Affine = UTM, side: int = 64) -> Grid:
    return Grid(side, side, transform, None if crs is None else CRS.from_user_input(crs).to_wkt())


def layer(on: Grid, name: str = "north", scores: tuple[float, ...] = (4.0,), tiles: int = 4) -> SceneLayer:
    (polygon,) = on.polygons(np.array([SQUARE], dtype=object))
    regions = [
        Region(
            anomaly_id=f"{name}-{i}", scene=name, score=s, p_value=10**-s, peak=s, mean=s, area_m2=1200.0, pixels=12,
            top_band="red", band_shares='{"red": 1.0}', spectral_share=0.5, signature="[]", polygon=polygon,
            outline=SQUARE,
        )
        for i, s in enumerate(scores)
    ]  # fmt: skip
    corner = np.arange(tiles) * 8
    row, col = (
        np.stack([corner, corner, corner + 8, corner + 8]),
        np.stack([corner, corner + 8] * 2)[[0, 1, 1, 0]],
    )
    data = Tiles(
        scene=np.full(tiles, name, object), row=corner, col=corner, score=np.ones(tiles), p_value=np.full(tiles, 0.1),
        valid_fraction=np.ones(tiles), corners=on.xy(row, col).transpose(1, 0, 2),
    )  # fmt: skip
    scene = Footprint(
        scene=name, path=f"{name}.tif", crs=on.crs or "", gsd_m=10.0, bands="red,nir", valid_fraction=1.0,
        anomalies=len(regions), threshold=3.5, rule="far 10", domain=None, domain_note="", model_sha256="ab",
        satae_version="0", provider="CPU", created=CREATED,
    )  # fmt: skip
    return SceneLayer(on, regions, data, scene, f"{name}_heatmap.tif", 5.0)


def changed(made: SceneLayer, number: int, **values: Any) -> SceneLayer:
    """A layer of which one region has other values."""
    regions = [replace(r, **values) if i == number else r for i, r in enumerate(made.regions)]
    return replace(made, regions=regions)


def in_a_row(number: int = 6) -> SceneLayer:
    """A layer with regions in a row, 8 pixels apart."""
    made = layer(grid(), scores=tuple(9.0 - i for i in range(number)))
    boxes = np.array(
        [shapely.MultiPolygon([shapely.box(8 * i, 4, 8 * i + 5, 9)]) for i in range(number)], object
    )
    for i, polygon in enumerate(made.grid.polygons(boxes)):
        made = changed(made, i, polygon=polygon)
    return made
