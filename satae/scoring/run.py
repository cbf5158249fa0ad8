"""The tool inside `satae score`: scenes and a model in; heatmaps, chips, a report and layers out, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import satae
from satae import formats
from satae.decisions import decisions, preference, signature
from satae.decisions.decisions import Carried
from satae.decisions.preference import Preferred
from satae.errors import ModelError
from satae.gis import qgis
from satae.gis.layers import SceneLayer, common_crs, ranked
from satae.grid import Window
from satae.inference.calibrate import Calibration
from satae.inference.runtime import Model
from satae.publish import check_target, locked, staging, sweep
from satae.report import chips, reasons, stac
from satae.report import page as report
from satae.report.overview import Overview
from satae.scene.scene import Scene
from satae.scoring import baseline, domain, heatmap, outputs, selection
from satae.scoring.domain import Verdict, check_fit
from satae.scoring.heatmap import Heatmap
from satae.scoring.outputs import Options
from satae.scoring.selection import Field, Selection

Progress = Callable[[int], None]
HELD = "none of its regions is reported: train on it, or pass --force-domain, or ask for --top N"


@dataclass(frozen=True)
class SceneResult:
    """What came of one scene.

    `threshold` is in the unit of the heatmap, `remarks` are sentences for people, `agrees` is the number of
    regions that the baseline agrees on, None where there is no baseline. `damage` are the blocks that were masked
    because they cannot be decoded.
    """

    name: str
    path: str
    heatmap: Path
    anomalies: int
    threshold: float
    valid_fraction: float
    verdict: Verdict
    remarks: list[str]
    agrees: int | None
    damage: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Result:
    """What `satae score` made; `chips` is a folder with pictures of `drawn` regions, or None where there are none.

    `carried` is what became of the decisions in the result that was replaced, None where there was none.
    """

    out: Path
    report: Path
    scenes: list[SceneResult]
    provider: str
    chips: Path | None
    drawn: int
    baseline: str | None
    stac: Path | None = None
    preferred: Preferred | None = None
    carried: Carried | None = None


@dataclass
class _Scored:
    """A scene with its heatmap and regions; `rows` of the anomalies layer are filled in as more is known."""

    scene: Scene
    name: str
    heat: Heatmap
    selected: Selection
    verdict: Verdict
    overview: Overview
    rows: list[dict[str, Any]]
    polygons: npt.NDArray[Any] = field(repr=False)
    agrees: int | None = None


def score(
    scenes: Sequence[Scene],
    model: Model,
    out: Path,
    options: Options,
    progress: Progress = lambda pixels: None,
) -> Result:
    """Score scenes and publish the layers to `out`, the rest beside it; all or nothing is written.

    `progress` is called with the number of pixels scored. Raises ModelError where a scene does not fit the
    model, SceneError where one is damaged, OutputError where a target exists, is locked or cannot be
    written. No input or older output is changed by a failure.
    """
    calibration = model.card.calibration
    if calibration is None:
        raise ModelError(f"{model.name} is not calibrated; train it again")
    crs = common_crs([s.grid for s in scenes])
    form = formats.chosen(out, crs)
    names, pictures = outputs.unique([s.name for s in scenes]), chips.folder_of(out)
    targets, page = outputs.heatmap_targets(out, names, options.heatmap), report.path_of(out)
    outputs.check_targets(scenes, out, targets, options)
    decisions.check(out, crs)
    for scene in scenes:
        check_fit(scene, model)
        if options.baseline is not None:
            check_fit(scene, options.baseline.model)
    with ExitStack() as stack:
        stack.enter_context(locked(out))
        sweep(pictures)
        folder, drawn = stack.enter_context(staging(out)), stack.enter_context(staging(pictures))
        size = report.cells(len(scenes))
        scored = [
            _score_scene(
                Overview(scene, size), name, model, calibration, folder / target.name, options, progress
            )
            for scene, name, target in zip(scenes, names, targets, strict=True)
        ]
        every = [row for s in scored for row in s.rows]
        preferred = preference.prefer(every, options.feedback) if options.feedback is not None else None
        _explain(scored, model, options, drawn / pictures.name)
        layers = [_layer(s, model, options) for s in scored]
        draft = folder / out.name
        carried = decisions.write_over(form.write, draft, out, layers, options.created, options.feedback)
        results = [_result(s, target, options) for s, target in zip(scored, targets, strict=True)]
        chapters = [_chapter(*of, options) for of in zip(scored, layers, results, strict=True)]
        report.write(folder / page.name, out, chapters, model, options.rule.sentence, drawn)
        if options.stac is not None:
            files = [[f.path for f in s.files] for s in scenes]
            kind = form.media_type
            stac.write(
                folder, out, layers, sources=files, media_type=kind, model=model, model_path=options.stac
            )
        check_target(out, overwrite=options.overwrite)  # again: it may have been opened in the meantime
        outputs.put_in_place(folder, drawn, out, targets, options, pictured=any(r["chip"] for r in every))
    used = options.baseline.name if options.baseline else None
    count = sum(row["chip"] is not None for row in every)
    item, drawn_to = stac.targets(out)[0] if options.stac else None, pictures if count else None
    return Result(out, page, results, model.provider, drawn_to, count, used, item, preferred, carried)


def _score_scene(
    overview: Overview,
    name: str,
    model: Model,
    calibration: Calibration,
    draft: Path,
    options: Options,
    progress: Progress,
) -> _Scored:
    """Write the scene's heatmap and style to `draft` and select its regions."""
    scene = overview.scene
    verdict = domain.judged(scene, model)
    heat = heatmap.write(overview, model, calibration, draft, options.workers, progress, overview.add)
    draft.with_suffix(".qml").write_text(qgis.heatmap_style(heat.maximum), encoding="utf-8")
    if verdict.foreign and not options.force_domain and not options.rule.foreign:
        selected = Selection([], math.inf, "")
    else:
        smallest = selection.min_pixels(scene.grid, options.min_area_m2)
        selected = options.rule.select(Field(heat, scene.grid, calibration, smallest))
    polygons = scene.grid.polygons(np.array([a.polygon for a in selected.found], dtype=object))
    rows = _rows(name, scene, calibration, selected, polygons)
    for row, text in zip(rows, signature.signatures(scene, selected.found), strict=True):
        row["signature"] = text
    return _Scored(scene, name, heat, selected, verdict, overview, rows, polygons)


