"""A model for scenes that have none: a sample of them is tiled and trained on, with the files that the commands leave.

Runs in a process of its own, so that what training loads is gone before scenes are scored. Each step that was finished
before is left as it is, and a training that was interrupted goes on.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from satae.batch.sample import MODEL, RUN, TILES, Lesson, State, alike
from satae.batch.sets import Sets
from satae.console import Steps
from satae.errors import SceneError
from satae.nn.checkpoint import CHECKPOINT
from satae.tiles.store import TileSet
from satae.training import run as training

log = logging.getLogger(__name__)


def learn(lesson: Lesson) -> None:
    """Make the tile sets and the model of a lesson in the folder of a run.

    Raises what `cut`, `alike` and `train` do. Of several scenes those that cannot be used are left out.
    """
    # as the commands are typed in it, so that their files are called the same
    os.chdir(lesson.out)
    steps, here = Steps(quiet=lesson.quiet), Path()
    state = State.read(here)
    same = state.key == lesson.key
    ours = {*state.ours, *map(str, lesson.places)}
    state = State(lesson.key, tuple(sorted(ours))).write(here)
    sets = _tiles(lesson, steps)
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


def _tiles(lesson: Lesson, steps: Steps) -> list[TileSet]:
    """The tile sets of the scenes that can be used and fit each other; SceneError where there is none."""
    folder = Path(TILES)
    folder.mkdir(exist_ok=True)
    made, sets = dict[str, TileSet](), Sets(folder, lesson.how, False, lesson.network, lesson.cache, steps)
    for scene in lesson.scenes:
        try:
            made[scene.name] = sets.make(scene)
        except SceneError as error:
            if len(lesson.scenes) == 1:
                raise
            log.warning("not learned from: %s", error)
    if not made:
        raise SceneError("no scene of the sample can be learned from; each has its reason above")
    fitting, others = alike(lesson.scenes, made)
    for reason in others.values():
        log.warning("not learned from: %s", reason)
    return fitting
