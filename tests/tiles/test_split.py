"""Held-out tiles: whole blocks, apart from all that is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import make_tiles

from satae.errors import TilesError
from satae.tiles.split import FEWEST_HELD_OUT, Split, split
from satae.tiles.store import TileSet

CASES = [(32, 0, 4), (32, 8, 4), (32, 16, 2), (32, 31, 3), (16, 5, 1), (24, 10, 3)]


def tiles_of(height: int, width: int, *, size: int = 32, overlap: int = 0) -> TileSet:
    made: TileSet = make_tiles(np.zeros((1, height, width), np.uint8), size=size, overlap=overlap)
    return made


def painted(tiles: TileSet, which: np.ndarray) -> np.ndarray:
    """The pixels in which the given tiles lie."""
    record = tiles.record
    out = np.zeros((record.height + record.size, record.width + record.size), bool)
    for tile in which:
        row, col = tiles.index[tile]
        out[row : row + record.size, col : col + record.size] = True
    return out


def sides(found: Split, number: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(pairs[pairs[:, 0] == number, 1] for pairs in (found.train, found.held_out))  # type: ignore[return-value]


@pytest.mark.parametrize(("size", "overlap", "block"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_training_tile_shares_a_pixel_with_a_held_out_one(size, overlap, block, seed):
    tiles = tiles_of(300, 260, size=size, overlap=overlap)
    found = split([tiles], share=0.3, block=block, seed=seed)
    train, held_out = sides(found, 0)
    assert len(train) and len(held_out) >= FEWEST_HELD_OUT
    assert not (painted(tiles, train) & painted(tiles, held_out)).any()


def test_with_no_overlap_every_tile_is_on_one_side():
    tiles = tiles_of(500, 410)
    train, held_out = sides(split([tiles], share=0.2, block=4, seed=0), 0)
    assert sorted([*train, *held_out]) == list(range(len(tiles)))


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    tiles = tiles_of(640, 640)
    one, same, other = (split([tiles], share=0.2, block=4, seed=s).held_out for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_held_out_tiles_fill_whole_blocks():
    tiles = tiles_of(1280, 1280, size=16)
    found = split([tiles], share=0.2, block=4, seed=0)
    blocks, counts = np.unique(tiles.index[found.held_out[:, 1]] // (4 * 16), axis=0, return_counts=True)
    assert found.block_tiles == 4
    assert len(blocks) == found.blocks
    assert (counts == 16).all()


def test_the_held_out_share_is_about_what_was_asked_for():
    tiles = tiles_of(1280, 1280, size=16)
    for share in (0.1, 0.25, 0.5):
        found = split([tiles], share=share, block=4, seed=0)
        assert len(found.held_out) / len(tiles) == pytest.approx(share, abs=0.01)


def test_blocks_shrink_where_there_would_be_few():
    found = split([tiles_of(128, 128)], share=0.2, block=4, seed=0)
    assert found.block_tiles == 1
    assert len(found.train) + len(found.held_out) == 16


def test_several_sets_are_held_out_from_as_one():
    sets = [tiles_of(320, 320) for _ in range(3)]
    found = split(sets, share=0.34, block=2, seed=3)
    assert set(found.train[:, 0]) == set(found.held_out[:, 0]) == {0, 1, 2}
    for number, tiles in enumerate(sets):
        train, held_out = sides(found, number)
        assert not (painted(tiles, train) & painted(tiles, held_out)).any()


def test_a_share_near_one_still_leaves_tiles_to_learn_from():
    found = split([tiles_of(128, 128)], share=0.99, block=1, seed=0)
    assert len(found.train) == 1 and len(found.held_out) == 15


@pytest.mark.parametrize("side", [32, 40, 64])
def test_too_few_tiles_are_refused_in_one_sentence(side):
    tiles = tiles_of(side, 32)
    with pytest.raises(
        TilesError, match=r"^\d tiles? cannot be split into 2 held out.*--size, or add scenes$"
    ):
        split([tiles], share=0.2, block=4, seed=0)


def test_three_tiles_are_enough():
    found = split([tiles_of(96, 32)], share=0.2, block=4, seed=0)
    assert len(found.train) == 1 and len(found.held_out) == 2
