"""Whether what a result or tile set was made of is still as it was: scenes by their time, models by their hash."""

from __future__ import annotations

import glob
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from satae.errors import ResultError

AS_IT_WAS, CHANGED, GONE = "as it was", "changed since", "not there"


def state(paths: Sequence[Path], made: float) -> str:
    """What became of the files of a scene since a time in seconds; those of a product are looked at one by one."""
    # a folder has the time at which names in it changed, not contents
    files = [f for p in paths for f in (p.rglob("*") if p.is_dir() else (p,)) if not f.is_dir()]
    if not files or not all(f.is_file() for f in files):
        return GONE
    times = [f.stat().st_mtime for f in files]
    return CHANGED if max(times) > made else AS_IT_WAS


def of_result(result: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What became of the scenes of a result, and which model beside it is the one that scored them."""
    # a review writes into the result, so its own time says little; SOURCE_DATE_EPOCH may put `created` long ago
    rasters = [p.stat().st_mtime for p in result.parent.glob(f"{glob.escape(result.stem)}*_heatmap.tif")]
    least = min(rasters, default=0.0)
    files = [[result.parent / name for name in row["path"].split(";")] for row in rows]
    times = [max(least, _second(row["created"])) for row in rows]
    states = [state(paths, made) for paths, made in zip(files, times, strict=True)]
    wanted = {row["model_sha256"] for row in rows}
    return {"scenes_now": _counts(states), "model_now": _model(result.parent, wanted)}


def of_heatmap(heatmap: Path) -> dict[str, Any]:
    """The result beside a heatmap that it belongs to, and what became of what it was made of."""
    found = sorted(p for p in heatmap.parent.glob("*.gpkg") if heatmap.name.startswith(p.stem + "_"))
    for path in reversed(found):  # the longest name that it begins with
        try:
            with closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            ) as file:
                file.row_factory = sqlite3.Row
                rows = [
                    dict(row) for row in file.execute("SELECT scene, path, created, model_sha256 FROM scenes")
                ]
        except sqlite3.Error:
            continue
        # one of many scenes has its name behind that of the result
        own = [row for row in rows if len(rows) == 1 or f"_{row['scene']}_" in heatmap.name]
        if len(own) == 1:
            return {"result": str(path), "scene": own[0]["scene"], **of_result(path, own)}
    return {"result": None}


def of_tiles(folder: Path, files: Iterable[str]) -> dict[str, Any]:
    """What became of the files of a tile set since it was cut."""
    made = (folder / "tileset.json").stat().st_mtime
    return {"files_now": _counts([state([Path(name)], made) for name in files])}


def _second(created: str) -> float:
    """The end of the second in which something was made."""
    return datetime.fromisoformat(created).timestamp() + 1


def _counts(states: Sequence[str]) -> str:
    """One word where all are alike, else how many are what."""
    if len(set(states)) == 1:
        return states[0]
    return ", ".join(f"{states.count(s)} {s}" for s in (AS_IT_WAS, CHANGED, GONE) if s in states)


def _of_run(folder: Path) -> list[Path]:
    """The models that the run in a folder was told of, as far as they are where they were; none where it is no run."""
    if not any(folder.glob("run*.json")):
        return []  # and no need to load what knows runs
    from satae.batch import parts

    try:
        named = parts.models(parts.about(folder))
    except ResultError:
        return []
    return [path for path in (Path(name) for name, _ in named) if path.is_file()]


def _model(folder: Path, wanted: set[str]) -> str:
    every = sorted(folder.glob("*.onnx"), reverse=True)
    names = {p: str(p) for p in _of_run(folder)} | {p: p.name for p in every}
    # of copies the first by name, and one that lies beside it
    by_hash = {hashlib.sha256(p.read_bytes()).hexdigest(): name for p, name in names.items()}
    if found := sorted(name for sha256, name in by_hash.items() if sha256 in wanted):
        what = "is the model" if len(found) == 1 else "are the models"
        return f"{' and '.join(found)} {what} that scored it"
    others = ", ".join(p.name for p in reversed(every)) or "no .onnx there"
    return f"none beside it is the model that scored it ({others})"
