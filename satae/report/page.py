"""The report of a result: one page that shows it, says how it came about, and needs nothing but a browser.

No script, no network, no file beside it; pictures are inside. The page is built as a tree of elements, so
that names and notes from elsewhere can be text and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import shapely

import satae
from satae.console import printable, quantity
from satae.errors import OutputError
from satae.geodesy import crs_name
from satae.gis import qgis
from satae.gis.columns import REVIEW_STATUSES, Region
from satae.gis.layers import SceneLayer
from satae.grid import Grid
from satae.inference.calibrate import Calibration, alarm_unit
from satae.inference.card import Card
from satae.inference.runtime import Model
from satae.report import words
from satae.report.overview import Picture

MAP = 1000  # units of the longer side of a drawn scene
CELLS = 1000  # of the longer side of a single overview; several share the area of one
PICTURES = 16  # scenes that are drawn
NAMED = 100  # scenes in the list of provenance
LISTED = 24  # regions with chip and numbers
OUTLINED = 300  # regions drawn in the pictures, over all scenes
SMALLEST = 14  # units below which a region is drawn as a ring around it
SPECK = 4  # units around a part of a region that is too small to be drawn
NO_CRS = "no CRS"
POLICY = "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Chapter:
    """A scene in the report: its rows in the layers, the files that it is made of, its picture if there is one.

    `threshold` is heat and may be infinite, `smallest` a region in pixels; `remarks` are
    sentences for people.
    """

    layer: SceneLayer
    files: Sequence[Path]
    view: Picture | None
    threshold: float
    smallest: int
    remarks: Sequence[str]


def path_of(out: Path) -> Path:
    """Where the report of a result lies."""
    return out.with_name(f"{out.stem}.html")


def cells(scenes: int) -> int:
    """The longer side of each scene's overview, so that all of them together stay as small as one."""
    return round(CELLS / math.sqrt(min(scenes, PICTURES)))


def check_target(target: Path) -> None:
    """Refuse to replace a page that satae did not write."""
    if target.is_file() and not is_ours(target):
        raise OutputError(
            f"{target} is a page that satae did not write; move it away, or choose another --out"
        )


def is_ours(target: Path) -> bool:
    """Whether there is a page that satae wrote."""
    if not target.is_file():
        return False
    with target.open("rb") as file:
        return b'<meta name="generator" content="satae' in file.read(1024)


@dataclass(frozen=True)
class Whole:
    """What a report is a part of: how many regions and scenes there are in all."""

    regions: int
    scenes: int


def write(
    path: Path,
    out: Path,
    chapters: Sequence[Chapter],
    model: Model,
    asked: str,
    chips: Path,
    whole: Whole | None = None,
) -> None:
    """Write the report of `out` to `path`; the pictures that rows name lie in the folder `chips`.

    `asked` is a sentence on the rule that selected the regions. Of a result of very many scenes the chapters are
    those with the first regions, and `whole` says of how many.
    """
    whole = whole or Whole(sum(len(c.layer.regions) for c in chapters), len(chapters))
    style = _style()
    page, head = Element("html", {"lang": "en"}), Element("head")
    page.append(head)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    _add(head, "meta", charset="utf-8")
    _add(head, "meta", name="generator", content=f"satae {satae.__version__}")
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY.format(digest)}
    SubElement(head, "meta", policy)
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "meta", name="color-scheme", content="light dark")
    _add(head, "title", f"{out.name}: anomalies")
    _add(head, "style").text = style
    body = _add(page, "body")
    _opening(body, out, chapters, whole)
    for chapter in chapters[:PICTURES]:
        _scene(body, chapter)
    _regions(body, chapters, out, chips, whole)
    _thresholds(body, chapters, model.card, asked)
    _provenance(body, chapters, model, whole)
    _add(body, "h2", "Words")
    _facts(body, words.WORDS)
    text = "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"
    path.write_text(text, encoding="utf-8")


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """A new last child; `kind` is its class, and an underscore in a name a hyphen."""
    named = {"class" if k == "kind" else k.replace("_", "-"): printable(v) for k, v in attributes.items()}
    child = SubElement(parent, tag, named)
    child.text = printable(text)
    return child


