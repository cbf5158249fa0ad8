"""The files of `satae series`: COGs of heat, first days, magnitudes, persistence; state, layers, chips, report."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj

from satae.errors import OutputError
from satae.extras import Extra
from satae.gis import geopackage, layers, qgis, qgisproject
from satae.gis.geopackage import COURSES
from satae.grid import Grid, Window
from satae.later import Later
from satae.publish import check_target
from satae.report import backdrop, chips, html
from satae.scene import output
from satae.series import dates, earlier, playback, report, state, tables
from satae.series.looks import Look
from satae.series.rules import Memory, Rules
from satae.series.sketch import Sketch
from satae.series.stack import Stack
from satae.series.state import Header
from satae.series.tracks import Alarms, Change

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyogrio
else:
    geopandas, pd, pyogrio = Later("geopandas"), Later("pandas"), Later("pyogrio")

HEAT, FIRST, MAGNITUDE, PERSISTENCE, STATE = "heatmap", "first_date", "magnitude", "persistence", "state"
MANY = 8  # bands from which on a COG has small blocks
COGS = HEAT, FIRST, MAGNITUDE, PERSISTENCE
DTYPES = {HEAT: "float32", FIRST: "int32", MAGNITUDE: "float32", PERSISTENCE: "float32"}

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float32]


def targets(out: Path) -> list[Path]:
    """All that is written, the layers last."""
    rasters = [beside(out, kind) for kind in (*COGS, STATE)]
    return [
        *rasters,
        model_of(out),
        beside(out, HEAT).with_suffix(".qml"),
        chips.folder_of(out),
        html.path_of(out),
        out,
    ]


def check_targets(out: Path, *, overwrite: bool) -> None:
    """Refuse what cannot be written, and what is there, but with `overwrite`, and what others wrote even then."""
    for target in targets(out):
        if target == chips.folder_of(out):
            chips.check_target(target, overwrite=overwrite)
        else:
            check_target(target, overwrite=overwrite)
    html.check_target(html.path_of(out))


def beside(out: Path, kind: str) -> Path:
    """The raster of a kind beside the layers."""
    return out.with_name(f"{out.stem}_{kind}.tif")


def model_of(out: Path) -> Path:
    """The network of a place, where its model has one."""
    return out.with_name(f"{out.stem}_model.onnx")


def moves(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    """Drafts that are there, and their places."""
    return [(folder / t.name, t) for t in targets(out) if (folder / t.name).exists()]


class Files:
    """Rasters that are being written window by window."""

    def __init__(self, rasters: dict[str, output.Output], kept: state.Writer, header: Header) -> None:
        self.rasters, self.kept, self.tail = rasters, kept, header.pixel

    def write(self, window: Window, clear: Bools, memory: Memory, squares: Array) -> None:
        """Put a window: its memory, and mean squares (date, pixel), both by pixels in row-major order."""
        heat = np.full(squares.shape, np.nan, np.float32)
        for i, row in enumerate(squares):
            good = np.isfinite(row)
            heat[i, good] = self.tail.exponent(row[good])
        self._put(HEAT, window, heat)
        self.kept.write(window, clear, memory)

    def write_changes(self, alarms: Alarms, windows: Iterable[Window]) -> None:
        """Put what the pixels of regions say, where they lie; all windows of the grid in any order."""
        share = alarms.numbers["held"] / np.maximum(alarms.numbers["seen"], 1)
        days = _calendar(alarms.numbers["first"].astype(np.float32))
        values = {FIRST: days[None], MAGNITUDE: alarms.magnitude, PERSISTENCE: share[None]}
        for window in windows:
            row, col = alarms.row - window.row, alarms.col - window.col
            inside = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
            for kind, of in values.items():
                empty = 0 if kind == FIRST else np.nan
                plane = np.full((len(of), window.height, window.width), empty, DTYPES[kind])
                plane[:, row[inside], col[inside]] = of[:, inside]
                self._put(kind, window, plane)

    def _put(self, kind: str, window: Window, values: npt.NDArray[Any]) -> None:
        self.rasters[kind].write(values.reshape(-1, window.height, window.width), window)


@contextmanager
def writing(folder: Path, out: Path, new: Stack, rules: Rules, header: Header) -> Iterator[Files]:
    """Plain files in a staging folder; `finish` makes them COGs."""
    names = [dates.text_of(d.day) for d in new.dates]
    kinds: dict[str, tuple[Sequence[str], float]] = {
        HEAT: (names, math.nan),
        FIRST: (["yyyymmdd"], 0),
        MAGNITUDE: (new.bands, math.nan),
        PERSISTENCE: (["share of dates that hold"], math.nan),
    }
    with ExitStack() as stack:
        rasters = {}
        for kind, (bands, nodata) in kinds.items():
            rasters[kind] = stack.enter_context(
                output.writing(
                    folder / f"{kind}.plain.tif",
                    new.grid,
                    bands=len(bands),
                    dtype=DTYPES[kind],
                    nodata=nodata,
                    name=kind,
                    side=_side(len(bands)) // 2,
                )
            )
            rasters[kind].name(bands)
        kept = stack.enter_context(state.writing(folder / beside(out, STATE).name, new.grid, rules, header))
        yield Files(rasters, kept, header)


def settle(folder: Path, out: Path, new: Stack, header: Header, shown: Sequence[Look]) -> list[str]:
    """COGs of the rasters in the folder and strips of dates, in which no decision is; the names of the strips."""
    for kind in COGS:
        plain = folder / f"{kind}.plain.tif"
        side = _side(len(new.dates) if kind == HEAT else 1)
        output.to_cog(plain, folder / beside(out, kind).name, beside(out, kind).name, side)
        plain.unlink()
    if header.network is not None:
        (folder / model_of(out).name).write_bytes(header.network.content)
    heat = beside(out, HEAT)
    with Extra(f"the style of {heat.name}"):
        (folder / heat.with_suffix(".qml").name).write_text(qgis.heatmap_style(10.0), encoding="utf-8")
    return _draw(folder / chips.folder_of(out).name, shown)


def finish(
    folder: Path, out: Path, new: Stack, header: Header, found: Sequence[Change], shares: npt.NDArray[Any],
    created: str, shown: Sequence[Look], drawn: Sequence[str], sketch: Sketch,
) -> tuple[str, ...]:  # fmt: skip
    """Layers, styles, project and report in the folder, with the decisions on what is there; lines on what to know.

    What an earlier call made is replaced.
    """
    frames = {
        "changes": tables.changes(found, new.grid, header, drawn),
        "dates": tables.scored_dates(new, header, shares),
        COURSES: tables.courses(shown, header.bands),
    }
    frames["changes"], left, remarks = earlier.carry(out, frames["changes"])
    if left is not None:
        frames[geopackage.BEFORE] = left
    path = folder / out.name
    path.unlink(missing_ok=True)
    moment = datetime.fromisoformat(created)
    _store(path, out.name, frames, moment)
    with Extra(f"styles and project for QGIS in {out.name}"):
        last = new.dates[-1].scene
        below = backdrop.of(last, sketch.natural, sketch.contrast(), scaled=header.scaled)
        archive = playback.project(
            out, new.grid, _crs(new.grid), beside(out, HEAT).name, [d.day for d in new.dates], last.name,
            backdrop.beside(below, out),
        )  # fmt: skip
        qgis.embed(
            path, name=out.stem, archive=archive, updated=moment.astimezone(UTC), styles=playback.styles()
        )
    _check(path, out.name, {layer: len(frame) for layer, frame in frames.items()})
    with Extra(f"the report {html.path_of(out).name}"):
        rows = frames["changes"].drop(columns="geometry").to_dict("records")
        shapes = [change.region.polygon for change in found[: report.OUTLINED]]
        report.write(
            folder / html.path_of(out).name, out, new.grid, header, rows, shapes, shown, sketch, created
        )
    return remarks


def _draw(folder: Path, shown: Sequence[Look]) -> list[str]:
    """Write a strip of dates a region; their names, from the folder of the layers on, "" where no date shows it."""
    folder.mkdir()
    names = []
    for look in shown:
        if not look.panels:
            names.append("")
            continue
        name = chips.file_name(tables.name_of(look.change))
        chips.write(folder / name, chips.side_by_side(look.panels))
        names.append(f"{folder.name}/{name}")
    chips.seal(folder)
    return names


def _store(path: Path, name: str, frames: dict[str, Any], moment: datetime) -> None:
    """Write layers and the table of courses, all with one date."""
    kinds = {"dates": "Polygon", COURSES: None}
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")})
    try:
        for number, (layer, frame) in enumerate(frames.items()):
            kind = kinds.get(layer, "MultiPolygon")
            options = {"FID": "fid"} | ({} if kind is None else {"GEOMETRY_NAME": "geom"})
            layers.store(
                frame, path, name=name, driver="GPKG", layer=layer, kind=kind, layer_options=options,
                dataset_options={} if number else {"VERSION": "1.3"},
            )  # fmt: skip
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _side(bands: int) -> int:
    """Pixels a side of the blocks of a COG: all bands of a block are in memory at once, and a row of blocks is."""
    # the plain file has half of it, so that what GDAL copies at once is decoded once
    return 512 if bands < MANY else 128


def _calendar(days: Array) -> npt.NDArray[np.int64]:
    """Days as the number yyyymmdd, 0 where there is none."""
    # in whole arrays: a million datetime objects would take minutes
    moment = np.datetime64("1970-01-01") + np.round(days).astype(int).astype("timedelta64[D]")
    year = moment.astype("datetime64[Y]")
    month = moment.astype("datetime64[M]")
    y = year.astype(int) + 1970
    m = (month - year.astype("datetime64[M]")).astype(int) + 1
    d = (moment - month.astype("datetime64[D]")).astype(int) + 1
    return np.where(days > 0, y * 10_000 + m * 100 + d, 0)


def _crs(grid: Grid) -> qgisproject.Crs | None:
    if grid.crs is None:
        return None
    authority = pyproj.CRS.from_wkt(grid.crs).to_authority(min_confidence=100)
    return qgisproject.Crs(grid.crs, ":".join(authority) if authority else "")


def _check(path: Path, name: str, counts: dict[str, int]) -> None:
    """Read back: SQLite finds no damage, and every layer has its rows."""
    try:
        with sqlite3.connect(path) as database:
            whole = database.execute("PRAGMA integrity_check").fetchone()[0]
            found = {t: database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in counts}
        database.close()
    except sqlite3.Error as error:
        raise OutputError(f"{name} could not be written: {error}") from error
    if whole != "ok" or found != counts:
        raise OutputError(f"{name} reads back as {found} instead of {counts} ({whole}); is the disk full?")
