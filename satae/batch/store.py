"""The finished folder of a scene: its record as JSON, one array of tiles, and pictures; written and read.

Nothing in it is a pickle: results are passed on, and reading one must run nothing. The same record gives the same
bytes.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine

from satae.errors import ResultError
from satae.gis.columns import LAYERS, Footprint, Region, Tiles, values
from satae.gis.layers import SceneLayer
from satae.gis.qgisproject import Backdrop, Channel
from satae.grid import Grid, Window
from satae.report.overview import Picture
from satae.scoring.domain import Verdict
from satae.scoring.record import HEATMAP, SceneRecord
from satae.scoring.support import Doubt

VERSION = 2
ABOUT, REGIONS, TILES = "scene.json", "regions.json", "tiles.npy"
PICTURES = "overview.png", "overview_heat.png"


@dataclass(frozen=True)
class Summary:
    """What is known of a finished scene without its rows; `about` is the content of its scene.json."""

    folder: Path
    about: dict[str, Any]

    @property
    def row(self) -> dict[str, Any]:
        """Its row of the layer scenes."""
        found: dict[str, Any] = self.about["row"]
        return found

    @property
    def crs(self) -> str | None:
        """Its CRS as WKT."""
        found: str | None = self.about["grid"]["crs"]
        return found


def write(record: SceneRecord) -> None:
    """Put a record into its folder, beside the heatmap and the looks that are there."""
    folder, layer = record.folder, record.layer
    grid = layer.grid
    about = {
        "version": VERSION,
        "files": [str(f) for f in record.files],
        "grid": {"shape": [grid.height, grid.width], "transform": list(grid.transform)[:6], "crs": grid.crs},
        "row": {k: _plain(v) for k, v in values(layer.scene).items()},
        "maximum": _plain(layer.maximum),
        "threshold": _plain(record.threshold),
        "smallest": record.smallest,
        "domain": [record.verdict.domain, record.verdict.note],
        "remarks": record.remarks,
        "agrees": record.agrees,
        "damage": [[w.row, w.col, w.height, w.width] for w in record.damage],
        "faults": record.faults,
        "doubt": record.doubt and asdict(record.doubt) | {"factor": _plain(record.doubt.factor)},
        "backdrop": layer.backdrop and asdict(layer.backdrop),
        "view": record.view and {"step": record.view.step, "shape": record.view.shape},
    }
    _dump(folder / ABOUT, about)
    _dump(folder / REGIONS, [_region(r) for r in layer.regions])
    np.save(folder / TILES, _tiles(layer.tiles))
    if record.view is not None:
        for name, png in zip(PICTURES, (record.view.scene, record.view.heat), strict=True):
            (folder / name).write_bytes(png)


def summary(folder: Path) -> Summary:
    """What is known of a finished scene without its rows; ResultError where the folder is none."""
    about = _load(folder / ABOUT)
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise ResultError(
            f"{folder} is of another version of satae; move it away, so that it is scored again"
        )
    return Summary(folder, about)


def bare(found: Summary) -> SceneLayer:
    """What a finished scene puts into the layers, without its regions and tiles."""
    about = found.about
    height, width = about["grid"]["shape"]
    grid = Grid(height, width, Affine(*about["grid"]["transform"]), found.crs)
    row = Footprint(**{k: _number(v, "scenes", k) for k, v in found.row.items()})
    none = {k: np.empty(0, c.kind if c.kind != "str" else object) for k, c in LAYERS["tiles"].items()}
    tiles = Tiles(**none, corners=np.empty((0, 4, 2)))
    return SceneLayer(
        grid, [], tiles, row, HEATMAP, _real(about["maximum"]), _backdrop(about.get("backdrop"))
    )


def read(found: Summary) -> SceneRecord:
    """The record of a finished scene; ResultError where its folder is damaged."""
    about, folder, layer = found.about, found.folder, bare(found)
    regions = [_read_region(r) for r in _load(folder / REGIONS)]
    layer = replace(layer, regions=regions, tiles=_read_tiles(folder, layer.scene.scene))
    view = about["view"]
    return SceneRecord(
        folder,
        tuple(map(Path, about["files"])),
        layer,
        view and Picture(view["step"], tuple(view["shape"]), *((folder / p).read_bytes() for p in PICTURES)),
        _endless(about["threshold"]),
        about["smallest"],
        Verdict(*about["domain"]),
        tuple(about["remarks"]),
        about["agrees"],
        tuple(Window(*w) for w in about["damage"]),
        tuple(about["faults"]),
        doubt(found),
    )


def doubt(found: Summary) -> Doubt | None:
    """What of a finished scene's numbers the calibration is too small for; None in folders of older versions."""
    said = found.about.get("doubt")
    if said is None:
        return None
    return Doubt(**said | {"unknown": tuple(said["unknown"]), "factor": _endless(said["factor"])})


