"""The heatmap of a scene: the heat of every pixel as a COG, verified, and read back in windows.

Heat is -log10 of the tail probability under the model's calibration sample; NaN where not scored.
Which regions of it are reported is settled in `selection`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from satae.errors import OutputError, SceneError
from satae.grid import Window
from satae.inference.calibrate import Calibration
from satae.inference.regions import Read, Unit
from satae.inference.runtime import Model
from satae.inference.scan import InferredWindow, look
from satae.inference.tilepeaks import Maxima
from satae.scene import output, raster, readers
from satae.scene.stream import Source

NAME = "the heatmap"  # in errors: its file is a draft
SLAB_PIXELS = 2**16
# of decoded blocks, which the halo of a neighbour needs again; more of them make nothing faster
CACHE_BYTES = 8 * 2**20
Map = npt.NDArray[np.float32]
Progress = Callable[[int], None]
Keep = Callable[[InferredWindow, Map], None]


@dataclass(frozen=True)
class Heatmap:
    """A finished file, the tiles' largest raw scores, and the largest value of the map in its own unit."""

    path: Path
    tiles: Maxima
    maximum: float

    @property
    def valid(self) -> int:
        """Pixels that were scored."""
        return int(self.tiles.count.sum())


def write(
    scene: Source,
    model: Model,
    calibration: Calibration,
    path: Path,
    workers: int,
    progress: Progress,
    keep: Keep = lambda seen, heat: None,
    found: Iterable[InferredWindow] | None = None,
) -> Heatmap:
    """Score a scene to a COG; OutputError where what can be read back is not what was written.

    `progress` is called with the pixels of each window, `keep` with what was seen and its heatmap. Windows that were
    `found` before are taken in place of a scan.
    """
    tiles = Maxima(scene.grid, model.card.tile)
    # a COG cannot be written in strips: a plain file first, which is then copied with overviews
    plain = path.with_name(f"{path.stem}.plain.tif")
    checks: dict[Window, int] = {}
    passing = raster.once_through(CACHE_BYTES)
    with passing, output.writing(plain, scene.grid, nodata=math.nan, name=NAME) as written:
        written.name([output.HEAT])
        for seen in look(scene, model, workers) if found is None else found:
            window = seen.window
            tiles.add(window, seen.scores)
            heat = heat_of(calibration, seen.scores)
            written.write(heat[None], window)
            # what it must be when it is read back; the pixels themselves are let go
            checks[window] = zlib.crc32(heat.tobytes())
            keep(seen, heat)
            progress(window.height * window.width)
    # the copy, and what looks at regions later, need that memory
    model.rest()
    output.to_cog(plain, path, NAME)
    plain.unlink()
    _verify(path, checks)
    highest = float(tiles.peak.max())
    return Heatmap(path, tiles, value(calibration, highest) if math.isfinite(highest) else math.nan)


def check_target(target: Path) -> None:
    """Refuse to replace an image that is no heatmap: those have one band of 32-bit floats, and NaN for nothing.

    What is no image, or a damaged one, is nobody's to keep.
    """
    try:
        found = readers.source(target)
    except SceneError:
        return
    if [(band.dtype, str(band.nodata)) for band in found.bands] != [("float32", "nan")]:
        raise OutputError(
            f"{target} is an image that satae did not write; move it away, or choose another --out or --heatmap"
        )


def value(calibration: Calibration, raw: float) -> float:
    """A raw score in the unit and precision of the heatmap."""
    # rounded as the file is, so that a threshold and the pixels that reach it compare exactly
    return float(np.float32(calibration.pixel.exponent(raw)))


def unit_of(calibration: Calibration) -> Unit:
    """What the values of a heatmap mean."""
    return Unit(calibration.pixel.score_at, calibration.pixel.exponent)


@contextmanager
def open_heat(path: Path) -> Iterator[Read]:
    """Reads windows of a heatmap; OutputError where one cannot be decoded, for what wrote it is this program."""
    try:
        with readers.open_pixels(readers.source(path)) as pixels:
            yield lambda window: pixels.read([1], window)[0]
    except SceneError as error:
        raise OutputError(f"{NAME} cannot be read back as it was written; is the disk full?") from error


def heat_of(calibration: Calibration, scores: Map) -> Map:
    """The heatmap of raw scores (row, col), NaN where they are; in slabs, for it takes ten times the memory."""
    heat = np.full(scores.shape, np.nan, np.float32)
    rows = max(1, SLAB_PIXELS // scores.shape[1])
    for row in range(0, len(scores), rows):
        part = scores[row : row + rows]
        good = np.isfinite(part)
        heat[row : row + rows][good] = calibration.pixel.exponent(part[good])
    return heat


def _verify(path: Path, checks: dict[Window, int]) -> None:
    """Read every block back: a full disk can leave a file that opens and is not what was written."""
    with open_heat(path) as read:
        for window, check in checks.items():
            if zlib.crc32(read(window).tobytes()) != check:
                raise OutputError(f"{NAME} reads back differently than it was written; is the disk full?")