def _rows(
    name: str, scene: Scene, calibration: Calibration, selected: Selection, polygons: npt.NDArray[Any]
) -> list[dict[str, Any]]:
    """Rows of the anomalies layer without what `_explain` adds and the rank."""
    found = selected.found
    exponents = calibration.region.exponent([a.peak for a in found])
    areas = scene.grid.area_m2(polygons)
    return [
        {
            "anomaly_id": f"{name}-r{a.row}-c{a.col}",
            "rank": 0,
            "scene": name,
            "score": float(exponent),
            "p_value": float(10.0**-exponent),
            "peak": a.peak,
            "mean": a.mean,
            "area_m2": float(area),
            "pixels": a.pixels,
            "baseline": None,
            "baseline_score": math.nan,
            "baseline_p": math.nan,
            "feedback": math.nan,
            "chip": None,
            "review_status": qgis.REVIEW_STATUSES[0],
            "review_label": "",
            "review_note": "",
        }
        for a, exponent, area in zip(found, exponents, areas, strict=True)
    ]


def _explain(scored: Sequence[_Scored], model: Model, options: Options, drawn: Path) -> None:
    """Fill in why regions were reported and what the baseline says, and draw chips to the folder `drawn`."""
    shown = {row["anomaly_id"] for row in ranked(s.rows for s in scored)[: options.chips]}
    if shown:
        drawn.mkdir()
    for s in scored:
        _measure(s, model, shown, drawn)
        if options.baseline is not None:
            _compare(s, options.baseline, options.workers)
    if shown:
        chips.seal(drawn)


