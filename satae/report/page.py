"""The report of a result: one page that shows it, says how it came about, and needs nothing but a browser.

No script, no network, no file beside it; pictures are inside. The page is built as a tree of elements, so
that names and notes from elsewhere can be text and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from satae.console import quantity
from satae.geodesy import crs_name
from satae.gis import kinds, qgis
from satae.gis.columns import REVIEW_STATUSES, Region
from satae.gis.layers import SceneLayer
from satae.grid import Grid
from satae.inference.calibrate import Calibration, Tail
from satae.inference.card import Card
from satae.inference.runtime import Model
from satae.report import html, maps, words
from satae.report.html import add, data
from satae.report.maps import outline
from satae.report.overview import Picture

CELLS = 1000  # of the longer side of a single overview; several share the area of one
PICTURES = 16  # scenes that are drawn
NAMED = 100  # scenes in the list of provenance
LISTED = 24  # regions with chip and numbers
OUTLINED = 300  # regions drawn in the pictures, over all scenes
NO_CRS = "no CRS"


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


def cells(scenes: int) -> int:
    """The longer side of each scene's overview, so that all of them together stay as small as one."""
    return round(CELLS / math.sqrt(min(scenes, PICTURES)))


@dataclass(frozen=True)
class Whole:
    """What a report is a part of: how many regions and scenes there are in all."""

    regions: int
    scenes: int


def write(
    path: Path,
    out: Path,
    chapters: Sequence[Chapter],
    models: Sequence[Model],
    asked: str,
    chips: Path,
    whole: Whole | None = None,
    doubts: Sequence[str] = (),
) -> None:
    """Write the report of `out` to `path`; the pictures that rows name lie in the folder `chips`.

    `models` are those that scored, one a kind of thing. `asked` is a sentence on the rule that selected the regions.
    Of a result of very many scenes the chapters are those with the first regions, and `whole` says of how many.
    `doubts` are notes for all of it.
    """
    whole = whole or Whole(sum(len(c.layer.regions) for c in chapters), _scenes(chapters))
    document, body = html.document(f"{out.name}: anomalies")
    _opening(body, out, chapters, whole)
    for doubt in doubts:
        add(body, "p", doubt, kind="note")
    several = len(models) > 1
    for chapter in chapters[:PICTURES]:
        _scene(body, chapter, chapter.layer.scene.kind if several else "region")
    _regions(body, chapters, out, chips, whole, told=several)
    for model in models:
        own = [c for c in chapters if len(models) == 1 or c.layer.scene.kind == model.card.kind]
        what = f" for {model.card.kind}s" if len(models) > 1 else ""
        _thresholds(body, own, model.card, asked, what)
    _provenance(body, chapters, models, whole)
    add(body, "h2", "Words")
    html.facts(body, words.WORDS)
    html.store(document, path)


def _scenes(chapters: Sequence[Chapter]) -> int:
    return kinds.scenes_in((c.layer.scene.path, c.layer.scene.kind) for c in chapters)


def _opening(body: Element, out: Path, chapters: Sequence[Chapter], whole: Whole) -> None:
    add(body, "h1", out.name)
    where = f"{quantity(whole.regions, 'region')} in {quantity(whole.scenes, 'scene')}"
    scene = chapters[0].layer.scene
    add(body, "p", f"{where} out of place · {scene.rule} · {scene.created}", kind="muted")
    add(body, "p", words.ABOUT)


