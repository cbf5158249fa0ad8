"""Which bands of a scene a picture shows as red, green and blue, from what to what, and how bright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from satae import composite
from satae.errors import SceneError
from satae.scene import readers
from satae.scene.source import Band, Source

FILES = 1024  # of one scene


@dataclass(frozen=True)
class Part:
    """A file and its bands, counted from 1, in the order blue, green, red, or one that is drawn grey."""

    path: Path
    bands: list[int]


@dataclass(frozen=True)
class BandChoice:
    """A band that can be chosen, by the name that people know."""

    name: str
    part: Part


@dataclass(frozen=True)
class Look:
    """How a scene is drawn: `bands` are red, green and blue, numbers from 0 among the choices, or none for the usual.

    `cut` is the share of pixels in percent that is drawn black, and white; `gamma` is composite.GAMMA or another.
    """

    bands: tuple[int, ...] = ()
    cut: float = 100 * composite.EXTREMES[0]
    gamma: float = composite.GAMMA

    @property
    def ends(self) -> tuple[float, float]:
        """The quantiles that are drawn black and white."""
        return self.cut / 100, 1 - self.cut / 100


USUAL = Look()


def usual(row: dict[str, Any], folder: Path) -> list[Part]:
    """The bands of a scene that are drawn where nobody chooses others; SceneError where a file is missing."""
    paths = [file_of(text, folder) for text in str(row["path"] or "").split(";")[:FILES]]
    if len(paths) > 1:
        names = str(row.get("bands") or "").split(",")
        known = names if len(names) == len(paths) else [""] * len(paths)
        return [Part(paths[i], [1]) for i in composite.natural(known)]
    return [Part(paths[0], _natural(readers.source(paths[0])))]


def file_of(text: str, folder: Path) -> Path:
    """A file as the result names it, else under that name in the result's folder."""
    if text and not text.startswith(("\\\\", "//")):  # a share elsewhere is not called
        for path in (Path(text), folder / text, folder / Path(text).name):
            if is_file(path):
                return path
    raise SceneError(f"there is no {text or 'scene'} here, so no scene is shown; put it beside the result")


def choices(row: dict[str, Any], folder: Path) -> list[BandChoice]:
    """All bands of a scene, named by the result where it has a name for each, else by the file."""
    paths = [file_of(text, folder) for text in str(row["path"] or "").split(";")[:FILES]]
    said = [name.strip() for name in str(row.get("bands") or "").split(",")]
    if len(paths) > 1:
        names = said if len(said) == len(paths) else [path.stem for path in paths]
        return [
            BandChoice(name or path.stem, Part(path, [1])) for name, path in zip(names, paths, strict=True)
        ]
    bands = _seen(readers.source(paths[0]))
    names = said if len(said) == len(bands) else [band.name for band in bands]
    return [
        BandChoice(name or f"band {band.index}", Part(paths[0], [band.index]))
        for name, band in zip(names, bands, strict=True)
    ]


def parts_of(bands: Sequence[int], offer: Sequence[BandChoice]) -> list[Part]:
    """Where bands that are red, green and blue lie, blue first."""
    chosen = [offer[i].part for i in reversed(bands)]
    if len({part.path for part in chosen}) == 1:
        return [Part(chosen[0].path, [band for part in chosen for band in part.bands])]
    return chosen


def is_file(path: Path) -> bool:
    """Whether a file goes by this name."""
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _natural(source: Source) -> list[int]:
    """Blue, green and red as the file says, else what is shown of bands that do not say what they are."""
    bands = _seen(source)
    chosen = composite.natural(*zip(*((b.name, b.wavelength, b.colour) for b in bands), strict=True))
    return [bands[i].index for i in chosen]


def _seen(source: Source) -> list[Band]:
    """The bands that hold something to see."""
    return [band for band in source.bands if band.colour != "alpha"] or list(source.bands[:1])
