"""Whatever call of the disk fails, a command is done or has changed nothing, and says so in a sentence.

As SQLite tests itself: the first call of a kind fails, then the second, until none is left to fail.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from commands import typed
from faults import contents, dying, killed, small_disk, striking, unread
from scenes import MakeScene
from shared import Shared

from satae.demo import synthetic

TRAIN = (
    "train",
    "--config",
    "pca",
    "--device",
    "cpu",
)  # the cheapest there is, for it is done a hundred times
WORDS: dict[str, tuple[object, ...]] = {
    "tile": ("tile", "land.tif", "--size", 48, "--overwrite"),
    "train": (*TRAIN, "--set", "model.params.components=2", "--overwrite"),
    "score": ("score", "other.tif", "--far", 50, "--stac", "--overwrite"),
    "export": ("export", "model.onnx", "--flavor", "deepness", "--out", "fewer.onnx", "--overwrite"),
}
PAGE = 4096  # bytes
RUN = "runs/"  # of an older training, which --overwrite begins anew before its model is replaced


def fill(place: Path, shared: Shared, make_scene: MakeScene, patch: pytest.MonkeyPatch) -> None:
    """Put results of every command of WORDS into the folder that is worked in; each would now write others."""
    patch.setenv("SOURCE_DATE_EPOCH", "0")  # the same results have the same bytes

    def make(folder: Path) -> None:
        land = synthetic.scene(height=128, width=160, seed=1).image
        blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0}
        make_scene(land, name="land.tif", folder=folder, **blocks)
        make_scene(land[:, ::-1], name="other.tif", folder=folder, **blocks)
        patch.chdir(folder)
        for words in (("tile", "land.tif", "--size", 32), TRAIN, ("score", "--stac")):
            assert typed(*words).exit_code == 0
        shutil.copy("model.onnx", "fewer.onnx")

    made = shared.made("place", make)
    patch.chdir(place)
    shutil.copytree(made, place, dirs_exist_ok=True)


def seen(folder: Path, command: str) -> dict[str, bytes]:
    """What a failure of the command must not change."""
    return {k: v for k, v in contents(folder).items() if not (command == "train" and k.startswith(RUN))}


def holds(result: Any, before: dict[str, bytes], after: dict[str, bytes], codes: tuple[int, ...]) -> bool:
    """Whether the command was done, with no word of a failure, or has failed, said why and changed nothing.

    True where it was done. Some calls may fail without harm, such as that for a second name of an older file.
    """
    assert not [name for name in after if name.rpartition("/")[2].startswith(".")]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if result.exit_code == 0:
        assert errors == [] and after != before
        return True
    assert result.exit_code in codes and len(errors) == 1, result.output
    assert after == before
    return False


@pytest.mark.parametrize(
    ("command", "way"),
    [(c, w) for c in WORDS for w in ("sync", "rename", "create")] + [("tile", "read"), ("score", "read")],
)
def test_whatever_call_fails_nothing_is_lost(
    here: Path, shared: Shared, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, command: str, way: str
) -> None:
    fill(here, shared, make_scene, monkeypatch)
    before = seen(here, command)
    failed = 0
    for number in count(1):
        with striking(way, number, unread if way == "read" else dying) as nth:
            result = typed(*WORDS[command])
        done = holds(result, before, seen(here, command), (2, 3))
        failed += not done
        if not nth.struck:
            break
        if done:
            restore(here, before)
    assert done and failed > 1


@pytest.mark.parametrize("command", WORDS)
def test_wherever_the_disk_is_full_nothing_is_lost(
    here: Path, shared: Shared, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    fill(here, shared, make_scene, monkeypatch)
    before = seen(here, command)
    for pages in (0, *(2**i for i in range(12))):
        with small_disk(pages * PAGE):
            result = typed(*WORDS[command])
        if holds(result, before, seen(here, command), (3,)):
            break
    assert result.exit_code == 0 and pages > 1


@pytest.mark.parametrize(
    ("command", "way"), [("tile", "sync"), ("tile", "rename"), ("score", "rename"), ("export", "rename")]
)
def test_whenever_it_is_killed_the_next_run_finds_the_older_result_or_the_new_one(
    here: Path, shared: Shared, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch, command: str, way: str
) -> None:
    fill(here, shared, make_scene, monkeypatch)
    before = contents(here)
    assert typed(*WORDS[command]).exit_code == 0
    after = contents(here)
    restore(here, before)

    number = 1
    while killed(way, number, *WORDS[command]):
        # a run that has looked at what was left of the other, and fails later
        with striking("sync", 1):
            assert typed(*WORDS[command]).exit_code == 3
        now = contents(here)
        assert now in (before, after), sorted(n for n in {*now, *before} if now.get(n) != before.get(n))
        restore(here, before)
        number += 1
    assert number > 3 and contents(here) == after


def restore(place: Path, before: dict[str, bytes]) -> None:
    """The folder as it was."""
    for name in contents(place):
        (place / name).unlink()
    for name, content in before.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
