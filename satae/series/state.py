"""The state of a place: all that its next date needs, as one GeoTIFF of numbers a pixel and what all share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

from satae.errors import ResultError, SceneError
from satae.grid import Grid, Window
from satae.inference.calibrate import Tail
from satae.later import Later
from satae.scene import output, readers
from satae.scene.source import Pixels, Source
from satae.scene.tags import note
from satae.series.calibration import Promise
from satae.series.rules import Memory, Rules
from satae.series.stack import Scales

if TYPE_CHECKING:
    from satae.inference import network as networks
else:
    networks = Later("satae.inference.network")

KEY = "satae_series"
CLEAR = "clear"  # the first band: where most dates of the history count

Bools = npt.NDArray[np.bool_]
Matrix = tuple[tuple[float, ...], ...]


class ScoredDate(pydantic.BaseModel, extra="forbid", frozen=True):
    """A date that was scored: its day, the scene's name, its unrest, and the shift (rows, columns) that was undone.

    `shared`, what its ground has in common, is not kept: no other date needs it.
    """

    day: int
    scene: str
    unrest: float
    shift: tuple[float, float] = (0.0, 0.0)
    shared: Matrix | None = pydantic.Field(default=None, exclude=True)


class Header(pydantic.BaseModel, extra="forbid", frozen=True, ser_json_inf_nan="constants"):
    """What all pixels of a place share, as JSON.

    `scaled`: what is kept is what DN stand for; else all dates declare `scales`.
    """

    version: Literal[3] = 3  # another one where the numbers of a pixel, or what is made of them, are others
    satae_version: str
    bands: tuple[str, ...]
    model: str
    history: tuple[float, ...]
    centre: tuple[float, ...]
    whitening: Matrix
    middle: float
    keep: tuple[int, int]
    threshold: float
    far: float
    least: int
    scaled: bool
    scales: Scales | None = None
    buffer: int
    pixel: Tail
    block: Tail
    km2: float
    held_out: int
    calm: float
    gain: Matrix | None = None
    offset: tuple[float, ...] | None = None
    kinds: Matrix | None = None
    fewest: int = 0
    network_sha256: str | None = None
    network: Any = pydantic.Field(default=None, exclude=True)
    unrest: tuple[float, ...] | None = pydantic.Field(default=None, exclude=True)
    usual: tuple[float, ...] = pydantic.Field(default=(), exclude=True)
    shared: tuple[Matrix, ...] | None = pydantic.Field(default=None, exclude=True)
    sample: tuple[tuple[int, int, int, int], ...]
    scored: tuple[ScoredDate, ...] = ()

    @property
    def rules(self) -> Rules:
        """What the detector takes."""
        return Rules(
            self.model, self.history, np.array(self.centre), np.array(self.whitening), self.middle, self.keep,
            self.threshold, None if self.gain is None else np.array(self.gain),
            None if self.offset is None else np.array(self.offset),
            None if self.kinds is None else np.array(self.kinds),
            None if self.shared is None else np.array(self.shared),
            self.fewest,
            None if self.unrest is None else np.array(self.unrest),
            self.network,
            usual=self.usual,
        )  # fmt: skip

    @property
    def promise(self) -> Promise:
        """What the history promises."""
        return Promise(self.pixel, self.block, self.km2, self.held_out, self.calm)

    @property
    def windows(self) -> list[Window]:
        """The sample."""
        return [Window(*w) for w in self.sample]


def matrix(values: npt.NDArray[np.float64]) -> Matrix:
    """The numbers of an array of two axes, as a header holds them."""
    return tuple(tuple(map(float, row)) for row in values)


def header_of(
    rules: Rules, promise: Promise, windows: list[Window], *, bands: tuple[str, ...], far: float, least: int,
    scaled: bool, scales: Scales | None, buffer: int, version: str,
) -> Header:  # fmt: skip
    """The header of a place of which no date was scored."""
    return Header(
        satae_version=version,
        bands=bands,
        model=rules.model,
        history=rules.days,
        centre=tuple(map(float, rules.centre)),
        whitening=matrix(rules.whitening),
        middle=rules.middle,
        keep=rules.keep,
        threshold=rules.threshold,
        far=far,
        least=least,
        scaled=scaled,
        scales=scales,
        buffer=buffer,
        pixel=promise.pixel,
        block=promise.block,
        km2=promise.km2,
        held_out=promise.dates,
        calm=promise.calm,
        gain=None if rules.gain is None else matrix(rules.gain),
        offset=None if rules.offset is None else tuple(map(float, rules.offset)),
        kinds=None if rules.kinds is None else matrix(rules.kinds),
        fewest=rules.fewest,
        network=rules.network,
        unrest=None if rules.unrest is None else tuple(map(float, rules.unrest)),
        usual=rules.usual,
        network_sha256=None if rules.network is None else hashlib.sha256(rules.network.content).hexdigest(),
        shared=None if rules.shared is None else tuple(map(matrix, rules.shared)),
        sample=tuple((w.row, w.col, w.height, w.width) for w in windows),
    )


class Writer:
    """A state that is being written window by window."""

    def __init__(self, file: output.Output, sizes: dict[str, int]) -> None:
        self.file, self.sizes = file, sizes

    def write(self, window: Window, clear: Bools, memory: Memory) -> None:
        """Put a window: `clear` (row, col), and the memory of its pixels in row-major order."""
        stored = np.concatenate([memory[name] for name in self.sizes])
        planes = stored.reshape(-1, window.height, window.width)
        self.file.write(np.concatenate([clear[None].astype(np.float32), planes]), window)


@contextmanager
def writing(path: Path, grid: Grid, rules: Rules, header: Header) -> Iterator[Writer]:
    """A new state file."""
    sizes = rules.sizes()
    names = [CLEAR, *(f"{name}_{i}" if n > 1 else name for name, n in sizes.items() for i in range(1, n + 1))]
    with output.writing(path, grid, bands=len(names), name="the state") as file:
        file.name(names)
        file.note(**{KEY: header.model_dump_json()})
        yield Writer(file, sizes)


class Reader:
    """An open state."""

    def __init__(self, pixels: Pixels, grid: Grid, sizes: dict[str, int]) -> None:
        self.pixels, self.grid, self.sizes = pixels, grid, sizes

    def memory(self, window: Window) -> Memory:
        """The memory of the pixels of a window in row-major order."""
        total = sum(self.sizes.values())
        stored = self.pixels.read(range(2, total + 2), window).reshape(total, -1)
        # one name after the other, as `sizes` has them
        ends = np.cumsum(list(self.sizes.values()))
        return dict(zip(self.sizes, np.split(stored, ends[:-1]), strict=True))

    def clear(self, window: Window) -> Bools:
        """Where most dates of the history counted (row, col), nowhere off the grid."""
        out = np.zeros((window.height, window.width), bool)
        inside = window.clip(self.grid.window)
        out[inside.slices(window)] = self.pixels.read([1], inside)[0] > 0
        return out


def header(path: Path) -> Header:
    """What a state file says of itself; ResultError where it is none, or of another version."""
    text = note(path, KEY) if path.is_file() else None
    if text is None:
        raise ResultError(f"{path} is no state of `satae series`; name the file that it wrote, *_state.tif")
    try:
        return Header.model_validate_json(text)
    except (pydantic.ValidationError, RecursionError) as error:
        raise ResultError(
            f"{path} is a state that this satae cannot read; make it again with this version"
        ) from error


def with_network(header: Header, path: Path) -> Header:
    """The header with the network that it went on with, from its file; ResultError where that is another one."""
    if header.network_sha256 is None:
        return header
    if not path.is_file():
        raise ResultError(f"{path} is missing, which the state goes on with; put it back beside the state")
    found = networks.load(path)
    if hashlib.sha256(found.content).hexdigest() != header.network_sha256:
        raise ResultError(
            f"{path} is not the network that the state goes on with; put that one back beside it"
        )
    return header.model_copy(update={"network": found})


def source(path: Path, header: Header) -> Source:
    """The file of a state; ResultError where it does not hold what its header says."""
    try:
        found = readers.source(path)
    except SceneError as error:
        raise ResultError(f"{path} cannot be read: {error}") from error
    if len(found.bands) != 1 + sum(header.rules.sizes().values()):
        raise ResultError(f"{path} holds {len(found.bands)} bands, which is not what it says; make it again")
    if any(window.within(found.grid.window) != window for window in header.windows):
        raise ResultError(f"{path} holds fewer pixels than it says; make it again")
    return found


@contextmanager
def reading(source: Source, header: Header) -> Iterator[Reader]:
    """A reader of the caller's own."""
    with readers.open_pixels(source) as pixels:
        yield Reader(pixels, source.grid, header.rules.sizes())


def alarms(memory: Memory) -> npt.NDArray[np.intp]:
    """The pixels in alarm."""
    return np.flatnonzero(memory["confirmed"][0] > 0)
