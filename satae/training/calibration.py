"""The calibration sample: held-out blocks, scored as a scene is, out of the tile store.

The scores are those of the scene itself but next to tiles that were left out when it was cut: what those
hold is not in the store, and is invalid here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from satae.console import Bar
from satae.inference import calibrate
from satae.inference.calibrate import Alarms, Calibration
from satae.inference.regions import Anomaly, of_array, regions
from satae.inference.runtime import Model
from satae.inference.scan import scan_windows
from satae.tiles.split import Split
from satae.tiles.store import TileSet

Map = npt.NDArray[np.float32]
CELL = 16  # pixels a side of the groups that show how alike neighbours are
SAMPLE_PIXELS = 10_000_000  # held-out pixels from which the tails are fitted, at the most


@dataclass(frozen=True)
class Block:
    """A block of the sample: its anomaly map (row, col), NaN off its tiles, and the tiles that hold a score, (set,
    tile) pairs (n, 2), with the largest score of each (n)."""

    scores: Map
    tiles: npt.NDArray[np.int64]
    peaks: list[float]


def calibration_of(sets: Sequence[TileSet], chosen: Split, model: Model) -> Calibration:
    """Tails of pixels, tiles and regions over the held-out blocks, or as many as SAMPLE_PIXELS allows."""
    return pooled_calibration(sets, [(chosen, model)])


def pooled_calibration(sets: Sequence[TileSet], folds: Sequence[tuple[Split, Model]]) -> Calibration:
    """`calibration_of` over several folds, of blocks that its model has not seen, taken for scores of one model."""
    return tails(sample(sets, folds))


def sample(
    sets: Sequence[TileSet], folds: Sequence[tuple[Split, Model]], bar: Bar | None = None
) -> list[Block]:
    """The blocks of the calibration sample, scored; `bar` counts the pixels of their tiles."""
    blocks = [(model, *block) for chosen, model in folds for block in _blocks(sets, chosen)]
    if bar is not None:
        bar.total = min(SAMPLE_PIXELS, sum(len(where) * _area(sets[number]) for _, number, where in blocks))
    out: list[Block] = []
    pixels = 0
    # a fixed seed: the same sample whatever the training's own
    for i in np.random.default_rng(0).permutation(len(blocks)):  # where not all fit, some of every scene
        model, number, where = blocks[i]
        out.append(_block(sets[number], number, where, model))
        pixels += int(np.isfinite(out[-1].scores).sum())
        if bar is not None:
            bar.add(min(len(where) * _area(sets[number]), bar.total - bar.done))
        if pixels > SAMPLE_PIXELS:
            break
    return out


def _area(tiles: TileSet) -> int:
    """Pixels of a tile."""
    return tiles.record.size**2


def tails(blocks: Sequence[Block]) -> Calibration:
    """The calibration that follows from the scores of blocks."""
    maps, maxima = [b.scores for b in blocks], [b.peaks for b in blocks]
    parts = [m[np.isfinite(m)] for m in maps]
    values = np.concatenate(parts)
    # the level at which regions begin, the same that `satae score` looks for candidates at
    candidate = float(np.quantile(values, 1 - calibrate.CANDIDATE_SHARE))
    # the regions of each block, as `satae score` would find them
    found = [regions(*of_array(m), candidate, candidate) for m in maps]
    peaks = [_peaks(block, calibrate.SPECK) for block in found]
    return Calibration(
        pixel=calibrate.fit_blocks(parts, [c for m in maps for c in _cells(m)]),
        tile=calibrate.fit_blocks(maxima),
        # where there are no regions to speak of, the maxima of tiles
        region=calibrate.fit_blocks(peaks if sum(map(len, peaks)) > 1 else maxima),
        candidate=candidate,
        alarms=_alarms(found, values[values >= candidate], [p.size for p in parts]),
        pixels=sum(p.size for p in parts),
        blocks=len(maps),
    )


def maps(sets: Sequence[TileSet], chosen: Split, model: Model, pixels: int) -> Iterator[Map]:
    """The anomaly map (row, col) of each held-out block, NaN elsewhere, in an order that follows from the blocks
    alone, until `pixels` were scored."""
    blocks = list(_blocks(sets, chosen))
    scored = 0
    for i in np.random.default_rng(0).permutation(len(blocks)):
        number, where = blocks[i]
        yield (found := _block_map(sets[number], where, model))
        scored += int(np.isfinite(found).sum())
        if scored >= pixels:
            return


def _cells(scores: Map) -> Iterator[Map]:
    """The finite scores of each cell of CELL pixels a side."""
    for row in range(0, scores.shape[0], CELL):
        for col in range(0, scores.shape[1], CELL):
            cell = scores[row : row + CELL, col : col + CELL]
            if (good := np.isfinite(cell)).any():
                yield cell[good]


def _peaks(found: list[Anomaly], smallest: int) -> list[float]:
    """Peaks of the regions of a block that have at least so many pixels."""
    return [region.peak for region in found if region.pixels >= smallest]


def _alarms(found: list[list[Anomaly]], exceeding: Map, pixels: list[int]) -> list[Alarms]:
    """How many background regions a threshold leaves, by size: as many as have a peak over it.

    `found` has the candidate regions of each block and `pixels` its size, `exceeding` are the scores of all blocks
    over the candidate level.
    """
    alarms = []
    for size in calibrate.SIZES:
        peaks = [_peaks(block, size) for block in found]
        if (n := sum(map(len, peaks))) > 1:
            # regions come in groups, block by block, as pixels do
            worth = calibrate.effective_size([len(block) for block in peaks], pixels, n)
            tail = calibrate.fit(np.concatenate(peaks), worth)
            alarms.append(Alarms(pixels=size, per_pixel=n / sum(pixels), tail=tail))
    return alarms or [_scarce(exceeding, pixels)]


def _scarce(exceeding: Map, pixels: list[int]) -> Alarms:
    """Where fewer than two regions were seen, every exceeding pixel counts as one."""
    sample = np.resize(exceeding.astype(np.float64), max(2, len(exceeding)))
    tail = calibrate.fit(sample, min(len(pixels), len(sample)))
    return Alarms(pixels=1, per_pixel=len(sample) / sum(pixels), tail=tail)


def _blocks(sets: Sequence[TileSet], chosen: Split) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(set, its tiles of the sample) block by block."""
    for number, tiles in enumerate(sets):
        where = chosen.calibrating[chosen.calibrating[:, 0] == number, 1]
        step = tiles.record.size - tiles.record.overlap
        # the lattice of `split`: which block of it a tile lies in
        ids = tiles.index[where] // (chosen.block_tiles * step + tiles.record.overlap)
        for block in np.unique(ids, axis=0):
            yield number, where[(ids == block).all(axis=1)]


def _block_map(tiles: TileSet, where: npt.NDArray[np.int64], model: Model) -> npt.NDArray[np.float32]:
    """The anomaly map around the held-out tiles of a block, NaN outside of them."""
    span = tiles.span(where).from_multiple(model.card.stride)
    out = np.full((span.height, span.width), np.nan, np.float32)
    keep = np.zeros(out.shape, bool)
    for tile in where:
        keep[tiles.window(int(tile)).slices(span)] = True
    # the way of a scene itself, halo and frames included: its numbers are those that scenes will get
    for window, scores in scan_windows(tiles, model, [span], workers=1):
        out[window.slices(span)] = scores
    return np.where(keep, out, np.nan)


def _block(tiles: TileSet, number: int, where: npt.NDArray[np.int64], model: Model) -> Block:
    """A block of the tile set of that number, scored."""
    span, scores = tiles.span(where).from_multiple(model.card.stride), _block_map(tiles, where, model)
    parts = {int(t): scores[tiles.window(int(t)).slices(span)] for t in where}
    peaks = {t: float(np.nanmax(part)) for t, part in parts.items() if np.isfinite(part).any()}
    return Block(
        scores, np.array([(number, t) for t in peaks], np.int64).reshape(-1, 2), list(peaks.values())
    )
