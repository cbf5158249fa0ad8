"""What an analyst decided: the reviewed rows of an earlier result, read back, and carried over to a new one.

A row is reviewed where its status is not the first one, or it has a label or a note. Regions are known again by
where they lie: a new run numbers and outlines them anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from satae.errors import ConfigError
from satae.gis import geopackage
from satae.gis.columns import LAYERS, REVIEW_STATUSES, kinds
from satae.gis.geopackage import BEFORE, REGIONS
from satae.gis.layers import SceneLayer, polygons_of
from satae.gis.matching import same_regions
from satae.grid import Grid
from satae.later import Later
from satae.scene.links import check_links

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyogrio
else:
    geopandas = Later("geopandas")
    pd = Later("pandas")
    pyogrio = Later("pyogrio")

UNREVIEWED, ACCEPTED, REJECTED, _ = REVIEW_STATUSES
GPKG = ".gpkg"
REVIEW = [name for name in LAYERS[REGIONS] if name.startswith("review_")]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """Reviewed regions: `frame` has the columns of the layer and polygons, numbered from 0, in their file's CRS.

    `names` are those of scenes by their files, as far as these tell scenes apart, and by what was looked for in them:
    a scene has a name a kind.
    """

    path: Path
    frame: Any
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def are(self, status: str) -> Bools:
        """True (n) where a region has a status."""
        return np.asarray(self.frame["review_status"] == status, bool)

    def are_of(self, kind: str) -> Bools:
        """True (n) where a region is of a kind, or nobody knows of which; everywhere where no kind is named."""
        return np.asarray(self.frame["kind"].isin(["", kind]) | (not kind), bool)

    def on(
        self, scene: str, grid: Grid, files: str = "", kind: str = ""
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """(numbers, polygons in the CRS of `grid`) of the regions of a scene: of the same files, else the same name.

        `files` as a result has them, between semicolons; `kind`: of such regions alone, and of those of results that
        do not tell. ConfigError where one of the two states a CRS and the other
        does not.
        """
        # scene.tif is called otherwise beside another scene.tif than alone; its file is the same
        known = self.names.get(_settled(files)) if files else None
        own = self.frame["scene"].isin(set(known.values()) if known else {scene})
        if kind and not known:
            # without its file a scene goes by its name, behind which its kind stands or not
            names = {f"{scene}-{kind}", scene.removesuffix(f"-{kind}")}
            own |= self.frame["scene"].isin(names) & (self.frame["kind"] == kind)
        own = self.frame[own & self.are_of(kind)]
        if len(own) and (own.crs is None) != (grid.crs is None):
            side = str(self.path) if own.crs is None else scene
            raise ConfigError(
                f"{side} states no CRS, so {self.path} cannot be laid over {scene}; assign one first"
            )
        moved = own.geometry if own.crs is None or not len(own) else own.geometry.to_crs(grid.crs)
        return own.index.to_numpy(np.int64), moved.to_numpy()


@dataclass(frozen=True)
class CarriedDecisions:
    """How many rows of a new result took over a decision, and the reviewed rows that found no region in it.

    `place` says where the latter are kept.
    """

    rows: int
    lost: Any
    place: str = ""


def beside(out: Path) -> Path:
    """Where reviewed regions that are reported no more are kept by a format of one layer."""
    return out.with_name(f"{out.stem}_{BEFORE}{GPKG}")


def read(path: Path) -> Decisions:
    """The reviewed rows of a result of `satae score`; ConfigError where the file is none."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the layers that `satae score` wrote and you reviewed")
    frames = layers_of(path)
    if (missing := missing_column(frames)) is not None:
        raise ConfigError(f"{path} has no column {missing}; name layers that `satae score` wrote")
    found = _decisions(path, frames)
    if not len(found) or not geopackage.is_database(path):
        return found
    with closing(geopackage.connect(path, "ro", geopackage.PATIENCE)) as database:
        return _named(found, database)


