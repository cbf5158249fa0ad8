"""What fills in an open setting: the recipe before the target, that before the preset, that before the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from satae import config, models
from satae.config import AUTO, Recipe
from satae.errors import ConfigError
from satae.heads import SCORES
from satae.models import MODELS
from satae.training import presets
from satae.training.presets import complete_recipe, preset

SCENES = pytest.mark.parametrize("bands", [1, 3, 4, 13, 16, 17, 224])


def names(recipe: Recipe) -> list[str]:
    return [head.name for head in recipe.score]


def leaves(values: Any) -> list[Any]:
    if isinstance(values, dict):
        return [leaf for value in values.values() for leaf in leaves(value)]
    return [leaf for value in values for leaf in leaves(value)] if isinstance(values, list) else [values]


@SCENES
@pytest.mark.parametrize("gsd", [None, 0.5, 10.0])
def test_nothing_stays_open_and_all_of_it_can_be_built(bands: int, gsd: float | None):
    found = complete_recipe(Recipe(), bands, gsd)
    everything = found.model_dump()
    assert set(everything) == set(Recipe.model_fields)
    open_ones = {key for key, value in everything["train"].items() if value == AUTO} - {"precision"}
    assert not open_ones and AUTO not in leaves({k: v for k, v in everything.items() if k != "train"})
    models.build(found.model.name, bands, found.model.params)
    for head in found.score:
        SCORES.params(head.name, head.params)


@SCENES
def test_a_settled_recipe_settles_to_itself(bands: int):
    found = complete_recipe(Recipe(), bands, 10.0)
    assert complete_recipe(found, bands, 10.0) == found
    assert complete_recipe(config.recipe_of(found.model_dump()), 1, None) == found


@SCENES
def test_the_kind_of_scene_chooses_the_preset(bands: int):
    start = preset(bands, None)
    assert start is (presets.HYPERSPECTRAL if bands >= 17 else presets.OBJECTS)
    found = complete_recipe(Recipe(), bands, None)
    assert found.model.name == start["model"]["name"]
    for group in ("map", "train", "input"):
        chosen = getattr(found, group)
        assert all(getattr(chosen, key) == value for key, value in start.get(group, {}).items())


@pytest.mark.parametrize(
    ("bands", "gsd", "expected"),
    [
        (5, 14.9, "OBJECTS"),
        (5, 15.0, "AREAS"),
        (5, None, "OBJECTS"),
        (3, 30.0, "AREAS"),
        (17, 30.0, "HYPERSPECTRAL"),
    ],
)
def test_coarse_pixels_are_searched_for_areas(bands: int, gsd: float | None, expected: str):
    start = getattr(presets, expected)
    assert preset(bands, gsd) is start
    assert complete_recipe(Recipe(), bands, gsd).model.name == start["model"]["name"]


@pytest.mark.parametrize(
    ("kind", "bands", "gsd", "expected"),
    [("area", 4, 10.0, "AREAS"), ("area", 224, 5.0, "AREAS"), ("object", 4, 30.0, "OBJECTS")],
)
def test_a_kind_that_is_named_goes_before_the_size_of_pixels(
    kind: str, bands: int, gsd: float, expected: str
):
    recipe, start = config.load(None, [f"target.kind={kind}"]), getattr(presets, expected)
    found = complete_recipe(recipe, bands, gsd)
    assert (found.model.name, found.target.kind) == (start["model"]["name"], kind)
    assert complete_recipe(found, bands, gsd) == found


@pytest.mark.parametrize(("gsd", "kind"), [(10.0, "object"), (20.0, "area"), (None, "object")])
def test_the_settled_recipe_says_what_is_looked_for(gsd: float | None, kind: str):
    assert complete_recipe(Recipe(), 4, gsd).target.kind == kind


@pytest.mark.parametrize("target", ["target.size_m=60", "target.size_px=4"])
def test_whoever_names_a_target_looks_for_objects_on_coarse_pixels_too(target: str):
    assert (
        complete_recipe(config.load(None, [target]), 5, 20.0).model.name == presets.OBJECTS["model"]["name"]
    )


@pytest.mark.parametrize(
    ("name", "bands", "gsd"),
    [("hyperspectral", 200, None), ("sentinel2", 5, 10.0), ("areas", 5, 20.0), ("embeddings", 64, 10.0)],
)
def test_the_recipes_in_configs_are_the_presets(name: str, bands: int, gsd: float | None):
    path = Path(__file__).resolve().parents[2] / "configs" / f"{name}.yaml"
    own = complete_recipe(Recipe(), bands, gsd, embedded=name == "embeddings")
    written = complete_recipe(config.load(path), bands, gsd)
    written_params, own_params = (models.all_params(r.model.name, r.model.params) for r in (written, own))
    assert written_params == own_params
    same = {"model": own.model}
    assert written.model_copy(update=same) == own


@SCENES
def test_auto_and_absent_are_the_same(bands: int):
    changes = [
        f"{key}={AUTO}"
        for key in ("model.name", "input.ridge", "score", "map.blur", "train.epochs", "target")
    ]
    assert complete_recipe(config.load(None, changes), bands, None) == complete_recipe(Recipe(), bands, None)
    assert complete_recipe(
        config.load(None, ["model=auto", "objective=auto"]), bands, None
    ) == complete_recipe(Recipe(), bands, None)


def rank_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that says everything differently from what suits its architecture."""
    start = {"model": {"name": "ring", "params": {"hidden": 7, "target_px": 9.0}}, "input": {"ridge": 0.5}}
    monkeypatch.setattr(presets, "OBJECTS", start | {"train": {"learning_rate": 0.1}, "score": ["mse"]})


