"""The model card: what a model remembers of how it was made, as JSON in the ONNX file's metadata."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic

from satae.console import quantity
from satae.errors import ModelError
from satae.inference.calibrate import Calibration

KEY = "satae"
VERSION = 1
GSD_TOLERANCE = 1.25  # ratio up to which a scene's GSD may differ from those trained on


class Band(pydantic.BaseModel, extra="forbid"):
    """A band as the training scenes stored it; `wavelength` and `width` in nanometres where they are known."""

    name: str
    scale: float = 1.0
    offset: float = 0.0
    wavelength: float | None = None
    width: float | None = None


class Normalization(pydantic.BaseModel, extra="forbid"):
    """The fitted numbers of `normalize.Normalizer` that people and checks read; the graph holds them all."""

    space: str
    stretch: str
    log_floor: float | None = None  # added before the logarithm; unknown in models of older versions
    low: list[float]
    high: list[float]
    floor: list[float]
    ceiling: list[float]
    components: int
    ridge: float


class Domain(pydantic.BaseModel, extra="forbid"):
    """What the training sample looks like: DN at the quantiles `levels`, a list a band.

    `covariance` is that of bands over pixels, `texture` that of their steps from a pixel to the next; of many bands
    some are in it (`radiometry`). Both are empty in models of older versions.
    """

    levels: list[float]
    quantiles: list[list[float]]
    pixels: int
    covariance: list[list[float]] = []
    texture: list[list[float]] = []


class TrainingScene(pydantic.BaseModel, extra="forbid"):
    """A scene that was learned from; `footprint` is a ring of WGS 84 longitudes and latitudes.

    It is known by name and hash: a model is passed on, and folders of the machine that made it are not.
    """

    name: str
    sha256: str
    tiles: int
    gsd_m: float | None
    footprint: list[list[float]]


class Parity(pydantic.BaseModel, extra="forbid"):
    """How ONNX Runtime's anomaly map compares with torch's on held-out tiles."""

    tiles: int
    largest_difference: float
    share_of_range: float
    rank_correlation: float


class Fidelity(pydantic.BaseModel, extra="forbid"):
    """How the anomaly map of a model in fewer bits compares with that of the float32 one, over held-out blocks.

    `rank_correlation` over `pixels`. `regions` are what the float32 model reports at a heatmap value of `score`, and
    `overlap` is the share of both models' regions there that share a pixel with one of the other's.
    """

    pixels: int
    rank_correlation: float
    score: float
    regions: int
    overlap: float


class Card(pydantic.BaseModel, extra="forbid"):
    """The model card: everything that a model is but its weights.

    Windows of a scene start at multiples of `stride` and are read with `halo` more on all sides. `frame` is 0
    where that is all that a pixel's score follows from. Else the model sees so many pixels a side at once, in
    frames at multiples of the stride that overlap by the halo, and scores are blended over them.
    """

    version: int = VERSION
    satae_version: str
    created: str
    architecture: str
    parameters: dict[str, int | float | str | bool]
    weights: int
    objective: str
    score: str
    bands: list[Band]
    dtype: str
    gsd_m: list[float]
    tile: int = pydantic.Field(ge=1, le=2**16)
    stride: int = pydantic.Field(ge=1, le=2**10)
    halo: int = pydantic.Field(ge=0, le=2**10)
    core: int = pydantic.Field(default=256, ge=1, le=2**12)
    frame: int = pydantic.Field(default=0, ge=0, le=2**11)
    code_size: int
    normalization: Normalization
    recipe: dict[str, Any]
    trained_on: str
    scenes: list[TrainingScene]
    metrics: dict[str, float]
    parity: Parity
    calibration: Calibration | None = None
    domain: Domain | None = None
    precision: str = "fp32"
    fidelity: Fidelity | None = None
    feedback: dict[str, int] | None = None  # regions that an analyst had accepted and rejected

    @property
    def kind(self) -> str:
        """What it looks for, object or area; models of older versions do not tell, and count as for objects."""
        target = self.recipe.get("target")
        return "area" if isinstance(target, dict) and target.get("kind") == "area" else "object"

    @pydantic.model_validator(mode="after")
    def _frames_overlap_by_the_halo(self) -> Card:
        if self.frame and self.frame != self.stride + self.halo:
            raise ValueError(
                f"frames of {self.frame} pixels are not {self.stride} apart and {self.halo} shared"
            )
        return self


def now() -> str:
    """The time in UTC, or SOURCE_DATE_EPOCH where it is set, for outputs that can be reproduced."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = time.gmtime(int(epoch)) if epoch else time.gmtime()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)