def _style() -> str:
    colours = [f".c{i} {{ stroke: rgb({rgb}); }}" for i, (_, _, rgb, _, _) in enumerate(qgis.CLASSES)]
    return "\n".join([Path(__file__).with_suffix(".css").read_text(encoding="utf-8"), *colours])


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _opening(body: Element, out: Path, chapters: Sequence[Chapter], whole: Whole) -> None:
    _add(body, "h1", out.name)
    where = f"{quantity(whole.regions, 'region')} in {quantity(whole.scenes, 'scene')}"
    scene = chapters[0].layer.scene
    _add(body, "p", f"{where} out of place · {scene.rule} · {scene.created}", kind="muted")
    _add(body, "p", words.ABOUT)


def _scene(body: Element, chapter: Chapter) -> None:
    row, grid = chapter.layer.scene, chapter.layer.grid
    _add(body, "h2", row.scene)
    for remark in chapter.remarks:
        _add(body, "p", remark, kind="note")
    at = "" if math.isinf(chapter.threshold) else f" where heat reaches {chapter.threshold:.3g}"
    _add(
        body,
        "p",
        f"{quantity(len(chapter.layer.regions), 'region')}{at}; {row.valid_fraction:.1%} of the scene scored",
    )
    if chapter.view is None:
        _add(body, "p", "The scene could not be drawn.", kind="note")
        return
    figure = _add(body, "figure")
    tools = _add(figure, "div", kind="tools")
    for name, label in (("show-heat", "heatmap"), ("show-regions", "regions")):
        box = _add(_add(tools, "label"), "input", type="checkbox", kind=name, checked="")
        box.tail = label
    for i, (_, _, _, _, label) in enumerate(qgis.CLASSES):
        key = _add(tools, "span", kind="key")
        mark = _add(key, "svg", viewBox="0 0 10 10", aria_hidden="true")
        for kind in ("casing", f"region c{i}"):
            _add(mark, "rect", x="2", y="2", width="6", height="6", kind=kind)
        mark.tail = label.partition(",")[0]
    _map(figure, chapter, chapter.view)
    names = row.bands.split(",")
    shown = ", ".join(names[:3]) + " as blue, green and red" if len(names) > 2 else f"{names[0]} in grey"
    size = f"{grid.height:,} x {grid.width:,} pixels, {crs_name(grid.crs) or NO_CRS}"
    _add(figure, "figcaption", f"Bands {shown}; grey is not scored. {size}. Numbers are ranks.")


def _map(figure: Element, chapter: Chapter, view: Picture) -> None:
    """The scene, over it its heatmap, over that the regions with the ranks of those that are listed."""
    grid = chapter.layer.grid
    unit = MAP / max(grid.height, grid.width)
    box = f"0 0 {grid.width * unit:.1f} {grid.height * unit:.1f}"
    kind = "map narrow" if grid.height > grid.width else "map"
    label = f"{chapter.layer.scene.scene} with its heatmap and regions"
    drawn = _add(figure, "svg", viewBox=box, kind=kind, role="group", aria_label=label)
    height, width = (cells * view.step * unit for cells in view.shape)
    size = {"width": f"{width:.1f}", "height": f"{height:.1f}", "preserveAspectRatio": "none"}
    sharp = "whole" if view.step == 1 else "sampled"
    for name, png in (("scene", view.scene), ("heat", view.heat)):
        SubElement(drawn, "image", size | {"href": _data(png), "class": f"{name} {sharp}"})
    regions = _add(drawn, "g", kind="regions")
    for region in sorted(chapter.layer.regions, key=lambda region: -region.rank):
        rank = region.rank
        if rank > OUTLINED:
            continue
        holder = regions
        if rank <= LISTED:
            holder = _add(regions, "a", href=f"#rank-{rank}", aria_label=f"rank {rank}")
        _outline(holder, region, grid, _class(region.score), str(rank) if rank <= LISTED else "")


def _class(score: float) -> int:
    """The number of the class of colour that a score is in; the last one has no end."""
    return sum(score >= upper for _, upper, _, _, _ in qgis.CLASSES[:-1])


