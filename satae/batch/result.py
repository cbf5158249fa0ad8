"""What a run leaves beside its folders: of one scene what `satae score` leaves, of more a collection."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from satae.batch import collect, store
from satae.batch.folders import ABOUT, NAME, RunOutput, SceneFolders, check_target, files
from satae.batch.parts import about
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
    out, said = found.out, about(found.out)
    model = _model(said)
    kind, number = said["rule"].split()
    rule: Rule = KINDS[kind](type_of(kind)(number))
    if found.is_alone:
        with steps.stage("write layers, chips and report"):
            return RunOutput(found, str(rule), alone=_alone(out, found, model, rule, said["chips"]))
    made = collect.collect(found, model, rule.sentence, said["chips"], now(), steps)
    return RunOutput(found, str(rule), collection=made)


def type_of(kind: str) -> type[int] | type[float]:
    """The type of the number of a rule."""
    return int if kind == "top" else float


def _model(said: dict[str, Any]) -> Model:
    model = runtime.load(Path(said["model"]), "cpu", 1)
    if model.sha256 != said["sha256"]:
        raise ModelError(f"{said['model']} is not the model of this run any more; run again, or put it back")
    return model


def _alone(out: Path, found: SceneFolders, model: Model, rule: Rule, chips: int) -> Result:
    """The result of a single scene, from a copy of its folder: what is moved from there must stay in it too."""
    # `assemble` is what `satae score` calls: so its files are the same
    target, ours = out / NAME, bool(files(out))
    record = store.read(next(iter(found)))
    options = Options(rule, overwrite=ours, created=record.layer.scene.created, chips=chips)
    heatmaps = outputs.heatmap_targets(target, [record.name], None)
    check_target(out, *heatmaps, pictures.folder_of(target))
    outputs.check_targets([], target, heatmaps, options)
    with locks(outputs.names(target, heatmaps)), staging(target) as folder:
        result = assemble([_copy(record, folder / "scene")], model, target, options)
    names = [NAME, *(p.name for p in (heatmaps[0], result.report, result.chips) if p is not None)]
    write_bytes(out / ABOUT, json.dumps({"results": found.digest, "files": names}).encode())
    return result


def _copy(record: SceneRecord, folder: Path) -> SceneRecord:
    folder.mkdir()
    for path in record.folder.iterdir():
        if path.name.startswith(Path(HEATMAP).stem) or path.suffix == ".npz":
            shutil.copyfile(path, folder / path.name)
    return replace(record, folder=folder)
