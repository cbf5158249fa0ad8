"""A source and a model give an anomaly map, window by window, equal to what one huge inference would give.

That one would see the whole grid and a halo of invalid pixels around it. Each window is read with the
model's halo and cropped; windows lie on a fixed lattice, so that the result does not depend on how the work
is shared out. The halo of a model that sees one frame at a time is what its frames overlap by (see `frames`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.grid import Window
from satae.inference.runtime import Model
from satae.scene.stream import Source, ahead, strips

BATCH = {"cpu": 1, "cuda": 16}
# decoded pixels of one read: of each as many bytes more are held by what is made of it, several times over
STRIP_BYTES = 2 * 2**20

Map = npt.NDArray[np.float32]
Infer = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_]], tuple[Map, ...]]
"""images (n, B, H, W) and which pixels count (n, H, W) -> outputs (n, ..., H, W)."""


def core_of(model: Model) -> int:
    """Side of the lattice, that is of what one inference yields: a multiple of the model's stride."""
    return -(-model.card.core // model.card.stride) * model.card.stride


@dataclass(frozen=True)
class InferredWindow:
    """A window inside the grid as it was read and inferred, once.

    `image`, `error` (what each band adds) and `expected` are (band, row, col), the first in stored DN and the last
    two without meaning where not valid; `valid` and `scores` are (row, col), the latter NaN where not valid.
    """

    window: Window
    image: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    scores: Map
    error: Map
    expected: Map


def scan(source: Source, model: Model, workers: int = 2) -> Iterator[tuple[Window, Map]]:
    """Strips of the grid in row-major order with their anomaly map (row, col), NaN where not valid.

    Strips do not overlap, cover the grid and end at its edges. Memory is bounded by a few strips.
    """
    return scan_windows(source, model, lattice(source, model), workers)


def scan_windows(
    source: Source, model: Model, windows: Iterable[Window], workers: int = 2
) -> Iterator[tuple[Window, Map]]:
    """Chosen windows with their anomaly map, as `scan`; they must begin at multiples of the model's stride."""

    def infer(images: npt.NDArray[Any], valids: npt.NDArray[np.bool_]) -> tuple[Map, ...]:
        return (model.anomaly_map(images, valids),)

    for window, _, valid, outputs in _inferred(source, model, windows, workers, infer):
        yield window, outputs[0] if outputs else _nothing(valid)


def look(
    source: Source, model: Model, workers: int = 2, windows: Iterable[Window] | None = None
) -> Iterator[InferredWindow]:
    """The strips of `scan`, or some of them, with all that one reading and one inference have to say of them."""
    windows = lattice(source, model) if windows is None else windows
    for window, image, valid, outputs in _inferred(source, model, windows, workers, model.explanation):
        if not outputs:
            outputs = [_nothing(valid), *np.zeros((2, *image.shape), np.float32)]
        yield InferredWindow(window, image, valid, *outputs)


def lattice(source: Source, model: Model) -> Iterator[Window]:
    """The strips of a grid, which depend on nothing but the source and the model."""
    return strips(source, core_of(model), model.card.halo, STRIP_BYTES)


def _nothing(valid: npt.NDArray[np.bool_]) -> Map:
    return np.full(valid.shape, np.nan, np.float32)


def _inferred(
    source: Source, model: Model, windows: Iterable[Window], workers: int, infer: Infer
) -> Iterator[tuple[Window, npt.NDArray[Any], npt.NDArray[np.bool_], list[Map]]]:
    """The part of each window in the grid: pixels, which count, outputs (..., row, col); none where no pixel counts.

    Outputs are NaN in cells without a valid pixel.
    """
    halo, wanted = model.card.halo, list(windows)
    whole = [_whole(window, model) for window in wanted]
    # threads read the next windows while this one is inferred
    for asked, (window, image, valid) in zip(wanted, ahead(source, whole, halo, workers), strict=True):
        # a window that was asked for may lie beyond the grid
        inside = asked.within(source.grid.window)
        if inside is None:
            continue
        outputs: list[Map] = []
        # cells without a valid pixel are not run: half of many scenes is nodata
        for group in _grouped(_cells(window, inside, valid, model), BATCH[model.device]):
            # each cell with its halo, as slices of the window with its halo: (rows, cols)
            frames = [cell.with_margin(halo).slices(window.with_margin(halo)) for cell in group]
            found = infer(
                np.stack([image[:, rows, cols] for rows, cols in frames]),
                np.stack([valid[rows, cols] for rows, cols in frames]),
            )
            if not outputs:
                size = window.height, window.width
                # its channels are known from the first inference on: (row, col) or (band, row, col)
                outputs = [np.full((*part.shape[1:-2], *size), np.nan, np.float32) for part in found]
            for i, cell in enumerate(group):
                rows, cols = cell.slices(window)
                # the halo is cut off again: what lies there is right only in the neighbour's own inference
                core = slice(halo, halo + cell.height), slice(halo, halo + cell.width)
                for out, part in zip(outputs, found, strict=True):
                    out[..., rows, cols] = part[i, ..., *core]
        # back to the part that lies in the grid, in pixels and in outputs
        rows, cols = inside.slices(window.with_margin(halo))
        here = inside.slices(window)
        yield inside, image[:, rows, cols], valid[rows, cols], [out[..., *here] for out in outputs]


def _whole(window: Window, model: Model) -> Window:
    """The window up to multiples of the stride where the model sees frames: a frame cannot be cut."""
    if not model.card.frame:
        return window
    # a longer window costs no pixel of the grid: what is beyond is invalid
    stride = model.card.stride
    return Window(
        window.row, window.col, -(-window.height // stride) * stride, -(-window.width // stride) * stride
    )


def _cells(window: Window, inside: Window, valid: npt.NDArray[np.bool_], model: Model) -> Iterator[Window]:
    """The cells of a window that hold a valid pixel; `valid` covers the window and its halo.

    They end with the grid, of which `inside` is the window's part, or at the next multiple of the stride.
    """
    # a fixed lattice in the window, whatever the batch: one cell sees the same numbers in every run
    core, frame = core_of(model), window.with_margin(model.card.halo)
    # a grid smaller than a cell is common, and what lies beyond it need not be inferred
    last_row, last_col = (
        min(stop, start - (start - end) // model.card.stride * model.card.stride)
        for start, end, stop in zip((window.row, window.col), inside.stop, window.stop, strict=True)
    )
    for row in range(window.row, last_row, core):
        for col in range(window.col, last_col, core):
            height, width = min(core, last_row - row), min(core, last_col - col)
            cell = Window(row, col, height, width)
            if valid[cell.slices(frame)].any():
                yield cell


def _grouped(cells: Iterable[Window], count: int) -> Iterator[list[Window]]:
    """Up to `count` cells of one shape at a time."""
    group: list[Window] = []
    for cell in cells:
        # cells at the far edges are smaller, and a batch has one shape
        if group and (len(group) == count or (cell.height, cell.width) != (group[0].height, group[0].width)):
            yield group
            group = []
        group.append(cell)
    if group:
        yield group
