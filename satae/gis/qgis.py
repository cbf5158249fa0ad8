"""How the layers of a result look in QGIS.

It writes QGIS's own XML (3.22 and later) and fills two tables of a finished GeoPackage. It makes no layer and
no raster, and needs no QGIS.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from os import PathLike
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from satae.gis import qgisform
from satae.gis.qgisform import Sheet
from satae.gis.qgisxml import add, data_defined, document, option

VERSION = "3.22.0"

# Fixed classes of score, never quantiles of a scene: a colour means the same probability in every scene.
# Light to saturated, each drawn over a dark casing, so that one of the two stands out from any ground.
CLASSES = (
    (0, 2, "255,241,168", 0.40, "below 2"),
    (2, 3, "255,214,51", 0.45, "2 to 3, p ≤ 1 in 100"),
    (3, 4, "255,159,10", 0.50, "3 to 4, p ≤ 1 in 1 000"),
    (4, 6, "255,82,48", 0.55, "4 to 6, p ≤ 1 in 10 000"),
    (6, 1e99, "255,45,150", 0.65, "above 6, p ≤ 1 in 1 000 000"),
)
CASING = "12,12,20,190"
REVIEWED = {
    "unreviewed": "255,214,51",
    "accepted": "53,224,141",
    "rejected": "201,209,216",
    "unsure": "120,190,255",
}

# matplotlib's inferno from 0.15 up (its start is black and would only dirty the scene), and opacities.
HEAT = ("#2b0b57", "#59106e", "#84206b", "#b0315b", "#d54a41", "#f06f20", "#fc9f07", "#f7d340", "#fcffa4")
OPACITY = (0, 60, 115, 150, 175, 195, 210, 225, 235)
CLEAR_BELOW = 1.5  # one pixel in thirty of an ordinary scene is above it
TOPS = (4.0, 10.0)  # least and greatest end of the ramp


def layer_style(style: str) -> str:
    """QML of one of STYLES."""
    root = Element("qgis", {"version": VERSION})
    fill_layer(root, STYLES[style][0], style)
    return document(root)


def ramp_top(maximum: float) -> float:
    """Where the colours of a heatmap end: low, plain noise would glow, high, an extreme would dim all others."""
    return TOPS[0] if math.isnan(maximum) else min(max(maximum, TOPS[0]), TOPS[1])


def heat_colours(heat: npt.NDArray[Any], top: float) -> npt.NDArray[np.uint8]:
    """Heat (...) as `heatmap_style` draws it where the ramp ends at `top`: blue, green, red and opacity (..., 4)."""
    steps = np.linspace(CLEAR_BELOW, top, len(HEAT))
    colours = [(*bytes.fromhex(colour[1:])[::-1], alpha) for colour, alpha in zip(HEAT, OPACITY, strict=True)]
    channels = [np.interp(heat, steps, channel) for channel in np.array(colours, float).T]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), np.uint8)


def heatmap_style(maximum: float) -> str:
    """QML of a heatmap, clear below 1.5 and where NaN; scores over `ramp_top` keep the last colour."""
    root = Element("qgis", {"version": VERSION})
    fill_heatmap(root, maximum)
    return document(root)


def embed(
    gpkg: str | PathLike[str],
    *,
    name: str,
    archive: bytes,
    updated: datetime,
    styles: Mapping[str, tuple[str, str, str]] | None = None,
) -> None:
    """Put the styles and a `project` archive into a GeoPackage written by GDAL, as QGIS itself would.

    `styles` are (layer, description, QML) by name, those of a result of `satae score` by default.
    `updated` (with a time zone) is the only clock used. A repeated call replaces what the first one wrote, and nothing
    that somebody else stored under the same name.
    The project opens as geopackage:FILE?projectName=NAME.
    """
    stamp = updated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with closing(sqlite3.connect(gpkg, isolation_level=None)) as database, database:
        database.execute("BEGIN IMMEDIATE")  # else CREATE TABLE would stay after a failure
        _make_tables(database, stamp)
        if styles is None:
            styles = {
                style: (layer, about, layer_style(style)) for style, (layer, about, _) in STYLES.items()
            }
        _put_styles(database, stamp, styles)
        metadata = json.dumps({"last_modified_time": stamp[:19], "last_modified_user": "satae"})
        # QgsGeoPackageProjectStorage reads hexadecimal text, though the column says BLOB.
        stored = database.execute("SELECT metadata FROM qgis_projects WHERE name = ?", (name,)).fetchone()
        if stored is None or project_is_ours(stored[0]):
            row = (name, metadata, archive.hex())
            database.execute("INSERT OR REPLACE INTO qgis_projects VALUES (?, ?, ?)", row)


# --- the GeoPackage's two tables, as GDAL and QGIS create them

PROJECTS = "CREATE TABLE IF NOT EXISTS qgis_projects(name TEXT PRIMARY KEY, metadata BLOB, content BLOB)"
TABLE = """CREATE TABLE "layer_styles" ( "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
"f_table_catalog" TEXT(256), "f_table_schema" TEXT(256), "f_table_name" TEXT(256),
"f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT, "useAsDefault" BOOLEAN,
"description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
"update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""
COUNT = """CREATE TRIGGER "trigger_{name}_feature_count_layer_styles" AFTER {event} ON "layer_styles"
BEGIN UPDATE gpkg_ogr_contents SET feature_count = feature_count {sign} 1
WHERE lower(table_name) = lower('layer_styles'); END"""


def _make_tables(database: sqlite3.Connection, stamp: str) -> None:
    database.execute(PROJECTS)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'").fetchone():
        return
    database.execute(TABLE)
    database.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)"
        " VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)",
        (stamp,),
    )
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'gpkg_ogr_contents'").fetchone():
        return  # other programs than GDAL do not count rows
    database.execute("INSERT INTO gpkg_ogr_contents VALUES ('layer_styles', 0)")
    for event, sign in (("INSERT", "+"), ("DELETE", "-")):
        database.execute(COUNT.format(name=event.lower(), event=event, sign=sign))