def read_open(database: sqlite3.Connection, path: Path) -> Decisions | None:
    """The reviewed rows of a GeoPackage that is open, None where it has no layer of regions.

    Raises sqlite3.Error as it comes.
    """
    there = geopackage.tables(database)
    names = [name for name in (REGIONS, BEFORE) if name in there]
    if not names:
        return None
    return _named(
        _decisions(path, [_frame(database, name, _told(database, name)) for name in names]), database
    )


def _named(decisions: Decisions, database: sqlite3.Connection) -> Decisions:
    """The decisions with the names of their scenes by file, from the layer of scenes of the same result."""
    if not {"scene", "path"} <= set(geopackage.columns(database, "scenes")):
        return decisions
    wanted = set(decisions.frame["scene"])
    names: dict[str, dict[str, str]] = {}
    doubtful: set[str] = set()
    kind = "kind" if "kind" in geopackage.columns(database, "scenes") else "''"
    # a file of which several scenes were cut tells none of them apart, whichever were reviewed
    alone = f"SELECT min(scene), path, {kind}, count(DISTINCT scene) FROM scenes GROUP BY path, {kind}"
    for scene, files, what, number in database.execute(alone):
        if isinstance(files, str) and files and (scene in wanted or number > 1):
            place = _settled(files)
            is_other = names.setdefault(place, {}).setdefault(str(what or ""), scene) != scene
            doubtful |= {place} if is_other or number > 1 else set()
    return replace(decisions, names={place: name for place, name in names.items() if place not in doubtful})


def _settled(files: str) -> str:
    """Files between semicolons as they are found from anywhere."""
    return ";".join(os.path.realpath(file) for file in files.split(";"))


def _told(database: sqlite3.Connection, layer: str) -> str:
    """The condition that a row was reviewed: of a result of very many scenes hardly any is, and no other is needed."""
    if not set(REVIEW) <= set(geopackage.columns(database, layer)):
        return ""
    status, *others = REVIEW
    told = [
        f"coalesce({status}, '') NOT IN ('', '{UNREVIEWED}')",
        *(f"coalesce({n}, '') <> ''" for n in others),
    ]
    return " OR ".join(told)


def layers_of(path: Path) -> list[Any]:
    """The layers of a file in which decisions may be, as they are there; ConfigError where it cannot be read."""
    try:
        if geopackage.is_database(path):
            with closing(geopackage.connect(path, "ro", geopackage.PATIENCE)) as database:
                geopackage.limit(database, geopackage.LONGEST)
                return _layers_in(database, path)
        return _layers_by_gdal(path) + (_layers_by_gdal(beside(path)) if beside(path).exists() else [])
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise ConfigError(
                f"{path} is locked by another program; close it there, then run again"
            ) from error
        raise ConfigError(f"{path} cannot be read as layers: {' '.join(str(error).split())[:200]}") from error
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        ImportError,
        OSError,
        ValueError,
    ) as error:
        raise ConfigError(f"{path} cannot be read as layers: {' '.join(str(error).split())[:200]}") from error


def missing_column(frames: Sequence[Any]) -> str | None:
    """The first column that layers with decisions have and these have not; an empty GeoJSON has no columns."""
    wanted = "scene", "review_status"
    return next((name for f in frames if len(f) for name in wanted if name not in f), None)


def _layers_in(database: sqlite3.Connection, path: Path) -> list[Any]:
    database.execute("BEGIN")  # all of it as of one moment
    there = geopackage.tables(database)
    names = [name for name in (REGIONS, BEFORE) if name in there] or geopackage.features(database)[:1]
    if not names:
        raise ConfigError(f"{path} has no layer of regions; name layers that `satae score` wrote")
    return [_frame(database, name) for name in names]


def _frame(database: sqlite3.Connection, layer: str, where: str = "") -> Any:
    found, shapes = geopackage.rows(database, layer, list(LAYERS[REGIONS]), where)
    geometry = np.empty(len(shapes), object)
    geometry[:] = shapes
    return geopandas.GeoDataFrame(found, geometry=geometry, crs=geopackage.crs(database, layer))


