"""What a run leaves beside its folders: of one scene what `satae score` leaves, of more a collection."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from satae.batch import collect, parts, store
from satae.batch.folders import ABOUT, NAME, RunOutput, SceneFolders, check_target, files
from satae.console import SILENT, Steps
from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.card import now
from satae.inference.runtime import Model
from satae.publish import locks, staging, write_bytes
from satae.report import chips as pictures
from satae.scoring import outputs
from satae.scoring.outputs import Options
from satae.scoring.record import HEATMAP, SceneRecord
from satae.scoring.rule import KINDS, Rule
from satae.scoring.run import Result, assemble


def make(found: SceneFolders, steps: Steps = SILENT) -> RunOutput:
    """Put together what the latest run in a folder has finished; ModelError where the model is not there any more."""
    out, said = found.out, parts.about(found.out)
    models = [_model(Path(path), sha256) for path, sha256 in parts.models(said)]
    kind, number = said["rule"].split()
    rule: Rule = KINDS[kind](type_of(kind)(number))
    if found.is_alone:
        with steps.stage("write layers, chips and report"):
            return RunOutput(found, str(rule), alone=_alone(out, found, models, rule, said["chips"]))
    made = collect.collect(found, models, rule.sentence, said["chips"], now(), steps)
    return RunOutput(found, str(rule), collection=made)


def type_of(kind: str) -> type[int] | type[float]:
    """The type of the number of a rule."""
    return int if kind == "top" else float


def _model(path: Path, sha256: str) -> Model:
    model = runtime.load(path, "cpu", 1)
    if model.sha256 != sha256:
        raise ModelError(f"{path} is not the model of this run any more; run again, or put it back")
    return model


def _alone(out: Path, found: SceneFolders, models: Sequence[Model], rule: Rule, chips: int) -> Result:
    """The result of a single scene, from copies of its folders: what is moved from there must stay in them too."""
    # `assemble` is what `satae score` calls: so its files are the same
    target, ours = out / NAME, bool(files(out))
    records, (model, *others) = [store.read(each) for each in found], models
    created = records[0].layer.scene.created
    options = Options(rule, overwrite=ours, created=created, chips=chips, others=tuple(others))
    heatmaps = outputs.heatmap_targets(target, [record.name for record in records], None)
    check_target(out, *heatmaps, pictures.folder_of(target))
    outputs.check_targets([], target, heatmaps, options)
    with locks(outputs.names(target, heatmaps)), staging(target) as folder:
        copies = [_copy(record, folder / record.name) for record in records]
        result = assemble(copies, model, target, options)
    names = [NAME, *(p.name for p in (*heatmaps, result.report, result.chips) if p is not None)]
    write_bytes(out / ABOUT, json.dumps({"results": found.digest, "files": names}).encode())
    return result


def _copy(record: SceneRecord, folder: Path) -> SceneRecord:
    folder.mkdir()
    for path in record.folder.iterdir():
        if path.name.startswith(Path(HEATMAP).stem) or path.suffix == ".npz":
            shutil.copyfile(path, folder / path.name)
    return replace(record, folder=folder)
