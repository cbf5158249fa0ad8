"""What is written: regions, tiles and footprints as frames with the columns of each layer. `formats` writes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import ConfigError, OutputError
from satae.gis.columns import Footprint, Region, Tiles, by_rank, kinds, values
from satae.gis.qgisproject import Backdrop
from satae.grid import Grid
from satae.later import Later

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyogrio
else:
    geopandas = Later("geopandas")
    pd = Later("pandas")
    pyogrio = Later("pyogrio")

CHUNK = 50_000  # tile rows held at once


@dataclass(frozen=True)
class SceneLayer:
    """What one scene puts into the layers; `heatmap` is the file beside the result, `maximum` its largest value.

    `backdrop` says how QGIS draws the scene itself, None where it cannot.
    """

    grid: Grid
    regions: Sequence[Region]
    tiles: Tiles
    scene: Footprint
    heatmap: str
    maximum: float
    backdrop: Backdrop | None = None


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


def with_ranks(scenes: Sequence[SceneLayer]) -> list[SceneLayer]:
    """The layers with the rank of each region among those of all scenes."""
    order = by_rank(region for s in scenes for region in s.regions)
    ranks = {id(region): rank for rank, region in enumerate(order, 1)}
    return [replace(s, regions=[replace(r, rank=ranks[id(r)]) for r in s.regions]) for s in scenes]


def anomalies(scenes: Sequence[SceneLayer]) -> Any:
    """The anomalies of all scenes by rank, which is filled in, as a GeoDataFrame in the common CRS.

    Raises OutputError, as those below do, where a geometry is not finite or not valid.
    """
    crs = common_crs([s.grid for s in scenes])
    frames = []
    for s in with_ranks(scenes):
        rows = [values(region) for region in s.regions]
        frames.append(_frame("anomalies", rows, polygons_of(s.regions), crs, s.grid))
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=crs).sort_values("rank")


def tiles(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The tiles of all scenes, so many rows at once, at least one frame a scene."""
    crs = common_crs([s.grid for s in scenes])
    for s in scenes:
        for start in range(0, max(1, len(s.tiles.corners)), CHUNK):
            part = slice(start, start + CHUNK)
            data = {name: numbers[part] for name, numbers in values(s.tiles).items()}
            yield _frame("tiles", data, shapely.polygons(s.tiles.corners[part]), crs, s.grid)


def footprints(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The outline of each scene, a frame each."""
    crs = common_crs([s.grid for s in scenes])
    for s in scenes:
        outline = np.array([shapely.Polygon(s.grid.footprint())])
        yield _frame("scenes", [values(s.scene)], outline, crs, s.grid)


def polygons_of(regions: Sequence[Region]) -> npt.NDArray[Any]:
    """Where regions lie, in map coordinates (n)."""
    out = np.empty(len(regions), object)
    out[:] = [region.polygon for region in regions]
    return out


def _frame(layer: str, data: Any, geometry: npt.NDArray[Any], crs: str | None, scene: Grid) -> Any:
    types = kinds(layer)
    table = pd.DataFrame(data, columns=list(types)).astype(types)
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
            warnings.filterwarnings("ignore", message="Field format")  # in tables of others
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
