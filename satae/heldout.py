"""The calibration sample: held-out blocks, scored exactly as a scene is, out of the tile store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from satae import calibrate
from satae.anomalies import regions
from satae.calibrate import Calibration
from satae.grid import Window
from satae.runtime import Model
from satae.scan import scan_windows
from satae.split import Split
from satae.tiles import TileSet

SAMPLE_PIXELS = 20_000_000  # held-out pixels from which the tails are fitted, at the most


def calibrated(sets: Sequence[TileSet], chosen: Split, model: Model) -> Calibration:
    """Tails of pixels, tiles and regions over the held-out blocks, scored exactly as a scene is."""
    maps, maxima, pixels = [], [], 0
    for number, where in _blocks(sets, chosen):
        scores = _block_map(sets[number], where, model)
        maps.append(scores)
        maxima += _tile_maxima(sets[number], where, scores, model)
        pixels += int(np.isfinite(scores).sum())
        if pixels > SAMPLE_PIXELS:
            break
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    candidate = float(np.quantile(values, 1 - calibrate.CLUSTER_SHARE))
    peaks = [a.peak for m in maps for a in regions([(Window(0, 0, *m.shape), m)], candidate, outlined=False)]
    peaks = peaks if len(peaks) > 1 else maxima
    return Calibration(
        pixel=calibrate.fit(values),
        tile=calibrate.fit(maxima),
        region=calibrate.fit(peaks),
        candidate=candidate,
        regions_per_pixel=len(peaks) / pixels,
        pixels=pixels,
        blocks=len(maps),
    )


def _blocks(sets: Sequence[TileSet], chosen: Split) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(set, its held-out tiles) block by block."""
    for number, tiles in enumerate(sets):
        where = chosen.held_out[chosen.held_out[:, 0] == number, 1]
        step = tiles.record.size - tiles.record.overlap
        ids = tiles.index[where] // (chosen.block_tiles * step + tiles.record.overlap)
        for block in np.unique(ids, axis=0):
            yield number, where[(ids == block).all(axis=1)]


def _span(tiles: TileSet, where: npt.NDArray[np.int64], stride: int) -> Window:
    """The smallest window around tiles that starts at a multiple of the stride."""
    first = tiles.index[where].min(axis=0) // stride * stride
    last = tiles.index[where].max(axis=0) + tiles.record.size
    return Window(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))


def _block_map(tiles: TileSet, where: npt.NDArray[np.int64], model: Model) -> npt.NDArray[np.float32]:
    """The anomaly map around the held-out tiles of a block, NaN outside of them."""
    span = _span(tiles, where, model.card.stride)
    out = np.full((span.height, span.width), np.nan, np.float32)
    keep = np.zeros(out.shape, bool)
    for tile in where:
        keep[_inside(tiles.window(int(tile)), span)] = True
    for window, scores in scan_windows(tiles, model, [span], workers=1):
        out[window.slices(span)] = scores
    return np.where(keep, out, np.nan)


def _inside(window: Window, span: Window) -> tuple[slice, slice]:
    part = window.within(span)
    assert part is not None
    return part.slices(span)


def _tile_maxima(
    tiles: TileSet, where: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], model: Model
) -> list[float]:
    span = _span(tiles, where, model.card.stride)
    parts = [scores[_inside(tiles.window(int(t)), span)] for t in where]
    return [float(np.nanmax(p)) for p in parts if np.isfinite(p).any()]
