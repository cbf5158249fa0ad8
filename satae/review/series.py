"""What the page shows of a result of `satae series`: dates as scenes, and of each region its strip and its plot."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any
from xml.etree.ElementTree import tostring

import cv2
import numpy as np
from starlette.exceptions import HTTPException
from starlette.responses import Response

from satae.errors import SceneError
from satae.gis.geopackage import CHANGES
from satae.report.chips import GAP
from satae.report.courses import STYLE, Course, plot
from satae.review.pictures import Pyramid, View, view
from satae.review.store import Review
from satae.scene import readers

EPOCH = date(1970, 1, 1)


def views(review: Review) -> list[View]:
    """How each scene is drawn; of a series each date that is the peak of a region, with its band of the heatmap."""
    if review.layer != CHANGES:
        return [view(row, review.path, alone=len(review.scenes) == 1) for row in review.scenes]
    found = []
    for row in review.scenes:
        drawn = view(row, review.path, alone=True)
        if drawn.heat is not None:
            part = drawn.heat.parts[0]
            # bands of the heatmap are called by their dates
            names = [band.name for band in readers.source(part.path).bands]
            day = str(row["date"] or "")[:10]
            with suppress(SceneError):
                drawn.heat = Pyramid([replace(part, bands=[names.index(day) + 1])]) if day in names else None
        found.append(drawn)
    return found


def serve(app: Any, review: Review, chip_of: Any) -> None:
    """Add what only results of a series have to the server; `chip_of` reads a picture that the result names."""
    if review.layer != CHANGES:
        return
    folder = review.path.absolute().parent.resolve()
    regions = {row["fid"]: row for row in review.regions}

    def style() -> Response:
        return Response(STYLE.read_bytes(), media_type="text/css; charset=utf-8")

    def course(fid: int) -> dict[str, Any]:
        row = regions.get(fid)
        return {} if row is None else content(row, review.courses(row["anomaly_id"]))

    def panel(fid: int, number: int) -> Response:
        strip = chip_of(folder, regions.get(fid, {}).get("chip"))
        found = None if strip is None else cut(strip, number)
        if found is None:
            raise HTTPException(404, "there is no such picture")
        return Response(found, media_type="image/png")

    routes = {"/course.css": style, "/courses/{fid}": course, "/courses/{fid}/{number}.png": panel}
    for path, answer in routes.items():
        app.add_api_route(path, answer, methods=["GET"])


def cut(strip: bytes, number: int) -> bytes | None:
    """One picture of a strip, None where it has none of that number."""
    # panels are squares as high as the strip
    image = cv2.imdecode(np.frombuffer(strip, np.uint8), cv2.IMREAD_COLOR)
    if image is None or number < 0:
        return None
    side = len(image)
    panel = image[:, number * (side + GAP) :][:, :side]
    return cv2.imencode(".png", panel)[1].tobytes() if panel.shape[1] == side else None


def content(row: dict[str, Any], courses: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page draws: pictures with their days, and a plot a band, the one that changed most before others."""
    # rows come by date; each band is a plot
    by_band: dict[str, list[dict[str, Any]]] = {}
    for line in courses:
        by_band.setdefault(str(line["band"]), []).append(line)
    top = str(row.get("top_band") or "")
    ordered = sorted(by_band, key=lambda band: band != top)
    lines = by_band[ordered[0]] if ordered else []
    shown = sorted(
        (line["panel"], line) for line in lines if isinstance(line["panel"], int) and line["panel"] >= 0
    )
    return {
        "panels": [
            {"number": n, "day": str(line["date"])[:10], "role": str(line["role"] or "")} for n, line in shown
        ],
        "plots": [{"band": band, "svg": _drawn(band, by_band[band], row)} for band in ordered],
    }


def _drawn(band: str, lines: list[dict[str, Any]], row: dict[str, Any]) -> str:
    """The plot of one band as text; empty where the rows of the file are none."""
    # other programs may have written to the table
    with suppress(ValueError, TypeError):
        days = np.array([_day(line["date"]) for line in lines])
        seen, expected, spread, share = (
            np.array([np.nan if line[kind] is None else float(line[kind]) for line in lines])
            for kind in ("seen", "expected", "spread", "share")
        )
        past = np.array([bool(line["history"]) for line in lines])
        marks = {n: _day(row[f"{n}_date"]) for n in ("first", "peak", "last") if row.get(f"{n}_date")}
        drawn = plot(Course(band, days, seen, expected, spread, share, past, marks))
        drawn.set("xmlns", "http://www.w3.org/2000/svg")
        return tostring(drawn, encoding="unicode")
    return ""


def _day(text: Any) -> int:
    return (date.fromisoformat(str(text)[:10]) - EPOCH).days
