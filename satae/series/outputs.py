"""The files of `satae series`: heat a date, first days, magnitudes, persistence as COGs; the state; the layers."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from satae.errors import OutputError
from satae.extras import Extra
from satae.gis import layers, qgis, qgisproject
from satae.grid import Grid, Window
from satae.later import Later
from satae.scene import output
from satae.series import dates, playback, state
from satae.series.detector import Memory, Rules
from satae.series.stack import Stack
from satae.series.state import Header
from satae.series.tracks import Change

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
    import pyogrio
else:
    geopandas, pd, pyogrio = Later("geopandas"), Later("pandas"), Later("pyogrio")

HEAT, FIRST, MAGNITUDE, PERSISTENCE, STATE = "heatmap", "first_date", "magnitude", "persistence", "state"
MANY = 8  # bands from which on a COG has small blocks
COGS = HEAT, FIRST, MAGNITUDE, PERSISTENCE

Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float32]


def targets(out: Path) -> list[Path]:
    """All that is written, the layers last."""
    return [*(beside(out, kind) for kind in (*COGS, STATE)), beside(out, HEAT).with_suffix(".qml"), out]


def beside(out: Path, kind: str) -> Path:
    """The raster of a kind beside the layers."""
    return out.with_name(f"{out.stem}_{kind}.tif")


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
        alarm = memory["confirmed"][0] > 0
        share = memory["held"] / np.maximum(memory["seen"], 1)
        self._put(HEAT, window, heat)
        self._put(FIRST, window, _calendar(memory["first"]).astype(np.int32))
        self._put(MAGNITUDE, window, np.where(alarm, memory["magnitude"], np.float32(np.nan)))
        self._put(PERSISTENCE, window, np.where(alarm, share, np.float32(np.nan)))
        self.kept.write(window, clear, memory)

    def _put(self, kind: str, window: Window, values: npt.NDArray[Any]) -> None:
        self.rasters[kind].write(values.reshape(-1, window.height, window.width), window)


@contextmanager
def writing(folder: Path, out: Path, new: Stack, rules: Rules, header: Header) -> Iterator[Files]:
    """Plain files in a staging folder; `finish` makes them COGs."""
    names = [dates.text_of(d.day) for d in new.dates]
    kinds: dict[str, tuple[Sequence[str], str, float]] = {
        HEAT: (names, "float32", math.nan),
        FIRST: (["yyyymmdd"], "int32", 0),
        MAGNITUDE: (new.bands, "float32", math.nan),
        PERSISTENCE: (["share of dates that hold"], "float32", math.nan),
    }
    with ExitStack() as stack:
        rasters = {}
        for kind, (bands, dtype, nodata) in kinds.items():
            rasters[kind] = stack.enter_context(
                output.writing(
                    folder / f"{kind}.plain.tif",
                    new.grid,
                    bands=len(bands),
                    dtype=dtype,
                    nodata=nodata,
                    name=kind,
                    side=_side(len(bands)) // 2,
                )
            )
            rasters[kind].name(bands)
        kept = stack.enter_context(state.writing(folder / beside(out, STATE).name, new.grid, rules, header))
        yield Files(rasters, kept, header)


def finish(
    folder: Path, out: Path, new: Stack, header: Header, found: Sequence[Change], shares: npt.NDArray[Any],
    created: str,
) -> None:  # fmt: skip
    """COGs, layers, styles and project, of what was written to the folder."""
    for kind in COGS:
        plain = folder / f"{kind}.plain.tif"
        side = _side(len(new.dates) if kind == HEAT else 1)
        output.to_cog(plain, folder / beside(out, kind).name, beside(out, kind).name, side)
        plain.unlink()
    heat = beside(out, HEAT)
    with Extra(f"the style of {heat.name}"):
        (folder / heat.with_suffix(".qml").name).write_text(qgis.heatmap_style(10.0), encoding="utf-8")
    path = folder / out.name
    moment = datetime.fromisoformat(created)
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")})
    try:
        frames = {"changes": changes(found, new.grid, header), "dates": dates_layer(new, header, shares)}
        for number, (layer, frame) in enumerate(frames.items()):
            layers.store(
                frame, path, name=out.name, driver="GPKG", layer=layer, kind=("MultiPolygon", "Polygon")[number],
                layer_options={"GEOMETRY_NAME": "geom", "FID": "fid"},
                dataset_options={} if number else {"VERSION": "1.3"},
            )  # fmt: skip
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    with Extra(f"styles and project for QGIS in {out.name}"):
        archive = playback.project(out, new.grid, _crs(new.grid), heat.name, [d.day for d in new.dates])
        qgis.embed(
            path, name=out.stem, archive=archive, updated=moment.astimezone(UTC), styles=playback.styles()
        )
    _check(path, out.name, {layer: len(frame) for layer, frame in frames.items()})


def _side(bands: int) -> int:
    """Pixels a side of the blocks of a COG: all bands of a block are in memory at once, and a row of blocks is."""
    # the plain file has half of it, so that what GDAL copies at once is decoded once
    return 512 if bands < MANY else 128


def changes(found: Sequence[Change], grid: Grid, header: Header) -> Any:
    """A row a region, by falling score."""
    shapes = np.empty(len(found), object)
    shapes[:] = [c.region.polygon for c in found]
    outlines = grid.polygons(shapes) if len(found) else shapes
    rows = []
    for rank, (change, area) in enumerate(zip(found, grid.area_m2(outlines), strict=True), 1):
        top = int(np.abs(change.magnitude / _spread(header)).argmax())
        rows.append(
            {
                "change_id": f"r{change.region.row}-c{change.region.col}",
                "rank": rank,
                "first_date": _date(change.first),
                "confirmed_date": _date(change.confirmed),
                "peak_date": _date(change.peak_day),
                "last_date": _date(change.last),
                "score": float(header.block.exponent(change.region.peak)),
                "persistence": change.persistence,
                "top_band": header.bands[top],
                "direction": "up" if change.magnitude[top] > 0 else "down",
                "magnitude": ",".join(
                    f"{b}:{m:+.4g}" for b, m in zip(header.bands, change.magnitude, strict=True)
                ),
                "area_m2": float(area),
                "pixels": change.region.pixels,
                "review_status": "unreviewed",
            }
        )
    return _frame(rows, CHANGES, outlines, grid)


def dates_layer(new: Stack, header: Header, shares: npt.NDArray[Any]) -> Any:
    """A row a date that was scored now."""
    outline = shapely.Polygon(new.grid.footprint())
    rows = [
        {
            "date": _date(date.day),
            "scene": date.name,
            "path": str(date.scene.path),
            "valid_fraction": float(share),
            "unrest": said.unrest,
            "shift_rows": said.shift[0],
            "shift_cols": said.shift[1],
        }
        for date, said, share in zip(new.dates, header.scored[-len(new.dates) :], shares, strict=True)
    ]
    shapes = np.empty(len(rows), object)
    shapes[:] = [outline] * len(rows)
    return _frame(rows, DATES, shapes, new.grid)


CHANGES = {
    "change_id": "object", "rank": "int64", "first_date": "datetime64[ms]", "confirmed_date": "datetime64[ms]",
    "peak_date": "datetime64[ms]", "last_date": "datetime64[ms]", "score": "float64", "persistence": "float64",
    "top_band": "object", "direction": "object", "magnitude": "object", "area_m2": "float64", "pixels": "int64",
    "review_status": "object",
}  # fmt: skip
DATES = {
    "date": "datetime64[ms]", "scene": "object", "path": "object", "valid_fraction": "float64", "unrest": "float64",
    "shift_rows": "float64", "shift_cols": "float64",
}  # fmt: skip


def _frame(rows: list[dict[str, Any]], types: dict[str, str], shapes: npt.NDArray[Any], grid: Grid) -> Any:
    table = pd.DataFrame(rows, columns=list(types)).astype(types)
    return geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries(shapes, crs=grid.crs), crs=grid.crs)


def _date(day: float) -> np.datetime64:
    return np.datetime64(dates.text_of(day), "ms")


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


def _spread(header: Header) -> npt.NDArray[np.float64]:
    """The standard deviation of what is left of each band."""
    inverse = np.linalg.inv(np.array(header.whitening))
    return np.asarray(np.sqrt((inverse**2).sum(axis=1)))


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