def parse(text: str, name: str) -> Card:
    """The card in a JSON text; ModelError where it is none, or of another version."""
    try:
        return Card.model_validate_json(text)
    except (pydantic.ValidationError, RecursionError) as error:
        raise ModelError(
            f"{name} has a model card that this satae cannot read; train it again with this version"
        ) from error


def check_gsd(card: Card, gsd_m: float | None, scene: str) -> None:
    """ModelError where the scene's pixels are much larger or smaller than those trained on."""
    if gsd_m is None or not card.gsd_m:
        return
    low, high = min(card.gsd_m) / GSD_TOLERANCE, max(card.gsd_m) * GSD_TOLERANCE
    if not low <= gsd_m <= high:
        trained = " to ".join(f"{g:.3g}" for g in sorted({min(card.gsd_m), max(card.gsd_m)}))
        raise ModelError(
            f"{scene} has pixels of {gsd_m:.3g} m and the model was trained on {trained} m; resample the scene "
            "with `gdalwarp -tr`, or train a model on it"
        )


def generic(names: Sequence[str]) -> bool:
    """Whether bands have no names but their numbers."""
    return all(re.fullmatch(r"band\d+(_\d+)?", name) for name in names)


def _kind(dtype: str) -> str:
    """Types in which a number means the same; 8 bits are mostly a picture that was stretched for the eye."""
    kind = np.dtype(dtype)
    return "float" if kind.kind == "f" else "integer" if kind.kind in "iu" and kind.itemsize > 1 else dtype


def check_bands(
    card: Card,
    names: tuple[str, ...],
    dtype: str,
    calibration: tuple[tuple[float, ...], tuple[float, ...]],
    scene: str,
) -> None:
    """ModelError where the scene's bands, dtype or declared (scales, offsets) are not those of the model.

    Integers of 16 bits and more are alike, and so are floats, for a number is the same in all of them. Names are
    compared only where both sides carry real ones (`band1`, file stems do not count).
    """
    if len(names) != len(card.bands):
        raise ModelError(
            f"{scene} gives {quantity(len(names), 'band')} and the model takes {len(card.bands)} "
            f"({', '.join(b.name for b in card.bands)}); choose them with --bands"
        )
    if _kind(dtype) != _kind(card.dtype):
        raise ModelError(
            f"{scene} holds {dtype} and the model was trained on {card.dtype}; numbers of another type "
            "may mean something else: bring them to that type with `gdal_translate -ot ...`, and to its scale with "
            "-scale where their range differs, or train a model on the scene"
        )
    own = [b.name for b in card.bands]
    if sorted(own) == sorted(names) and own != list(names):
        raise ModelError(
            f"{scene} gives its bands as {', '.join(names)} and the model takes {', '.join(own)}; "
            "reorder them with --bands"
        )
    for band, scale, offset in zip(card.bands, *calibration, strict=True):
        if (scale, offset) == (band.scale, band.offset):
            continue
        trained = f"the model was trained on {band.scale:g} and {band.offset:g}"
        if (scale, offset) == (1, 0):
            raise ModelError(
                f"{scene} declares no scale for {band.name}, and {trained}; say which product it is with --sensor "
                "where its DN are those of one, or train a model on it"
            )
        raise ModelError(
            f"{scene} declares scale {scale:g} and offset {offset:g} in {band.name} and {trained}; its DN mean "
            "something else: rescale them, or train a model on it"
        )
