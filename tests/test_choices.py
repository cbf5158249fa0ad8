"""What a recipe can name: every file is a choice, and what is wrong is said in one sentence."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from satae import config, heads, models, objectives
from satae.choices import Choices
from satae.cli.catalogue import parts, recipes
from satae.errors import ConfigError
from satae.heads import SCORES
from satae.models import MODELS, sequence
from satae.objectives import OBJECTIVES

EVERY = pytest.mark.parametrize(
    ("choices", "name"),
    [(c, n) for c in (MODELS, OBJECTIVES, SCORES) for n in c.names],
    ids=lambda v: getattr(v, "kind", v),
)


@pytest.mark.parametrize(
    ("package", "choices"), [(models, MODELS), (objectives, OBJECTIVES), (heads, SCORES)]
)
def test_every_file_of_the_package_is_a_choice(package: ModuleType, choices: Choices):
    folder = Path(package.__file__).parent
    assert list(choices.names) == sorted(p.stem for p in folder.glob("*.py") if p.stem[0] != "_")


@EVERY
def test_a_choice_has_params_with_defaults_and_a_builder(choices: Choices, name: str):
    module = choices.module(name)
    assert callable(module.build) and module.__doc__ and module.Params.__doc__
    assert choices.params(name, {}) == module.Params()


@EVERY
def test_every_parameter_is_told_in_the_words_of_its_params(choices: Choices, name: str):
    params = choices.module(name).Params
    told = " ".join(base.__doc__ or "" for base in params.__mro__[:-1])
    assert [field for field in vars(choices.params(name, {})) if f"`{field}`" not in told] == []


@EVERY
def test_takes_says_which_parameters_there_are(choices: Choices, name: str):
    assert not choices.takes(name, "depht")
    assert all(choices.takes(name, key) for key in vars(choices.params(name, {})))


def test_what_there_is_not_is_refused_with_what_there_is():
    with pytest.raises(
        ConfigError, match=rf"^model.name = 'x': there is no such .*; there are {', '.join(MODELS.names)}$"
    ):
        MODELS.module("x")
    with pytest.raises(ConfigError, match=r"^score.name = '__init__'"):
        SCORES.module("__init__")


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("conv", {"depht": 3}, "model.params.depht: conv has no such parameter; it has width, compression"),
        ("rx", {"width": 3}, "model.params.width: rx has no such parameter; it has none"),
        ("conv", {"width": "wide"}, "model.params.width = 'wide': "),
        ("conv", {"width": 0}, "width 0 is not between 1 and 1024"),
        ("annulus", {"combine": "max"}, "model.params.combine = 'max': "),
    ],
)
def test_a_wrong_parameter_is_named_with_what_would_do(name: str, given: dict, said: str):
    with pytest.raises(ConfigError) as caught:
        MODELS.params(name, given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [RuntimeError, MemoryError, OverflowError, TypeError, ValueError])
def test_what_cannot_be_built_is_an_error_of_the_recipe(fault: type[Exception]):
    def build(module: ModuleType, params: object) -> None:
        raise fault("torch says\nmany lines")

    with pytest.raises(ConfigError, match=r"^model.params = \{'width': 9\}: no such conv can be built$"):
        MODELS.build("conv", {"width": 9}, build)


def test_the_catalogue_lists_every_choice_with_a_sentence():
    listed = recipes() + parts()
    expected = {("architecture", n) for n in MODELS.names} | {("score", n) for n in SCORES.names}
    expected |= {("objective", n) for n in OBJECTIVES.names} | {("recipe", n) for n in config.recipes()}
    expected |= {("over dates", n) for n in sequence.NAMES}
    assert {(row["kind"], row["name"]) for row in listed} == expected
    assert all(len(row["about"]) > 10 and "\n" not in row["about"] for row in listed)
