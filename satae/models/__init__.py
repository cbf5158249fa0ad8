"""Autoencoder architectures, one file each.

A file `NAME.py` here is the architecture NAME. It has

- `Params`, a frozen dataclass: its own settings, with defaults that suit most scenes;
- `build(channels, params)`: a torch module that maps x (N, channels, H, W) to its reconstruction of the same
  shape, with the attributes `stride` (its output moves with its input by multiples of this, in pixels) and
  `code_size` (numbers in the code of a stride x stride patch).

Nothing else has to be edited to add one. The receptive field is measured (`graph.reach`), not declared.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import reprlib
from collections.abc import Mapping
from typing import Any

import pydantic
from torch import nn

from satae.errors import ConfigError

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def resolved(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an architecture, the defaults included; ConfigError as `build`."""
    return dataclasses.asdict(_checked(name, params)[1])


def build(name: str, channels: int, params: Mapping[str, Any]) -> nn.Module:
    """The architecture `name` for `channels` input channels; ConfigError lists what there is."""
    module, checked = _checked(name, params)
    try:
        built: nn.Module = module.build(channels, checked)
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(
            f"model.params = {reprlib.repr(dict(params))}: no such {name} can be built"
        ) from error
    return built


def _checked(name: str, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """The module of an architecture and its Params."""
    if name not in NAMES:
        raise ConfigError(
            f"model.name = {name!r}: there is no such architecture; there are {', '.join(NAMES)}"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    known = [field.name for field in dataclasses.fields(module.Params)]
    for key in params:
        if key not in known:
            raise ConfigError(f"model.params.{key}: {name} has no such parameter; it has {', '.join(known)}")
    try:
        return module, pydantic.TypeAdapter(module.Params).validate_python(dict(params))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(["model.params", *map(str, fault["loc"])])
        text = fault["msg"].lower().removeprefix("value error, ")
        raise ConfigError(f"{where} = {reprlib.repr(fault['input'])}: {text}") from error
    except (OverflowError, TypeError) as error:
        raise ConfigError(
            f"model.params = {reprlib.repr(dict(params))}: no such {name} can be built"
        ) from error
