"""Why no pixel of a scene counts, in words that say what to pass: asked only when it is so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from satae.errors import DamageError
from satae.grid import Window
from satae.scene.scene import Scene, SceneReader
from satae.scene.stream import strips
from satae.scene.values import is_fill, meaningful

STEP = 256  # pixels that sides of what is read at once are multiples of
NAMED = 8  # bands


def reason(scene: Scene) -> str:
    """What is to be done about a scene of which no pixel is valid: empty bands are named, and a mask that lets none."""
    numbers = list(_numbers(scene))
    alive = np.zeros(len(numbers), bool)
    usable = False
    try:
        with scene.handles() as reader:
            for strip in strips(scene, STEP, 0):
                window = strip.clip(scene.grid.window)
                alive |= _alive(scene, reader, window)
                usable = usable or bool(reader.usable(window).any())
                if alive.all() and usable:
                    break
    except DamageError as error:
        return str(error)
    if not alive.any():
        return "all of its pixels are nodata; check its nodata, and --nodata where given"
    if not alive.all():
        dead = [
            f"{n} ({name})" for n, name, lives in zip(numbers, scene.names, alive, strict=True) if not lives
        ]
        more = f" and {len(dead) - NAMED} more" if len(dead) > NAMED else ""
        what = f"band {dead[0]} holds" if len(dead) == 1 else f"bands {', '.join(dead[:NAMED])}{more} hold"
        left = ranges([n for n, lives in zip(numbers, alive, strict=True) if lives])
        return (
            f"{what} nothing but nodata; leave {'it' if len(dead) == 1 else 'them'} out with --bands {left}"
        )
    if not usable:
        options = [f"--{k} {v}" for k, v in (("mask", scene.limits.mask), ("aoi", scene.limits.aoi)) if v]
        return f"{' and '.join(options)} let no pixel count"
    return "check its nodata, and --nodata, --mask and --aoi where given: none lets the same pixels count as the others"


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as --bands takes them, such as 1-4,7."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _numbers(scene: Scene) -> Iterator[int]:
    """The number of each used band, counted over all files."""
    start, starts = 0, {}
    for path, count in {f.path: len(f.source.bands) for f in scene.files}.items():
        starts[path], start = start, start + count
    for file in scene.files:
        yield from (starts[file.path] + band for band in file.bands)


def _alive(scene: Scene, reader: SceneReader, window: Window) -> npt.NDArray[np.bool_]:
    """Whether each used band has a value in a window, whatever the others and masks say."""
    found = []
    for file, pixels in zip(scene.files, reader.files, strict=True):
        for index, plane in zip(file.bands, pixels.read(file.bands, window), strict=True):
            good = meaningful(plane[None], scene.limits.nodata)
            nodata = file.source.bands[index - 1].nodata
            found.append(bool((good if nodata is None else good & ~is_fill(plane, nodata)).any()))
    return np.array(found)