def _outline(holder: Element, region: Region, grid: Grid, step: int, label: str) -> None:
    """A region, in a dark casing, as a ring around it where it would hardly be seen."""
    unit = MAP / max(grid.height, grid.width)
    width, height = grid.width * unit, grid.height * unit
    left, top, right, bottom = (v * unit for v in region.outline.bounds)
    extent = max(right - left, bottom - top)
    parts = shapely.get_parts(shapely.simplify(region.outline, 0.5 / unit))
    seen = parts[shapely.length(parts) * unit > SPECK] if extent >= SMALLEST else []
    for kind in ("casing", f"region c{step}"):
        if len(seen):
            corners = [shapely.get_coordinates(part.exterior) * unit for part in seen]
            path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in c[:-1]) + "Z" for c in corners)
            _add(holder, "path", d=path, kind=kind)
        else:
            x, y = f"{(left + right) / 2:.1f}", f"{(top + bottom) / 2:.1f}"
            _add(holder, "circle", cx=x, cy=y, r=f"{max(SMALLEST, extent / 2):g}", kind=kind)
    if label:
        side = {"x": f"{right + SMALLEST / 2:.1f}"}
        if right > width - 4 * SMALLEST:  # it would not be seen whole
            side = {"x": f"{left - SMALLEST / 2:.1f}", "text_anchor": "end"}
        _add(holder, "text", label, y=f"{min(max(top, 1.5 * SMALLEST), height - 3):.1f}", **side)


# --- the regions


def _regions(body: Element, chapters: Sequence[Chapter], out: Path, chips: Path, whole: Whole) -> None:
    _add(body, "h2", "Regions")
    every = [(region, chapter.layer.grid) for chapter in chapters for region in chapter.layer.regions]
    if not every:
        _add(body, "p", "No region is reported.")
        return
    first = sorted(every, key=lambda found: found[0].rank)[:LISTED]
    shown = (
        f"The first {len(first)} of {whole.regions:,}; all are"
        if whole.regions > len(first)
        else "All are also"
    )
    _add(
        body,
        "p",
        f"{shown} in {out.name}. Pictures show, from left to right, the scene, what the model expected there, "
        "and the heatmap.",
    )
    listed = _add(body, "ol", kind="regions-list")
    for region, grid in first:
        item = _add(listed, "li", id=f"rank-{region.rank}")
        where = f" · {region.scene}" if whole.scenes > 1 else ""
        _add(item, "h3", f"{region.rank} · score {region.score:.2f}{where}")
        if region.chip:
            alt = f"rank {region.rank}: scene, expectation and heatmap"
            picture = _data((chips / region.chip).read_bytes())
            _add(item, "img", kind="chip", alt=alt, width="588", height="192", src=picture, loading="lazy")
        _facts(item, _numbers(region, _place(grid, region)))
        _shares(item[-1], region)


def _numbers(region: Region, place: str) -> dict[str, str]:
    """What is known of a region, by what it is called."""
    facts = {"p-value": _p(region.score)}
    known = f"{region.area_m2:,.0f} m², " if math.isfinite(region.area_m2) else ""
    facts["area"] = f"{known}{quantity(region.pixels, 'pixel')}"
    facts["peak"] = place
    if math.isfinite(region.spectral_share):
        share = region.spectral_share
        facts["it differs in"] = f"{share:.0%} colour, {1 - share:.0%} texture or outline"
    if region.baseline:
        opinion = region.baseline_score
        facts[f"baseline {region.baseline}"] = f"score {opinion:.2f}, p-value {_p(opinion)}"
    if region.review_status != REVIEW_STATUSES[0]:
        said = region.review_status, region.review_label, region.review_note
        facts["review"] = " · ".join(filter(None, said))
    if not math.isnan(region.feedback):
        facts["feedback"] = f"{region.feedback:+.2f} on the score, for its rank"
    return facts


def _p(exponent: float) -> str:
    """10 to the -exponent, also where that is too small for a float."""
    whole = math.ceil(exponent)
    return f"{10 ** (whole - exponent):.1f}e-{whole}" if exponent > 3 else f"{10**-exponent:.2g}"


