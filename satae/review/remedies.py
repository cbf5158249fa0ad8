"""What to type after a review: whole commands, which do what the page says from where `satae review` was started."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from satae.errors import SceneError
from satae.gis.geopackage import CHANGES
from satae.review.bands import file_of
from satae.review.pictures import View
from satae.review.store import Review
from satae.scene.tags import note

SIDE = 1024  # pixels of a heatmap that are read at once
USUAL_MODEL = "model.onnx"
UNKNOWN_MODEL, UNKNOWN_SCENE, UNKNOWN_DATES = "MODEL", "SCENE", "FOLDER"  # to be filled in by who knows them
FAR = "far 10"  # the rule of `satae score` where none is asked for
Commands = dict[str, list[dict[str, str]]]


def remedies(review: Review) -> Commands:
    """Commands and what each is for: where the result is `empty`, and where all of it is `done`."""
    if review.layer == CHANGES:
        return _of_series(review)
    rows, out = review.scenes, _typed(review.path)
    # a scene and a model come once in a result of objects and areas, too; the first model is that of the first row
    scenes = list(dict.fromkeys(_scene(row, review.path.absolute().parent) for row in rows)) or [
        UNKNOWN_SCENE
    ]
    models = {row["kind"]: _model(review.path.parent, {row["model_sha256"]}) for row in rows} or {
        None: UNKNOWN_MODEL
    }
    usual = list(models.values()) == [USUAL_MODEL]
    score = [
        "satae",
        "score",
        *scenes,
        *([] if usual else [w for m in models.values() for w in ("--model", m)]),
    ]
    place = ["--out", out, "--overwrite"]
    top = [*score, "--top", "20", *place]
    again = [*score, *_rule(review), "--feedback", out, *place]
    return {
        "empty": [_said(top, "lists the 20 highest regions, however high they are.")],
        "done": [
            _said(
                again,
                "ranks again by what was decided, which is kept; with another scene and --out it ranks that one.",
            ),
            *(_training(out, kind, model, alone=len(models) == 1) for kind, model in models.items()),
        ],
    }


def _training(out: str, kind: str | None, model: str, *, alone: bool) -> dict[str, str]:
    """The command that trains a model again on the decisions, and what for."""
    # the kind is no default where there are two, and of areas in most scenes
    target = ["--set", f"target.kind={kind}"] if kind == "area" or (kind and not alone) else []
    place = [] if model == USUAL_MODEL else ["--out", model]
    words = ["satae", "train", "--feedback", out, *target, *place, "--overwrite"]
    return _said(
        words, "learns that what was rejected is normal." if alone else f"learns which {kind}s are normal."
    )


def _of_series(review: Review) -> Commands:
    """The same of many dates: a new one, and all of them at other rates of false alarms."""
    out, state = review.path, review.path.with_name(f"{review.path.stem}_state.tif")
    place = ["--out", _typed(out), "--overwrite"]
    told = _rules_of(state)
    far = float(told.get("far", 1.0))

    def again(rate: float) -> list[str]:
        return ["satae", "series", _dates(review), *_span(told), "--far", f"{rate:g}", *place]

    kept = "; add what else was typed, such as --bands or --model"
    onward = ["satae", "series", UNKNOWN_SCENE, "--state", _typed(state), *place]
    return {
        "empty": [_said(again(10 * far), f"allows ten times as many false alarms{kept}.")],
        "done": [
            *([_said(onward, "scores a new date alone; what was decided is kept.")] if told else []),
            _said(again(far / 10), f"allows a tenth of the false alarms; what was decided is kept{kept}."),
        ],
    }


def _rules_of(state: Path) -> dict[str, Any]:
    """What `satae series` noted in its state, by which dates were scored; empty where there is none."""
    try:
        found = json.loads(note(state, "satae_series") or "{}") if state.is_file() else {}
        _span(found)
        return found if isinstance(found, dict) and float(found["far"]) > 0 else {}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def _span(told: dict[str, Any]) -> list[str]:
    """The options that learn from and score the same days again, where they are known."""
    past, scored = told.get("history"), [one["day"] for one in told.get("scored", ())]
    if not past or not scored:
        return []
    first, last, new = (
        (date(1970, 1, 1) + timedelta(days=round(day))).isoformat()
        for day in (min(past), max(past), min(scored))
    )
    return ["--history", f"{first}..{last}", "--monitor", f"{new}.."]


def _dates(review: Review) -> str:
    """The folder that holds the scenes of a series, or the file that holds all of them."""
    scenes = [_scene(row, review.path.absolute().parent) for row in review.dates]
    if len(scenes) < 2 or not all(Path(scene).is_absolute() for scene in scenes):
        return UNKNOWN_DATES
    found = os.path.commonpath(scenes)
    return found if Path(found).exists() else UNKNOWN_DATES


def hottest(view: View) -> float | None:
    """The highest heat of a scene, None where no heatmap says it."""
    if view.heat is None:
        return None
    whole, tops = view.heat.grid.window, []
    try:
        for cell in whole.cells((SIDE, SIDE)):
            image, valid = view.heat.read(cell.clip(whole), 0)
            tops += [float(image[0][valid].max())] if valid.any() else []
    except SceneError:
        return None
    return max(tops, default=None)


def _said(words: Sequence[str], use: str) -> dict[str, str]:
    return {"text": shlex.join(words), "use": use}


def _typed(path: Path) -> str:
    """A path as one would type it: no file is mistaken for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def _scene(row: dict[str, Any], folder: Path) -> str:
    """The file or product that a row of the layer `scenes` was scored from."""
    text = str(row["path"] or "")
    files = text.split(";")
    try:
        places = [file_of(file, folder) for file in files]
    except SceneError:
        return text if text and len(files) == 1 else UNKNOWN_SCENE
    if len(places) == 1:
        return _typed(places[0])
    # a product was named by its folder
    above = Path(os.path.commonpath(places))
    products = [place for place in (above, *above.parents) if place.suffix.upper() == ".SAFE"]
    return _typed(products[0] if products else above)


def _model(folder: Path, wanted: set[Any]) -> str:
    """The model that scored, where it lies here or beside the result; its place to fill in where it does not."""
    for place in dict.fromkeys((Path(), folder)):
        for path in sorted(place.glob("*.onnx")):
            try:
                if hashlib.sha256(path.read_bytes()).hexdigest() in wanted:
                    return _typed(path)
            except OSError:  # of somebody else's
                continue
    return UNKNOWN_MODEL


def _rule(review: Review) -> list[str]:
    """The options of `satae score` that ask for the same regions again, as far as the result tells them."""
    rules = {str(row["rule"] or FAR) for row in review.scenes} - {FAR}
    kind, _, number = next(iter(rules)).partition(" ") if len(rules) == 1 else ("", "", "")
    known = kind in ("far", "fdr", "top", "threshold")
    there = {region["scene"] for region in review.regions}
    foreign = any(row["domain"] == "foreign" and row["scene"] in there for row in review.scenes)
    return [
        *([f"--{kind}", number] if known else []),
        *(["--force-domain"] if foreign and kind != "top" else []),
    ]
