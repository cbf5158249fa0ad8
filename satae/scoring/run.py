"""The tool inside `satae score`: scenes and a model in; heatmaps, chips, a report and layers out, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from satae import extras, formats
from satae.console import SILENT, Steps
from satae.decisions import earlier, preference
from satae.decisions.decisions import CarriedDecisions, Decisions
from satae.decisions.earlier import Earlier, Takeover
from satae.decisions.preference import PreferenceCounts
from satae.errors import ConfigError
from satae.extras import Extra
from satae.gis import kinds
from satae.gis.layers import SceneLayer, common_crs, with_ranks
from satae.grid import Window
from satae.inference.runtime import Model
from satae.publish import locks, staging, sync
from satae.report import backdrop, chips, html, stac
from satae.report import page as report
from satae.scene.scene import Scene
from satae.scene.together import once
from satae.scoring import outputs
from satae.scoring.cubes import by_wavelength
from satae.scoring.domain import Verdict, check_fit
from satae.scoring.outputs import Options
from satae.scoring.record import HEATMAP, SceneRecord, calibration_of, score_scene
from satae.scoring.support import Doubt, of_kinds


@dataclass(frozen=True)
class SceneResult:
    """What came of one scene.

    `threshold` is heat, `remarks` are sentences for people, `agrees` is the number of
    regions that the baseline agrees on, None where there is no baseline. `damage` are the blocks that were masked
    because they cannot be decoded, `doubt` is what of its numbers the calibration is too small for. `kind` is what was
    looked for, object or area.
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
    doubt: Doubt | None = None
    kind: str = "object"


@dataclass(frozen=True)
class Result:
    """What `satae score` made; `chips` is a folder with pictures of `drawn` regions, or None where there are none.

    `carried` is what became of the decisions in the result that was replaced, None where there was none; `foreign`
    names what others had put into it, and which is there still. `faults` say what of its decoration is missing, such
    as the `report`, which is None then.
    """

    out: Path
    report: Path | None
    scenes: list[SceneResult]
    provider: str
    chips: Path | None
    drawn: int
    baseline: str | None
    stac: Path | None = None
    preferred: PreferenceCounts | None = None
    carried: CarriedDecisions | None = None
    foreign: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """How many scenes were scored, each counted once."""
        return kinds.scenes_in((s.path, s.kind) for s in self.scenes)


def score(
    scenes: Sequence[Scene],
    model: Model,
    out: Path,
    options: Options,
    steps: Steps = SILENT,
) -> Result:
    """Score scenes and publish the layers to `out`, the rest beside it; all or nothing is written.

    Each is scored once a kind where `options` have models for others: these find a scene under a name of their own.

    `steps` are told how far it is. Raises ModelError where a scene does not fit the
    model, SceneError where one is damaged, OutputError where a target exists, is locked or cannot be
    written. No input or older output is changed by a failure.
    """
    scenes = [by_wavelength(scene, model) for scene in scenes]
    names, heatmaps = check(scenes, model, out, options)
    models = (model, *options.others)
    how, records = options.how(report.cells(len(names))), []
    with locks(outputs.names(out, heatmaps)), staging(out) as folder:
        outputs.check_targets(scenes, out, heatmaps, options)  # again: another run may have ended just now
        kept = [once(scene, folder / f"{i}.decoded") for i, scene in enumerate(scenes)]
        # the bands of each model, scene after scene, so that what was decoded for one serves the next
        trials = [(by_wavelength(scene, each), each) for scene in kept for each in models]
        _check_fits(trials, options, steps)
        for number, ((scene, each), name) in enumerate(zip(trials, names, strict=True)):
            place = folder / str(number)
            place.mkdir()
            records.append(score_scene(scene, each, place, how, name=name, steps=steps))
            if (number + 1) % len(models) == 0:
                shutil.rmtree(folder / f"{number // len(models)}.decoded", ignore_errors=True)
        with steps.stage("write layers, chips and report"):
            return assemble(records, model, out, options)


def _check_fits(trials: Sequence[tuple[Scene, Model]], options: Options, steps: Steps) -> None:
    """ModelError where a scene is not of the kind that a model, or the baseline's, was trained on."""
    with steps.stage("compare scenes with the model", len(trials), "scene") as bar:
        for scene, model in trials:
            check_fit(scene, model, force=options.force_domain)
            if options.baseline is not None:
                check_fit(scene, options.baseline.model, force=options.force_domain)
            bar.add(1)


