"""What an analyst decided: the reviewed rows of an earlier result, read back, and carried over to a new one.

A row is reviewed where its status is not the first one, or it has a label or a note. Regions are known again by
where they lie: a new run numbers and outlines them anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import shapely

from satae.errors import ConfigError, OutputError
from satae.formats import Writer
from satae.gis.columns import LAYERS, REVIEW_STATUSES, kinds
from satae.gis.layers import SceneLayer, polygons_of, store
from satae.grid import Grid
from satae.publish import SIDE_FILES

UNREVIEWED, ACCEPTED, REJECTED = REVIEW_STATUSES
REGIONS, BEFORE = "anomalies", "reviewed_before"  # layers
GPKG = ".gpkg"
REVIEW = [name for name in LAYERS[REGIONS] if name.startswith("review_")]
LEAST = 0.3  # intersection over union at which a region is the same one, outlined anew
Bools = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decisions:
    """Reviewed regions: `frame` has the columns of the layer and polygons, numbered from 0, in their file's CRS."""

    path: Path
    frame: Any

    def __len__(self) -> int:
        return len(self.frame)

    def are(self, status: str) -> Bools:
        """True (n) where a region has a status."""
        return np.asarray(self.frame["review_status"] == status, bool)

    def on(self, scene: str, grid: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """(numbers, polygons in the CRS of `grid`) of the regions of a scene, which goes by its name.

        ConfigError where one of the two states a CRS and the other does not.
        """
        own = self.frame[self.frame["scene"] == scene]
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


def read(path: Path) -> Decisions:
    """The reviewed rows of a result of `satae score`; ConfigError where the file is none."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the layers that `satae score` wrote and you reviewed")
    try:
        frames = _layers(path)
        if path.suffix.lower() != GPKG and beside(path).exists():
            frames += _layers(beside(path))
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        ImportError,
        OSError,
        ValueError,
    ) as error:
        raise ConfigError(f"{path} cannot be read as layers: {' '.join(str(error).split())[:200]}") from error
    for frame in frames:  # an empty GeoJSON has no columns
        if len(frame) and (missing := [name for name in ("scene", "review_status") if name not in frame]):
            raise ConfigError(f"{path} has no column {missing[0]}; name layers that `satae score` wrote")
    tables = [_reviewed(f if f.crs == frames[0].crs else f.to_crs(frames[0].crs)) for f in frames]
    return Decisions(path, geopandas.GeoDataFrame(pd.concat(tables, ignore_index=True), crs=frames[0].crs))


def _layers(path: Path) -> list[Any]:
    if path.suffix.lower() == ".parquet":
        return [geopandas.read_parquet(path)]
    names = [str(name) for name, _ in pyogrio.list_layers(path)]
    wanted = [name for name in (REGIONS, BEFORE) if name in names] or names[:1]
    return [geopandas.read_file(path, layer=name) for name in wanted]


def _reviewed(frame: Any) -> Any:
    """The reviewed rows of a layer with all of its columns; numbers that it lacks are NaN, texts empty."""
    # a layer of an older version lacks columns, one that was edited has more
    table = pd.DataFrame(frame).reindex(columns=list(LAYERS[REGIONS]))
    texts = [name for name, column in LAYERS[REGIONS].items() if column.python is str]
    table[texts] = table[texts].astype(object).where(table[texts].notna(), "")
    table["review_status"] = table["review_status"].replace("", UNREVIEWED)
    told = (table["review_status"] != UNREVIEWED) | (table[REVIEW[1:]] != "").any(axis=1)
    # edits by hand cross themselves; what collapses to a line is no region
    polygons = shapely.make_valid(frame.geometry.to_numpy(), method="structure", keep_collapsed=False)
    whole = geopandas.GeoDataFrame(table, geometry=polygons, crs=frame.crs)
    return whole[told & whole.geometry.notna() & ~whole.geometry.is_empty]


def same_regions(old: npt.NDArray[Any], new: npt.NDArray[Any], least: float = LEAST) -> list[tuple[int, int]]:
    """Pairs (old, new) of polygons that are one region, one to one, the largest intersection over union first."""
    # pairs that touch at all; most regions of a result touch one or none of another
    i, j = shapely.STRtree(new).query(old, predicate="intersects")
    both = shapely.area(shapely.intersection(old[i], new[j]))
    share = both / (shapely.area(old[i]) + shapely.area(new[j]) - both)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    # greedily, the largest share first, of equal ones the first in order: one to one and the same every time
    for k in np.lexsort((j, i, -share)):
        if share[k] >= least and int(i[k]) not in pairs and int(j[k]) not in taken:
            pairs[int(i[k])] = int(j[k])
            taken.add(int(j[k]))
    return sorted(pairs.items())


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
        numbers, polygons = decisions.on(s.scene.scene, s.grid)
        for old, new in same_regions(polygons, polygons_of([regions[i] for i in free])):
            said = decisions.frame.loc[numbers[old], REVIEW].to_dict()
            regions[free[new]] = replace(regions[free[new]], **said)
            taken.add((number, free[new]))
            found.append(int(numbers[old]))
        scenes[number] = replace(s, regions=regions)
    return CarriedDecisions(len(found), decisions.frame.drop(index=found))


def write_over(
    write: Writer, draft: Path, out: Path, scenes: Sequence[SceneLayer], created: str, also: Decisions | None
) -> tuple[list[SceneLayer], CarriedDecisions | None]:
    """Write layers that will replace `out` to `draft`, with the decisions on it, then those of `also`.

    Reviewed regions that the new result does not have are kept in a layer of their own, which is read again the
    next time; a format of one layer has them in a GeoPackage beside it (`beside`), whose draft lies beside
    `draft`. Where `out` was reviewed further in the meantime it is done again. Gives the layers with the decisions,
    and what became of those in `out`, None where that is no earlier result.
    """
    while True:
        # read once, and compared again when the draft is written: a review may go on meanwhile
        stamp, own = _stamp(out), _earlier(out)
        stale = also is not None and also.path.resolve() == out.resolve()  # what was read of it before
        layers, carried = carry([d for d in (own, None if stale else also) if d is not None], scenes)
        write(draft, out.name, layers, created)
        holder = draft if out.suffix.lower() == GPKG else beside(draft)
        if own is not None and (len(carried[0].lost) or (holder != draft and beside(out).exists())):
            keep(holder, holder.name, carried[0].lost, created)
        # nobody wrote in between: this draft may take the place
        if _stamp(out) == stamp:
            place = f"layer {BEFORE}" if holder == draft else holder.name
            return layers, replace(carried[0], place=place) if own is not None else None
        for path in (draft, beside(draft)):
            path.unlink(missing_ok=True)


def beside(out: Path) -> Path:
    """Where reviewed regions that are reported no more are kept by a format of one layer."""
    return out.with_name(f"{out.stem}_{BEFORE}{GPKG}")


def check(out: Path, crs: str | None) -> None:
    """ConfigError where a result in `crs` cannot keep the decisions on `out`; a warning where none can be read."""
    if not out.exists():
        return
    try:
        own = read(out)
    except ConfigError as error:
        log.warning("%s; no decision in it is carried over", error)
        return
    if len(own) and (own.frame.crs is None) != (crs is None):
        one, other = ("without", "with") if crs is None else ("with", "without")
        raise ConfigError(
            f"{out} holds decisions on scenes {other} a CRS, which layers of scenes {one} one cannot keep; choose "
            "another name"
        )


def _earlier(out: Path) -> Decisions | None:
    try:
        return read(out)
    except ConfigError:  # of which `check` has told
        return None


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to; side files of SQLite too, in which writing begins."""
    paths = [path, *(path.with_name(path.name + side) for side in SIDE_FILES)]
    return tuple(
        v for p in paths if p.exists() for v in (p.stat().st_mtime_ns, p.stat().st_size, p.stat().st_ino)
    )


def keep(path: Path, name: str, lost: Any, created: str) -> None:
    """Add reviewed rows as layer BEFORE to a GeoPackage that will be called `name`, or make one of it alone."""
    moment = datetime.fromisoformat(created).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
    try:
        store(
            lost.astype(kinds(REGIONS)), path, name=name, driver="GPKG", layer=BEFORE, kind="MultiPolygon",
            layer_options={"GEOMETRY_NAME": "geom", "FID": "fid"},
            dataset_options={} if path.exists() else {"VERSION": "1.3"},
        )  # fmt: skip
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    if len(geopandas.read_file(path, layer=BEFORE)) != len(lost):
        raise OutputError(f"{name} does not hold all reviewed regions that it should; is the disk full?")
