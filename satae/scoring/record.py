"""One scene in, one finished folder and one plain record out: the unit of work of `satae score`.

What only all scenes together can say (ranks, decisions carried over, report, STAC) is in `run.assemble`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

import satae
from satae import extras, heap
from satae.console import SILENT, Bar, Steps
from satae.decisions import signature
from satae.errors import ModelError
from satae.extras import Extra
from satae.gis import qgis
from satae.gis.columns import Footprint, Region, Tiles
from satae.gis.layers import SceneLayer
from satae.grid import Window
from satae.inference.calibrate import Calibration
from satae.inference.regions import Anomaly
from satae.inference.runtime import Model
from satae.inference.scan import InferredWindow
from satae.report import backdrop, chips, reasons
from satae.report.overview import Overview, Picture
from satae.scene import barren
from satae.scene.scene import Scene
from satae.scoring import baseline, block, domain, heatmap, selection, support
from satae.scoring.baseline import Baseline
from satae.scoring.block import Blocks
from satae.scoring.cache import PixelCache
from satae.scoring.domain import Verdict
from satae.scoring.heatmap import Heatmap
from satae.scoring.rule import CANDIDATES, Rule, Top
from satae.scoring.selection import Field, Selection
from satae.scoring.support import Doubt

HEATMAP, LOOKS = "heatmap.tif", "looks.npz"  # in the folder of a scene; the heatmap's style lies beside it
HELD = "none of its regions is reported: train on it, or pass --force-domain, or ask for --top N"


@dataclass(frozen=True)
class How:
    """How each scene is scored, whatever comes of the others; `Options` says what the fields mean.

    Pictures of the first `chips` regions are kept, of all where feedback may `reorder` them. `side` is the
    longer side of the overview, in cells.
    """

    rule: Rule
    min_area_m2: float | None = None
    workers: int = 2
    created: str = "1970-01-01T00:00:00Z"
    chips: int = 100
    reorder: bool = False
    baseline: Baseline | None = None
    force_domain: bool = False
    side: int = 1000


@dataclass(frozen=True)
class SceneRecord:
    """What came of one scene, as plain values; `folder` holds its heatmap, style and looks.

    `threshold` is heat, infinite where nothing was reported; `smallest` a region in
    pixels. `valid` pixels were scored. `remarks` are sentences for people, `agrees` is the number of regions
    that the baseline agrees on, None where there is none. `damage` are the blocks that were masked because they
    cannot be decoded, `faults` say what of its decoration could not be made, `doubt` what of its numbers the
    calibration is too small for.
    """

    folder: Path
    files: tuple[Path, ...]
    layer: SceneLayer
    view: Picture | None
    threshold: float
    smallest: int
    verdict: Verdict
    remarks: tuple[str, ...]
    agrees: int | None
    damage: tuple[Window, ...]
    faults: tuple[str, ...] = ()
    doubt: Doubt | None = None

    @property
    def name(self) -> str:
        """The scene's, as no other of the result has it."""
        return self.layer.scene.scene

    @property
    def kind(self) -> str:
        """What was looked for, object or area."""
        return self.layer.scene.kind

    def look(self, number: int) -> npt.NDArray[np.uint8] | None:
        """The panels of a chip (side, side, 10) of the region of that number, None where they were not kept."""
        with np.load(self.folder / LOOKS) as kept:
            return np.asarray(kept[str(number)], np.uint8) if str(number) in kept else None


def score_scene(
    scene: Scene,
    model: Model,
    folder: Path,
    how: How,
    *,
    name: str = "",
    steps: Steps = SILENT,
    blocks: Sequence[Path] = (),
) -> SceneRecord:
    """Score a scene, which the result calls `name`, into a folder that is there and empty.

    With the folders of `blocks` that `scan_block` made nothing is read or inferred again.

    The folder is finished when this returns and never changed afterwards; the same arguments give the same
    folder and record. `steps` are told how far it is. Whether the scene fits the model at all is checked before,
    for all scenes of a result (`domain.check_fit`). Raises ModelError where the model is not calibrated, SceneError
    where the scene is damaged, OutputError where the folder cannot be written.
    """
    heap.trim()  # what describing and opening took, and scenes before this one
    with extras.faults() as faults:
        record = _scored(scene, model, folder, how, name or scene.name, steps, blocks)
    return replace(record, faults=tuple(faults))


def scan_block(scene: Scene, model: Model, folder: Path, how: How, part: tuple[int, int]) -> None:
    """Scan block number of count, `part`, of a scene into a folder that is there and empty (see `block`)."""
    heap.trim()
    floor, shown = _kept(scene, model, how)
    block.scan(
        scene, model, calibration_of(model), folder, part, floor=floor, shown=shown, workers=how.workers
    )


def _kept(scene: Scene, model: Model, how: How) -> tuple[float, list[int]]:
    """The heat from which reasons of pixels are kept, and the bands of which is kept what was expected."""
    smallest = selection.min_pixels(scene.grid, how.min_area_m2)
    # nothing below this heat is in any region, so its reasons need not be kept
    floor = how.rule.floor(calibration_of(model), scene.grid.pixel_area_m2, smallest)
    return floor, list(scene.natural) if how.chips else []


