"""What `satae score` says when it is done: lines for people, one object for programs. No numbers are made here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from satae.console import quantity
from satae.decisions.preference import PreferenceCounts
from satae.scoring.support import of_scenes

if TYPE_CHECKING:
    from satae.scoring.run import Result, SceneResult


NAMED = 5  # scenes, or things of others, at the most


def remarks(result: Result) -> list[str]:
    """What the user should know of the scenes and of earlier decisions, a sentence each."""
    about: dict[str, list[SceneResult]] = {}
    for kind in _kinds(result.scenes):
        own = [s for s in result.scenes if s.kind == kind]
        # what calibration cannot tell is one sentence, though its numbers differ from scene to scene
        if doubt := of_scenes(s.doubt for s in own):
            about.setdefault(str(doubt), []).extend(s for s in own if s.doubt)
    for s in result.scenes:
        for remark in s.remarks:
            about.setdefault(remark, []).append(s)
    said = [f"{_where(found, result)}: {remark}" for remark, found in about.items()]
    if result.carried and (lost := len(result.carried.lost)):
        said.append(f"{quantity(lost, 'reviewed region')} not found again, kept in {result.carried.place}")
    if result.preferred == PreferenceCounts(0, 0, 0, 0):
        said.append("--feedback: no region in that file is accepted or rejected, so it moved no rank")
    if result.preferred and result.preferred.unusable:
        said.append(
            f"{quantity(result.preferred.unusable, 'decision')} moved no rank: made on a result of an older version, "
            "on scenes of other bands or on regions of another kind"
        )
    return said


def _kinds(results: Iterable[SceneResult]) -> list[str]:
    return list(dict.fromkeys(s.kind for s in results))


def _where(found: list[SceneResult], result: Result) -> str:
    """The scenes of a remark in a few words: what follows from a model alone is true of all that it looked at."""
    every, own, scenes = _kinds(result.scenes), _kinds(found), result.number
    if len(found) == scenes * len(own):
        what = f"{' and '.join(f'{kind}s' for kind in own)} in " if len(every) > 1 else ""
        return what + (f"all {scenes} scenes" if scenes > 1 else result.scenes[0].name)
    names = [s.name for s in found]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def lines(result: Result, rule: str) -> list[str]:
    """The paths that were written and what is in them."""
    total = sum(s.anomalies for s in result.scenes)
    kinds = _kinds(result.scenes)
    where = quantity(result.number, "scene")
    of_each = [quantity(sum(s.anomalies for s in result.scenes if s.kind == kind), kind) for kind in kinds]
    what = f"{quantity(total, 'anomaly')}" + (f" ({' and '.join(of_each)})" if len(kinds) > 1 else "")
    said = [f"{result.out}: {what} in {where} ({rule}, {result.provider})"]
    if result.out.suffix.lower() != ".gpkg":
        said[0] += "; the anomalies layer alone, without tiles, scenes and styles"
    for s in result.scenes:
        held = s.threshold == math.inf
        at = "" if held else f" from a heat of {s.threshold:.3g} on"
        said.append(
            f"{s.heatmap}: {quantity(s.anomalies, 'anomaly')}{at}, {s.valid_fraction:.1%} of {s.name} scored"
        )
    if result.chips:
        said.append(f"{result.chips}: {quantity(result.drawn, 'chip')}")
    if result.report:
        said.append(f"{result.report}: report, opens in any browser")
    if result.stac:
        said.append(f"{result.stac}: STAC Item, derived from the scenes and the model beside it")
    if (p := result.preferred) and p != PreferenceCounts(0, 0, 0, 0):
        judged = f"{p.accepted} accepted and {p.rejected} rejected"
        said.append(
            f"feedback of {judged}: {p.moved} of {quantity(total, 'anomaly')} changed rank, none is left out"
        )
    if result.carried and result.carried.rows:
        said.append(f"{result.out}: {quantity(result.carried.rows, 'reviewed region')} carried over")
    if result.foreign:
        named, more = result.foreign[:NAMED], len(result.foreign) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        said.append(f"{result.out}: kept what satae did not write: {', '.join(named)}{rest}")
    if result.baseline:
        agree = sum(s.agrees or 0 for s in result.scenes)
        among = f"{agree} of {quantity(total, 'anomaly')}"
        said.append(f"baseline {result.baseline} agrees on {among}: as rare to it as the weakest reported")
    return said


def content(result: Result, rule: str) -> dict[str, Any]:
    """The object that --json prints."""
    thresholds = [_finite(s.threshold) for s in result.scenes]
    return {
        "out": str(result.out),
        "heatmaps": [str(s.heatmap) for s in result.scenes],
        "chips": str(result.chips) if result.chips else None,
        "report": str(result.report) if result.report else None,
        "stac": str(result.stac) if result.stac else None,
        "anomalies": sum(s.anomalies for s in result.scenes),
        "threshold": thresholds[0] if len(thresholds) == 1 else thresholds,
        "rule": rule,
        "baseline": result.baseline,
        "feedback": _feedback(result),
        "carried": result.carried.rows if result.carried else None,
        "kept": len(result.carried.lost) if result.carried else None,
        "foreign": list(result.foreign),
        "scenes": [_scene(s) for s in result.scenes],
        "provider": result.provider,
    }


def _feedback(result: Result) -> dict[str, int] | None:
    return dataclasses.asdict(result.preferred) if result.preferred else None


def _scene(s: SceneResult) -> dict[str, Any]:
    return {
        "scene": s.name,
        "kind": s.kind,
        "path": s.path,
        "anomalies": s.anomalies,
        "valid_fraction": s.valid_fraction,
        "threshold": _finite(s.threshold),
        "domain": s.verdict.domain,
        "domain_note": s.verdict.note,
        "baseline_agrees": s.agrees,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
