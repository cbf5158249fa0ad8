"""The columns of a result, each with its type and one sentence, and the rows that have them.

Layers, the review, QGIS's form and docs/results.md follow from here. What a row says is measured elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

REVIEW_STATUSES = ("unreviewed", "accepted", "rejected", "unsure")
WORDS = {"str": "text", "int32": "integer", "int64": "integer", "float64": "real"}
ALIASES = {
    "anomaly_id": "name",
    "score": "score, −log10 p",
    "p_value": "p-value",
    "peak": "peak, raw score",
    "mean": "mean, raw score",
    "area_m2": "area, m²",
    "band_shares": "shares of bands, 0 to 1",
    "spectral_share": "spectral share, 0 to 1",
    "baseline_score": "baseline score, −log10 p",
    "baseline_p": "baseline p-value",
    "feedback": "feedback, log10 of odds",
    "row": "row, in tiles",
    "col": "column, in tiles",
    "valid_fraction": "valid, 0 to 1",
    "crs": "CRS",
    "gsd_m": "GSD, m",
    "threshold": "threshold, heat",
    "model_sha256": "model, SHA-256",
    "satae_version": "version of satae",
}
PYTHON: dict[str, type] = {"text": str, "integer": int, "real": float}


@dataclass(frozen=True)
class Column:
    """A column of a layer: its type as pandas has it, and what it means, in a sentence without a full stop."""

    name: str
    kind: str
    meaning: str

    @property
    def alias(self) -> str:
        """The name for people, without underscores."""
        return ALIASES.get(self.name, self.name.replace("_", " "))

    @property
    def word(self) -> str:
        """The type for people: text, integer or real."""
        return WORDS[self.kind]

    @property
    def python(self) -> type:
        """The type of a value that is read."""
        return PYTHON[self.word]


def column(kind: str, meaning: str, default: Any = MISSING) -> Any:
    """A field of a row that is a column of its layer."""
    return field(default=default, metadata={"column": (kind, meaning)})


@dataclass(frozen=True, kw_only=True)
class Region:
    """A reported region: a row of the layer anomalies, and where it lies.

    What only all scenes together and an analyst can say (rank, feedback, chip, review) has defaults.
    `polygon` is a MultiPolygon in map coordinates, `outline` the same in pixel coordinates (x = col, y = row),
    and (row, col) the pixel of the peak.
    """

    anomaly_id: str = column("str", "scene, row and column of the region's highest pixel")
    rank: int = column("int32", "place in the list: by `score` + `feedback`, 1 is first", 0)
    scene: str = column("str", "name of the scene")
    kind: str = column("str", "`object` or `area`: what the model that reports it looks for", "object")
    score: float = column("float64", "-log10 of `p_value`: how rare the region is among regions")
    p_value: float = column("float64", "how often a region of held-out, normal ground has a peak as high")
    peak: float = column("float64", "largest raw score of the region, as the model gives it")
    mean: float = column("float64", "mean raw score of the region")
    area_m2: float = column("float64", "area; NULL without a CRS")
    pixels: int = column("int64", "number of pixels")
    top_band: str = column("str", "the band that adds most to the error")
    band_shares: str = column(
        "str",
        'JSON: the five bands that add most to the error, with their shares, as in `{"B02": 0.41, ...}`',
    )
    spectral_share: float = column(
        "float64", "1: the whole region is of another colour than expected; 0: its texture or outline is"
    )
    baseline: str | None = column("str", "name of the second opinion (`--baseline`), NULL without", None)
    baseline_score: float = column("float64", "-log10 of `baseline_p`", math.nan)
    baseline_p: float = column("float64", "the p-value of the region under the baseline", math.nan)
    feedback: float = column(
        "float64",
        "log10 of the factor by which decisions on regions that look alike change the odds of this one; NULL "
        "without `--feedback`",
        math.nan,
    )
    signature: str = column(
        "str", "JSON: what the region and its surroundings look like, which `--feedback` compares"
    )
    chip: str | None = column("str", "the region's picture, relative to the layer file", None)
    review_status: str = column(
        "str", "`unreviewed`, `accepted`, `rejected` or `unsure`; a drop-down in QGIS", REVIEW_STATUSES[0]
    )
    review_label: str = column("str", "the class that a reviewer gave", "")
    review_note: str = column("str", "what a reviewer wrote", "")
    review_by: str = column("str", "who decided last", "")
    review_time: str = column("str", "when, ISO 8601: UTC where it ends in Z, else local", "")
    polygon: Any
    outline: Any = None
    row: int = 0
    col: int = 0

    @property
    def key(self) -> tuple[float, float, str]:
        """What ranks follow, rising: score, moved by feedback where there is some; then peak and name."""
        moved = 0.0 if math.isnan(self.feedback) else self.feedback
        return -(self.score + moved), -self.peak, self.anomaly_id


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """The tiles of one scene (n): rows of the layer tiles, and `corners` (n, 4, 2) in map coordinates."""

    scene: npt.NDArray[Any] = column("str", "name of the scene")
    row: npt.NDArray[Any] = column("int32", "row of the tile, counted in tiles from 0")
    col: npt.NDArray[Any] = column("int32", "column of the tile, counted in tiles from 0")
    score: npt.NDArray[Any] = column(
        "float64", "-log10 of `p_value`: how rare its highest pixel is among tiles"
    )
    p_value: npt.NDArray[Any] = column("float64", "how often a held-out tile has a peak as high")
    valid_fraction: npt.NDArray[Any] = column("float64", "share of the tile's pixels that are valid")
    corners: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """A scene as it was scored: a row of the layer scenes."""

    scene: str = column("str", "name of the scene")
    path: str = column("str", "the file that was scored; several with `;` between them")
    crs: str = column("str", "its CRS; empty without one")
    gsd_m: float = column("float64", "size of its pixels in metres")
    bands: str = column("str", "names of its bands")
    valid_fraction: float = column("float64", "share of its pixels that were scored")
    anomalies: int = column("int64", "number of regions reported")
    threshold: float = column(
        "float64", "heat from which regions were reported, as the heatmap has it; NULL where none was"
    )
    kind: str = column("str", "`object` or `area`: what the model looks for", "object")
    rule: str = column("str", "what was asked for, such as `far 10`")
    domain: str | None = column(
        "str",
        "`same` or `foreign`: whether it is like the scenes trained on; NULL where it is too small to tell",
    )
    domain_note: str = column("str", "the numbers behind `domain`")
    model_sha256: str = column("str", "hash of the model file")
    satae_version: str = column("str", "version that scored")
    provider: str = column("str", "what ran the model, such as CPUExecutionProvider")
    created: str = column("str", "when, ISO 8601")


def columns_of(row: type) -> dict[str, Column]:
    """The columns of a kind of row by name, in their order."""
    return {f.name: Column(f.name, *f.metadata["column"]) for f in fields(row) if "column" in f.metadata}


LAYERS = {"anomalies": columns_of(Region), "tiles": columns_of(Tiles), "scenes": columns_of(Footprint)}


def kinds(layer: str) -> dict[str, str]:
    """The types of a layer's columns as pandas has them."""
    return {name: column.kind for name, column in LAYERS[layer].items()}


def values(row: Any) -> dict[str, Any]:
    """What a row says, by column."""
    return {name: getattr(row, name) for name in columns_of(type(row))}


def by_rank(regions: Iterable[Region]) -> list[Region]:
    """Regions, of all scenes together, in the order of their ranks."""
    return sorted(regions, key=lambda region: region.key)
