"""The models of a run, files that are known by their hashes: one, or one for each kind of thing to look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from satae.batch.key import file_hash
from satae.errors import ModelError
from satae.gis import kinds
from satae.later import Later

if TYPE_CHECKING:
    from satae.inference import runtime
else:
    runtime = Later("satae.inference.runtime")


@dataclass(frozen=True)
class RunModel:
    """A model's file and its hash; `kind` is what it looks for beside others, and empty where it is alone."""

    path: Path
    sha256: str
    kind: str = ""


def of(paths: Sequence[Path]) -> list[RunModel]:
    """The models in some files; ModelError where one cannot be read, ConfigError where two look for the same."""
    found = [RunModel(path.absolute(), _hash(path)) for path in paths]
    # one alone is opened by who scores: a run that has nothing to do is over at once
    if len(found) == 1:
        return found
    opened = [runtime.load(path, "cpu", 1) for path in paths]
    looked_for = [model.card.kind for model in opened]
    kinds.check([model.name for model in opened], looked_for)
    return [replace(model, kind=kind) for model, kind in zip(found, looked_for, strict=True)]


def _hash(path: Path) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path} {what}; make a model with `satae train`, or leave --model out")
    try:
        return file_hash(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