def test_the_preset_goes_before_what_suits_the_architecture_and_that_before_the_defaults(monkeypatch):
    rank_differently(monkeypatch)
    found, suits = complete_recipe(Recipe(), 4, None), models.suits("ring")
    assert found.model.params == {"hidden": 7, "target_px": 9.0}
    assert found.input.ridge == 0.5 != suits["input"]["ridge"]
    assert found.train.learning_rate == 0.1 != suits["train"]["learning_rate"]
    assert found.objective.trim == suits["objective"]["trim"] != Recipe().objective.trim
    assert found.input.space == suits["input"]["space"] and found.train.patience == Recipe().train.patience
    assert names(found) == ["mse"]


def test_the_target_goes_before_the_preset_and_the_recipe_before_all(monkeypatch):
    rank_differently(monkeypatch)
    target = ["target.size_px=3"]
    assert complete_recipe(config.load(None, target), 4, None).model.params["target_px"] == 3
    explicit = [*target, "model.params.target_px=7", "input.ridge=0.25", "score=mae", "objective.trim=1"]
    found = complete_recipe(config.load(None, explicit), 4, None)
    assert found.model.params == {"hidden": 7, "target_px": 7}
    assert found.input.ridge == 0.25 and names(found) == ["mae"] and found.objective.trim == 1


def test_a_value_that_is_given_stays_though_it_is_the_default(monkeypatch):
    rank_differently(monkeypatch)
    default = Recipe().input.ridge
    assert complete_recipe(config.load(None, [f"input.ridge={default}"]), 4, None).input.ridge == default


@pytest.mark.parametrize("name", models.NAMES)
def test_a_named_architecture_takes_nothing_from_the_preset(name: str, monkeypatch: pytest.MonkeyPatch):
    rank_differently(monkeypatch)
    found = complete_recipe(config.load(None, [f"model.name={name}"]), 4, None)
    suits = models.suits(name)
    assert found.model.name == name and found.model.params == {}
    assert found.input.ridge == suits.get("input", {}).get("ridge", Recipe().input.ridge)
    assert names(found) == suits.get("score", ["whitened"])


