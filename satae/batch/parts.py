"""The parts of a run that count together, and what each was asked for: a result mixes neither models nor rules."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satae import __version__
from satae.batch import plan
from satae.errors import ResultError
from satae.publish import write_bytes

NAME = "run"
# by these is told whether two parts were asked for the same, whatever the model's file is called
SAME = ("sha256", "asked", "version")


@dataclass(frozen=True)
class Parts:
    """The `plans` that count together; `absent` parts never ran, `others` were run with something else.

    Parts go by what `--shard` calls them, `others` with what tells them from the newest. `entries` of `others` are
    lines of their plans.
    """

    plans: tuple[Path, ...] = ()
    absent: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    entries: int = 0


def note(planned: Path, said: dict[str, Any]) -> None:
    """Write what the run of a plan was asked for, unless it stands there."""
    target, text = path_of(planned), json.dumps(said | {"version": __version__}, indent=1).encode()
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
        elif all(said.get(k) == latest.get(k) for k in SAME):
            together.append(path)
        else:
            others.append((name, _difference(said, latest)))
            entries += sum(1 for _ in plan.lines([path]))
    return Parts(tuple(together), tuple(absent), tuple(others), entries)


def _about(planned: Path) -> dict[str, Any]:
    try:
        found = json.loads(path_of(planned).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _difference(said: dict[str, Any], latest: dict[str, Any]) -> str:
    """In which way a part was run otherwise than the latest."""
    if not said:
        return "nobody knows which model"
    model = said.get("model") if said.get("sha256") != latest.get("sha256") else None
    # a model that was trained anew often has the same path
    named = [f"{model} ({str(said.get('sha256'))[:8]})"] if model else []
    named += [str(said.get("rule"))] if said.get("rule") != latest.get("rule") else []
    named += [f"satae {said.get('version')}"] if said.get("version") != latest.get("version") else []
    return ", ".join(named) or "other options"
