"""A model for scenes that have none: a sample of them is tiled and trained on, with the files that the commands leave.

Runs in a process of its own, so that what training loads is gone before scenes are scored. Each step that was finished
before is left as it is, and a training that was interrupted goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from satae.batch.sample import MODEL, RUN, TILES, Lesson, State
from satae.batch.task import Request
from satae.console import Steps
from satae.errors import SceneError
from satae.nn.checkpoint import CHECKPOINT
from satae.scene.describe import describe
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet, load
from satae.training import run as training

log = logging.getLogger(__name__)


def learn(lesson: Lesson) -> None:
    """Make the tile sets and the model of a lesson in the folder of a run.

    Raises what `cut` and `train` do. Of several scenes those that cannot be used are left out.
    """
    # as the commands are typed in it, so that their files are called the same
    os.chdir(lesson.out)
    steps, here = Steps(quiet=lesson.quiet), Path()
    state = State.read(here)
    same = state.key == lesson.key
    known = state.cut if same else ()
    ours = {*state.ours, *map(str, lesson.places)}
    state, sets = State(lesson.key, known, tuple(sorted(ours))).write(here), []
    for scene in lesson.scenes:
        if (found := _tiles(*scene, lesson, known, steps)) is not None:
            sets.append(found)
            state = replace(state, cut=(*state.cut, scene[1])).write(here)
    if not sets:
        raise SceneError("no scene of the sample can be learned from; each has its reason above")
    again = same and (RUN / CHECKPOINT).exists()
    training.train(
        sets,
        lesson.recipe,
        Path(MODEL),
        RUN,
        device=lesson.device,
        resume=again,
        overwrite=not again,
        steps=steps,
    )
    replace(state, done=True).write(here)


def _tiles(
    paths: tuple[Path, ...], name: str, asked: Request, lesson: Lesson, known: Sequence[str], steps: Steps
) -> TileSet | None:
    """The tile set of a scene, which may have been cut before; None where it cannot be used and others may."""
    folder = Path(TILES, name)
    if name in known and folder.exists():
        return load(folder)
    folder.parent.mkdir(exist_ok=True)
    try:
        scene = describe(paths, bands=asked.bands, limits=asked.limits, gsd=asked.gsd)
        return cut(scene, folder, Cut(workers=lesson.workers), steps, brief=0)
    except SceneError as error:
        if len(lesson.scenes) == 1:
            raise
        log.warning("not learned from: %s", error)
        return None