@pytest.mark.parametrize(
    ("changes", "gsd", "pixels"),
    [
        (["target.size_m=30"], 10.0, 3.0),
        (["target.size_m=30", "target.size_px=9"], 10.0, 3.0),
        (["target.size_m=30", "target.size_px=9"], None, 9.0),
        (["target.size_m=30"], None, None),
        (["target.size_px=9"], 10.0, 9.0),
        ([], 10.0, None),
    ],
)
def test_the_target_is_in_pixels_and_metres_go_before_them(
    changes: list[str], gsd: float | None, pixels: float | None
):
    for name in models.NAMES:
        found = complete_recipe(config.load(None, [f"model.name={name}", *changes]), 4, gsd)
        expected = pixels if MODELS.takes(name, "target_px") else None
        assert found.model.params.get("target_px") == expected


@pytest.mark.parametrize(
    ("changes", "bands", "said"),
    [
        (
            ["target.size_px=40"],
            4,
            "target.size_px = 40: this recipe looks for objects of 1 to 21 pixels; cut",
        ),
        (["target.size_px=22"], 4, "or pass target.kind=area without a size"),
        (
            ["target.size_m=300"],
            4,
            "target.size_m = 300 is 30 pixels of 10 m: this recipe looks for objects of 1 to",
        ),
        (["target.size_px=0.5"], 4, "target.size_px=1"),
        (["target.size_px=40"], 100, "objects of 1 to 31 pixels"),
        (["target.size_px=20", "model.name=masked"], 4, "objects of 1 to 16 pixels; cut larger ones"),
        (["target.size_px=40", "target.kind=area", "score=edges"], 4, "objects of 1 to 21 pixels"),
    ],
)
def test_a_size_that_no_recipe_takes_is_refused_in_the_words_of_the_user(
    changes: list[str], bands: int, said: str
):
    with pytest.raises(ConfigError) as error:
        complete_recipe(config.load(None, changes), bands, 10.0)
    assert said in str(error.value) and "params" not in str(error.value)
    named = any(change.startswith(("model", "score")) for change in changes)
    assert ("target.kind=area" in str(error.value)) == (not named and "size_px=0.5" not in changes[0])


@pytest.mark.parametrize(
    "changes",
    [
        ["target.size_px=21"],
        ["target.size_px=40", "target.kind=area"],
        ["target.size_px=40", "model.name=conv"],
        ["target.size_px=4", "model.name=ring", "model.params.target_px=99"],
    ],
)
def test_a_size_that_nothing_asks_for_or_that_fits_is_taken(changes: list[str]):
    assert complete_recipe(config.load(None, changes), 4, 10.0).target.size_px > 0


def test_heads_that_ask_for_the_size_of_the_target_get_it():
    asking = [name for name in SCORES.names if SCORES.takes(name, "target_px")]
    for name in asking:
        found = complete_recipe(config.load(None, [f"score=[mse, {name}]", "target.size_px=7"]), 4, None)
        assert [head.params for head in found.score] == [{}, {"target_px": 7.0}]
        given = f"score=[{{name: {name}, params: {{target_px: 3}}}}]"
        assert complete_recipe(config.load(None, [given, "target.size_px=7"]), 4, None).score[0].params == {
            "target_px": 3
        }


def test_terms_of_a_loss_replace_those_that_suit_and_are_not_added_to_them():
    found = complete_recipe(config.load(None, ["model.name=ring", "objective.terms={mae: 2}"]), 4, None)
    assert found.objective.terms == {"mae": 2.0}
    assert found.objective.trim == models.suits("ring")["objective"]["trim"]


def test_an_architecture_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="there is no such architecture"):
        complete_recipe(config.load(None, ["model.name=unet9"]), 4, None)


def test_a_target_sizes_the_heads_of_a_preset_but_not_those_that_the_recipe_sizes():
    def sizes(*changes: str) -> list[Any]:
        found = complete_recipe(config.load(None, ["target.size_m=170", *changes]), 5, 10.0)
        return [head.params["target_px"] for head in found.score if head.name == "sectors"]

    assert sizes() == [17.0]
    assert sizes("score=[{name: sectors, params: {target_px: 7}}]") == [7]
    assert sizes("score=sectors") == [17.0]
