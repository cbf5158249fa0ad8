"""Scenes and a model into layers and heatmaps, as `satae score` does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from satae.api import CORES
from satae.api.progress import Tell, steps_of
from satae.api.result import Result
from satae.api.scenes import Source, open_scenes
from satae.console import Steps
from satae.decisions import decisions
from satae.decisions.decisions import Decisions
from satae.errors import ConfigError
from satae.inference import runtime
from satae.inference.card import now
from satae.inference.runtime import Model
from satae.scoring import run as scoring
from satae.scoring.baseline import Baseline, open_baseline
from satae.scoring.outputs import Options
from satae.scoring.rule import rule_of


def score(
    scenes: Source | Sequence[Source],
    model: str | Path | Model | Sequence[str | Path | Model] = "model.onnx",
    out: str | Path = "anomalies.gpkg",
    *,
    heatmap: str | Path | None = None,
    far: float | None = None,
    fdr: float | None = None,
    top: int | None = None,
    threshold: float | None = None,
    min_area: float | None = None,
    chips: int = 100,
    baseline: str | Path | Baseline | None = None,
    force_domain: bool = False,
    stac: bool | Path = False,
    feedback: str | Path | Decisions | None = None,
    device: str = "auto",
    workers: int = CORES,
    overwrite: bool = False,
    progress: Tell | Steps | None = None,
) -> Result:
    """Map where scenes, a list or a single one, are out of place; all that is written is complete, or nothing is.

    Of several models each looks for a kind of thing, objects or areas, and says by its own calibration what is rare.
    What is reported is one of `far` (false alarms per 100 km2, by default 10), `fdr` (share of false regions), `top`
    (that many regions a scene) and `threshold` (heat, -log10 p of a pixel). `baseline` is another model for a second
    opinion, `feedback` a reviewed result whose decisions move the ranks. `stac` writes STAC Items, which name the model
    by its file or the path that is given.
    """
    rule = rule_of(far=far, fdr=fdr, top=top, threshold=threshold)
    if min_area is not None and not min_area >= 0:
        raise ConfigError(f"a smallest area of {min_area} m2 is not an area")
    named = [model] if isinstance(model, str | Path | Model) else model
    opened, *others = [m if isinstance(m, Model) else runtime.load(Path(m), device, workers) for m in named]
    # an Item names the model by a path, which a session does not need
    if stac is True:
        stac = opened.origin.path if isinstance(named[0], Model) and opened.origin else Path(str(named[0]))
    other = baseline if baseline is None or isinstance(baseline, Baseline) else Path(baseline)
    decided = (
        feedback if feedback is None or isinstance(feedback, Decisions) else decisions.read(Path(feedback))
    )
    how = Options(
        rule, min_area, None if heatmap is None else Path(heatmap), workers, overwrite, now(), chips=chips,
        baseline=open_baseline(other, device, workers) if isinstance(other, Path) else other,
        force_domain=force_domain, stac=stac or None, feedback=decided,
        others=tuple(others),
    )  # fmt: skip
    return Result(scoring.score(open_scenes(scenes), opened, Path(out), how, steps_of(progress)), str(rule))
