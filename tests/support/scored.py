"""Scenes scored in this process, and what the result says of their regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine

from satae.inference import runtime
from satae.scene.scene import Scene
from satae.scoring import run as scoring
from satae.scoring.run import Options, Result


def run(folder: Path, model: runtime.Model, *scenes: Scene, name: str = "out.gpkg", **options: Any) -> Result:
    return scoring.score(scenes, model, folder / name, Options(workers=1, **options))


def layer(result: Result, name: str = "anomalies") -> geopandas.GeoDataFrame:
    return geopandas.read_file(result.out, layer=name)


def heat(result: Result, scene: int = 0) -> np.ndarray:
    with rasterio.open(result.scenes[scene].heatmap) as dataset:
        return np.asarray(dataset.read(1))


def pixels(polygon: Any, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """True where pixels of a polygon in map coordinates lie, after the inverse affine."""
    flat = shapely.transform(polygon, lambda xy: np.column_stack(~transform @ xy.T))
    assert np.allclose(shapely.get_coordinates(flat), shapely.get_coordinates(flat).round(), atol=1e-6)
    return rasterio.features.rasterize([flat], shape, transform=Affine.identity()).astype(bool)
