"""Scoring that fails as it is told to, for processes of their own: it loads no more than scoring does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satae.batch import work
from satae.batch.task import Task

if TYPE_CHECKING:
    import pytest

# what happens at each attempt at a scene of that name; in the folder of the scenes
ORDERS = "orders.json"


def obedient(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the scenes of another, which are scored here as `order` has it."""
    folder.mkdir()
    for path in source.iterdir():
        os.link(path, folder / path.name)
    order(folder)
    monkeypatch.setattr("satae.batch.run.SCORE", "orders:score")
    return folder


def order(folder: Path, **orders: list[str]) -> None:
    """What is to happen at each attempt at a scene, in turn: 'kill', 'bug', 'slow', 'nap' or 'full'."""
    (folder / ORDERS).write_text(json.dumps(orders))


def score(task: Task) -> Any:
    """`work.score`, but what was ordered happens in mid-scene, while its part is being written."""
    inside = Path(task.paths[0]).parent
    tried = inside / f"{task.name}.tried"
    # two blocks of a scene may begin at once: what an append leaves behind itself tells them apart, a read does not
    with tried.open("ab", buffering=0) as file:
        file.write(b"x")
        attempt = file.tell()
    told = json.loads((inside / ORDERS).read_text()).get(task.name, [])
    what = told[attempt - 1] if attempt <= len(told) else ""
    if what:
        work.score_scene, work.scan_block = (
            partial(_happen, what, _score_scene),
            partial(_happen, what, _scan_block),
        )
    try:
        return work.score(task)
    finally:
        work.score_scene, work.scan_block = _score_scene, _scan_block


_score_scene, _scan_block = work.score_scene, work.scan_block


def _happen(what: str, scored: Callable[..., Any], *given: Any, **more: Any) -> Any:
    record = scored(*given, **more)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what in ("slow", "nap"):
        (given[2].parent / "begun").touch()
        time.sleep(60 if what == "slow" else 2)
    if what == "full":
        raise OSError(28, "No space left on device", str(given[2] / "heatmap.tif"))
    if what == "bug":
        raise ValueError("a bug")
    return record
