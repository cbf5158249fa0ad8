"""GeoPackage 1.3: the three layers, default QGIS styles and a QGIS project that opens the lot."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyproj

from satae.errors import OutputError
from satae.extras import Extra
from satae.gis import layers, qgis, qgisproject
from satae.gis.layers import SceneLayer
from satae.gis.qgisproject import Crs, Rasters
from satae.later import Later

if TYPE_CHECKING:
    import pandas as pd
    import pyogrio
else:
    pd = Later("pandas")
    pyogrio = Later("pyogrio")

SPECK = 25  # times their own area that scenes may be spread over
KINDS = {"anomalies": "MultiPolygon", "tiles": "Polygon", "scenes": "Polygon"}


class Draft:
    """A GeoPackage that grows by frames, layer by layer or all at once; `name` is what it will be called.

    Raises OutputError where GDAL fails, and where what can be read back is not what was written.
    """

    def __init__(self, path: Path, name: str, created: str) -> None:
        self.path, self.name, self.moment = path, name, datetime.fromisoformat(created)
        self.counts: dict[str, int] = {}

    def add(self, layer: str, frame: Any) -> None:
        """Append a frame to a layer, which is there with its columns even where that is empty."""
        first, known = not self.path.exists(), layer in self.counts
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": self.moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")})
        try:
            layers.store(
                frame, self.path, name=self.name, driver="GPKG", layer=layer, kind=KINDS[layer], append=known,
                layer_options={} if known else {"GEOMETRY_NAME": "geom", "FID": "fid"},
                dataset_options={"VERSION": "1.3"} if first else {},
            )  # fmt: skip
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
        self.counts[layer] = self.counts.get(layer, 0) + len(frame)

    def finish(self, project: Callable[[], bytes]) -> None:
        """Put styles and a project for QGIS in, and read back."""
        try:
            with Extra(f"styles and project for QGIS in {self.name}"):
                _embed(self.path, self.name, project(), self.moment.astimezone(UTC))
            _check(self.path, self.name, self.counts)
        except sqlite3.Error as error:
            raise OutputError(f"{self.name} could not be written: {error}") from error


def write(path: Path, name: str, scenes: Sequence[SceneLayer], created: str) -> None:
    """The layers anomalies, tiles and scenes; `name` is the final file's name, to which the project refers.

    Raises OutputError where what can be read back is not what was written.
    """
    draft = Draft(path, name, created)
    draft.add("anomalies", layers.anomalies(scenes))
    for frame in layers.tiles(scenes):
        draft.add("tiles", frame)
    for frame in layers.footprints(scenes):
        draft.add("scenes", frame)
    draft.finish(lambda: project(name, scenes))


def _embed(path: Path, name: str, archive: bytes, updated: datetime) -> None:
    try:
        qgis.embed(path, name=Path(name).stem, archive=archive, updated=updated)
    except sqlite3.Error as error:
        raise OutputError(f"{name} could not be written: {error}") from error


def project(name: str, scenes: Sequence[SceneLayer]) -> bytes:
    """A project for QGIS that opens the layers, and the heatmaps of these scenes."""
    rasters = [
        Rasters(s.scene.scene, s.heatmap, s.maximum, _qgis_crs(s.grid.crs), s.backdrop, kind=s.scene.kind)
        for s in scenes
    ]
    crs = _qgis_crs(layers.common_crs([s.grid for s in scenes]))
    return qgisproject.project(
        Path(name).stem, gpkg=name, scenes=rasters, crs=crs, extent=_first_view(scenes)
    )


def _first_view(scenes: Sequence[SceneLayer]) -> tuple[float, float, float, float]:
    """What QGIS shows first: all scenes, or where they are specks in it the one with the highest region."""
    bounds = pd.concat([f.geometry for f in layers.footprints(scenes)]).bounds.to_numpy()
    whole = *bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)
    sides = bounds[:, 2:] - bounds[:, :2]
    if (whole[2] - whole[0]) * (whole[3] - whole[1]) > SPECK * sides.prod(axis=1).sum():
        ranks = [min((r.rank for r in s.regions), default=math.inf) for s in scenes]
        whole = tuple(bounds[ranks.index(min(ranks))])
    left, bottom, right, top = map(float, whole)
    return left, bottom, right, top


def _qgis_crs(wkt: str | None) -> Crs | None:
    if wkt is None:
        return None
    authority = pyproj.CRS.from_wkt(wkt).to_authority(min_confidence=100)
    return Crs(wkt, ":".join(authority) if authority else "")


def _check(path: Path, name: str, counts: dict[str, int]) -> None:
    """Read back: SQLite finds no damage, every layer has its rows, no side file is left."""
    with sqlite3.connect(path) as database:
        state = database.execute("PRAGMA integrity_check").fetchone()[0]
        found = {t: database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in counts}
    database.close()
    if state != "ok" or found != counts:
        raise OutputError(f"{name} reads back as {found} instead of {counts} ({state}); is the disk full?")
    left = [p for p in os.listdir(path.parent) if p.startswith(path.name + "-")]
    if left:
        raise OutputError(f"{name} was not closed ({', '.join(left)} is left)")