def _measure(s: _Scored, model: Model, shown: set[str], drawn: Path) -> None:
    """Look at each region once."""
    fitted = model.card.normalization
    spread = np.array(fitted.high) - np.array(fitted.low)
    looks = reasons.looks(s.scene, model, s.selected.found)
    for row, look in zip(s.rows, looks, strict=True):
        errors = reasons.band_errors(look)
        row["top_band"] = s.scene.names[int(errors.argmax())]
        row["band_shares"] = reasons.band_shares(errors, s.scene.names)
        row["spectral_share"] = reasons.spectral_share(look, spread)
        if row["anomaly_id"] in shown:
            name = chips.file_name(row["anomaly_id"])
            heat = heatmap.around(s.heat.path, s.scene.grid, look.window)
            chips.write(drawn / name, chips.draw(look, heat, fitted, s.heat.maximum))
            row["chip"] = f"{drawn.name}/{name}"


def _compare(s: _Scored, other: baseline.Baseline, workers: int) -> None:
    exponents = baseline.exponents(s.scene, other, s.selected.found, workers)
    s.agrees = baseline.agreement([r["score"] for r in s.rows], exponents)
    for row, exponent in zip(s.rows, exponents, strict=True):
        row |= {
            "baseline": other.name,
            "baseline_score": float(exponent),
            "baseline_p": float(10.0**-exponent),
        }


def _layer(s: _Scored, model: Model, options: Options) -> SceneLayer:
    """What the scene puts into the layers."""
    assert model.card.calibration is not None
    data, corners = s.heat.tiles.columns(s.name, model.card.calibration)
    threshold, gsd = s.selected.threshold, s.scene.grid.gsd_m
    footprint = {
        "scene": s.name,
        "path": ";".join(str(f.path) for f in s.scene.files),
        "crs": s.scene.grid.crs or "",
        "gsd_m": gsd if gsd is not None else math.nan,
        "bands": ",".join(s.scene.names),
        "valid_fraction": s.heat.valid / s.scene.grid.pixels,
        "anomalies": len(s.rows),
        "threshold": threshold if math.isfinite(threshold) else math.nan,  # NULL where nothing was reported
        "rule": str(options.rule),
        "domain": s.verdict.domain,
        "domain_note": s.verdict.note,
        "model_sha256": model.sha256,
        "satae_version": satae.__version__,
        "provider": model.provider,
        "created": options.created,
    }
    return SceneLayer(
        s.scene.grid, s.rows, s.polygons, data, corners, footprint, s.heat.path.name, s.heat.maximum
    )


def _chapter(s: _Scored, layer: SceneLayer, result: SceneResult, options: Options) -> report.Chapter:
    """What the report says of the scene."""
    smallest = selection.min_pixels(s.scene.grid, options.min_area_m2)
    found = s.selected
    return report.Chapter(layer, found.found, s.overview, found.threshold, smallest, result.remarks)


def _result(s: _Scored, target: Path, options: Options) -> SceneResult:
    remarks, note = [s.selected.remark], s.verdict.note
    if not s.heat.valid:
        remarks = ["no pixel is valid, so none was scored"]
    elif s.verdict.foreign:
        held = not (options.force_domain or options.rule.foreign)
        remarks.append(f"foreign to the model: {note}" + (f"; {HELD}" if held else ""))
    elif note:
        remarks.append(f"{note}; something may be missed, so train on it too")
    return SceneResult(
        s.name,
        str(s.scene.path),
        target,
        len(s.rows),
        s.selected.threshold,
        s.heat.valid / s.scene.grid.pixels,
        s.verdict,
        [r for r in remarks if r],
        s.agrees,
        s.overview.survey.damage,
    )
