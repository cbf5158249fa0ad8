"""What was accepted, as a file of its own: a GeoPackage with its styles, or GeoJSON.

Made of a copy: GDAL never opens the file under review, for where it closes a file this process loses its locks on it.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from satae.errors import ResultError
from satae.formats import geojson
from satae.gis import geopackage
from satae.later import Later

if TYPE_CHECKING:
    import pyogrio
else:
    pyogrio = Later("pyogrio")

KINDS = {"gpkg": "application/geopackage+sqlite3", "geojson": "application/geo+json"}
WITHOUT = ("signature", "chip")  # columns that mean nothing beside another file


def file_of(path: Path, kind: str) -> bytes:
    """The accepted regions of a result as a file of one of KINDS; ResultError where it cannot be made."""
    with tempfile.TemporaryDirectory(prefix="satae-") as name:
        copy = Path(name) / path.name
        try:
            _copy(path, copy)
        except sqlite3.Error as error:
            raise ResultError(f"{path.name} cannot be copied: {error}; try again") from error
        if kind == "gpkg":
            return copy.read_bytes()
        frame = pyogrio.read_dataframe(copy, layer=_layer_of(copy))
        if frame.crs is None:
            raise ResultError(f"GeoJSON is in WGS 84, and {path.name} has no CRS; take the GeoPackage")
        out = copy.with_suffix(".geojson")
        kept = frame.drop(columns=[n for n in WITHOUT if n in frame])
        pyogrio.write_dataframe(kept, out, driver="GeoJSON", layer_options=geojson.STANDARD)
        return out.read_bytes()


def _copy(path: Path, target: Path) -> None:
    """A copy with the accepted regions and the outlines of their scenes, and nothing else of satae's."""
    with (
        closing(geopackage.connect(path, "ro")) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as made,
    ):
        source.backup(made)
    with closing(geopackage.connect(target)) as made:
        geopackage.limit(made, geopackage.LONGEST)
        made.execute("PRAGMA journal_mode = DELETE").fetchall()
        made.execute("BEGIN")
        regions = geopackage.regions_in(made)
        made.execute(f"DELETE FROM {regions} WHERE review_status IS NOT 'accepted'")
        for layer in {*geopackage.OWN, geopackage.COURSES} - {regions, "scenes"}:
            geopackage.drop(made, layer)
        # it names the result and its rasters, which are elsewhere
        if "qgis_projects" in geopackage.tables(made):
            made.execute("DELETE FROM qgis_projects")
        made.execute("COMMIT")
        # what was deleted is not only unlinked but gone
        made.execute("VACUUM")


def _layer_of(path: Path) -> str:
    with closing(geopackage.connect(path, "ro")) as database:
        return geopackage.regions_in(database)
