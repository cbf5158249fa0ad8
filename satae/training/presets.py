"""Fills in what a recipe leaves open: by the number of bands and the GSD, never by what a scene shows.

A setting comes from, in this order: the recipe; what suits its architecture (`SUITS` in its file), or, where no
architecture is named, the preset for the scene's kind; the defaults in `config`.
"""

from __future__ import annotations

import functools
from typing import Any

from satae import models
from satae.config import HeadSettings, Recipe, recipe_of
from satae.errors import ConfigError
from satae.heads import SCORES
from satae.models import sequence

HYPERSPECTRAL: dict[str, Any] = {  # small objects, whose spectrum says most
    "model": {"name": "directional"},
    "score": ["whitened", "memory", "sectors"],
    "map": {"blur": 0.5, "max_object_px": 13},
}
# objects of some pixels in a few bands: what they stand on says most, and nothing is trained
OBJECTS: dict[str, Any] = {
    "model": {"name": "annulus"},
    "input": {"stretch": "log", "ridge": 1e-3},
    "score": [
        "local",
        {"name": "sectors", "params": {"large": 0.05}},
        "edges",
        {"name": "minor", "params": {"target_px": 9.0}},
        "rarity",
    ],
    "map": {
        "smooth": 1.0,
        "blur": 2.0,
        "around_px": 65,
        "around_heads": ["local", "edges"],
        "support_px": 33,
    },
}
AREAS: dict[str, Any] = {  # where pixels are so large that areas are what can be out of place
    "model": {"name": "rx_shrunk", "params": {"smooth": 4.0}},
    "input": {"stretch": "log", "ridge": 0.1},
    "target": {"kind": "area"},
}
EMBEDDINGS: dict[
    str, Any
] = {  # unit vectors, of which the angle to the surroundings and to what there is counts
    "model": {"name": "annulus"},
    "input": {"space": "whitened", "scale": "common", "ridge": 10.0, "components": 64},
    "score": ["whitened", "memory", "sectors"],
    "map": {"blur": 0.5},
}
PURPOSES = (
    (HYPERSPECTRAL, "small objects, by their spectrum"),
    (OBJECTS, "objects of some pixels in a few bands"),
    (AREAS, "areas of many pixels"),
    (EMBEDDINGS, "embeddings, by their angle"),
)
MANY = 17  # bands from which a scene counts as hyperspectral
LOOKED = 257  # pixels under which it is looked for the sizes that a recipe can take
COARSE = 15.0  # metres a pixel from which areas are looked for, unless the recipe names a target


def preset(
    bands: int, gsd_m: float | None, *, kind: str = "", sized: bool = False, embedded: bool = False
) -> dict[str, Any]:
    """The default recipe for scenes of so many bands and such a pixel size, or of embeddings.

    `kind`: what the recipe asks for, object or area, or nothing; `sized`: it says how large objects are.
    """
    if kind == "area":
        return AREAS
    if embedded:
        return EMBEDDINGS
    if bands >= MANY:
        return HYPERSPECTRAL
    coarse = gsd_m is not None and gsd_m >= COARSE
    return AREAS if coarse and not sized and not kind else OBJECTS


def purpose(recipe: Recipe, bands: int, gsd_m: float | None, *, embedded: bool = False) -> str:
    """What the recipe that is chosen by itself looks for; nothing where the user's own names an architecture."""
    if "name" in recipe.model.model_fields_set:
        return ""
    start = _start(recipe, bands, gsd_m, embedded=embedded)
    return next(text for known, text in PURPOSES if known is start)


def complete_recipe(recipe: Recipe, bands: int, gsd_m: float | None, *, embedded: bool = False) -> Recipe:
    """The recipe with nothing left open; ConfigError where it names an architecture that there is not."""
    given = recipe.model_dump(exclude_unset=True)
    named = given.get("model", {}).get("name")
    if named in sequence.NAMES:
        raise ConfigError(
            f"model.name = {named!r} is of many dates of one place, and learns in `satae series --model {named}`"
        )
    px = _target_px(recipe, gsd_m)
    start = _start(recipe, bands, gsd_m, embedded=embedded) if named is None else {"model": {"name": named}}
    name = start["model"]["name"]
    layers = [Recipe().model_dump(), models.suits(name), start, given]
    if px and models.MODELS.takes(name, "target_px"):
        layers.insert(3, {"model": {"params": {"target_px": px}}})
    found = recipe_of(functools.reduce(_joined, layers))
    own = "score" in given
    found = found.model_copy(update={"score": [_sized(head, px, own=own) for head in found.score]})
    if px:
        _check_target(recipe, found, px, gsd_m)
    return found


def _check_target(recipe: Recipe, found: Recipe, px: float, gsd_m: float | None) -> None:
    """ConfigError, in the words of the user, where the size of the target is none that the recipe can look for."""
    parts = [(models.MODELS, found.model.name, found.model.params)]
    parts += [(SCORES, head.name, head.params) for head in found.score]
    # what has a size of its own has not got this one
    sized = [part for part in parts if part[2].get("target_px") == px]

    def fits(size: float) -> bool:
        try:
            for choices, name, params in sized:
                choices.params(name, params | {"target_px": size})
        except ConfigError:
            return False
        return True

    # where no size is right it is something else that is wrong, and is told when it is built
    if fits(px) or not (sizes := [size for size in range(1, LOOKED) if fits(size)]):
        return
    given = f"target.size_px = {recipe.target.size_px:g}"
    if recipe.target.size_m and gsd_m:
        given = f"target.size_m = {recipe.target.size_m:g} is {px:.3g} pixels of {gsd_m:g} m"
    if px < 1:
        advice = "what is smaller than a pixel is looked for by target.size_px=1"
    else:
        advice = "cut larger ones with a coarser `satae tile --gsd`"
        # without a named architecture the kind chooses the recipe
        if "name" not in recipe.model.model_fields_set and "score" not in recipe.model_fields_set:
            advice += ", or pass target.kind=area without a size"
    raise ConfigError(f"{given}: this recipe looks for objects of {sizes[0]} to {sizes[-1]} pixels; {advice}")


def _start(recipe: Recipe, bands: int, gsd_m: float | None, *, embedded: bool) -> dict[str, Any]:
    """The preset of a recipe that names no architecture."""
    kind = recipe.target.kind if "kind" in recipe.target.model_fields_set else ""
    return preset(bands, gsd_m, kind=kind, sized=_target_px(recipe, gsd_m) > 0, embedded=embedded)


def _sized(head: HeadSettings, px: float, *, own: bool) -> HeadSettings:
    """A head with the size of the target, where that is given and the head asks for it.

    What the recipe's `own` heads say goes before the target, what a preset says after it.
    """
    if not px or not SCORES.takes(head.name, "target_px"):
        return head
    target: dict[str, int | float | str | bool] = {"target_px": px}
    return head.model_copy(update={"params": target | head.params if own else head.params | target})


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
