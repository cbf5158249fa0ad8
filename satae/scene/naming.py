"""Names of scenes that lie in folders of their own and are called alike, as scene.tif of each date or place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from satae.scene.describe import NAME_BYTES
from satae.scene.scene import Scene

DEEPEST = 3  # folders above a file that may be told apart by


def apart(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes, with the folders of those that share a name before it where that tells them apart."""
    names = [scene.name for scene in scenes]
    shared = {name for name in names if names.count(name) > 1}
    found = {name: _prefixes([s.path for s in scenes if s.name == name]) for name in shared}
    taken = set(names) - shared
    out = []
    for scene in scenes:
        name = f"{found.get(scene.name, {}).get(scene.path, '')}{scene.name}"
        # what another scene is called already stays its own; who writes numbers the others, or refuses
        fits = name not in taken and len(name.encode()) <= NAME_BYTES
        out.append(replace(scene, name=name) if name != scene.name and fits else scene)
    return out


def _prefixes(paths: Sequence[Path]) -> dict[Path, str]:
    """The fewest folders above each file by which they differ, as the begin of a name; none where no few do."""
    for depth in range(1, DEEPEST + 1):
        parts = [path.absolute().parts[-1 - depth : -1] for path in paths]
        if len(set(parts)) == len(paths):
            return {p: "".join(f"{_plain(part)}_" for part in of) for p, of in zip(paths, parts, strict=True)}
    return {}


def _plain(text: str) -> str:
    """A folder's name without what would not do in the name of a file."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text).strip("._")