def _layers_by_gdal(path: Path) -> list[Any]:
    if path.suffix.lower() == ".parquet":
        return [geopandas.read_parquet(path)]
    check_links(path)
    names = [str(name) for name, _ in pyogrio.list_layers(path)]
    wanted = [name for name in (REGIONS, BEFORE) if name in names] or names[:1]
    return [geopandas.read_file(path, layer=name) for name in wanted]


def _decisions(path: Path, frames: Sequence[Any]) -> Decisions:
    crs = frames[0].crs if frames else None
    tables = [_reviewed(f if f.crs == crs or not len(f) else f.to_crs(crs)) for f in frames]
    return Decisions(path, geopandas.GeoDataFrame(pd.concat(tables, ignore_index=True), crs=crs))


def _reviewed(frame: Any) -> Any:
    """The reviewed rows of a layer with all of its columns, of their types: integers that it lacks are 0, other
    numbers NaN, texts empty."""
    # a layer of an older version lacks columns, one that was edited has more, and SQLite enforces no types
    table = pd.DataFrame(frame).reindex(columns=list(LAYERS[REGIONS]))
    for name, column in LAYERS[REGIONS].items():
        if column.python is str:
            table[name] = [v if isinstance(v, str) else "" if pd.isna(v) else str(v) for v in table[name]]
        else:
            numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
            table[name] = numbers if column.python is float else numbers.where(np.abs(numbers) < 2**31, 0)
    table = table.astype(kinds(REGIONS) | {n: object for n, c in LAYERS[REGIONS].items() if c.python is str})
    table["review_status"] = table["review_status"].replace("", UNREVIEWED)
    told = (table["review_status"] != UNREVIEWED) | (table[["review_label", "review_note"]] != "").any(axis=1)
    # edits by hand cross themselves; what collapses to a line is no region
    polygons = shapely.make_valid(frame.geometry.to_numpy(), method="structure", keep_collapsed=False)
    whole = geopandas.GeoDataFrame(table, geometry=polygons, crs=frame.crs)
    return whole[told & whole.geometry.notna() & ~whole.geometry.is_empty]


def carry(
    sources: Sequence[Decisions], scenes: Sequence[SceneLayer]
) -> tuple[list[SceneLayer], list[CarriedDecisions]]:
    """The scenes with the decisions on their regions; of several sources the first has its way.

    Regions that no decision is on are unreviewed.
    """
    bare: dict[str, Any] = dict.fromkeys(REVIEW, "") | {"review_status": UNREVIEWED}
    fresh = [replace(s, regions=[replace(region, **bare) for region in s.regions]) for s in scenes]
    taken: set[tuple[int, int]] = set()
    return fresh, [_carried(decisions, fresh, taken) for decisions in sources]


def _carried(decisions: Decisions, scenes: list[SceneLayer], taken: set[tuple[int, int]]) -> CarriedDecisions:
    """The same of one source, in place; `taken` has the (scene, region) that are settled, and is added to."""
    found: list[int] = []
    for number, s in enumerate(scenes):
        if (decisions.frame.crs is None) != (s.grid.crs is None):
            continue
        regions = list(s.regions)
        free = [i for i in range(len(regions)) if (number, i) not in taken]
        numbers, polygons = decisions.on(s.scene.scene, s.grid, s.scene.path, s.scene.kind)
        said = decisions.frame.loc[numbers, REVIEW].to_dict("records")
        for old, new in same_regions(polygons, polygons_of([regions[i] for i in free])):
            regions[free[new]] = replace(regions[free[new]], **said[old])
            taken.add((number, free[new]))
            found.append(int(numbers[old]))
        scenes[number] = replace(s, regions=regions)
    return CarriedDecisions(len(found), decisions.frame.drop(index=found))