def _scene(body: Element, chapter: Chapter, what: str) -> None:
    """A scene with what was found in it, each called `what`."""
    row, grid = chapter.layer.scene, chapter.layer.grid
    add(body, "h2", row.scene)
    for remark in chapter.remarks:
        add(body, "p", remark, kind="note")
    at = "" if math.isinf(chapter.threshold) else f" where heat reaches {chapter.threshold:.3g}"
    add(
        body,
        "p",
        f"{quantity(len(chapter.layer.regions), what)}{at}; {row.valid_fraction:.1%} of the scene scored",
    )
    if chapter.view is None:
        add(body, "p", "The scene could not be drawn.", kind="note")
        return
    figure = add(body, "figure")
    tools = add(figure, "div", kind="tools")
    for name, label in (("show-heat", "heatmap"), ("show-regions", "regions")):
        box = add(add(tools, "label"), "input", type="checkbox", kind=name, checked="")
        box.tail = label
    for i, (_, _, _, _, label) in enumerate(qgis.CLASSES):
        key = add(tools, "span", kind="key")
        mark = add(key, "svg", viewBox="0 0 10 10", aria_hidden="true")
        for kind in ("casing", f"region c{i}"):
            add(mark, "rect", x="2", y="2", width="6", height="6", kind=kind)
        mark.tail = label.partition(",")[0]
    _map(figure, chapter, chapter.view)
    names = row.bands.split(",")
    shown = ", ".join(names[:3]) + " as blue, green and red" if len(names) > 2 else f"{names[0]} in grey"
    size = f"{grid.height:,} x {grid.width:,} pixels, {crs_name(grid.crs) or NO_CRS}"
    add(figure, "figcaption", f"Bands {shown}; grey is not scored. {size}. Numbers are ranks.")


def _map(figure: Element, chapter: Chapter, view: Picture) -> None:
    """The scene, over it its heatmap, over that the regions with the ranks of those that are listed."""
    grid = chapter.layer.grid
    unit = maps.SIDE / max(grid.height, grid.width)
    box = f"0 0 {grid.width * unit:.1f} {grid.height * unit:.1f}"
    kind = "map narrow" if grid.height > grid.width else "map"
    label = f"{chapter.layer.scene.scene} with its heatmap and regions"
    drawn = add(figure, "svg", viewBox=box, kind=kind, role="group", aria_label=label)
    height, width = (cells * view.step * unit for cells in view.shape)
    size = {"width": f"{width:.1f}", "height": f"{height:.1f}", "preserveAspectRatio": "none"}
    sharp = "whole" if view.step == 1 else "sampled"
    for name, png in (("scene", view.scene), ("heat", view.heat)):
        SubElement(drawn, "image", size | {"href": data(png), "class": f"{name} {sharp}"})
    regions = add(drawn, "g", kind="regions")
    for region in sorted(chapter.layer.regions, key=lambda region: -region.rank):
        rank = region.rank
        if rank > OUTLINED:
            continue
        holder = regions
        if rank <= LISTED:
            holder = add(regions, "a", href=f"#rank-{rank}", aria_label=f"rank {rank}")
        label = str(rank) if rank <= LISTED else ""
        outline(holder, region.outline, grid, maps.class_of(region.score), label)


# --- the regions


