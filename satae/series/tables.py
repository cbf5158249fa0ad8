"""What `satae series` writes down in rows: regions, dates, and what the first regions showed on each date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from satae.grid import Grid
from satae.later import Later
from satae.series import cubes, dates
from satae.series.looks import Look
from satae.series.stack import Stack
from satae.series.state import Header
from satae.series.tracks import Change

if TYPE_CHECKING:
    import geopandas
    import pandas as pd
else:
    geopandas, pd = Later("geopandas"), Later("pandas")

CHANGES = {
    "change_id": "object", "rank": "int64", "scene": "object", "first_date": "datetime64[ms]",
    "confirmed_date": "datetime64[ms]",
    "peak_date": "datetime64[ms]", "last_date": "datetime64[ms]", "score": "float64", "persistence": "float64",
    "top_band": "object", "direction": "object", "magnitude": "object", "area_m2": "float64", "pixels": "int64",
    "chip": "object", "review_status": "object", "review_label": "object", "review_note": "object",
    "review_by": "object", "review_time": "object",
}  # fmt: skip
DATES = {
    "date": "datetime64[ms]", "scene": "object", "path": "object", "valid_fraction": "float64", "unrest": "float64",
    "shift_rows": "float64", "shift_cols": "float64",
}  # fmt: skip


COURSE = {
    "change_id": "object", "date": "datetime64[ms]", "scene": "object", "band": "object", "seen": "float64",
    "expected": "float64", "spread": "float64", "share": "float64", "history": "bool", "panel": "int64",
    "role": "object",
}  # fmt: skip


def changes(found: Sequence[Change], grid: Grid, header: Header, drawn: Sequence[str] = ()) -> Any:
    """A row a region, by falling score; `drawn` are the pictures of the first."""
    # the first scene of a day is the one that is named
    scenes = {s.day: s.scene for s in reversed(header.scored)}
    shapes = np.empty(len(found), object)
    shapes[:] = [c.region.polygon for c in found]
    outlines = grid.polygons(shapes) if len(found) else shapes
    rows = []
    for rank, (change, area) in enumerate(zip(found, grid.area_m2(outlines), strict=True), 1):
        top = int(np.abs(change.magnitude / _spread(header)).argmax())
        rows.append(
            {
                "change_id": name_of(change),
                "rank": rank,
                "scene": scenes.get(int(change.peak_day), ""),
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
                "chip": drawn[rank - 1] if rank <= len(drawn) else "",
                "review_status": "unreviewed",
                **dict.fromkeys(("review_label", "review_note", "review_by", "review_time"), ""),
            }
        )
    return _frame(rows, CHANGES, outlines, grid)


def scored_dates(new: Stack, header: Header, shares: npt.NDArray[Any]) -> Any:
    """A row a date that was scored now."""
    outline = shapely.Polygon(new.grid.footprint())
    rows = [
        {
            "date": _date(date.day),
            "scene": date.name,
            "path": cubes.path_of(date.scene),
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


def courses(shown: Sequence[Look], bands: Sequence[str]) -> Any:
    """A row a region, date and band: what was seen, expected, and the deviation of one pixel, as means in DN.

    `panel` is the place of the date in the strip, -1 where it is not in it.
    """
    rows = []
    for look in shown:
        # numbers of dates, by their places in the strip
        panels = {number: place for place, (number, _) in enumerate(look.shown)}
        roles = dict(look.shown)
        for i, (day, scene) in enumerate(zip(look.days, look.scenes, strict=True)):
            said = {
                "change_id": name_of(look.change), "date": _date(day), "scene": scene, "share": look.share[i],
                "history": bool(look.past[i]), "panel": panels.get(i, -1), "role": roles.get(i, ""),
            }  # fmt: skip
            for band, name in enumerate(bands):
                values = {kind: getattr(look, kind)[i, band] for kind in ("seen", "expected", "spread")}
                rows.append({**said, "band": name, **values})
    return pd.DataFrame(rows, columns=list(COURSE)).astype(COURSE)


def name_of(change: Change) -> str:
    """What a region goes by: the pixel of its peak."""
    return f"r{change.region.row}-c{change.region.col}"


def _frame(rows: list[dict[str, Any]], types: dict[str, str], shapes: npt.NDArray[Any], grid: Grid) -> Any:
    table = pd.DataFrame(rows, columns=list(types)).astype(types)
    return geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries(shapes, crs=grid.crs), crs=grid.crs)


def _date(day: float) -> np.datetime64:
    return np.datetime64(dates.text_of(day), "ms")


def _spread(header: Header) -> npt.NDArray[np.float64]:
    """The standard deviation of what is left of each band."""
    # whitening takes residuals to deviations, its inverse back
    inverse = np.linalg.inv(np.array(header.whitening))
    return np.asarray(np.sqrt((inverse**2).sum(axis=1)))