def is_foreign(found: Summary) -> bool:
    """Whether a finished scene is foreign to the model."""
    return Verdict(*found.about["domain"]).foreign


def _backdrop(said: dict[str, Any] | None) -> Backdrop | None:
    if said is None:
        return None
    return Backdrop(said["file"], tuple(Channel(**channel) for channel in said["channels"]))


def regions(folder: Path) -> list[dict[str, Any]]:
    """What is known of each region of a finished scene, as JSON has it, by rank among them.

    Raises ResultError where the folder is damaged.
    """
    # ranks over several scenes are made where these are put together, and the file has none
    found = sorted(_load(folder / REGIONS), key=lambda said: _read_region(dict(said)).key)
    shapes = {"polygon", "outline"}
    return [
        {k: v for k, v in said.items() if k not in shapes} | {"rank": rank}
        for rank, said in enumerate(found, 1)
    ]


def lonlat(found: Summary, region: dict[str, Any]) -> list[float] | None:
    """Where the first pixel of a region lies, in degrees; None where the scene is not tied to the Earth."""
    grid, (row, col) = bare(found).grid, region["at"]
    if not grid.is_georeferenced:
        return None
    corner = grid.footprint(Window(row, col, 1, 1))[:1]
    return [round(float(v), 7) for v in grid.lonlat(corner)[0]]


def _region(region: Region) -> dict[str, Any]:
    said = {k: _plain(v) for k, v in values(region).items()}
    shapes = {
        "polygon": shapely.to_wkb(region.polygon, True),
        "outline": shapely.to_wkb(region.outline, True),
    }
    return said | shapes | {"at": [region.row, region.col]}


def _read_region(said: dict[str, Any]) -> Region:
    row, col = said.pop("at")
    shapes = {k: shapely.from_wkb(said.pop(k)) for k in ("polygon", "outline")}
    return Region(**{k: _number(v, "anomalies", k) for k, v in said.items()}, **shapes, row=row, col=col)


def _tiles(tiles: Tiles) -> Any:
    """All of a scene's tiles as one array of records, without the name of the scene."""
    rows = {k: v for k, v in values(tiles).items() if k != "scene"}
    kinds = [(k, np.asarray(v).dtype) for k, v in rows.items()]
    # one array and no archive, whose entries would carry the time of writing
    out = np.empty(len(tiles.corners), [*kinds, ("corners", float, (4, 2))])
    for k, v in (rows | {"corners": tiles.corners}).items():
        out[k] = v
    return out


def _read_tiles(folder: Path, name: str) -> Tiles:
    try:
        # never a pickle, whatever the file claims to be
        found = np.load(folder / TILES, allow_pickle=False)
        columns = {k: found[k] for k in (*LAYERS["tiles"], "corners") if k != "scene"}
    except (OSError, ValueError, IndexError) as error:
        raise ResultError(_damaged(folder, error)) from error
    return Tiles(scene=np.full(len(found), name, object), **columns)


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity: null stands for both."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any, layer: str, column: str) -> Any:
    """A value of a column; a number that was null is NaN."""
    return math.nan if value is None and LAYERS[layer][column].kind == "float64" else value


def _real(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _endless(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(_damaged(path.parent, error)) from error


def _damaged(folder: Path, error: Exception) -> str:
    return f"{folder} is damaged ({' '.join(str(error).split())[:100]}); remove it, and run again"