def _scored(
    scene: Scene, model: Model, folder: Path, how: How, name: str, steps: Steps, blocks: Sequence[Path]
) -> SceneRecord:
    """The record of a scene, without the faults of its extras."""
    calibration = calibration_of(model)
    overview = Overview(scene, how.side)
    smallest = selection.min_pixels(scene.grid, how.min_area_m2)
    known = Blocks.read(blocks) if blocks else None
    kept = PixelCache(scene, known.folders if known else folder, *_kept(scene, model, how))
    found = known.windows(kept, model, overview) if known else None

    def keep(seen: InferredWindow, heat: npt.NDArray[np.float32]) -> None:
        overview.add(seen.window, heat)
        if known is None:
            kept.add(seen, heat)

    # one pass over the pixels of the scene: heatmap, overview and scratch files are filled together
    with scene.steady(), steps.stage(f"score {name}", scene.grid.pixels, "px", brief=0) as bar:
        heat = heatmap.write(
            overview, model, calibration, folder / HEATMAP, how.workers, bar.add, keep, found
        )
    with steps.stage(f"compare {name} with training"):
        # from what the scan kept: no pixel is read or inferred again, here and below
        verdict = domain.verdict_on(kept, model)
    with Extra(f"the style of the heatmap of {name}"):
        style = qgis.heatmap_style(heat.maximum)
        (folder / HEATMAP).with_suffix(".qml").write_text(style, encoding="utf-8")
    held = _held(verdict, how)
    selected = Selection([], math.inf)
    # regions of a foreign scene would be the scene itself, by the hundred thousand
    if not held:
        with steps.stage(f"find regions of {name}"):
            selected = how.rule.select(Field(heat, scene.grid, calibration, smallest))
    with steps.stage(f"look at regions of {name}", len(selected.found), "region") as bar:
        regions = _regions(name, kept, model, heat, selected.found, folder, how, bar)
    if known is None:
        kept.drop()
    below, unseen = backdrop.below(name, overview)
    layer = SceneLayer(
        scene.grid,
        regions,
        _tiles(name, heat, calibration),
        _footprint(name, scene, model, heat, verdict, selected.threshold, len(regions), how),
        HEATMAP,
        heat.maximum,
        below,
    )
    return SceneRecord(
        folder,
        tuple(f.path for f in scene.files),
        layer,
        _picture(name, overview, model),
        selected.threshold,
        smallest,
        verdict,
        _remarks(scene, heat, verdict, selected.remark, held=held)
        + unseen
        + (() if held else _nothing(selected, heat, smallest, how.rule)),
        _agrees(how, regions),
        known.damage if known else overview.survey.damage,
        doubt=_doubt(selected, model, regions),
    )


def _picture(name: str, overview: Overview, model: Model) -> Picture | None:
    """The scene at a small size, None where it cannot be drawn."""
    with Extra(f"the picture of {name}"):
        return overview.picture(model.card.normalization)
    return None


def _doubt(selected: Selection, model: Model, regions: Sequence[Region]) -> Doubt | None:
    """What of the threshold and of the scores the calibration is too small for."""
    scores = support.of_scores(calibration_of(model), (r.score for r in regions))
    return support.of_scene((selected.doubt, scores), len(model.card.scenes))


def _agrees(how: How, regions: Sequence[Region]) -> int | None:
    """The number of regions that the baseline agrees on, None where there is none."""
    if how.baseline is None:
        return None
    opinions = np.array([r.baseline_score for r in regions])
    return baseline.agreement([r.score for r in regions], opinions)


def calibration_of(model: Model) -> Calibration:
    """What a model's scores mean; ModelError where nobody knows."""
    if model.card.calibration is None:
        raise ModelError(f"{model.name} is not calibrated; train it again")
    return model.card.calibration


def _held(verdict: Verdict, how: How) -> bool:
    """Whether the regions of a scene are held back: they would be the scene itself."""
    return verdict.foreign and not how.force_domain and not how.rule.foreign


