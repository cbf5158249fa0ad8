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
from collections.abc import Mapping
from typing import Any

from torch import nn

from satae.errors import ConfigError

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def build(name: str, channels: int, params: Mapping[str, Any]) -> nn.Module:
    """The architecture `name` for `channels` input channels; ConfigError lists what there is."""
    if name not in NAMES:
        raise ConfigError(
            f"model.name = {name!r}: there is no such architecture; there are {', '.join(NAMES)}"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    known = {field.name: field.type for field in dataclasses.fields(module.Params)}
    for key in params:
        if key not in known:
            raise ConfigError(f"model.params.{key}: {name} has no such parameter; it has {', '.join(known)}")
    try:
        built: nn.Module = module.build(channels, module.Params(**params))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.params of {name}: {error}") from error
    return built
