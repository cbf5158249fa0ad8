"""What `satae models` says: the recipes of satae, and everything that a recipe can name."""

from __future__ import annotations

import inspect
import itertools
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from satae import config, heads, models, objectives
from satae.config import HeadSettings, MapSettings
from satae.detector import graph
from satae.detector.fusion import Mapping
from satae.models import sequence
from satae.nn import normalize

BANDS = 4  # for which weights and codes are counted


def recipes() -> list[dict[str, Any]]:
    """Kind, name and first sentence of every recipe."""
    return [_row("recipe", name, _purpose(path)) for name, path in config.recipes().items()]


def parts(progress: Callable[[int], None] = lambda architectures: None) -> list[dict[str, Any]]:
    """Kind, name and first sentence of every architecture, objective and score, and what is measured of architectures.

    `progress` is called with the number of architectures measured since it was called last.
    """
    rows = []
    for name in models.NAMES:
        rows.append(
            _row("architecture", name, _first_line(models.MODELS.module(name))) | architecture_row(name)
        )
        progress(1)
    rows += [_row("over dates", n, _first_line(sequence.SEQUENCES.module(n))) for n in sequence.NAMES]
    rows += [_row("objective", n, _first_line(objectives.OBJECTIVES.module(n))) for n in objectives.NAMES]
    return rows + [_row("score", name, _first_line(heads.SCORES.module(name))) for name in heads.NAMES]


def _row(kind: str, name: str, about: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "about": about}


def _first_line(thing: object) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").splitlines()[0]


def _purpose(path: Path) -> str:
    """The first sentence of the comment at the head of a recipe."""
    head = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()
    )
    # "et al." ends no sentence
    return re.split(r"(?<=(?<! al)\.) ", " ".join(line.removeprefix("#").strip() for line in head))[0]


def architecture_row(name: str) -> dict[str, Any]:
    """An architecture with its defaults on BANDS bands: `params` and their defaults, the number of `weights`.

    `code` is how many numbers stand for a patch of `patch` pixels a side, 0 for none. `reach` is how far a
    pixel is felt, in pixels, measured as at export; None where the model sees `frame` pixels a side at once.
    """
    model = models.build(name, BANDS, {}).eval()
    traits = models.Traits.of(model)
    pixels = np.random.default_rng(0).normal(size=(1000, BANDS))
    normalizer = normalize.fit(pixels, whitened=True)
    plain = heads.head(HeadSettings(name="mse"), normalizer)
    detector = graph.Detector(normalizer, model, [plain], Mapping(MapSettings(), 1))
    return {
        "params": models.all_params(name, {}),
        "weights": sum(p.numel() for p in model.parameters()),
        "code": traits.code_size,
        "patch": traits.stride,
        "reach": None if traits.frame else graph.reach(detector, BANDS, traits.stride),
        "frame": traits.frame or None,
    }


def lines(rows: list[dict[str, Any]], width: int | None = None) -> list[str]:
    """The catalogue as text: a line for each, and for an architecture two more with what is measured and set.

    What is longer than a terminal of `width` columns goes on below its third column.
    """
    out = []
    for row in rows:
        out.append(f"{row['kind']:<13} {row['name']:<16} {row['about']}")
        if "params" in row:
            seen = (
                f"reaches {row['reach']} px" if row["frame"] is None else f"sees frames of {row['frame']} px"
            )
            code = f"{row['code'] or 'no'} numbers a patch of {row['patch']} x {row['patch']} px"
            out.append(
                f"{'':<13} {'':<16}   {seen}, keeps {code} and {BANDS} bands, {row['weights']:,} weights"
            )
            if row["params"]:
                settings = ", ".join(f"{key} {value}" for key, value in row["params"].items())
                out.append(f"{'':<13} {'':<16}   {settings}")
    if width is None:
        return out
    below = " " * 33
    folded = (
        textwrap.wrap(
            line,
            max(width, 2 * len(below)),
            subsequent_indent=below,
            drop_whitespace=True,
            break_on_hyphens=False,
        )
        for line in out
    )
    return list(itertools.chain.from_iterable(folded))
