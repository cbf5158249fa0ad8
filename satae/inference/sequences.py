"""What a network over dates learns from, what it is asked for, and its card: plain values, without ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pydantic

from satae.errors import ModelError
from satae.inference.card import Parity
from satae.inference.part import with_note

KEY = "satae_sequence"
VERSION = 1

Array = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Episode:
    """A part of a history as the rest of it shows it: what it left is to be expected from what the others left.

    `seen` (date, B, pixel) are deviations of the dates of `days`, NaN where not valid or not to be looked at; `left`
    (date, B, pixel) those of the part, on `days_left`, by a season that was fitted without them.
    """

    seen: Array
    days: Floats
    left: Array
    days_left: Floats


class SequenceCard(pydantic.BaseModel, extra="forbid", frozen=True):
    """Everything that a network over dates is but its weights; `threshold` is that of the place at `far`."""

    version: int = VERSION
    satae_version: str
    created: str
    architecture: str
    parameters: dict[str, int | float | str | bool]
    weights: int
    bands: tuple[str, ...]
    history: tuple[str, str]
    dates: int
    recipe: dict[str, Any]
    metrics: dict[str, float]
    parity: Parity
    far: float | None = None
    threshold: float | None = None


class Network(Protocol):
    """A network over the dates of a pixel."""

    @property
    def content(self) -> bytes:
        """The bytes of its file."""
        ...

    @property
    def card(self) -> SequenceCard:
        """What it says of itself."""
        ...

    def with_threshold(self, far: float, threshold: float) -> Network:
        """The network with a card that tells the threshold of its place, as its file shall have it."""
        ...

    def expectation(self, seen: Array, days: Floats, day: float) -> tuple[Floats, Floats]:
        """(mean (B, pixel), variance (pixel)) of what a day leaves, from `seen` (date, B, pixel) on other days."""
        ...


@dataclass(frozen=True)
class Place:
    """What is said of the place that is learned from: its bands, and the first, last and number of its dates."""

    bands: tuple[str, ...]
    history: tuple[str, str]
    dates: int


Tell = Callable[[int, int], None]  # (steps done, of how many in all)
Trainer = Callable[[Sequence[Episode], Place, Tell], Network]
"""Learns a network from the episodes of a place."""


def with_card(content: bytes, card: SequenceCard) -> bytes:
    """The file's bytes with the card in its metadata."""
    return with_note(content, KEY, card.model_dump_json())


def carries(content: bytes) -> bool:
    """Whether a file is one of a network over dates."""
    return KEY.encode() in content


def parse(text: str, name: str) -> SequenceCard:
    """The card in a JSON text; ModelError where it is none, or of another version."""
    try:
        return SequenceCard.model_validate_json(text)
    except (pydantic.ValidationError, RecursionError) as error:
        raise ModelError(
            f"{name} has a card that this satae cannot read; make it again with this version"
        ) from error
