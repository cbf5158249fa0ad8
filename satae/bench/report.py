"""Writes what a benchmark found: figures of each map, a table for people, JSON for scripts, pictures for both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from satae import composite
from satae.bench.contest import (
    UNTIMED,
    Bools,
    Case,
    Contest,
    Cost,
    Map,
    Progress,
    Result,
    check_names,
    results,
    trials,
)
from satae.bench.lanes import lanes_of, spread
from satae.bench.metrics import large_regions, ranking_of, region_curve
from satae.config import Recipe
from satae.errors import SceneError, TrainError
from satae.inference.calibrate import CANDIDATE_SHARE, PER_KM2, PER_PIXELS
from satae.publish import check_target, lock, publish, staging
from satae.training import figures

FAR = 20.0  # false alarms per 100 km2 at which regions are counted
ALARM_SHARE = 0.01
HALF = 0.5
RATES = np.geomspace(1e-5, 1, 200)  # shares of false alarms of the ROC curve
MANY = 12  # bands, from which on the first three lie close together
SHOWN = 400  # pixels a side of a map in a picture, at the most


@dataclass(frozen=True)
class Figures:
    """How well one map finds the targets of its scene; see `metrics`.

    `detection`: share of target pixels found at 1 % false alarms. `recall`: share of objects found at the rate of
    false regions per 100 km2 that was asked for (10 megapixels without a CRS); `false_alarms`: that rate where
    half of the objects are found, infinite where they never are.
    """

    auroc: float
    average_precision: float
    detection: float
    precision_at_n: float
    recall: float
    false_alarms: float


TITLES = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "detection": "TPR at 1%",
    "precision_at_n": "P at n",
    "recall": "regions",
    "false_alarms": "alarms",
}


@dataclass(frozen=True)
class Row:
    """The figures of a method on a scene with one seed, its ROC curve at RATES, and what it took."""

    scene: str
    method: str
    seed: int
    figures: Figures
    curve: Map
    cost: Cost = UNTIMED


def units_of(pixels: int, pixel_area_m2: float | None) -> float:
    """An area in units of 100 km2, or of 10 megapixels where areas are unknown."""
    return pixels * (1 / PER_PIXELS if pixel_area_m2 is None else pixel_area_m2 / (PER_KM2 * 1e6))


def measurement(result: Result, far: float = FAR) -> Row:
    """The figures of a map among its scored pixels that count; SceneError where no target is among them."""
    case, scores = result.case, result.scores
    counted = np.isfinite(scores) & case.counted
    area = units_of(int(counted.sum()), case.scene.grid.pixel_area_m2)
    try:
        ranking = ranking_of(scores[counted], case.truth[counted])
        regions = region_curve(scores, case.truth, counted, units=area, floor=_floor(result, counted))
    except ValueError as error:
        raise SceneError(f"{case.name} cannot be measured: {error}") from error
    found = Figures(
        ranking.auroc,
        ranking.average_precision,
        float(ranking.detection(ALARM_SHARE)),
        ranking.precision_at_n,
        regions.recall(far),
        regions.false_rate(HALF),
    )
    curve = ranking.detection(RATES).astype(np.float32)
    return Row(case.name, result.method, result.seed, found, curve, result.cost)


def _floor(result: Result, counted: Bools) -> float:
    """Where candidate regions begin: as calibrated, or where as much of the map itself lies over it."""
    if result.calibration is not None:
        return result.calibration.candidate
    return float(np.quantile(result.scores[counted], 1 - CANDIDATE_SHARE))


def mean(rows: Iterable[Row]) -> Figures:
    """The mean of each figure."""
    table = [list(asdict(row.figures).values()) for row in rows]
    return Figures(*(float(v) for v in np.mean(table, axis=0)))


def lines(rows: Sequence[Row], methods: Sequence[str], far: float = FAR) -> list[str]:
    """AUROC and average precision by scene and method, then the means of all figures by method."""
    wide = max(15, *(len(m) + 2 for m in methods))
    scenes = list(dict.fromkeys(row.scene for row in rows))
    first = max(len("AUROC / AP"), *(len(name) for name in scenes), *(len(m) + 9 for m in methods))
    out = [f"{'AUROC / AP':<{first}}" + "".join(f"{m:>{wide}}" for m in methods)]
    for name, chosen in [(s, [r for r in rows if r.scene == s]) for s in scenes] + [("mean", list(rows))]:
        pairs = [mean(r for r in chosen if r.method == m) for m in methods]
        texts = [f"{pair.auroc:.3f} / {pair.average_precision:.3f}" for pair in pairs]
        out.append(f"{name:<{first}}" + "".join(f"{text:>{wide}}" for text in texts))
    out += ["", f"{'mean':<{first}}" + "".join(f"{t:>11}" for t in TITLES.values())]
    out += [_line(m, mean(r for r in rows if r.method == m), first) for m in methods]
    runs = list(dict.fromkeys((row.method, row.seed) for row in rows))
    if len(runs) > len(methods):
        out += [
            _line(f"{m}, seed {s}", mean(r for r in rows if (r.method, r.seed) == (m, s)), first)
            for m, s in runs
        ]
    return [
        *out,
        f"regions: objects found at {far:g} false regions per 100 km2 (10 megapixels without a CRS); alarms: that "
        "rate where half of the objects are found",
    ]


def _line(name: str, f: Figures, first: int) -> str:
    shares = (f.auroc, f.average_precision, f.detection, f.precision_at_n, f.recall)
    rate = f"{f.false_alarms:.3g}" if math.isfinite(f.false_alarms) else "never"
    return f"{name:<{first}}" + "".join(f"{v:>11.3f}" for v in shares) + f"{rate:>11}"


def content(
    kind: str, contest: Contest, cases: Sequence[Case], rows: Sequence[Row], far: float = FAR
) -> dict[str, Any]:
    """All of it, ready for JSON; a rate that is never reached is null."""
    return {
        "kind": kind,
        "recipe": first_recipe(contest, cases).model_dump(),
        "seeds": list(contest.seeds),
        "library": contest.library,
        "far": far,
        "methods": list(contest.methods),
        "scenes": [_scene(case, rows, contest) for case in cases],
        "mean": {m: _finite(mean(r for r in rows if r.method == m)) for m in contest.methods},
        "per_seed": {
            m: [
                {"seed": s} | _finite(mean(r for r in rows if (r.method, r.seed) == (m, s)))
                for s in contest.seeds
            ]
            for m in contest.methods
        },
    }


def first_recipe(contest: Contest, cases: Sequence[Case]) -> Recipe:
    """The recipe with nothing left open, as for the first scene and seed."""
    return contest.recipes(cases[0].scene, contest.seeds[0])[contest.name]


def _scene(case: Case, rows: Sequence[Row], contest: Contest) -> dict[str, Any]:
    own = [row for row in rows if row.scene == case.name]
    targets = case.truth & case.counted
    return {
        "scene": case.name,
        "path": str(case.source),
        "pixels": int(case.counted.sum()),
        "targets": int(targets.sum()),
        "objects": large_regions(targets, 1)[1],
        "figures": {
            m: [{"seed": r.seed} | _finite(r.figures) for r in own if r.method == m] for m in contest.methods
        },
    }


def _finite(found: Figures) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in asdict(found).items()}


def picture_of(case: Case, maps: dict[str, Map]) -> list[tuple[str, Any]]:
    """(title, picture) of a scene, its truth and the maps of the methods: -log10 of the share of higher pixels."""
    with case.scene.open() as reader:
        image, valid = reader.read(case.scene.grid.window)
    step = max(1, math.ceil(max(valid.shape) / SHOWN))
    shown = [("scene", _composite(image, valid)[::step, ::step]), ("truth", _largest(case.truth * 1.0, step))]
    return shown + [(name, _largest(_ranks(scores, case.counted), step)) for name, scores in maps.items()]


def _ranks(scores: Map, counted: Bools) -> Map:
    inside = np.isfinite(scores) & counted
    values = scores[inside]
    higher = values.size - np.searchsorted(np.sort(values), values, side="left")
    out = np.full(scores.shape, np.nan, np.float32)
    out[inside] = -np.log10(higher / values.size)
    return out


def _largest(picture: Any, step: int) -> Map:
    """The largest value in each square of `step` pixels, so that small targets stay to be seen."""
    rows, cols = (np.arange(0, size, step) for size in picture.shape)
    out = np.fmax.reduceat(np.fmax.reduceat(picture, rows, axis=0), cols, axis=1)
    return np.asarray(out, np.float32)


def _composite(image: Any, valid: Bools) -> Any:
    """RGB in [0, 1]: of many bands three spread evenly, which lie nearer to blue, green and red than the first."""
    bands = len(image)
    chosen = (
        image[[bands // 8, bands // 4, bands // 2]]
        if bands >= MANY
        else image[composite.display_bands(bands)]
    )
    return composite.rgb(chosen, *composite.contrast(chosen[:, valid]), valid)


@contextmanager
def staged_output(out: Path, *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """(the folder to be published to `out`, a place to work in); nothing is left of either after a failure."""
    check_target(out, overwrite=overwrite)
    with lock(out), staging(out) as folder:
        draft, work = folder / "draft", folder / "work"
        draft.mkdir()
        work.mkdir()
        yield draft, work
        publish(draft, out)


def save(draft: Path, said: dict[str, Any], table: Sequence[str], recipe: Recipe) -> None:
    """`bench.json`, `table.txt` and `config.yaml`, by which a folder is known as one that may be replaced."""
    (draft / "bench.json").write_text(json.dumps(said, indent=1, allow_nan=False), encoding="utf-8")
    (draft / "table.txt").write_text("\n".join([*table, ""]), encoding="utf-8")
    text = yaml.safe_dump(recipe.model_dump(), sort_keys=False)
    (draft / "config.yaml").write_text(text, encoding="utf-8")


def run(
    kind: str,
    cases_in: Callable[[Path], list[Case]],
    contest: Contest,
    out: Path,
    *,
    far: float = FAR,
    devices: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = lambda done, total, note: None,
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Hold a contest over the cases that `cases_in` finds or makes in a folder; (content, table, what failed).

    With `devices` each training has a process and a device of its own, so many at a time; a classic of which one failed
    is left out, and TrainError raised where the recipe failed.
    Publishes `out`: bench.json, table.txt, config.yaml, roc.png, and maps_NAME.png of each scene with the first
    seed. Raises OutputError where `out` is there, SataeError as the commands do.
    """
    rows: list[Row] = []
    maps: dict[str, dict[str, Map]] = {}
    lanes_of(devices)
    with staged_output(out, overwrite=overwrite) as (draft, work):
        cases = cases_in(work)
        check_names(cases)
        failed: list[str] = []
        found: Iterable[Result]
        if devices:
            contest, found, failed = _spread(cases, contest, work, devices, progress)
        else:
            found = results(cases, contest, work, progress)
        for result in found:
            rows.append(measurement(result, far))
            if result.seed == contest.seeds[0]:
                maps.setdefault(result.case.name, {})[result.method] = result.scores
        said, table = content(kind, contest, cases, rows, far), lines(rows, contest.methods, far)
        said |= {"failed": failed} if failed else {}
        save(draft, said, table, first_recipe(contest, cases))
        curves = {m: np.mean([r.curve for r in rows if r.method == m], axis=0) for m in contest.methods}
        figures.roc(draft / "roc.png", RATES, curves)
        for case in cases:
            figures.maps(draft / f"maps_{case.name}.png", picture_of(case, maps[case.name]))
    return {"out": str(out)} | said, table, failed


def _spread(
    cases: Sequence[Case], contest: Contest, work: Path, devices: Sequence[str], progress: Progress
) -> tuple[Contest, list[Result], list[str]]:
    """The contest without the classics that failed, its results, and what failed."""
    todo = list(trials(cases, contest, work))
    parts, failed = spread("satae.bench.contest:try_out", todo, devices, progress)
    found: list[Result] = [result for part in parts for result in part]
    whole = len(cases) * len(contest.seeds)
    known = {m for m in contest.methods if sum(r.method == m for r in found) == whole}
    if contest.name not in known:
        raise TrainError(failed[0])
    left = tuple(method for method in contest.classics if method in known)
    return replace(contest, classics=left), [r for r in found if r.method in known], failed
