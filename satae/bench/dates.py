"""What changed between dates, where a mask says it: satae beside CVA and IR-MAD by AUROC and AP of their maps.

The last date is scored, and all before it are history. The mask is looked at by the measures alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.bench.contest import Progress, raster_case
from satae.bench.metrics import ranking_of
from satae.bench.place import MOST
from satae.bench.report import staged_output
from satae.bench.rivals import RIVALS
from satae.errors import ConfigError, SceneError
from satae.scene.scene import Scene
from satae.series import detector, learning, run
from satae.series.rules import PAIR
from satae.series.stack import on_grid

NAMES = "CVA", "IR-MAD"  # the rivals that two dates are enough for

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def bench(
    scenes: Sequence[Scene], days: Sequence[int], truth: Path, out: Path, *,
    overwrite: bool = False, progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:  # fmt: skip
    """Read, score the last date, measure; (content, table, remarks). Publishes the folder `out`."""
    if len(set(days)) < 2:
        raise ConfigError("bench dates takes the date that was masked and one before it at least")
    with staged_output(out, overwrite=overwrite) as (draft, _):
        last = scenes[int(np.argmax(days))]
        case = raster_case(last.path, truth)
        x, valid, when = _read(last, scenes, days)
        progress(1, 3, "dates are read")
        model, maps = _maps(x, valid, when)
        progress(2, 3, "dates are scored")
        # every method is measured on the pixels that all of them know
        known = case.counted.ravel() & np.isfinite(np.stack(list(maps.values()))).all(axis=0)
        inside = case.truth.ravel()[known]
        if inside.all() or not inside.any():
            raise SceneError(f"{truth} has no change, or nothing else, where both dates are valid")
        found = {name: ranking_of(score[known], inside) for name, score in maps.items()}
        said: dict[str, Any] = {
            "kind": "dates",
            "model": model,
            "dates_before": len(when) - 1,
            "pixels": int(known.sum()),
            "changed": int(inside.sum()),
            "methods": {n: {"auroc": r.auroc, "ap": r.average_precision} for n, r in found.items()},
        }
        table = [f"{'':<10}{'AUROC':>8}{'AP':>8}"]
        table += [f"{n:<10}{m['auroc']:>8.3f}{m['ap']:>8.3f}" for n, m in said["methods"].items()]
        table.append(f"{said['changed']:,} of {said['pixels']:,} pixels changed; satae took {model}")
        (draft / "bench.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
        (draft / "table.txt").write_text("\n".join([*table, ""]), encoding="utf-8")
    return {"out": str(out)} | said, table, []


def _read(last: Scene, scenes: Sequence[Scene], days: Sequence[int]) -> tuple[Floats, Bools, Floats]:
    """x (date, B, pixel), `valid` (date, pixel) and days in their order, on the grid of the last scene."""
    place = on_grid(last.grid, scenes, days)
    if (size := len(place.dates) * len(place.bands) * place.grid.pixels) > MOST:
        raise ConfigError(
            f"{size:,} numbers over dates and bands are more than {MOST:,}; choose a part with --aoi"
        )
    past = np.arange(len(place.dates)) < len(place.dates) - 1
    with place.open() as reader:
        clear = learning.clear_ground(reader, place.grid.window, past, place.buffer)
        x, valid = learning.flat(reader, place.grid.window, clear, place.buffer)
    return x.astype(np.float64), valid, place.days


def _maps(x: Floats, valid: Bools, days: Floats) -> tuple[str, dict[str, Floats]]:
    """(the model that `satae series` takes, the score (pixel) of the last date by each method)."""
    past, now, good, day = (x[:-1], valid[:-1], days[:-1]), x[-1], valid[-1], float(days[-1])
    model = run.model_of("auto", past[2], 1)
    rules = detector.rules_of(model, past[2], *past[:2], keep=(1, 1))
    memory = detector.learn(rules, *past[:2])
    if model == PAIR:
        rules = detector.pair_rules(rules, memory, now, good)
        memory = detector.learn(rules, *past[:2])
    judged, _ = detector.apart(rules, memory, now, day, good)
    maps = {"satae": np.where(good, judged.square, np.nan)}
    for name in NAMES:
        maps[name] = RIVALS[name](*past)(now[None], good[None], np.array([day]))[0]
    return model, maps
