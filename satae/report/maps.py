"""Outlines of regions over a picture of their scene, as SVG: seen from afar, and told apart by their scores."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import shapely

from satae.gis import qgis
from satae.grid import Grid
from satae.report.html import add

SIDE = 1000  # units of the longer side of a drawn scene
SMALLEST = 14  # units below which a region is drawn as a ring around it
SPECK = 4  # units around a part of a region that is too small to be drawn


def class_of(score: float) -> int:
    """The number of the class of colour that a score is in; the last one has no end."""
    return sum(score >= upper for _, upper, _, _, _ in qgis.CLASSES[:-1])


def outline(holder: Element, shape: Any, grid: Grid, step: int, label: str) -> None:
    """A region in pixel coordinates, in a dark casing, as a ring around it where it would hardly be seen."""
    unit = SIDE / max(grid.height, grid.width)
    width, height = grid.width * unit, grid.height * unit
    left, top, right, bottom = (v * unit for v in shape.bounds)
    extent = max(right - left, bottom - top)
    # half a unit of the drawing is all that is seen
    parts = shapely.get_parts(shapely.simplify(shape, 0.5 / unit))
    seen = parts[shapely.length(parts) * unit > SPECK] if extent >= SMALLEST else []
    for kind in ("casing", f"region c{step}"):
        if len(seen):
            corners = [shapely.get_coordinates(part.exterior) * unit for part in seen]
            path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in c[:-1]) + "Z" for c in corners)
            add(holder, "path", d=path, kind=kind)
        else:
            x, y = f"{(left + right) / 2:.1f}", f"{(top + bottom) / 2:.1f}"
            add(holder, "circle", cx=x, cy=y, r=f"{max(SMALLEST, extent / 2):g}", kind=kind)
    if label:
        side = {"x": f"{right + SMALLEST / 2:.1f}"}
        if right > width - 4 * SMALLEST:  # it would not be seen whole
            # the label goes to the other side
            side = {"x": f"{left - SMALLEST / 2:.1f}", "text_anchor": "end"}
        add(holder, "text", label, y=f"{min(max(top, 1.5 * SMALLEST), height - 3):.1f}", **side)
