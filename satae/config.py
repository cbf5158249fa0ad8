"""Recipes: what is trained, on which input, by which loss, how it is scored. YAML in, checked values out.

A setting that is `auto`, or absent, is left to the architecture and to the rule in `presets`. The defaults
here and `configs/default.yaml` are the same (tested). Unknown keys and values are refused with the list of
what there is. The recipes of `configs/` go with the package and are found by name.
"""

from __future__ import annotations

import reprlib
import typing
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from satae.errors import ConfigError

MAX_BYTES = 2**20
AUTO = "auto"
HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "configs", HERE.parent / "configs"  # in an installed satae, in its repository


class _Section(pydantic.BaseModel):
    """Settings are read, never changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Params = dict[str, int | float | str | bool]


class ModelSettings(_Section):
    """Which architecture, with which of its own parameters (`satae models` lists them)."""

    name: str = "conv"
    params: Params = {}


class TargetSettings(_Section):
    """What is looked for, object or area, and how large objects are: 0 where nothing is said; metres before pixels."""

    # where a recipe says nothing it follows from bands, GSD and size: see `training.presets`
    kind: Literal["object", "area"] = "object"

    size_m: float = pydantic.Field(default=0.0, ge=0)
    size_px: float = pydantic.Field(default=0.0, ge=0)


class InputSettings(_Section):
    """What the autoencoder sees: see `nn.normalize`."""

    space: Literal["whitened", "bands", "unit"] = "whitened"
    scale: Literal["band", "common"] = "band"
    stretch: Literal["linear", "log"] = "linear"
    components: int = pydantic.Field(default=32, ge=1)
    ridge: float = pydantic.Field(default=1e-3, ge=0)


class ObjectiveSettings(_Section):
    """The loss: terms, their weights and their own settings, and the trimming; see `objectives`."""

    terms: dict[str, float] = {"mse": 1.0}
    params: dict[str, Params] = {}
    trim: float = pydantic.Field(default=1.0, gt=0, le=1)
    warm: float = pydantic.Field(default=0.2, ge=0, le=1)


class HeadSettings(_Section):
    """A score head with its own parameters; see `heads`."""

    name: str
    params: Params = {}


class MapSettings(_Section):
    """What is done to the error before it is the anomaly map: see `detector.fusion`."""

    smooth: float = pydantic.Field(default=0.0, ge=0, le=8)
    blur: float = pydantic.Field(default=0.0, ge=0, le=8)
    around_px: int = pydantic.Field(default=0, ge=0, le=257)
    around_heads: list[str] = []
    support_px: int = pydantic.Field(default=0, ge=0, le=129)
    max_object_px: int = pydantic.Field(default=0, ge=0, le=100)

    @pydantic.field_validator("around_px", "support_px")
    @classmethod
    def _with_a_middle(cls, value: int) -> int:
        if value and value % 2 == 0:
            raise ValueError(f"{value} is even: a box around a pixel has an odd side")
        return value


class TrainSettings(_Section):
    """How the model is fitted: see `training.loop`."""

    epochs: int = pydantic.Field(default=30, ge=1)
    batch: int = pydantic.Field(default=16, ge=1)
    pixels: int = pydantic.Field(default=4096, ge=1)
    min_steps: int = pydantic.Field(default=20, ge=1)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    momentum: float = pydantic.Field(default=0.9, ge=0, lt=1)
    learning_rate: float = pydantic.Field(default=2e-3, gt=0)
    schedule: Literal["cosine", "constant", "plateau", "onecycle"] = "cosine"
    warmup: float = pydantic.Field(default=0.05, ge=0, lt=1)
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    clip: float = pydantic.Field(default=1.0, gt=0)
    patience: int = pydantic.Field(default=10, ge=1)
    validation: float = pydantic.Field(default=0.2, gt=0, lt=1)
    block: int = pydantic.Field(default=4, ge=1)
    sample: int | None = pydantic.Field(default=None, ge=4)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = pydantic.Field(default=0, ge=0, lt=2**32)


class AugmentSettings(_Section):
    """How tiles are varied while training: see `training.augment`."""

    flip: bool = True
    turn: bool = True
    crop: int = pydantic.Field(default=0, ge=0)
    gain: float = pydantic.Field(default=0.0, ge=0, le=1)
    noise: float = pydantic.Field(default=0.0, ge=0, le=1)


class ImageSettings(_Section):
    """How sets of small images are shown, such as CIFAR-10: see `bench.images`. Scenes are not concerned."""

    flip: bool = True
    pad: int = pydantic.Field(default=0, ge=0, le=16)
    contrast: bool = False
    restore: bool = False


class CorruptSettings(_Section):
    """What is done to the input while training, the target staying clean: see `training.corrupt`."""

    gaussian: float = pydantic.Field(default=0.0, ge=0, le=10)
    masking: float = pydantic.Field(default=0.0, ge=0, lt=1)
    salt: float = pydantic.Field(default=0.0, ge=0, lt=1)


class Recipe(_Section):
    """Everything that `satae train` may vary."""

    model: ModelSettings = ModelSettings()
    target: TargetSettings = TargetSettings()
    input: InputSettings = InputSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    score: list[HeadSettings] = pydantic.Field(default=[HeadSettings(name="whitened")], min_length=1)
    map: MapSettings = MapSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    images: ImageSettings = ImageSettings()
    corrupt: CorruptSettings = CorruptSettings()

    @pydantic.field_validator("objective", mode="before")
    @classmethod
    def _one_term(cls, value: Any) -> Any:
        """`objective: mse` is that term alone."""
        return {"terms": {value: 1.0}} if isinstance(value, str) else value

    @pydantic.field_validator("score", mode="before")
    @classmethod
    def _named_heads(cls, value: Any) -> Any:
        """`score: whitened` is that head alone, `[whitened, memory]` the sum of both."""
        heads = value if isinstance(value, list) else [value]
        return [{"name": head} if isinstance(head, str) else head for head in heads]


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which expand, and without keys given twice, of which one would be lost."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a recipe")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for i, key in enumerate(keys) if key in keys[:i]]
        if twice:
            raise yaml.YAMLError(f"{twice[0]} is given twice")
        return super().construct_mapping(node, deep)


def recipes() -> dict[str, Path]:
    """The recipes that go with satae, by name; ConfigError where none came with it."""
    folder = next((place for place in SHIPPED if (place / "default.yaml").is_file()), None)
    if folder is None:
        raise ConfigError(f"the recipes of satae are missing in {SHIPPED[0]}; install it again")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_file(given: Path) -> Path:
    """The file of a recipe: that of the name, where satae has one, else the path itself.

    Raises ConfigError with the names where there is neither.
    """
    known = recipes()
    if str(given) in known:
        return known[str(given)]
    if not given.exists():
        raise ConfigError(
            f"{given} is no file and no recipe of satae; there are {', '.join(known)}, or name a .yaml file"
        )
    return given


def load(path: Path | None, changes: list[str] | None = None) -> Recipe:
    """The recipe of that name or in that YAML file, or the default one, with `key.sub=value` changes applied.

    Raises ConfigError, naming the key, the value and what would be allowed.
    """
    values = {} if path is None else _parsed(recipe_file(path))
    for change in changes or []:
        _apply(values, change)
    return recipe_of(values, path)


def difference(own: Recipe, asked: Recipe) -> str:
    """The first setting that `asked` gives and `own` has otherwise, such as train.epochs; empty where there is none."""
    return _difference(own.model_dump(), asked.model_dump(exclude_unset=True))


def _difference(own: Any, asked: Any) -> str:
    for key, value in asked.items():
        here, there = (dict(enumerate(v)) if isinstance(v, list) else v for v in (own.get(key), value))
        # terms and heads are given as a whole, and groups of settings in parts
        whole = key == "terms" or isinstance(value, list)
        if isinstance(here, dict) and isinstance(there, dict) and not (whole and here.keys() != there.keys()):
            if found := _difference(here, there):
                return f"{key}.{found}"
        elif here != there:
            return str(key)
    return ""


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} has more than {MAX_BYTES} bytes, the most that a recipe may have")
    values = _yaml(text, f"{path} is not a valid recipe")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a valid recipe: it must hold `key: value` lines")
    return values


def _yaml(text: str | bytes, fault: str) -> Any:
    """The values in a YAML text; ConfigError that starts with `fault`."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError as error:
        raise ConfigError(f"{fault}: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{fault}: {' '.join(str(error).split())[:300]}") from error


