"""A source and a model give an anomaly map, window by window, equal to what one huge inference would give.

That one would see the whole grid and a halo of invalid pixels around it. Each window is read with the
model's halo and cropped; windows lie on a fixed lattice, so that the result does not depend on how the work
is shared out. The halo of a model that sees one frame at a time is what its frames overlap by (see `blend`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from satae.grid import Window
from satae.inference.runtime import Model
from satae.scene.stream import Source, ahead, strips

BATCH = {"cpu": 1, "cuda": 16}

Map = npt.NDArray[np.float32]


def core_of(model: Model) -> int:
    """Side of the lattice, that is of what one inference yields: a multiple of the model's stride."""
    return -(-model.card.core // model.card.stride) * model.card.stride


def scan(source: Source, model: Model, workers: int = 2) -> Iterator[tuple[Window, Map]]:
    """Strips of the grid in row-major order with their anomaly map (row, col), NaN where not valid.

    Strips do not overlap, cover the grid and end at its edges. Memory is bounded by a few strips.
    """
    return scan_windows(source, model, strips(source, core_of(model), model.card.halo), workers)


def scan_windows(
    source: Source, model: Model, windows: Iterable[Window], workers: int = 2
) -> Iterator[tuple[Window, Map]]:
    """The same for chosen windows; their first pixels must be multiples of the model's stride."""
    halo, wanted = model.card.halo, list(windows)
    whole = [_whole(window, model) for window in wanted]
    for asked, (window, image, valid) in zip(wanted, ahead(source, whole, halo, workers), strict=True):
        inside = asked.within(source.grid.window)
        if inside is None:
            continue
        out = np.full((window.height, window.width), np.nan, np.float32)
        for group in _grouped(_cells(window, valid, model), BATCH[model.device]):
            frames = [cell.grown(halo).slices(window.grown(halo)) for cell in group]
            maps = model.anomaly_map(
                np.stack([image[:, rows, cols] for rows, cols in frames]),
                np.stack([valid[rows, cols] for rows, cols in frames]),
            )
            for cell, scores in zip(group, maps, strict=True):
                rows, cols = cell.slices(window)
                out[rows, cols] = scores[halo : halo + cell.height, halo : halo + cell.width]
        rows, cols = inside.slices(window)
        yield inside, out[rows, cols]


def _whole(window: Window, model: Model) -> Window:
    """The window up to multiples of the stride where the model sees frames: a frame cannot be cut."""
    if not model.card.frame:
        return window
    stride = model.card.stride
    return Window(
        window.row, window.col, -(-window.height // stride) * stride, -(-window.width // stride) * stride
    )


def _cells(window: Window, valid: npt.NDArray[np.bool_], model: Model) -> Iterator[Window]:
    """The cells of a window that hold a valid pixel; `valid` covers the window and its halo."""
    core, frame = core_of(model), window.grown(model.card.halo)
    for row in range(window.row, window.stop[0], core):
        for col in range(window.col, window.stop[1], core):
            height, width = min(core, window.stop[0] - row), min(core, window.stop[1] - col)
            cell = Window(row, col, height, width)
            if valid[cell.slices(frame)].any():
                yield cell


def _grouped(cells: Iterable[Window], count: int) -> Iterator[list[Window]]:
    """Up to `count` cells of one shape at a time."""
    group: list[Window] = []
    for cell in cells:
        if group and (len(group) == count or (cell.height, cell.width) != (group[0].height, group[0].width)):
            yield group
            group = []
        group.append(cell)
    if group:
        yield group
