"""Unsupervised anomaly detection for satellite imagery, from GeoTIFF scenes to georeferenced layers."""

import importlib
from typing import Any

__version__ = "0.1.0"

# the public names and where they are; each is loaded when it is first asked for, types are in __init__.pyi
_PLACES = {
    "Limits": "satae.scene.scene",
    "Model": "satae.inference.runtime",
    "Result": "satae.api.result",
    "SataeError": "satae.errors",
    "Scene": "satae.scene.scene",
    "open_scene": "satae.api.scenes",
    "score": "satae.api.score",
    "tile": "satae.api.tile",
    "train": "satae.api.train",
}
__all__ = [
    "Limits",
    "Model",
    "Result",
    "SataeError",
    "Scene",
    "__version__",
    "open_scene",
    "score",
    "tile",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