def _apply(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change} is not of the form key=value, such as train.epochs=20")
    *folders, leaf = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change}: {folder} is a value, not a group of settings")
    values[leaf] = _yaml(text, f"--set {change[:80]}: the value cannot be read")


def recipe_of(values: dict[str, Any], path: Path | None = None) -> Recipe:
    """`values` as a recipe, or ConfigError with the first fault in one sentence."""
    try:
        return Recipe.model_validate(_given(values))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        place = f"{path}: " if path else ""
        if fault["type"] == "extra_forbidden":
            names = ", ".join(_settings_at(fault["loc"][:-1]))
            raise ConfigError(f"{place}there is no setting {where}; there are {names}") from error
        value, text = reprlib.repr(fault.get("input")), fault["msg"].lower()
        if fault["type"] == "model_type":
            text = f"it is a group of settings: {', '.join(_settings_at(fault['loc']))}"
        if fault["type"] == "literal_error" and AUTO not in text:
            # any setting may be left open
            text = f"{text.replace(' or ', ', ')} or '{AUTO}'"
        raise ConfigError(f"{place}{where} = {value}: {text}") from error


def _given(values: Any) -> Any:
    """`values` without the settings that are left open."""
    if not isinstance(values, dict):
        return values
    return {key: _given(value) for key, value in values.items() if value != AUTO}


def _settings_at(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Recipe
    for step in location:
        found = section if isinstance(step, int) else section.model_fields[str(step)].annotation
        section = (typing.get_args(found) or [found])[0]
    return list(section.model_fields)