def check(scenes: Sequence[Scene], model: Model, out: Path, options: Options) -> tuple[list[str], list[Path]]:
    """Names of the scenes and their heatmaps, where nothing is in the way of what is to be written; raises as `score`.

    With models for other kinds each scene has a name a model, one after another. Quick, so that it can come before
    anything that takes long, such as the fit of a baseline.
    """
    models = (model, *options.others)
    for each in models:
        calibration_of(each)
    looked_for = [each.card.kind for each in models]
    kinds.check([each.name for each in models], looked_for)
    if len(models) > 1 and options.stac is not None:
        raise ConfigError(
            "--stac describes one model and two are named; score with one of them, or leave --stac out"
        )
    called = [kinds.name_of(s.name, kind, looked_for[0]) for s in scenes for kind in looked_for]
    crs, names = common_crs([s.grid for s in scenes]), outputs.unique(called)
    formats.format_of(out, crs)
    heatmaps = outputs.heatmap_targets(out, names, options.heatmap)
    outputs.check_targets(scenes, out, heatmaps, options)
    with Earlier(out) as found:
        found.check(crs)
    return names, heatmaps


def assemble(records: Sequence[SceneRecord], model: Model, out: Path, options: Options) -> Result:
    """Publish scenes that were scored as one result: ranks, chips, decisions, report and STAC over all of them.

    `outputs.names` must be locked by the caller, and the folders of the records must be on the file system of `out`;
    heatmaps are moved from there. What of chips, report, STAC and styles cannot be made is left out, with a warning:
    scenes that were scored are published whatever their decoration does.
    """
    with extras.faults() as faults:
        result = _published(records, model, out, options)
    return replace(result, faults=(*(f for r in records for f in r.faults), *faults))


def _published(records: Sequence[SceneRecord], model: Model, out: Path, options: Options) -> Result:
    """What `assemble` gives, without the faults of extras."""
    page, pictures = html.path_of(out), chips.folder_of(out)
    targets = outputs.heatmap_targets(out, [r.name for r in records], options.heatmap)
    layers = [
        replace(r.layer, heatmap=t.name, backdrop=backdrop.beside(r.layer.backdrop, out))
        for r, t in zip(records, targets, strict=True)
    ]
    form = formats.format_of(out, common_crs([s.grid for s in layers]))
    with staging(out) as folder, staging(pictures) as drawn, Earlier(out) as before:
        layers, preferred = _preferred(layers, options.feedback)
        layers = _pictured(with_ranks(layers), records, drawn / pictures.name, options.chips)

        def written() -> Takeover:
            settled, kept = earlier.write_over(
                form.write, folder / out.name, before, layers, options.created, options.feedback
            )
            with Extra("the report"):
                chapters = [_chapter(*of) for of in zip(records, settled, strict=True)]
                models, doubts = (model, *options.others), of_kinds((r.kind, r.doubt) for r in records)
                report.write(
                    folder / page.name, out, chapters, models, options.rule.sentence, drawn, doubts=doubts
                )
            return kept

        kept = written()
        if options.stac is not None:
            with Extra("the STAC Items"):
                stac.write(
                    folder, out, layers, sources=[r.files for r in records], media_type=form.media_type, model=model,
                    model_path=options.stac,
                )  # fmt: skip
        count = sum(region.chip is not None for s in layers for region in s.regions)
        heatmaps = [r.folder / HEATMAP for r in records]
        for draft in (folder, drawn, *heatmaps):
            sync(draft)  # what takes long, while others may still write to the older result
        with before.hold(overwrite=options.overwrite):
            # nobody writes from here to the last rename; once more, if somebody did while all that was written
            kept = written() if before.is_stale else kept
            placed = outputs.put_in_place(
                folder, drawn, out, zip(heatmaps, targets, strict=True), options, pictured=count > 0
            )
    items = stac.targets(out)
    return Result(
        out,
        page if page in placed else None,
        [_result(*of) for of in zip(records, targets, strict=True)],
        model.provider,
        pictures if pictures in placed else None,
        count if pictures in placed else 0,
        options.baseline.name if options.baseline else None,
        items[0] if placed.issuperset(items) else None,
        preferred,
        kept.carried,
        kept.foreign,
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
    out, drawing = [], Extra("pictures of regions")
    for s, record in zip(layers, records, strict=True):
        regions = []
        for i, region in enumerate(s.regions):
            look = record.look(i) if region.rank <= number else None
            if look is not None:
                with drawing:
                    name = chips.file_name(region.anomaly_id)
                    chips.write(drawn / name, chips.draw(look))
                    region = replace(region, chip=f"{drawn.name}/{name}")
            regions.append(region)
        out.append(replace(s, regions=regions))
    if any(region.chip for s in out for region in s.regions):
        chips.seal(drawn)
    else:
        drawn.rmdir()
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
        record.doubt,
        scene.kind,
    )
