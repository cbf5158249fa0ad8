"""Recipes: what is trained, on which input, by which loss, how it is scored. YAML in, checked values out.

The defaults here and `configs/default.yaml` are the same (tested). Unknown keys and values are refused with
the list of what there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from satae.errors import ConfigError

MAX_BYTES = 2**20


class _Section(pydantic.BaseModel):
    """Settings are read, never changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Section):
    """Which architecture, with which of its own parameters (`satae models` lists them)."""

    name: str = "conv"
    params: dict[str, int | float | str | bool] = {}


class InputSettings(_Section):
    """What the autoencoder sees: see `normalize`."""

    space: Literal["whitened", "bands"] = "whitened"
    stretch: Literal["auto", "log", "linear"] = "auto"
    components: int = pydantic.Field(default=32, ge=1)
    ridge: float = pydantic.Field(default=1e-3, ge=0)


class TrainSettings(_Section):
    """How it is fitted: see `train`."""

    epochs: int = pydantic.Field(default=40, ge=1)
    batch: int = pydantic.Field(default=16, ge=1)
    min_steps: int = pydantic.Field(default=20, ge=1)
    learning_rate: float = pydantic.Field(default=2e-3, gt=0)
    warmup: float = pydantic.Field(default=0.05, ge=0, lt=1)
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    clip: float = pydantic.Field(default=1.0, gt=0)
    patience: int = pydantic.Field(default=10, ge=1)
    validation: float = pydantic.Field(default=0.2, gt=0, lt=1)
    block: int = pydantic.Field(default=4, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = pydantic.Field(default=0, ge=0)


class AugmentSettings(_Section):
    """What is varied while training: see `augment`."""

    flip: bool = True
    turn: bool = True
    crop: int = pydantic.Field(default=0, ge=0)
    gain: float = pydantic.Field(default=0.0, ge=0, le=1)
    noise: float = pydantic.Field(default=0.0, ge=0, le=1)


class Recipe(_Section):
    """Everything that `satae train` may vary."""

    model: ModelSettings = ModelSettings()
    input: InputSettings = InputSettings()
    objective: str = "mse"
    score: str = "whitened"
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()


class _Loader(yaml.SafeLoader):
    """YAML without aliases: nothing that expands."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a recipe")
        return super().compose_node(parent, index)


def load(path: Path | None, changes: list[str] | None = None) -> Recipe:
    """The recipe in a YAML file, or the default one, with `key.sub=value` changes applied.

    Raises ConfigError, naming the key, the value and what would be allowed.
    """
    values = {} if path is None else _parsed(path)
    for change in changes or []:
        _apply(values, change)
    return checked(values, path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} has {len(text)} bytes; a recipe has at most {MAX_BYTES}")
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not a valid recipe: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a valid recipe: it must hold `key: value` lines")
    return values


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change} is not of the form key=value, such as train.epochs=20")
    *folders, leaf = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change}: {folder} is a value, not a group of settings")
    try:
        values[leaf] = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {change}: the value cannot be read") from error


def checked(values: dict[str, Any], path: Path | None = None) -> Recipe:
    """`values` as a recipe, or ConfigError with the first fault in one sentence."""
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        place = f"{path}: " if path else ""
        if fault["type"] == "extra_forbidden":
            names = ", ".join(_settings_at(fault["loc"][:-1]))
            raise ConfigError(f"{place}there is no setting {where}; there are {names}") from error
        value = fault.get("input")
        raise ConfigError(f"{place}{where} = {value!r}: {fault['msg'].lower()}") from error


def _settings_at(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Recipe
    for step in location:
        section = section.model_fields[str(step)].annotation
    return list(section.model_fields)
