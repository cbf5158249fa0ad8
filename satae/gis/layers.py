"""What is written: regions, tiles and footprints as frames with the columns of each layer. `formats` writes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import ConfigError, OutputError
from satae.gis.columns import LAYERS, Footprint, Region, Tiles, by_rank, kinds, values
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
    for own, some in _by_crs(with_ranks(scenes)):
        regions = [region for s in some for region in s.regions]
        frames.append(_frame("anomalies", [values(r) for r in regions], polygons_of(regions), crs, own))
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=crs).sort_values("rank")


def tiles(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The tiles of all scenes, so many rows at once, at least one frame."""
    crs = common_crs([s.grid for s in scenes])
    for own, some in _by_crs(scenes):
        data = {name: np.concatenate([values(s.tiles)[name] for s in some]) for name in LAYERS["tiles"]}
        corners = np.concatenate([s.tiles.corners for s in some])
        for start in range(0, max(1, len(corners)), CHUNK):
            part = slice(start, start + CHUNK)
            rows = {name: numbers[part] for name, numbers in data.items()}
            yield _frame("tiles", rows, shapely.polygons(corners[part]), crs, own)


def footprints(scenes: Sequence[SceneLayer]) -> Iterator[Any]:
    """The outlines of the scenes in their order, a frame for those that come one after the other in one CRS."""
    crs = common_crs([s.grid for s in scenes])
    for own, some in _by_crs(scenes):
        outlines = np.array([shapely.Polygon(s.grid.footprint()) for s in some])
        yield _frame("scenes", [values(s.scene) for s in some], outlines, crs, own)


def _by_crs(scenes: Sequence[SceneLayer]) -> Iterator[tuple[str | None, list[SceneLayer]]]:
    """Scenes that come one after the other in one CRS: a frame takes longer than a thousand rows of it."""
    for crs, some in groupby(scenes, key=lambda s: s.grid.crs):
        yield crs, list(some)


def polygons_of(regions: Sequence[Region]) -> npt.NDArray[Any]:
    """Where regions lie, in map coordinates (n)."""
    out = np.empty(len(regions), object)
    out[:] = [region.polygon for region in regions]
    return out


def _frame(layer: str, data: Any, geometry: npt.NDArray[Any], crs: str | None, own: str | None) -> Any:
    types = kinds(layer)
    table = pd.DataFrame(data, columns=list(types)).astype(types)
    shapes = geopandas.GeoSeries(geometry, crs=own)
    frame = geopandas.GeoDataFrame(table, geometry=shapes, crs=own)
    frame = frame if own == crs else frame.to_crs(crs)
    bounds = shapely.bounds(frame.geometry.to_numpy())
    if len(frame) and not (np.isfinite(bounds).all() and frame.geometry.is_valid.all()):
        raise OutputError(
            f"layer {layer} would hold geometries that are not finite or not valid; nothing written"
        )
    return frame


def store(
    frame: Any, path: Path, *, name: str, driver: str, layer: str, kind: str | None, **how: Any
) -> None:
    """Write a frame as a layer of geometries of one `kind`, None for a table, by GDAL; `how` are options of pyogrio.

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
