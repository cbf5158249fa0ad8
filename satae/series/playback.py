"""How changes look in QGIS: styles that the temporal controller plays, and a project that opens them with the heat."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element

import numpy as np

from satae.gis import qgis, qgisproject
from satae.gis.qgisxml import add, document, option
from satae.grid import Grid
from satae.series import dates

VERSION = qgis.VERSION
LAYERS = {
    "changes": "outlines coloured by score, shown from their first day to their last",
    "dates": "the grid on each day that was scored",
}
INK, CASING, FADED = "255,82,48,255", "12,12,20,190", "255,255,255,60"


def styles() -> dict[str, tuple[str, str, str]]:
    """(layer, description, QML) of the one style of each layer."""
    out = {}
    for layer, about in LAYERS.items():
        root = Element("qgis", {"version": VERSION})
        _fill(root, layer)
        out[layer] = (layer, about, document(root))
    return out


def project(out: Path, grid: Grid, crs: qgisproject.Crs | None, heat: str, days: Sequence[int]) -> bytes:
    """A .qgz archive with both layers and the heatmap of the last date, all found beside it, and the span of days."""
    root = Element("qgis", {"version": VERSION, "projectname": out.stem})
    add(root, "homePath", {"path": ""})
    add(root, "title", text=out.stem)
    _crs(add(root, "projectCrs"), crs)
    tree, held = add(root, "layer-tree-group"), add(root, "projectlayers")
    for layer in LAYERS:
        _layer(tree, held, layer, f"./{out.name}|layername={layer}", "ogr", crs, shown=layer == "changes")
        _fill(held[-1], layer)
    _layer(tree, held, Path(heat).stem, f"./{heat}", "gdal", crs, shown=True)
    held[-1].extend(_heat(len(days)))
    properties = add(root, "properties")
    add(add(properties, "Paths"), "Absolute", {"type": "bool"}, "false")
    time = {"timeStep": "1", "timeStepUnit": "mo", "frameRate": "2", "cumulativeTemporalRange": "1"}
    span = add(add(root, "ProjectTimeSettings", time), "TemporalRange")
    add(span, "start", text=f"{dates.text_of(min(days))}T00:00:00Z")
    add(span, "end", text=f"{dates.text_of(max(days))}T00:00:00Z")
    ring = grid.footprint()
    (xmin, ymin), (xmax, ymax) = ring.min(axis=0), ring.max(axis=0)
    extent = {"xmin": str(xmin), "ymin": str(ymin), "xmax": str(xmax), "ymax": str(ymax)}
    _crs(add(add(root, "ProjectViewSettings"), "DefaultViewExtent", extent), crs)
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(f"{out.stem}.qgs")  # dated 1980, so that the bytes repeat
    entry.create_system, entry.external_attr, entry.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, document(root).encode())
    return buffer.getvalue()


def _heat(bands: int) -> list[Element]:
    """The renderer of the heat of the last date."""
    holder = Element("maplayer")
    pipe = add(holder, "pipe")
    shown = {"type": "singlebandpseudocolor", "band": str(bands), "opacity": "1", "alphaBand": "-1"}
    shader = {"colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0"}
    ramp = add(add(add(pipe, "rasterrenderer", shown), "rastershader"), "colorrampshader", shader)
    steps = np.linspace(qgis.CLEAR_BELOW, qgis.TOPS[1], len(qgis.HEAT))
    for value, colour, opacity in zip(steps, qgis.HEAT, qgis.OPACITY, strict=True):
        add(
            ramp,
            "item",
            {"value": f"{value}", "label": f"{value:.1f}", "color": colour, "alpha": str(opacity)},
        )
    add(holder, "blendMode", text="0")
    return list(holder)


def _fill(parent: Element, layer: str) -> None:
    """Symbols, and which fields say when a feature is there."""
    begin, end = ("first_date", "last_date") if layer == "changes" else ("date", "date")
    # mode 2: from one field to another; what has changed stays to its last day
    temporal = {"enabled": "1", "mode": "2", "startField": begin, "endField": end, "durationField": ""}
    temporal |= {"durationUnit": "days", "fixedDuration": "0", "accumulate": "0", "limitMode": "1"}
    fixed = add(add(parent, "temporal", temporal), "fixedRange")
    add(fixed, "start")
    add(fixed, "end")
    renderer = add(parent, "renderer-v2", {"type": "singleSymbol"})
    symbol = add(
        add(renderer, "symbols"), "symbol", {"type": "fill", "name": "0", "alpha": "1", "clip_to_extent": "1"}
    )
    # a dark casing under each outline, which then stands out from any ground
    colours = ((CASING, "1.2"), (INK, "0.5")) if layer == "changes" else ((FADED, "0.3"),)
    for colour, width in colours:
        line = add(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
        line.append(
            option({"style": "no", "outline_style": "solid", "outline_color": colour, "outline_width": width})
        )
    add(parent, "layerOpacity", text="1")


def _layer(
    tree: Element,
    held: Element,
    title: str,
    source: str,
    provider: str,
    crs: qgisproject.Crs | None,
    *,
    shown: bool,
) -> None:
    identity = f"{title}_{uuid5(NAMESPACE_URL, source)}".replace("-", "_")
    said = {"id": identity, "name": title, "source": source, "providerKey": provider}
    add(tree, "layer-tree-layer", said | {"checked": "Qt::Checked" if shown else "Qt::Unchecked"})
    layer = add(held, "maplayer", {"type": "raster" if provider == "gdal" else "vector"})
    add(layer, "id", text=identity)
    add(layer, "datasource", text=source)
    add(layer, "layername", text=title)
    _crs(add(layer, "srs"), crs)
    add(layer, "provider", {"encoding": "UTF-8"} if provider == "ogr" else {}, provider)


def _crs(parent: Element, crs: qgisproject.Crs | None) -> None:
    reference = add(parent, "spatialrefsys")
    add(reference, "wkt", text=crs.wkt if crs else "")
    add(reference, "authid", text=crs.authid if crs else "")
