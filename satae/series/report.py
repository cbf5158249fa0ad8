"""The report of a series: where it changed, and of each region a strip of dates and a plot beside what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from satae.console import quantity
from satae.geodesy import crs_name
from satae.grid import Grid
from satae.report import chips, html, maps
from satae.report.courses import STYLE, Course, plot
from satae.report.html import add
from satae.series import dates
from satae.series.looks import Look
from satae.series.sketch import Sketch
from satae.series.state import Header

OUTLINED = 300  # regions in the map
OTHERS = 6  # bands that are plotted beside the one that changed most
ABOUT = (
    "A region is where dates differ in the same way from what the place showed before, through the year. The score of "
    "one is −log10 of how often a block of untouched ground gets as high. It says how unusual a change is, not what it "
    "is; that is for you to judge."
)
KEY = (
    "Dots are means over the region's pixels, hollow where half of them or more do not count, at the foot where none "
    "does. The line is what was expected, the band two standard deviations of one pixel around it. Arrows lie beyond "
    "the axis. The grey part is history."
)
UNSEEN = "No date of this run shows it clearly: it is under clouds, or beyond the scenes."


def write(
    path: Path, out: Path, grid: Grid, header: Header, rows: Sequence[Mapping[str, Any]], shapes: Sequence[Any],
    looks: Sequence[Look], sketch: Sketch, created: str,
) -> None:  # fmt: skip
    """Write the report of `out` to `path`: `rows` of the layer, `shapes` in pixels, `looks` at the first of both."""
    document, body = html.document(f"{out.name}: changes", (html.STYLE, STYLE))
    scored = [s.day for s in header.scored]
    add(body, "h1", out.name)
    span = f"{dates.text_of(min(scored))} to {dates.text_of(max(scored))}"
    add(
        body,
        "p",
        f"{quantity(len(rows), 'change')} on {quantity(len(scored), 'date')}, {span} · {created}",
        kind="muted",
    )
    add(body, "p", ABOUT)
    _map(add(body, "figure"), grid, rows, shapes, sketch, len(looks))
    add(body, "h2", "Regions")
    if not rows:
        add(body, "p", "Nothing changed more than the threshold allows.")
    else:
        more = (
            f"The first {len(looks)} of {len(rows):,}; all are" if len(rows) > len(looks) else "All are also"
        )
        add(body, "p", f"{more} in {out.name}. {KEY}")
        # rows are by rank, and looks were taken at the first of them
        listed = add(body, "ol", kind="regions-list wide")
        for row, look in zip(rows, looks, strict=False):
            _region(listed, grid, header, row, look)
    _provenance(body, grid, header)
    html.store(document, path)


def _map(
    figure: Element,
    grid: Grid,
    rows: Sequence[Mapping[str, Any]],
    shapes: Sequence[Any],
    sketch: Sketch,
    listed: int,
) -> None:
    """The place as it was last seen, with outlines."""
    box = add(
        add(add(figure, "div", kind="tools"), "label"),
        "input",
        type="checkbox",
        kind="show-regions",
        checked="",
    )
    box.tail = "regions"
    unit = maps.SIDE / max(grid.height, grid.width)
    seen = f"0 0 {grid.width * unit:.1f} {grid.height * unit:.1f}"
    kind = "map narrow" if grid.height > grid.width else "map"
    drawn = add(
        figure, "svg", viewBox=seen, kind=kind, role="group", aria_label="the place with what changed"
    )
    height, width = (cells * sketch.step * unit for cells in sketch.values.shape[1:])
    add(
        drawn, "image", width=f"{width:.1f}", height=f"{height:.1f}", preserveAspectRatio="none",
        href=html.data(sketch.png()), kind="whole" if sketch.step == 1 else "sampled",
    )  # fmt: skip
    regions = add(drawn, "g", kind="regions")
    # the first come last, over the others
    for row, shape in reversed(list(zip(rows[:OUTLINED], shapes[:OUTLINED], strict=True))):
        rank = row["rank"]
        holder, label = regions, ""
        if rank <= listed:
            holder, label = add(regions, "a", href=f"#rank-{rank}", aria_label=f"rank {rank}"), str(rank)
        maps.outline(holder, shape, grid, maps.class_of(row["score"]), label)
    some = f" The first {OUTLINED} of {len(rows):,} are drawn." if len(rows) > OUTLINED else ""
    size = f"{grid.height:,} x {grid.width:,} pixels, {crs_name(grid.crs) or 'no CRS'}"
    add(figure, "figcaption", f"As it was last seen; grey never counts. {size}. Numbers are ranks.{some}")


def _region(listed: Element, grid: Grid, header: Header, row: Mapping[str, Any], look: Look) -> None:
    item = add(listed, "li", id=f"rank-{row['rank']}")
    way = {"up": "brighter", "down": "darker"}[row["direction"]]
    first = dates.text_of(look.change.first)
    add(item, "h3", f"{row['rank']} · {way} in {row['top_band']} since {first} · score {row['score']:.2f}")
    _strip(item, look)
    top = header.bands.index(row["top_band"])
    _plotted(item, look, header, top)
    # the bands of a hyperspectral cube would make the page as large as the cube
    others = [b for b in range(len(header.bands)) if b != top][:OTHERS]
    if others:
        more = add(item, "details")
        add(more, "summary", "other bands")
        for band in others:
            _plotted(more, look, header, band)
    html.facts(item, _facts(grid, row, look))


def _strip(item: Element, look: Look) -> None:
    """The dates that show a region, with what each is."""
    if not look.panels:
        add(item, "p", UNSEEN, kind="muted")
        return
    strip = add(item, "ol", kind="strip")
    for (number, roles), panel in zip(look.shown, look.panels, strict=True):
        shot = add(strip, "li")
        day = dates.text_of(look.days[number])
        side = str(len(panel))
        picture = html.data(chips.png(panel))
        add(
            shot,
            "img",
            kind="shot",
            alt=f"{day} {roles}".strip(),
            width=side,
            height=side,
            src=picture,
            loading="lazy",
        )
        add(shot, "time", day, datetime=day)
        if roles:
            add(shot, "small", roles)


def _plotted(item: Element, look: Look, header: Header, band: int) -> None:
    add(item, "p", f"{header.bands[band]}, {'values' if header.scaled else 'DN'}", kind="muted axis")
    item.append(plot(course(look, header.bands, band)))


def course(look: Look, bands: Sequence[str], band: int) -> Course:
    """One band of a region as it is plotted."""
    change = look.change
    marks = {"first": change.first, "peak": change.peak_day, "last": change.last}
    return Course(
        bands[band], look.days, look.seen[:, band], look.expected[:, band], look.spread[:, band], look.share, look.past,
        {name: int(day) for name, day in marks.items()},
    )  # fmt: skip


def _facts(grid: Grid, row: Mapping[str, Any], look: Look) -> dict[str, str]:
    change = look.change
    days = {
        "showed first": change.first,
        "confirmed": change.confirmed,
        "peak": change.peak_day,
        "last": change.last,
    }
    known = f"{row['area_m2']:,.0f} m², " if np.isfinite(row["area_m2"]) else ""
    return {
        "change": row["change_id"],
        **{name: dates.text_of(day) for name, day in days.items()},
        "persistence": f"{row['persistence']:.0%} of the valid dates since hold it",
        "differs by (DN)": row["magnitude"].replace(",", ", ").replace(":", " "),
        "area": f"{known}{quantity(row['pixels'], 'pixel')}",
        "peak at": _place(grid, change.region.row, change.region.col),
    }


def _place(grid: Grid, row: int, col: int) -> str:
    """Where a pixel lies, for people."""
    pixel = f"row {row}, column {col}"
    if not grid.is_georeferenced:
        return pixel
    lon, lat = grid.lonlat(grid.xy(row + 0.5, col + 0.5))
    return f"{lat:.5f}, {lon:.5f} (latitude, longitude); {pixel}"


def _provenance(body: Element, grid: Grid, header: Header) -> None:
    add(body, "h2", "How it was made")
    past = header.history
    asked = f"{header.far:g} false alarms per km² and year"
    # of all runs that the state has gone through
    beside = [s for s in header.scored if s.shift != (0.0, 0.0)]
    html.facts(
        body,
        {
            "model": header.model,
            "history": f"{quantity(len(past), 'date')}, {dates.text_of(min(past))} to {dates.text_of(max(past))}",
            "alarm": f"{header.keep[0]} of {header.keep[1]} valid dates agree; at {asked}",
            "smallest region": quantity(header.least, "pixel"),
            "held out": f"{quantity(header.held_out, 'date')} of the history told how high untouched ground gets"
            if len(past) > 2
            else "the history is too short: scores rank the places of these dates and promise nothing",
            "bands": ", ".join(header.bands),
            "moved back": f"{quantity(len(beside), 'date')} that lay beside the place",
            "satae": header.satae_version,
        },
    )
