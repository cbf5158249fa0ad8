"""An area of interest: the polygons of a vector file, laid over a scene. No frames, and no attribute is read."""

from __future__ import annotations

import json
import logging
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import raster
from satae.scene.area import Area, area
from satae.scene.links import check_links

AROUND = 3.0  # half turns of the globe: numbers beyond are metres, not degrees
MAX_BYTES, MAX_TEXT = 2**30, 2**27  # of a file, of which GeoJSON takes up to 16 times as much memory
FLAT = ("Point", "LineString")  # how the names of geometry types end that have no area
SQLITE, PARQUET, TIFF = b"SQLite format 3\0", b"PAR1", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

Shapes = npt.NDArray[Any]

log = logging.getLogger(__name__)


def read(path: Path, grid: Grid, layer: str | None = None) -> Area:
    """The area that the polygons of a file's `layer` cover on a grid; of the only layer with polygons by default.

    Raises SceneError where there is none, where the file cannot be read, or only one of both states a CRS.
    """
    _check_file(path)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            shapes, crs = _read(path, layer)
    except SceneError:
        raise
    except Exception as error:  # pyogrio and pyarrow raise several unrelated types
        # GDAL goes on about drivers in lines of their own
        reason = raster.cause(error).split("; It might help")[0].rstrip(".")
        raise SceneError(f"{path} cannot be read as a vector file: {reason}") from error
    for warning in said:
        log.info("%s: %s", path, warning.message)
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise SceneError(f"{path} has coordinates that are no numbers; mend its geometries first")
    if not (shapely.get_dimensions(shapes) == 2).any():
        raise SceneError(f"{path} has no polygon that touches the scene: it has no polygon at all")
    if crs is None and grid.crs is not None:
        raise SceneError(f"{path} states no CRS, so it cannot be laid over the scene; assign one first")
    if crs is not None and grid.crs is None:
        raise SceneError(f"the scene states no CRS, so {path} cannot be laid over it; assign one first")
    _check_degrees(path, shapes, crs)
    try:
        found = area(grid, shapes, crs)
    except pyproj.exceptions.ProjError as error:
        raise SceneError(
            f"{path} cannot be laid over the scene: no transformation leads from the scene's CRS to its own "
            f"({crs.name if crs else None})"
        ) from error
    if not found.touches:
        raise SceneError(f"{path} has no polygon that touches the scene")
    return found


def _check_file(path: Path) -> None:
    """SceneError where a path is not one file of moderate size, or an ESRI geodatabase, which is a folder."""
    try:
        there = path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error
    if not there:
        raise SceneError(f"{path} does not exist")
    if path.is_dir():
        if path.suffix.lower() == ".gdb":
            return
        names = ", ".join(
            sorted(p.name for p in path.iterdir() if p.suffix.lower() in (".shp", ".gpkg", ".geojson"))
        )
        raise SceneError(f"{path} is a folder; name the vector file in it{f': {names}' if names else ''}")
    if not path.is_file():
        raise SceneError(f"{path} is not a regular file")
    head = _head(path)
    limit = MAX_TEXT if head.lstrip().startswith((b"{", b"[", b"<")) else MAX_BYTES
    if path.stat().st_size > limit:
        raise SceneError(
            f"{path} is larger than {limit >> 20} MiB; clip it to the scene first, such as with `ogr2ogr -clipsrc`"
        )
    if head.startswith(TIFF):
        raise SceneError(f"{path} is a raster, not a vector file; pass it with --mask")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}") from error