def _place(grid: Grid, region: Region) -> str:
    pixel = f"row {region.row}, column {region.col}"
    if not grid.is_georeferenced:
        return pixel
    lon, lat = grid.lonlat(grid.xy(region.row + 0.5, region.col + 0.5))
    return f"{lat:.5f}, {lon:.5f} (latitude, longitude); {pixel}"


def _shares(facts: Element, region: Region) -> None:
    """The bands that add most to the error, as bars."""
    shares = json.loads(region.band_shares)
    if not shares:
        return
    _add(facts, "dt", "bands")
    table = _add(_add(facts, "dd"), "table", kind="shares")
    for name, share in shares.items():
        line = _add(table, "tr")
        _add(line, "th", name, scope="row")
        bar = _add(
            _add(line, "td"), "svg", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true"
        )
        _add(bar, "rect", width=f"{100 * share:.1f}", height="1")
        _add(line, "td", f"{share:.0%}")


# --- how it came about


def _thresholds(body: Element, chapters: Sequence[Chapter], card: Card, asked: str) -> None:
    calibration = card.calibration
    assert calibration is not None
    _add(body, "h2", "How the threshold was set")
    _add(body, "p", asked)
    region, pixel = calibration.region, calibration.pixel
    facts = {
        "held out": f"{calibration.pixels:,} pixels in {quantity(calibration.blocks, 'block')} of the training "
        f"scenes, with {quantity(region.n, 'candidate region')}{region.worth}; p-values come from them",
        "supported": f"scores up to {_reach(region.smallest_p)} of regions, up to {_reach(pixel.smallest_p)} of "
        "single pixels; larger ones are extrapolated by a generalised Pareto tail: they rank, and their value is "
        f"less sure. None is over {region.limit:.1f} or {pixel.limit:.1f}: a sample says nothing of what is so rare",
        "smallest region": "; ".join(sorted({quantity(c.smallest, "pixel") for c in chapters})),
        "assumed": "that the scenes are like the held-out blocks; what is out of place in those makes every "
        "p-value larger, never smaller",
    }
    for chapter in chapters[:PICTURES]:
        name = chapter.layer.scene.scene
        facts[f"false alarms, {name}"] = _least(calibration, chapter)
    _facts(body, facts)


def _reach(supported: float) -> str:
    return f"{abs(math.log10(supported)):.1f}"


def _least(calibration: Calibration, chapter: Chapter) -> str:
    """The smallest rate of false alarms that the sample itself supports in a scene."""
    area = chapter.layer.grid.pixel_area_m2
    unit, what = alarm_unit(area), "10 megapixels" if area is None else "100 km²"
    alarms = calibration.alarms_of(chapter.smallest)
    rate = float(f"{alarms.tail.smallest_p * alarms.per_pixel * unit:.2g}")
    return f"rates from {rate:,g} per {what} on are supported"


def _provenance(body: Element, chapters: Sequence[Chapter], model: Model, whole: Whole) -> None:
    row, card = chapters[0].layer.scene, model.card
    _add(body, "h2", "Provenance")
    learned = ", ".join(s.name for s in card.scenes[:NAMED])
    facts = {
        "model": f"{model.name}, {card.architecture}, score {card.score}",
        "model sha256": model.sha256,
        "trained": f"{card.created} with satae {card.satae_version} on {learned}",
        "satae": row.satae_version,
        "scored by": row.provider,
        "created": row.created,
    }
    for chapter in chapters[:NAMED]:
        scene = chapter.layer.scene
        gsd = f", {scene.gsd_m:.4g} m a pixel" if math.isfinite(scene.gsd_m) else ""
        files = ", ".join(path.name for path in chapter.files)  # no folders: a page is passed on
        what = f"{files}; {crs_name(chapter.layer.grid.crs) or NO_CRS}{gsd}; bands {scene.bands}"
        kind = f"; domain {scene.domain}" if scene.domain else "; too small to tell whether it is foreign"
        facts[f"scene {scene.scene}"] = what + kind
    if (more := whole.scenes - min(len(chapters), NAMED)) > 0:
        facts["scenes not listed"] = f"{more:,}"
    _facts(body, facts)


def _facts(parent: Element, facts: dict[str, str]) -> None:
    listed = _add(parent, "dl")
    for name, value in facts.items():
        _add(listed, "dt", name)
        _add(listed, "dd", value)
