"""How changes look in QGIS: styles that the temporal controller plays, over the heat and the scene of the last date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from satae.gis import qgis, qgisproject
from satae.gis.qgisform import FOLDER_CHIP, Sheet, html_of
from satae.gis.qgisproject import Backdrop, Rasters, Vector
from satae.gis.qgisxml import add, document
from satae.grid import Grid
from satae.series import dates, tables

NAMES = {
    "change_id": "name",
    "first_date": "first date",
    "confirmed_date": "confirmed",
    "peak_date": "peak",
    "last_date": "last date",
    "score": "score, −log10 p",
    "persistence": "persistence, 0 to 1",
    "top_band": "top band",
    "magnitude": "magnitude, DN a band",
    "area_m2": "area, m²",
    "chip": "dates",
    "review_status": "review status",
    "review_label": "review label",
    "review_note": "review note",
    "review_by": "review by",
    "review_time": "review time",
}
DAYS = {
    "valid_fraction": "valid, 0 to 1",
    "unrest": "unrest, times the usual",
    "shift_rows": "shift, rows",
    "shift_cols": "shift, columns",
}
FORM = {
    "review": "review_status review_label review_note",
    "change": "chip rank first_date confirmed_date peak_date last_date score persistence direction top_band magnitude "
    "area_m2 pixels scene change_id review_by review_time",
}
MAP_TIP = f"""<b>Change [% "rank" %]</b> [% format_date("first_date", 'yyyy-MM-dd') %] to
[% format_date("last_date", 'yyyy-MM-dd') %]<br>
score [% format_number("score", 2) %], persistence [% format_number("persistence", 2) %]<br>
area [% format_number("area_m2", 0) %] m², [% "pixels" %] pixels<br>
strongest in [% {html_of('"top_band"')} %], [% {html_of('"direction"')} %]<br>
[% {html_of('"review_status"')} %] [% {html_of('"review_label"')} %] [% {html_of('"review_note"')} %]
[% coalesce({FOLDER_CHIP}, '') %]"""
SHEETS = {
    "changes": Sheet(
        {name: NAMES.get(name, name) for name in tables.CHANGES},
        '"rank"',
        "'#' || \"rank\" || '  ' || format_date(\"first_date\", 'yyyy-MM-dd')",
        FORM,
        MAP_TIP,
    ),
    "dates": Sheet(
        {name: DAYS.get(name, name) for name in tables.DATES},
        '"date"',
        "format_date(\"date\", 'yyyy-MM-dd')",
    ),
}
ABSTRACTS = {
    "changes": "What differs from what its season lets expect, by rank, from its first day to its last. Score: -log10 "
    "of how often a block of untouched ground gets as high. The style 'by review' colours decisions.",
    "dates": "The dates that were scored: how much of each counts, and how unlike the others it is.",
}
STYLES: dict[str, tuple[str, str, Callable[[Element], None]]] = {
    "changes": (
        "changes",
        "outlines coloured by score, shown from their first day to their last",
        qgis.fill_by_score,
    ),
    "by review": (
        "changes",
        "outlines coloured by review status, shown from their first day to their last",
        qgis.fill_by_review,
    ),
    "dates": ("dates", "the grid on each day that was scored", qgis.fill_edge),
}


def styles() -> dict[str, tuple[str, str, str]]:
    """(layer, description, QML) of each style, the usual one of a layer first."""
    out = {}
    for name, (layer, about, _) in STYLES.items():
        root = Element("qgis", {"version": qgis.VERSION})
        _fill(root, name)
        out[name] = (layer, about, document(root))
    return out


def project(
    out: Path,
    grid: Grid,
    crs: qgisproject.Crs | None,
    heat: str,
    days: Sequence[int],
    scene: str,
    backdrop: Backdrop | None,
) -> bytes:
    """A .qgz archive with both layers, the heatmap of the last date over its scene, and the span of days."""
    vectors = [
        Vector(
            layer,
            out.stem if layer == "changes" else f"{out.stem} {layer}",
            ABSTRACTS[layer],
            {style: partial(_fill, style=style) for style, (of, _, _) in STYLES.items() if of == layer},
            shown=layer == "changes",
        )
        for layer in SHEETS
    ]
    ring = grid.footprint()
    (xmin, ymin), (xmax, ymax) = ring.min(axis=0), ring.max(axis=0)
    return qgisproject.project(
        out.stem,
        gpkg=out.name,
        scenes=[Rasters(scene, heat, qgis.TOPS[1], crs, backdrop, len(days))],
        crs=crs,
        extent=(float(xmin), float(ymin), float(xmax), float(ymax)),
        vectors=vectors,
        span=(dates.text_of(min(days)), dates.text_of(max(days))),
    )


def _fill(parent: Element, style: str) -> None:
    """A style with form and table, and which fields say when a feature is there."""
    layer, _, draw = STYLES[style]
    begin, end = ("first_date", "last_date") if layer == "changes" else ("date", "date")
    # mode 2: from one field to another; what has changed stays to its last day
    temporal = {"enabled": "1", "mode": "2", "startField": begin, "endField": end, "durationField": ""}
    temporal |= {"durationUnit": "days", "fixedDuration": "0", "accumulate": "0", "limitMode": "1"}
    fixed = add(add(parent, "temporal", temporal), "fixedRange")
    add(fixed, "start")
    add(fixed, "end")
    qgis.fill_vector(parent, draw, SHEETS[layer])