def _read(path: Path, layer: str | None) -> tuple[Shapes, pyproj.CRS | None]:
    """The geometries of a layer, without empty ones and heights, and their CRS."""
    head = b"" if path.is_dir() else _head(path)
    if head.startswith(PARQUET):
        if layer is not None:
            raise SceneError(f"{path} is GeoParquet, which has no layers; leave --aoi-layer out")
        wkb, crs = _geoparquet(path)
    else:
        if not path.is_dir():
            check_links(path)
        import pyogrio.raw  # after raster has set GDAL up; loads pandas, geopandas and pyarrow where there are any

        chosen = _layer(path, pyogrio.list_layers(path), layer)
        if head.startswith(SQLITE):
            _check_table(path, chosen)
        meta, _, wkb, _ = pyogrio.raw.read(path, layer=chosen, columns=[], force_2d=True)
        crs = None if meta["crs"] is None else pyproj.CRS.from_user_input(meta["crs"])
    with np.errstate(invalid="ignore"):  # NaN, of which the user is told
        shapes = np.array([] if wkb is None else shapely.force_2d(shapely.from_wkb(wkb)), dtype=object)
    return shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))], crs


def _layer(path: Path, layers: Shapes, wanted: str | None) -> str:
    """The name of the layer to read, of layers (name, type of geometry); SceneError where it is not clear which."""
    names = [str(name) for name, _ in layers]
    with_area = [
        str(name) for name, kind in layers if kind is not None and not kind.split()[0].endswith(FLAT)
    ]
    if wanted is not None:
        if wanted not in names:
            raise SceneError(f"{path} has no layer {wanted!r}; it has {', '.join(names) or 'none'}")
        return wanted
    if len(with_area) == 1:
        return with_area[0]
    if with_area:
        raise SceneError(
            f"{path} has several layers of polygons ({', '.join(with_area)}); choose one with --aoi-layer"
        )
    if not names:
        raise SceneError(f"{path} cannot be read as a vector file: it has no layer; it may be damaged")
    kinds = ", ".join(f"{name}: {kind or 'no geometry'}" for name, kind in layers)
    raise SceneError(f"{path} has no layer of polygons ({kinds})")


def _check_table(path: Path, layer: str) -> None:
    """SceneError where a layer of a database is a view: a query of a stranger's, which need not end."""
    # what has been written and not yet moved into the file itself lies beside it, and only then must be looked at
    wal = Path(f"{path}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if wal else '&immutable=1'}"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        rows = database.execute(
            "SELECT type FROM sqlite_master WHERE lower(name) = lower(?)", [layer]
        ).fetchall()
    if ("table",) not in rows:
        raise SceneError(
            f"{path}: the layer {layer} is no table but a view or a query; save it as a layer of its own, such as with "
            "`ogr2ogr`"
        )


def _geoparquet(path: Path) -> tuple[Shapes, pyproj.CRS | None]:
    """The geometries of the primary column, as WKB, and their CRS."""
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise SceneError(f"{path}: reading GeoParquet needs pyarrow: pip install 'satae[parquet]'") from None
    with parquet.ParquetFile(path) as file:
        described = (file.schema_arrow.metadata or {}).get(b"geo")
        if described is None:
            raise SceneError(
                f"{path} is Parquet without geometries (no geo metadata); write it as GeoParquet"
            )
        geo = json.loads(described)
        name = geo["primary_column"]
        column = geo["columns"][name]
        if column["encoding"] != "WKB":
            raise SceneError(f"{path} holds geometries as {column['encoding']}; write them as WKB")
        wkb = file.read(columns=[name])[name].to_numpy()
    # none stated means longitude and latitude, stated as null unknown
    crs = column.get("crs", "OGC:CRS84")
    return wkb, None if crs is None else pyproj.CRS.from_user_input(crs)


def _check_degrees(path: Path, shapes: Shapes, crs: pyproj.CRS | None) -> None:
    """SceneError where what should be longitudes and latitudes are metres."""
    if crs is None or not crs.is_geographic:
        return
    bounds = shapely.total_bounds(shapes).reshape(2, 2)
    if np.abs(bounds).max() * crs.axis_info[0].unit_conversion_factor > AROUND * np.pi:
        x, y = bounds[np.abs(bounds).max(axis=1).argmax()]
        raise SceneError(
            f"{path} has coordinates such as ({x:.9g}, {y:.9g}), which are no longitudes and latitudes as its CRS "
            f"({crs.name}) says; give it the CRS that it was drawn in"
        )
