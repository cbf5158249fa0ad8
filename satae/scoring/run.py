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
from satae.decisions.decisions import Carried, Decisions
from satae.decisions.preference import Preferred
from satae.errors import ConfigError, ModelError
from satae.gis import qgis
from satae.gis.layers import SceneLayer, common_crs, ranked
from satae.inference.calibrate import DEFAULT_RULE, Calibration, Rule
from satae.inference.runtime import Model
from satae.publish import check_target, locked, publish, staging, sweep
from satae.report import chips, reasons, stac
from satae.report import page as report
from satae.report.overview import Overview
from satae.scene.scene import Scene
from satae.scoring import baseline, domain, heatmap, selection
from satae.scoring.baseline import Baseline
from satae.scoring.domain import Verdict, check_fit
from satae.scoring.heatmap import Heatmap
from satae.scoring.selection import Selection, select

Progress = Callable[[int], None]
HELD = "none of its regions is reported: train on it, or pass --force-domain, or ask for --top N"


@dataclass(frozen=True)
class Options:
    """How to score. `min_area_m2` of None is four pixels; without a CRS it counts pixels.

    `chips` pictures of the first regions by rank are drawn. `stac` is the model's file, where STAC Items are
    to be written. Of a foreign scene no region is reported but with `force_domain`, or where the rule asks for
    a number of them. `feedback` moves the ranks of regions that look like those decided on, and is carried over
    to those that are the same.
    """

    rule: Rule = DEFAULT_RULE
    min_area_m2: float | None = None
    heatmap: Path | None = None
    workers: int = 2
    overwrite: bool = False
    created: str = "1970-01-01T00:00:00Z"
    chips: int = 100
    baseline: Baseline | None = None
    force_domain: bool = False
    stac: Path | None = None
    feedback: Decisions | None = None


@dataclass(frozen=True)
class SceneResult:
    """What came of one scene.

    `threshold` is in the unit of the heatmap, `remarks` are sentences for people, `agrees` is the number of
    regions that the baseline agrees on, None where there is no baseline.
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
    names, pictures = _unique([s.name for s in scenes]), chips.folder_of(out)
    targets, page = _heatmap_targets(out, names, options.heatmap), report.path_of(out)
    _check_targets(scenes, out, targets, options)
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
        report.write(folder / page.name, out, chapters, model, options.rule, drawn)
        if options.stac is not None:
            files = [[f.path for f in s.files] for s in scenes]
            kind = form.media_type
            stac.write(
                folder, out, layers, sources=files, media_type=kind, model=model, model_path=options.stac
            )
        check_target(out, overwrite=options.overwrite)  # again: it may have been opened in the meantime
        _publish(folder, drawn, out, targets, options, pictured=any(r["chip"] for r in every))
    used = options.baseline.name if options.baseline else None
    count = sum(row["chip"] is not None for row in every)
    item, drawn_to = stac.targets(out)[0] if options.stac else None, pictures if count else None
    return Result(out, page, results, model.provider, drawn_to, count, used, item, preferred, carried)


def _publish(
    folder: Path, drawn: Path, out: Path, targets: Sequence[Path], options: Options, *, pictured: bool
) -> None:
    """Put drafts in their places: heatmaps and all else that the layer file refers to before it."""
    pictures, page = chips.folder_of(out), report.path_of(out)
    for target in targets:
        publish(folder / target.with_suffix(".qml").name, target.with_suffix(".qml"))
        publish(folder / target.name, target)
    if (drawn / pictures.name).exists():
        publish(drawn / pictures.name, pictures)
    publish(folder / page.name, page)
    draft = folder / out.name
    if decisions.beside(draft).exists():
        publish(decisions.beside(draft), decisions.beside(out))
    publish(draft, out)
    for target in stac.targets(out) if options.stac else ():
        publish(folder / target.name, target)
    if options.overwrite and options.stac is None:
        stac.retire(out)
    if options.overwrite and not pictured:
        chips.retire(pictures, drawn / "retired")


def _unique(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before."""
    out: list[str] = []
    for name in names:
        tried, number = name, 2
        while tried in out:
            tried, number = f"{name}-{number}", number + 1
        out.append(tried)
    return out


def _check_targets(scenes: Sequence[Scene], out: Path, heatmaps: Sequence[Path], options: Options) -> None:
    page, items = report.path_of(out), stac.targets(out) if options.stac else ()
    for target in (out, *heatmaps, *(t.with_suffix(".qml") for t in heatmaps), page, *items):
        _check_no_input(target, scenes)
        check_target(target, overwrite=options.overwrite)
    report.check_target(page)
    if options.chips:
        chips.check_target(chips.folder_of(out), overwrite=options.overwrite)


def _check_no_input(target: Path, scenes: Sequence[Scene]) -> None:
    """Refuse to write over what is read, whatever --overwrite says."""
    read = [p for s in scenes for p in (*(f.path for f in s.files), s.limits.aoi, s.limits.mask) if p]
    if target.exists() and any(target.samefile(p) for p in read):
        raise ConfigError(f"{target} is an input of this run and is not overwritten; choose another name")


def _heatmap_targets(out: Path, names: Sequence[str], chosen: Path | None) -> list[Path]:
    if chosen is not None:
        if len(names) > 1:
            raise ConfigError("--heatmap names one file and there are several scenes; leave it out")
        if chosen.absolute().parent != out.absolute().parent:
            raise ConfigError(f"--heatmap {chosen} must lie in the folder of {out}, whose project shows it")
        if chosen.suffix.lower() not in (".tif", ".tiff"):
            raise ConfigError(f"--heatmap {chosen} must end in .tif")
        return [chosen]
    if len(names) == 1:
        return [out.with_name(f"{out.stem}_heatmap.tif")]
    return [out.with_name(f"{out.stem}_{name}_heatmap.tif") for name in names]


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
    if verdict.foreign and not options.force_domain and options.rule.kind != "top":
        selected = Selection([], math.inf, "")
    else:
        selected = select(heat, scene.grid, calibration, options.rule, options.min_area_m2)
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


def _compare(s: _Scored, other: Baseline, workers: int) -> None:
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
        held = not (options.force_domain or options.rule.kind == "top")
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
    )