def _regions(
    name: str,
    kept: PixelCache,
    model: Model,
    heat: Heatmap,
    found: Sequence[Anomaly],
    folder: Path,
    how: How,
    bar: Bar,
) -> list[Region]:
    """Everything that is known of each region but what other scenes and people say; keeps looks in `folder`.

    `bar` counts regions.
    """
    calibration, scene = calibration_of(model), kept.scene
    polygons = scene.grid.polygons(np.array([a.polygon for a in found], dtype=object))
    areas, exponents = scene.grid.area_m2(polygons), calibration.region.exponent([a.peak for a in found])
    other = how.baseline
    # NaN where no baseline was asked: NULL in the layer
    opinions = np.full(len(found), math.nan)
    if other is not None:
        opinions = baseline.exponents(kept, other, found, how.workers)
    fitted = model.card.normalization
    # (B), the range of each band in training, so that bands of different brightness compare
    spread = np.array(fitted.high) - np.array(fitted.low)
    texts, regions = signature.signatures(kept, found), []
    wanted, drawing = _pictured(found, exponents, how), Extra(f"pictures of regions of {name}")
    with chips.keeping(folder / LOOKS) as keep:
        for i, (anomaly, look) in enumerate(
            zip(found, reasons.looks(kept, model.card.stride, found), strict=True)
        ):
            errors, exponent, opinion = reasons.band_errors(look), float(exponents[i]), float(opinions[i])
            regions.append(
                Region(
                    anomaly_id=f"{name}-r{anomaly.row}-c{anomaly.col}",
                    scene=name,
                    kind=model.card.kind,
                    score=exponent,
                    # the tail of peaks of regions, not of pixels: a region is the largest of many
                    p_value=float(10.0**-exponent),
                    peak=anomaly.peak,
                    mean=anomaly.mean,
                    area_m2=float(areas[i]),
                    pixels=anomaly.pixels,
                    top_band=scene.names[int(errors.argmax())],
                    band_shares=reasons.band_shares(errors, scene.names),
                    spectral_share=reasons.spectral_share(look, spread),
                    baseline=other.name if other is not None else None,
                    baseline_score=opinion,
                    baseline_p=float(10.0**-opinion),
                    signature=texts[i],
                    polygon=polygons[i],
                    outline=anomaly.polygon,
                    row=anomaly.row,
                    col=anomaly.col,
                )
            )
            if i in wanted:
                with drawing:
                    values = heatmap.heat_of(calibration, kept.scores(look.window))
                    keep(i, chips.panels(look, values, fitted, heat.maximum, scene.natural))
            bar.add(1)
    return regions


def _pictured(found: Sequence[Anomaly], exponents: npt.NDArray[np.float64], how: How) -> set[int]:
    """The numbers of the regions that may be among the first `chips` of the result."""
    # the order of ranks within this scene; which of all scenes come first is known only later
    order = sorted(
        range(len(found)), key=lambda i: (-exponents[i], -found[i].peak, f"r{found[i].row}-c{found[i].col}")
    )
    return set(order if how.reorder and how.chips else order[: how.chips])


def _tiles(name: str, heat: Heatmap, calibration: Calibration) -> Tiles:
    """The tiles that hold a valid pixel."""
    peaks = heat.tiles
    # tiles of nodata are left out
    row, col = np.nonzero(peaks.count)
    exponent = calibration.tile.exponent(peaks.peak[row, col])
    corners, pixels = peaks.corners(row, col)
    return Tiles(
        scene=np.full(len(row), name, object),
        row=row,
        col=col,
        score=exponent,
        p_value=10.0**-exponent,
        valid_fraction=peaks.count[row, col] / pixels,
        corners=corners,
    )


def _footprint(
    name: str,
    scene: Scene,
    model: Model,
    heat: Heatmap,
    verdict: Verdict,
    threshold: float,
    count: int,
    how: How,
) -> Footprint:
    gsd = scene.grid.gsd_m
    return Footprint(
        scene=name,
        path=";".join(str(f.path) for f in scene.files),
        crs=scene.grid.crs or "",
        gsd_m=gsd if gsd is not None else math.nan,
        bands=",".join(scene.names),
        valid_fraction=heat.valid / scene.grid.pixels,
        anomalies=count,
        threshold=threshold if math.isfinite(threshold) else math.nan,  # NULL where nothing was reported
        kind=model.card.kind,
        rule=str(how.rule),
        domain=verdict.domain,
        domain_note=verdict.note,
        model_sha256=model.sha256,
        satae_version=satae.__version__,
        provider=model.provider,
        created=how.created,
    )


def _nothing(selected: Selection, heat: Heatmap, smallest: int, rule: Rule) -> tuple[str, ...]:
    """What is highest where nothing is reported, and how to see it."""
    if selected.found or not heat.valid:
        return ()
    # a speck of fewer pixels than a region has may be hotter than what is asked for
    speck = f" in a patch of fewer than {smallest} pixels" if heat.maximum >= selected.threshold else ""
    said = f"no region is reported: the hottest pixel has a heat of {heat.maximum:.3g}{speck}"
    if isinstance(rule, Top):
        return (f"{said}, and no {smallest} pixels that touch are {CANDIDATES}",)
    return (f"{said}; --top 20 lists the highest regions, however high they are",)


def _remarks(scene: Scene, heat: Heatmap, verdict: Verdict, remark: str, *, held: bool) -> tuple[str, ...]:
    """What the user should know."""
    if not heat.valid:
        return (f"no pixel is valid, so none was scored: {barren.reason(scene)}",)
    said = [remark]
    if verdict.foreign:
        said.append(f"foreign to the model: {verdict.note}" + (f"; {HELD}" if held else ""))
    elif verdict.note:
        said.append(f"{verdict.note}; something may be missed, so train on it too")
    return tuple(r for r in said if r)