def _regions(
    body: Element, chapters: Sequence[Chapter], out: Path, chips: Path, whole: Whole, *, told: bool
) -> None:
    """The first regions, each with its kind where that is to be `told`."""
    add(body, "h2", "Regions")
    every = [(region, chapter.layer.grid) for chapter in chapters for region in chapter.layer.regions]
    if not every:
        add(body, "p", "No region is reported.")
        return
    first = sorted(every, key=lambda found: found[0].rank)[:LISTED]
    shown = (
        f"The first {len(first)} of {whole.regions:,}; all are"
        if whole.regions > len(first)
        else "All are also"
    )
    add(
        body,
        "p",
        f"{shown} in {out.name}. Pictures show, from left to right, the scene, what the model expected there, "
        "and the heatmap.",
    )
    listed = add(body, "ol", kind="regions-list")
    for region, grid in first:
        item = add(listed, "li", id=f"rank-{region.rank}")
        where = [region.kind] * told + [region.scene] * (whole.scenes > 1)
        add(item, "h3", " · ".join([f"{region.rank} · score {region.score:.2f}", *where]))
        if region.chip:
            alt = f"rank {region.rank}: scene, expectation and heatmap"
            picture = data((chips / region.chip).read_bytes())
            add(item, "img", kind="chip", alt=alt, width="588", height="192", src=picture, loading="lazy")
        html.facts(item, _numbers(region, _place(grid, region)))
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
    add(facts, "dt", "bands")
    table = add(add(facts, "dd"), "table", kind="shares")
    for name, share in shares.items():
        line = add(table, "tr")
        add(line, "th", name, scope="row")
        bar = add(add(line, "td"), "svg", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true")
        add(bar, "rect", width=f"{100 * share:.1f}", height="1")
        add(line, "td", f"{share:.0%}")


# --- how it came about


def _thresholds(body: Element, chapters: Sequence[Chapter], card: Card, asked: str, what: str) -> None:
    calibration = card.calibration
    assert calibration is not None
    add(body, "h2", f"How the threshold{what} was set")
    add(body, "p", asked)
    region, pixel = calibration.region, calibration.pixel
    facts = {
        "held out": f"{calibration.pixels:,} pixels in {quantity(calibration.blocks, 'block')} of the training "
        f"scenes, with {quantity(region.n, 'candidate region')}{region.worth}; p-values come from them",
        "supported": f"scores of regions up to {region.reach:.1f} and heat of pixels up to {pixel.reach:.1f}, of which "
        f"the sample itself shows those up to {_shown(region)} and {_shown(pixel)}, and a generalised Pareto tail the "
        f"rest. Higher ones rank, and say no more; none is over {region.limit:.1f} or {pixel.limit:.1f}",
        "smallest region": "; ".join(sorted({quantity(c.smallest, "pixel") for c in chapters}))
        or "none shown",
        "assumed": "that the scenes are like the held-out blocks; what is out of place in those makes every "
        "p-value larger, never smaller",
    }
    for chapter in chapters[:PICTURES]:
        name = chapter.layer.scene.scene
        facts[f"false alarms, {name}"] = _least(calibration, chapter)
    html.facts(body, facts)


def _shown(tail: Tail) -> str:
    """-log10 of the smallest probability that a sample shows without a fit."""
    return f"{abs(math.log10(tail.smallest_p)):.1f}"


def _least(calibration: Calibration, chapter: Chapter) -> str:
    """The smallest rate of false alarms that the sample itself supports in a scene."""
    area = chapter.layer.grid.pixel_area_m2
    what = "10 megapixels" if area is None else "100 km²"
    return f"rates from {calibration.least_rate(area, chapter.smallest):,g} per {what} on are supported"


def _provenance(body: Element, chapters: Sequence[Chapter], models: Sequence[Model], whole: Whole) -> None:
    row, facts = chapters[0].layer.scene, dict[str, str]()
    add(body, "h2", "Provenance")
    for model in models:
        card, what = model.card, f" for {model.card.kind}s" if len(models) > 1 else ""
        learned = ", ".join(s.name for s in card.scenes[:NAMED])
        facts |= {
            f"model{what}": f"{model.name}, {card.architecture}, score {card.score}",
            f"model sha256{what}": model.sha256,
            f"trained{what}": f"{card.created} with satae {card.satae_version} on {learned}",
        }
    facts |= {"satae": row.satae_version, "scored by": row.provider, "created": row.created}
    for chapter in chapters[:NAMED]:
        scene = chapter.layer.scene
        gsd = f", {scene.gsd_m:.4g} m a pixel" if math.isfinite(scene.gsd_m) else ""
        files = ", ".join(path.name for path in chapter.files)  # no folders: a page is passed on
        what = f"{files}; {crs_name(chapter.layer.grid.crs) or NO_CRS}{gsd}; bands {scene.bands}"
        kind = f"; domain {scene.domain}" if scene.domain else "; too small to tell whether it is foreign"
        facts[f"scene {scene.scene}"] = what + kind
    if (more := whole.scenes - _scenes(chapters[:NAMED])) > 0:
        facts["scenes not listed"] = f"{more:,}"
    html.facts(body, facts)
