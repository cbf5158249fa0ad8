"""The rule that fills in what a recipe leaves open: by the number of bands and the GSD, never by the scene.

A setting comes from, in this order: the recipe; what suits its architecture (`SUITS` in its file), or, where no
architecture is named, the preset for the scene's kind; the defaults in `config`.
"""

from __future__ import annotations

import functools
from typing import Any

from satae import models
from satae.config import HeadSettings, Recipe, checked
from satae.scores import SCORES

HYPERSPECTRAL: dict[str, Any] = {
    "model": {"name": "directional"},
    "score": ["whitened", "memory", "sectors"],
    "map": {"blur": 0.5, "max_object_px": 13},
}
MULTISPECTRAL: dict[str, Any] = {
    "model": {"name": "density"},
    "score": ["surprise", {"name": "memory", "params": {"of": "pixel+context"}}],
    "map": {"blur": 2.0},
}
RGB: dict[str, Any] = {
    "model": {"name": "density"},
    "map": {"blur": 1.5},
}
MANY = 17  # bands from which a scene counts as hyperspectral
FEW = 3  # bands up to which it counts as a picture


def preset(bands: int, gsd_m: float | None) -> dict[str, Any]:
    """What is best by default for scenes of so many bands and such pixels."""
    if bands >= MANY:
        return HYPERSPECTRAL
    return RGB if bands <= FEW else MULTISPECTRAL


def settled(recipe: Recipe, bands: int, gsd_m: float | None) -> Recipe:
    """The recipe with nothing left open; ConfigError where it names an architecture that there is not."""
    given = recipe.model_dump(exclude_unset=True)
    named = given.get("model", {}).get("name")
    start = preset(bands, gsd_m) if named is None else {"model": {"name": named}}
    name = start["model"]["name"]
    layers = [Recipe().model_dump(), models.suits(name), start, given]
    px = _target_px(recipe, gsd_m)
    if px and models.MODELS.takes(name, "target_px"):
        layers.insert(3, {"model": {"params": {"target_px": px}}})
    found = checked(functools.reduce(_joined, layers))
    return found.model_copy(update={"score": [_sized(head, px) for head in found.score]})


def _sized(head: HeadSettings, px: float) -> HeadSettings:
    """A head with the size of the target, where that is given and the head asks for it."""
    if not px or not SCORES.takes(head.name, "target_px"):
        return head
    return head.model_copy(update={"params": {"target_px": px, **head.params}})


def _target_px(recipe: Recipe, gsd_m: float | None) -> float:
    """The size of the objects that are looked for, in pixels; 0 where the recipe says nothing."""
    if recipe.target.size_m and gsd_m:
        return recipe.target.size_m / gsd_m
    return recipe.target.size_px


def _joined(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over` in their place, group by group."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _joined(out[key], value) if both and key != "terms" else value
    return out