def is_ours(layer: object, style: object, description: object) -> bool:
    """Whether satae wrote a row of `layer_styles`; who saves a style in QGIS describes it anew, or not."""
    return style in STYLES and (layer, description) == STYLES[str(style)][:2]


def project_is_ours(metadata: Any) -> bool:
    """Whether satae was the last to write a row of `qgis_projects`."""
    try:
        return bool(json.loads(metadata)["last_modified_user"] == "satae")
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _put_styles(database: sqlite3.Connection, stamp: str, styles: Mapping[str, tuple[str, str, str]]) -> None:
    """Put in the styles, each as the default of its layer but where somebody has stored another as that.

    A table that another program made may lack columns; what satae has for those is left out.
    """
    there = {row[1] for row in database.execute("PRAGMA table_info(layer_styles)")}
    if not {"f_table_name", "styleName", "styleQML", "useAsDefault", "description"} <= there:
        return
    for style, (layer, description, content) in styles.items():
        database.execute(
            "DELETE FROM layer_styles WHERE f_table_name = ? AND styleName = ? AND description = ?",
            (layer, style, description),
        )
        others = "SELECT 1 FROM layer_styles WHERE f_table_name = ? AND useAsDefault"
        first = database.execute(others, (layer,)).fetchone() is None
        # An empty schema, not NULL: QGIS compares it with '' and would find no style.
        row: dict[str, object] = {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": layer,
            "f_geometry_column": "geom",
        }
        row |= {"styleName": style, "styleQML": content, "styleSLD": "", "useAsDefault": first}
        row |= {"description": description, "owner": "", "update_time": stamp}
        names = [name for name in row if name in there]
        places = ", ".join(f":{name}" for name in names)
        database.execute(f"INSERT INTO layer_styles ({', '.join(names)}) VALUES ({places})", row)


# --- layers, each a function that fills <qgis> (a style) or <maplayer> (a layer of a project)


def fill_layer(parent: Element, layer: str, style: str = "") -> None:
    """One of the layer's STYLES, the first of them where none is named, with its form and its table."""
    fill_vector(parent, STYLES[style or layer][2], qgisform.SHEETS[layer])


