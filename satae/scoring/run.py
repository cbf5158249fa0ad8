"""The tool inside `satae score`: scenes and a model in; heatmaps, chips, a report and layers out, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from satae import formats
from satae.console import SILENT, Steps
from satae.decisions import decisions, preference
from satae.decisions.decisions import CarriedDecisions, Decisions
from satae.decisions.preference import PreferenceCounts
from satae.gis.layers import SceneLayer, common_crs, with_ranks
from satae.grid import Window
from satae.inference.runtime import Model
from satae.publish import check_target, lock, staging, sweep
from satae.report import chips, stac
from satae.report import page as report
from satae.scene.scene import Scene
from satae.scoring import outputs
from satae.scoring.domain import Verdict, check_fit
from satae.scoring.outputs import Options
from satae.scoring.record import HEATMAP, SceneRecord, calibration_of, score_scene


@dataclass(frozen=True)
class SceneResult:
    """What came of one scene.

    `threshold` is heat, `remarks` are sentences for people, `agrees` is the number of
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
    preferred: PreferenceCounts | None = None
    carried: CarriedDecisions | None = None


def score(
    scenes: Sequence[Scene],
    model: Model,
    out: Path,
    options: Options,
    steps: Steps = SILENT,
) -> Result:
    """Score scenes and publish the layers to `out`, the rest beside it; all or nothing is written.

    `steps` are told how far it is. Raises ModelError where a scene does not fit the
    model, SceneError where one is damaged, OutputError where a target exists, is locked or cannot be
    written. No input or older output is changed by a failure.
    """
    calibration_of(model)
    crs, names = common_crs([s.grid for s in scenes]), outputs.unique([s.name for s in scenes])
    formats.format_of(out, crs)
    outputs.check_targets(scenes, out, outputs.heatmap_targets(out, names, options.heatmap), options)
    decisions.check(out, crs)
    with steps.stage("compare scenes with the model", len(scenes), "scene") as bar:
        for scene in scenes:
            check_fit(scene, model, force=options.force_domain)
            if options.baseline is not None:
                check_fit(scene, options.baseline.model, force=options.force_domain)
            bar.add(1)
    how, records = options.how(report.cells(len(scenes))), []
    with lock(out), staging(out) as folder:
        sweep(chips.folder_of(out))
        for number, (scene, name) in enumerate(zip(scenes, names, strict=True)):
            place = folder / str(number)
            place.mkdir()
            records.append(score_scene(scene, model, place, how, name=name, steps=steps))
        with steps.stage("write layers, chips and report"):
            return assemble(records, model, out, options)


def assemble(records: Sequence[SceneRecord], model: Model, out: Path, options: Options) -> Result:
    """Publish scenes that were scored as one result: ranks, chips, decisions, report and STAC over all of them.

    `out` must be locked by the caller, and the folders of the records must be on its file system; heatmaps are
    moved from there.
    """
    page, pictures = report.path_of(out), chips.folder_of(out)
    targets = outputs.heatmap_targets(out, [r.name for r in records], options.heatmap)
    layers = [replace(r.layer, heatmap=t.name) for r, t in zip(records, targets, strict=True)]
    form = formats.format_of(out, common_crs([s.grid for s in layers]))
    with staging(out) as folder, staging(pictures) as drawn:
        layers, preferred = _preferred(layers, options.feedback)
        layers = _pictured(with_ranks(layers), records, drawn / pictures.name, options.chips)
        layers, carried = decisions.write_over(
            form.write, folder / out.name, out, layers, options.created, options.feedback
        )
        chapters = [_chapter(*of) for of in zip(records, layers, strict=True)]
        report.write(folder / page.name, out, chapters, model, options.rule.sentence, drawn)
        if options.stac is not None:
            stac.write(
                folder, out, layers, sources=[r.files for r in records], media_type=form.media_type, model=model,
                model_path=options.stac,
            )  # fmt: skip
        check_target(out, overwrite=options.overwrite)  # again: it may have been opened in the meantime
        count = sum(region.chip is not None for s in layers for region in s.regions)
        heatmaps = [r.folder / HEATMAP for r in records]
        outputs.put_in_place(
            folder, drawn, out, zip(heatmaps, targets, strict=True), options, pictured=count > 0
        )
    return Result(
        out,
        page,
        [_result(*of) for of in zip(records, targets, strict=True)],
        model.provider,
        pictures if count else None,
        count,
        options.baseline.name if options.baseline else None,
        stac.targets(out)[0] if options.stac else None,
        preferred,
        carried,
    )


def _preferred(
    layers: list[SceneLayer], feedback: Decisions | None
) -> tuple[list[SceneLayer], PreferenceCounts | None]:
    """The layers with what earlier decisions say of their regions."""
    if feedback is None:
        return layers, None
    moved, preferred = preference.prefer([region for s in layers for region in s.regions], feedback)
    rest = iter(moved)
    return [replace(s, regions=[next(rest) for _ in s.regions]) for s in layers], preferred


def _pictured(
    layers: Sequence[SceneLayer], records: Sequence[SceneRecord], drawn: Path, number: int
) -> list[SceneLayer]:
    """The layers with the names of chips, which are drawn to a folder, for the first `number` regions."""
    if not any(region.rank <= number for s in layers for region in s.regions):
        return list(layers)
    drawn.mkdir()
    out = []
    for s, record in zip(layers, records, strict=True):
        regions = []
        for i, region in enumerate(s.regions):
            if region.rank <= number:
                name = chips.file_name(region.anomaly_id)
                chips.write(drawn / name, chips.draw(record.look(i)))
                region = replace(region, chip=f"{drawn.name}/{name}")
            regions.append(region)
        out.append(replace(s, regions=regions))
    chips.seal(drawn)
    return out


def _chapter(record: SceneRecord, layer: SceneLayer) -> report.Chapter:
    """What the report says of the scene."""
    return report.Chapter(layer, record.files, record.view, record.threshold, record.smallest, record.remarks)


def _result(record: SceneRecord, target: Path) -> SceneResult:
    scene = record.layer.scene
    return SceneResult(
        record.name,
        str(record.files[0]),
        target,
        scene.anomalies,
        record.threshold,
        scene.valid_fraction,
        record.verdict,
        list(record.remarks),
        record.agrees,
        record.damage,
    )
