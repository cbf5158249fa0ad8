"""The parts of a run that count together, and what each was asked for: a result mixes neither models nor rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satae import __version__
from satae.batch import plan
from satae.batch.models import RunModel
from satae.errors import ResultError
from satae.publish import write_bytes

NAME = "run"
# by these, and by the hashes of models, is told whether two parts were asked for the same
SAME = ("asked", "version")


@dataclass(frozen=True)
class Parts:
    """The `plans` that count together; `absent` parts never ran, `others` were run with something else.

    Parts go by what `--shard` calls them, `others` with what tells them from the newest. `entries` is the number of
    scenes in the plans of `others`.
    """

    plans: tuple[Path, ...] = ()
    absent: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    entries: int = 0


def note(planned: Path, models: Sequence[RunModel], said: dict[str, Any]) -> None:
    """Write what the run of a plan was asked for, unless it stands there."""
    first, *others = models
    about: dict[str, Any] = {"model": str(first.path), "sha256": first.sha256}
    about |= {"others": [[str(m.path), m.sha256] for m in others]} if others else {}
    target = path_of(planned)
    text = json.dumps(about | said | {"version": __version__}, indent=1).encode()
    if not target.exists() or target.read_bytes() != text:
        write_bytes(target, text)


def path_of(planned: Path) -> Path:
    """Where it lies what the run of a plan was asked for."""
    return planned.with_name(f"{NAME}{planned.stem.removeprefix(plan.NAME)}.json")


def about(out: Path) -> dict[str, Any]:
    """What the latest run in a folder was asked for; ResultError where that is not known."""
    newest = plan.newest(out)
    found = {} if newest is None else _about(newest)
    if not found:
        raise ResultError(
            f"{out} does not say what it was run with; run again, with the scenes and the model"
        )
    return found


def models(said: dict[str, Any]) -> list[tuple[str, str]]:
    """The models that a part was run with, (path, hash) each: of two parts these may lie elsewhere and be the same."""
    return [(str(said.get("model")), str(said.get("sha256"))), *((p, h) for p, h in said.get("others", ()))]


def of(out: Path) -> Parts:
    """The parts of the latest run in a folder."""
    newest, together, absent, others, entries = plan.newest(out), list[Path](), list[str](), [], 0
    if newest is None:
        return Parts()
    latest = _about(newest)
    for path, shard in plan.siblings(newest):
        name = f"{shard.number}/{shard.count}"
        said = _about(path)
        if not path.exists():
            absent.append(name)
        elif all(said.get(k) == latest.get(k) for k in SAME) and _hashes(said) == _hashes(latest):
            together.append(path)
        else:
            others.append((name, _difference(said, latest)))
            entries += sum(1 for _ in plan.entries([path]))
    return Parts(tuple(together), tuple(absent), tuple(others), entries)


def _about(planned: Path) -> dict[str, Any]:
    try:
        found = json.loads(path_of(planned).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _hashes(said: dict[str, Any]) -> list[str]:
    return [sha256 for _, sha256 in models(said)]


def _difference(said: dict[str, Any], latest: dict[str, Any]) -> str:
    """In which way a part was run otherwise than the latest."""
    if not said:
        return "nobody knows which model"
    # a model that was trained anew often has the same path
    own = [f"{path} ({sha256[:8]})" for path, sha256 in models(said)]
    named = [" and ".join(own)] if _hashes(said) != _hashes(latest) else []
    named += [str(said.get("rule"))] if said.get("rule") != latest.get("rule") else []
    named += [f"satae {said.get('version')}"] if said.get("version") != latest.get("version") else []
    return ", ".join(named) or "other options"
