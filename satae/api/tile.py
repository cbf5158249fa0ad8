"""Scenes into tile sets, as `satae tile` does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from satae.api import CORES
from satae.api.progress import Tell, steps_of
from satae.api.scenes import Source, open_scenes
from satae.console import Steps
from satae.errors import ConfigError, OutputError
from satae.publish import check_target
from satae.scene.scene import Scene
from satae.tiles.cut import Cut, cut
from satae.tiles.store import TileSet


def tile(
    scenes: Source | Sequence[Source],
    out: str | Path = "tiles",
    *,
    size: int = 64,
    overlap: int = 0,
    min_valid: float = 0.5,
    sample: int | None = None,
    patches: bool = False,
    workers: int = CORES,
    overwrite: bool = False,
    progress: Tell | Steps | None = None,
) -> list[TileSet]:
    """Cut scenes, a list or a single one, into tile sets below `out`, a folder each by the name of the scene.

    `size` and `overlap` in pixels; tiles with a smaller share of valid pixels than `min_valid` are left out, and of
    the rest no more than `sample` a scene are kept.
    """
    how, out = Cut(size, overlap, min_valid, patches, workers, sample), Path(out)
    found, steps = open_scenes(scenes), steps_of(progress)
    _check_names(found, out)
    # a folder that was made for nothing goes again
    made = make_folder(out)
    try:
        for scene in found:
            check_target(out / scene.name, overwrite=overwrite)
        return [cut(scene, out / scene.name, how, steps, brief=0) for scene in found]
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()


def _check_names(scenes: Sequence[Scene], out: Path) -> None:
    """ConfigError where two scenes would be cut into one folder: names of files may differ in what a name drops."""
    first: dict[str, Path] = {}
    for scene in scenes:
        other = first.setdefault(scene.name, scene.path)
        if other is scene.path:
            continue
        if other.samefile(scene.path):
            raise ConfigError(f"{scene.path} is named twice")
        raise ConfigError(
            f"{other} and {scene.path} would both be cut into {out / scene.name}; rename one, or cut them one by one "
            "with different --out"
        )


def make_folder(folder: Path) -> bool:
    """Make a folder that is missing; whether it was. OutputError where it cannot be."""
    try:
        folder.mkdir()
    except FileNotFoundError:
        raise OutputError(
            f"{folder} cannot be made: there is no folder {folder.parent}; make it first"
        ) from None
    except FileExistsError:
        if folder.is_dir():
            return False
        raise OutputError(f"{folder} is a file; choose another --out") from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
    return True
