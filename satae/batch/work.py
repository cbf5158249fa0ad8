"""One scene scored in whatever process it falls to: the same function in a spawned one and on a cluster."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from satae.batch import local, places, store
from satae.batch.key import content, key_of
from satae.batch.task import Means, Task
from satae.batch.worker import MeansError
from satae.errors import ModelError, ResultError, SataeError, SceneError
from satae.gis.kinds import KINDS
from satae.inference import runtime
from satae.inference.runtime import Model
from satae.scene.describe import describe
from satae.scene.together import once
from satae.scoring.baseline import Baseline, open_baseline
from satae.scoring.cubes import by_wavelength
from satae.scoring.domain import check_fit
from satae.scoring.record import How, calibration_of, scan_block, score_scene

DECODED = "decoded"  # what is kept of a scene meanwhile, in the folder of its result


def score(task: Task) -> dict[str, Any]:
    """Score a scene, or scan a block of one, and give the finished folder its place; what is there already stays.

    Gives what the journal says of it. Raises what `describe`, `check_fit` and `score_scene` do, and SceneError where
    the files are not those that were planned with.
    """
    # another process, or the run before, may have been here since it was planned
    if not task.place.is_dir():
        # what is there is passed over, and what somebody removed is made again
        for part in task.parts:
            _make(part)
        _make(task)
    if task.block is not None:
        return {"block": f"{task.block + 1}/{task.blocks}"}
    if task.blocks > 1:
        places.forget(task.means.out, task.key)
    row = store.summary(task.place)
    return {
        "anomalies": row.row["anomalies"],
        "damaged": len(row.about["damage"]),
        "foreign": store.is_foreign(row),
    }


def _make(task: Task) -> None:
    """Make the finished folder of a task, where it is not there."""
    asked, means = task.asked, task.means
    if task.target.is_dir():
        return
    model, judge = _opened(means, asked.baseline)
    # else the result would go by the name of something that it was not made of
    check_key(task)
    paths = local.files(task.paths, asked.bands, network=means.network, cache=means.cache)
    scene = describe(paths, bands=asked.bands, limits=asked.limits, gsd=asked.gsd)
    scene = by_wavelength(scene, model)
    how = How(
        asked.rule, asked.min_area_m2, means.threads, means.created, asked.chips, baseline=judge,
        force_domain=asked.force_domain, side=means.side,
    )  # fmt: skip
    with places.part(means.out, task.id) as folder:
        scene = once(scene, folder / DECODED)
        check_fit(scene, model, force=asked.force_domain)
        if judge is not None:
            check_fit(scene, judge.model, force=asked.force_domain)
        if task.block is not None:
            scan_block(scene, model, folder, how, (task.block, task.blocks))
        else:
            blocks = [part.target for part in task.parts]
            store.write(score_scene(scene, model, folder, how, name=task.name, blocks=blocks))
            if not all(place.is_dir() for place in blocks):
                raise ResultError(f"blocks of {task.paths[0]} were removed meanwhile; run again")
        shutil.rmtree(folder / DECODED, ignore_errors=True)
        task.target.parent.mkdir(exist_ok=True, parents=True)
        places.settle(folder, task.target)


def check_key(task: Task) -> None:
    """SceneError where the files hold something else than when they were planned with."""
    own = key_of(task.name, content(task.paths), task.means.sha256, task.asked.hash())
    if own != task.key:
        raise SceneError(f"{task.paths[0]} changed since the run began; run again when it is complete")


def _opened(means: Means, baseline: Path | None) -> tuple[Model, Baseline | None]:
    """The model, and what gives a second opinion; MeansError where one cannot be used."""
    try:
        model = _model(means.model, means.sha256, means.device, means.threads)
        calibration_of(model)
        return model, None if baseline is None else _judge(baseline, means.device, means.threads)
    except SataeError as error:
        raise MeansError(str(error)) from error


# a process scores one scene after the other with one model, or with one a kind, each of which is opened once
@lru_cache(maxsize=len(KINDS))
def _model(path: Path, sha256: str, device: str, threads: int) -> Model:
    model = runtime.load(path, device, threads)
    if model.sha256 != sha256:
        raise ModelError(f"{path} was replaced since the run began; start again")
    return model


_judge = lru_cache(maxsize=1)(open_baseline)