def fill_vector(parent: Element, draw: Callable[[Element], None], sheet: Sheet) -> None:
    """A layer that `draw` gives its symbols, and a sheet its form and its table."""
    parent.attrib.update({"labelsEnabled": "0", "simplifyDrawingHints": "1", "simplifyLocal": "1"})
    draw(parent)
    qgisform.fill(parent, sheet)
    add(parent, "layerOpacity", text="1")


def fill_by_score(parent: Element) -> None:
    """Regions as outlines in the colour of their class of score, the rejected faint."""
    symbols = [[_outline(CASING, width + 0.7), _outline(colour, width)] for _, _, colour, width, _ in CLASSES]
    _fill_ranked(parent, _graduated(parent, symbols, alpha="if(\"review_status\" = 'rejected', 30, 100)"))


def fill_by_review(parent: Element) -> None:
    """Regions as outlines in the colour of what was decided."""
    renderer = add(parent, "renderer-v2", {"type": "categorizedSymbol", "attr": "review_status"})
    categories, bodies = add(renderer, "categories"), add(renderer, "symbols")
    for index, (status, colour) in enumerate(REVIEWED.items()):
        category = {"value": status, "label": status, "symbol": str(index), "render": "true"}
        add(categories, "category", category)
        _symbol(bodies, str(index), [_outline(CASING, 1.2), _outline(colour, 0.5)], {})
    _fill_ranked(parent, renderer)


def _fill_ranked(parent: Element, renderer: Element) -> None:
    """Regions with their ranks, the first of which are drawn over the others."""
    renderer.set("enableorderby", "1")  # the first rank last, so on top
    add(add(renderer, "orderby"), "orderByClause", {"asc": "0", "nullsFirst": "1"}, '"rank"')
    beside = {"placement": "8", "dist": "0.6", "distUnits": "MM", "polygonPlacementFlags": "3"}
    _label(parent, "rank", beside, {"Priority": 'scale_linear("rank", 1, 100, 10, 0)'})


def fill_outlines(parent: Element) -> None:
    """Scenes as white outlines, with their names inside."""
    outlines = [_outline(CASING, 0.9), _outline("255,255,255", 0.35)]
    renderer = add(parent, "renderer-v2", {"type": "singleSymbol"})
    _symbol(add(renderer, "symbols"), "0", outlines, {})
    corner = {"geometryGenerator": "make_point(x_min($geometry), y_max($geometry))"}
    corner |= {"geometryGeneratorType": "PointGeometry", "geometryGeneratorEnabled": "1"}
    inside = {"placement": "1", "quadOffset": "8", "xOffset": "1", "yOffset": "1", "offsetUnits": "MM"}
    _label(parent, "scene", corner | inside, {})


def fill_edge(parent: Element) -> None:
    """A faint edge alone."""
    renderer = add(parent, "renderer-v2", {"type": "singleSymbol"})
    _symbol(add(renderer, "symbols"), "0", [_outline("255,255,255,60", 0.3)], {})


def _fill_tiles(parent: Element) -> None:
    edge = {"style": "solid", "outline_color": "255,255,255,70", "outline_width": "0.1"}
    colours = [f"{colour},{18 * step}" for step, (_, _, colour, _, _) in enumerate(CLASSES)]
    _graduated(parent, [[_simple_fill({"color": colour} | edge)] for colour in colours])


# by name: layer, description, what fills it; the first of a layer is its default
STYLES: Mapping[str, tuple[str, str, Callable[[Element], None]]] = {
    "anomalies": ("anomalies", "outlines coloured by score, with their rank", fill_by_score),
    "by review": ("anomalies", "outlines coloured by review status, with their rank", fill_by_review),
    "scenes": ("scenes", "footprints with the scene's name", fill_outlines),
    "tiles": ("tiles", "faint fill by score", _fill_tiles),
}
LAYERS = tuple(dict.fromkeys(layer for layer, _, _ in STYLES.values()))
ABSTRACTS = {
    "anomalies": "Regions that are out of place, by rank. Score: -log10 of how often a region of normal ground has a "
    "peak as high. What you decide in the form is read by satae --feedback. The style 'by review' colours decisions.",
    "scenes": "What was scored: the outline of each scene, with the rule and the threshold of its regions.",
    "tiles": "The squares that the model looked at, each by its highest pixel.",
    "heatmap": "Heat: -log10 of how often a pixel of normal ground is as odd; 4 is one in 10 000. Clear below "
    f"{CLEAR_BELOW}.",
    "scene": "The scene that was scored, each band from its 0.5 % to its 99.5 % quantile.",
}


