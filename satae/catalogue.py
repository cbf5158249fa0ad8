"""What `satae models` says: everything that a recipe can name."""

from __future__ import annotations

import importlib
import inspect

from satae import models, objectives, scores


def catalogue() -> list[dict[str, str]]:
    """Kind, name and first sentence of every architecture, objective and score."""
    found = [("architecture", name, importlib.import_module(f"satae.models.{name}")) for name in models.NAMES]
    found += [("objective", name, objectives.OBJECTIVES.module(name)) for name in objectives.NAMES]
    found += [("score", name, scores.SCORES.module(name)) for name in scores.NAMES]
    return [
        {"kind": kind, "name": name, "about": (inspect.getdoc(thing) or "").splitlines()[0]}
        for kind, name, thing in found
    ]
