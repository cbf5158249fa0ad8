"""What `satae train` says of a model when it is done, and `satae info` of its run folder later."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satae.inference.card import Card

MODEL = Path("model.onnx")  # the name that no command needs to be told
FAULT = re.compile(r"^- \*\*(.+?)\*\*:", re.M)


def of_run(run: Path) -> dict[str, Any]:
    """How far a training run is, what came of it and what to type next, ready for JSON; None is not known yet.

    Losses are those of the last epoch until there is a model, then those of the weights that were kept.
    """
    epochs, model = _epochs(run), run.parent.parent / f"{run.name}.onnx"
    facts: dict[str, Any] = {
        "epochs": len(epochs),
        "train_loss": float(epochs[-1]["train_loss"]) if epochs else None,
        "val_loss": float(epochs[-1]["val_loss"]) if epochs else None,
        "verdict": None,
    }
    if not (run / "evidence.json").is_file() or not model.is_file():
        named = "" if run.name == MODEL.stem else f" --out {run.name}.onnx"
        state = f"no {model.name} beside {run.parent.name}: it was interrupted, or the model was moved"
        return {"state": state, "model": None} | facts | {"next": f"satae train --resume{named}"}
    from satae.inference import runtime
    from satae.scoring.rule import Far

    card = runtime.load(model, "cpu").card
    facts |= {
        "train_loss": card.metrics["train_loss"], "val_loss": card.metrics["val_loss"], "verdict": verdict(run),
        "calibration": calibration(card), "rule": str(Far()), "threshold": threshold(card),
    }  # fmt: skip
    how = {"architecture": card.architecture, "score": card.score, "weights": card.weights}
    return {"state": "finished", "model": str(model)} | how | facts | {"next": next_command(model)}


def _epochs(run: Path) -> list[dict[str, str]]:
    """The losses by epoch, of a finished run or of one that goes on."""
    if (run / "history.csv").is_file():
        with (run / "history.csv").open(encoding="utf-8", newline="") as table:
            return list(csv.DictReader(table))
    if not (run / "history.jsonl").is_file():
        return []
    import json

    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def verdict(run: Path) -> str:
    """What the diagnosis of a run says, in a few words."""
    faults = FAULT.findall((run / "diagnosis.md").read_text(encoding="utf-8"))
    return ", ".join(faults) or "nothing stands out"


def calibration(card: Card) -> str | None:
    """How much the promises of a model rest on, in a sentence; None where it is not calibrated."""
    from satae.inference.calibrate import SPECK
    from satae.scoring.rule import Far
    from satae.scoring.support import of_scene, sample_of

    known = card.calibration
    if known is None:
        return None
    area, rule = _pixel_area(card), Far()
    sample, least = sample_of(known.alarms_of(SPECK).tail, known), known.least_rate(area, SPECK)
    said = f"{sample} support --far {least:g} or more, and scores up to {known.region.reach:.1f}"
    doubt = of_scene([rule.doubt(known, area, SPECK)], len(card.scenes))
    return said if doubt is None else f"{said}; {doubt.cure} would support the default, --far {rule.rate:g}"


def threshold(card: Card) -> float | None:
    """The heat from which regions are reported by default, in scenes of the size of pixels that was trained on."""
    from satae.inference.calibrate import SPECK
    from satae.scoring.rule import Far

    known = card.calibration
    return None if known is None else Far().level(known, _pixel_area(card), SPECK)


def next_command(model: Path, scene: str = "") -> str:
    """What to type next, for a scene of that name or for those below tiles."""
    return f"satae score{scene and f' {scene}'}{'' if model == MODEL else f' --model {model}'}"


def _pixel_area(card: Card) -> float | None:
    """Square metres of the finest pixels that were trained on; None where their size is not known."""
    return min(card.gsd_m) ** 2 if card.gsd_m else None