def fill_heatmap(parent: Element, maximum: float, opacity: float = 1.0, band: int = 1) -> None:
    """The ramp of a band of a heatmap, whose own opacities are multiplied by one."""
    top = ramp_top(maximum)
    pipe = add(parent, "pipe")
    renderer = add(
        pipe,
        "rasterrenderer",
        {"type": "singlebandpseudocolor", "band": str(band), "opacity": str(opacity)},
    )
    renderer.attrib.update({"alphaBand": "-1", "classificationMin": "0", "classificationMax": str(top)})
    shader = {"colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0"}
    ramp = add(add(renderer, "rastershader"), "colorrampshader", shader)
    ramp.attrib.update({"minimumValue": "0", "maximumValue": str(top)})
    steps = [CLEAR_BELOW + (top - CLEAR_BELOW) * step / (len(HEAT) - 1) for step in range(len(HEAT))]
    for value, colour, opacity in ((0.0, HEAT[0], 0), *zip(steps, HEAT, OPACITY, strict=True)):
        item = {"value": str(value), "label": f"{value:.1f}", "color": colour, "alpha": str(opacity)}
        add(ramp, "item", item)
    add(pipe, "rasterresampler", {"maxOversampling": "2"})
    add(parent, "blendMode", text="0")


def _graduated(parent: Element, symbols: Sequence[Sequence[Element]], *, alpha: str = "100") -> Element:
    """One symbol a class of score; `alpha` is an expression in per cent."""
    attributes = {"type": "graduatedSymbol", "attr": "score", "graduatedMethod": "GraduatedColor"}
    renderer = add(parent, "renderer-v2", attributes)
    ranges, bodies = add(renderer, "ranges"), add(renderer, "symbols")
    for index, ((lower, upper, _, _, label), layers) in enumerate(zip(CLASSES, symbols, strict=True)):
        limits = {"lower": str(lower), "upper": str(upper), "label": label}
        add(ranges, "range", limits | {"symbol": str(index), "render": "true"})
        _symbol(bodies, str(index), layers, {"alpha": alpha})
    return renderer


def _symbol(parent: Element, name: str, layers: Iterable[Element], properties: Mapping[str, str]) -> None:
    symbol = add(parent, "symbol", {"type": "fill", "name": name, "alpha": "1", "clip_to_extent": "1"})
    data_defined(symbol, "data_defined_properties", properties)
    symbol.extend(layers)


def _outline(colour: str, width: float) -> Element:
    return _simple_fill({"style": "no", "outline_color": colour, "outline_width": str(width)})


def _simple_fill(properties: dict[str, str]) -> Element:
    layer = Element("layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    line = {"joinstyle": "miter", "outline_style": "solid", "outline_width_unit": "MM"}
    layer.append(option(line | properties))
    return layer


def _label(parent: Element, field: str, placement: Mapping[str, str], properties: Mapping[str, str]) -> None:
    """White text with a dark edge, readable on any ground."""
    parent.set("labelsEnabled", "1")
    settings = add(add(parent, "labeling", {"type": "simple"}), "settings", {"calloutType": "simple"})
    text = {"fieldName": field, "fontSize": "9", "fontSizeUnit": "Point", "fontWeight": "75"}
    style = add(settings, "text-style", text | {"textColor": "255,255,255,255", "textOpacity": "1"})
    edge = {"bufferDraw": "1", "bufferSize": "0.8", "bufferSizeUnits": "MM", "bufferColor": "12,12,20,255"}
    add(style, "text-buffer", edge | {"bufferOpacity": "0.85", "bufferJoinStyle": "128"})
    add(settings, "placement", {"priority": "5", **placement})
    add(settings, "rendering", {"drawLabels": "1", "obstacle": "1", "obstacleFactor": "1"})
    data_defined(settings, "dd_properties", properties)
