"""Batches of tiles with what surrounds them: the scene's own pixels, without those that are held out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectors import toy
from scenes import make_tiles

from satae import config, models
from satae.detector.graph import Input
from satae.nn import normalize
from satae.tiles.split import Split, split
from satae.tiles.store import TileSet, load, rest
from satae.training import feed
from satae.training.feed import Feed, noise, pixel_sample
from satae.training.pixels import Pixels

CPU = torch.device("cpu")
SIZE = 32


def recipe(*changes: str) -> config.Recipe:
    return config.load(None, ["train.batch=4", "augment.flip=no", "augment.turn=no", *changes])


def made(tiles: TileSet, *changes: str, context: int = 0, share: float = 0.25) -> Feed:
    """A feed whose x is each band over its range, for one tile set."""
    whole = np.concatenate([tiles.images[t][:, tiles.valid[t]].T for t in range(len(tiles))])
    inputs = Input(normalize.fit(whole, whitened=False))
    chosen = split([tiles], share=share, block=1, seed=0)
    return Feed([tiles], inputs, recipe(*changes), chosen, CPU, context)


def everything(tiles: TileSet) -> np.ndarray:
    return np.column_stack([np.zeros(len(tiles), int), np.arange(len(tiles))])


@pytest.mark.parametrize("deviation", [3.0, 20.0])
def test_noise_is_that_of_calm_ground_whatever_lies_beside_it(deviation: float):
    rng = np.random.default_rng(0)
    ramp = 2000 + 3 * np.arange(256)[None, None, :] + 2 * np.arange(256)[None, :, None]
    scene = (
        np.repeat(ramp, 3, 0)
        + rng.normal(size=(3, 256, 256)) * deviation * np.array([1, 2, 0])[:, None, None]
    )
    scene[:, :, 128:] += rng.integers(0, 1500, (3, 256, 128))  # a town
    tiles = make_tiles(np.rint(scene).astype(np.uint16))
    found = noise([tiles], everything(tiles))
    assert found == pytest.approx(deviation * np.array([1, 2, 0]), rel=0.1, abs=0.5)


def test_noise_leaves_invalid_pixels_out():
    scene, valid = np.full((3, 64, 64), 500, np.uint16), np.ones((64, 64), bool)
    valid[:48, 7::16] = False
    scene[:, ~valid] = 0
    tiles = make_tiles(scene, valid)
    assert np.array_equal(noise([tiles], everything(tiles)), np.zeros(3))


@pytest.mark.parametrize(("size", "found"), [(8, False), (15, False), (16, True)])
def test_tiles_that_are_smaller_than_a_cell_show_no_noise(size: int, found: bool):
    scene = np.random.default_rng(0).normal(1000, 20, (3, 64, 64)).astype(np.uint16)
    tiles = make_tiles(scene, size=size)
    assert noise([tiles], everything(tiles)) == pytest.approx(np.full(3, 20.0 * found), rel=0.2)


@pytest.mark.parametrize(("batch", "at_least"), [(4, 1), (4, 3), (4, 10), (16, 10), (64, 10), (5, 2)])
def test_an_epoch_has_at_least_the_steps_asked_for_and_every_tile(batch: int, at_least: int):
    tiles = make_tiles(toy())
    found, where = made(tiles, f"train.batch={batch}"), everything(tiles)
    batches = found.batches(where, 0, at_least)
    assert len(batches) == max(at_least, -(-len(where) // batch))
    assert {int(t) for b in batches for _, t in b} == set(range(16))
    assert all(len(b) <= batch for b in batches) and all(len(b) == min(batch, 16) for b in batches[:-1])


def test_epochs_are_shuffled_differently_and_repeatably():
    tiles = make_tiles(toy(256))
    found, where = made(tiles, "train.batch=64"), everything(tiles)
    one, same, other = (found.batches(where, e, 1)[0] for e in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert np.array_equal(np.sort(one, axis=0), np.sort(other, axis=0))


def framed(
    image: np.ndarray, row: int, col: int, context: int, *, height: int = SIZE, width: int = SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """A tile, or another part, of an image with `context` pixels around it, and where those exist."""
    pad = [(0, 0), (context, context), (context, context)]
    there = np.pad(np.ones((1, *image.shape[1:]), bool), pad)[0]
    side = slice(row, row + height + 2 * context), slice(col, col + width + 2 * context)
    return np.pad(image, pad)[:, *side], there[side]


@pytest.mark.parametrize("overlap", [0, 8])
@pytest.mark.parametrize("context", [0, 5, 40])
def test_what_surrounds_a_tile_is_what_lies_there_in_the_scene(context: int, overlap: int):
    image = toy()
    tiles = make_tiles(image, overlap=overlap)
    found = made(tiles, context=context)
    where = everything(tiles)[:5]
    for x, valid, chosen in found.plain(where[:4]):
        for i, (_, t) in enumerate(where[:4]):
            dn, there = framed(image, *tiles.index[t], context)
            assert np.array_equal(valid[i, 0] > 0, there)
            expected = found.inputs(
                torch.tensor(dn[None]), torch.tensor(there[None, None], dtype=torch.float32)
            )[0]
            assert torch.allclose(x[i], expected, atol=1e-5)
            inner = slice(context, context + SIZE)
            assert chosen[i].sum() == chosen[i, :, inner, inner].sum() == there[inner, inner].sum()


def held_out_places(tiles: TileSet, chosen: Split) -> np.ndarray:
    out = np.zeros((256, 256), bool)
    for _, t in chosen.held_out:
        row, col = tiles.index[t]
        out[row : row + SIZE, col : col + SIZE] = True
    return out


@pytest.mark.parametrize("overlap", [0, 8])
@pytest.mark.parametrize("context", [3, 40])
def test_held_out_pixels_are_invalid_while_it_is_learned(context: int, overlap: int):
    tiles = make_tiles(toy(), overlap=overlap)
    found = made(tiles, "train.batch=64", context=context)
    hidden = held_out_places(tiles, found.chosen)[None, :128, :128]
    where = found.chosen.train
    _, trained, _ = found.training(where, 0, 0)
    hit = 0
    for i, (_, t) in enumerate(where):
        away, there = framed(hidden, *tiles.index[t], context)
        assert np.array_equal(trained[i, 0].numpy() > 0, there & ~away[0])
        hit += int((there & away[0]).sum())
    assert hit or (overlap and context < 16)  # tiles that straddle the border of a block are left out
    for (_, valid, _), (_, t) in zip(found.plain(where[:1]), where[:1], strict=True):
        assert np.array_equal(valid[0, 0] > 0, framed(hidden, *tiles.index[t], context)[1])


@pytest.mark.parametrize("overlap", [0, 8])
@pytest.mark.parametrize("context", [0, 40])
@pytest.mark.parametrize("piece", [32, 64, 256])
def test_the_sample_is_the_training_tiles_with_what_surrounds_them(
    piece: int, context: int, overlap: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed, "PIECE", piece)
    image = toy()
    tiles = make_tiles(image, overlap=overlap)
    found = made(tiles, context=context)
    hidden, learned = held_out_places(tiles, found.chosen)[None, :128, :128], np.zeros((128, 128), int)
    for (s, members), (x, valid, chosen) in zip(found.pieces, found.sample(), strict=True):
        row, col = tiles.index[members].min(axis=0)
        height, width = tiles.index[members].max(axis=0) + SIZE - (row, col)
        dn, there = framed(image, row, col, context, height=height, width=width)
        away = framed(hidden, row, col, context, height=height, width=width)[0][0]
        assert s == 0 and max(height, width) < piece + SIZE
        counted = np.zeros((128, 128), int)
        for r, c in tiles.index[members]:
            counted[r : r + SIZE, c : c + SIZE] = 1
        counts = framed(counted[None], row, col, context, height=height, width=width)[0][0] > 0
        assert np.array_equal(chosen[0, 0] > 0, counts)
        assert np.array_equal(valid[0, 0] > 0, there & ~away if context else counts)
        expected = found.inputs(torch.tensor(dn[None], dtype=torch.float32), valid)
        assert torch.allclose(x, expected, atol=1e-5)
        learned += counted
    assert set(found.chosen.train[:, 1]) == {int(t) for _, members in found.pieces for t in members}
    assert sum(len(members) for _, members in found.pieces) == len(found.chosen.train)


def test_a_sample_of_many_tiles_has_whole_pieces_from_all_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "SAMPLE_PIXELS", 20 * SIZE**2)
    monkeypatch.setattr(feed, "PIECE", 2 * SIZE)
    found = made(make_tiles(toy(256)), context=3)
    count = sum(len(members) for _, members in found.pieces)
    assert 20 <= count < 24 and len(found.chosen.train) > 24
    again = made(make_tiles(toy(256)), context=3)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found.pieces, again.pieces, strict=True))


def test_tiles_that_are_learned_from_several_times_count_as_often(monkeypatch: pytest.MonkeyPatch):
    found = made(make_tiles(toy()), context=3)
    weighted = replace(found.chosen, train=np.concatenate([found.chosen.train, found.chosen.train[:1]]))
    again = Feed(found.sets, found.inputs, recipe(), weighted, CPU, 3)
    twice, once = (sum(chosen.sum() for _, _, chosen in f.sample()) for f in (again, found))
    assert twice - once == SIZE**2


@pytest.mark.parametrize("context", [0, 10])
def test_a_crop_lies_in_the_tile_and_has_its_context_around(context: int):
    found = made(make_tiles(toy()), "augment.crop=16", context=context)
    for step in range(5):
        x, valid, chosen = found.training(found.chosen.train[:4], 0, step)
        side, inner = 16 + 2 * context, slice(context, context + 16)
        assert x.shape[-2:] == valid.shape[-2:] == (side, side)
        assert (chosen[..., inner, inner] == 1).all() and chosen.sum() == 4 * 16 * 16


@pytest.mark.parametrize("context", [0, 6])
def test_turns_and_mirrors_keep_what_is_chosen_in_the_middle(context: int):
    valid = np.random.default_rng(0).random((128, 128)) < 0.8
    found = made(make_tiles(toy(), valid), "augment.flip=yes", "augment.turn=yes", context=context)
    where = found.chosen.train[:4]
    plain, varied = next(found.plain(where, hide=True)), found.training(where, 0, 0)
    assert [int(z.sum()) for z in plain[1:]] == [int(z.sum()) for z in varied[1:]]
    inner = slice(context, context + SIZE)
    assert varied[2][..., inner, inner].sum() == varied[2].sum()
    assert ((varied[1] > 0) | (varied[2] == 0)).all()


def test_invalid_pixels_are_neither_valid_nor_chosen():
    valid = np.random.default_rng(0).random((128, 128)) < 0.5
    tiles = make_tiles(np.where(valid, toy(), np.nan).astype(np.float32), valid)
    found = made(tiles, context=8)
    for x, good, chosen in found.sample():
        assert torch.isfinite(x).all() and (chosen <= good).all()
    total = sum(int(tiles.valid[t].sum()) for _, t in found.chosen.train)
    assert sum(float(chosen.sum()) for _, _, chosen in found.sample()) == total


def test_the_sample_is_the_training_tiles_in_the_same_order_each_time():
    found = made(make_tiles(toy()))
    one, again = list(found.sample()), list(found.sample())
    assert [len(x) for x, _, _ in one] == [1] * len(found.chosen.train)  # one by one, whatever the batch
    assert all(torch.equal(a, b) for a, b in zip(one[0], again[0], strict=True))


def test_of_too_many_tiles_an_even_share_is_sampled(monkeypatch):
    monkeypatch.setattr(feed, "SAMPLE_PIXELS", 20 * SIZE**2)
    found = made(make_tiles(toy(256)), "train.batch=64")
    one, again = (torch.cat([x for x, _, _ in found.sample()]) for _ in range(2))
    assert len(one) == 20 < len(found.chosen.train) and torch.equal(one, again)


def test_a_sample_of_pixels_too_large_is_thinned_evenly_and_repeatably(monkeypatch):
    tiles = make_tiles(toy())
    where = everything(tiles)
    whole = pixel_sample([tiles], where, 0)
    assert len(whole) == 128 * 128
    monkeypatch.setattr(feed, "SAMPLE_BYTES", whole.nbytes // 4)
    part = pixel_sample([tiles], where, 0)
    assert len(part) == pytest.approx(len(whole) / 4, rel=0.05)
    assert np.allclose(part.mean(axis=0), whole.mean(axis=0), rtol=0.02)
    assert np.array_equal(part, pixel_sample([tiles], where, 0))


def test_of_very_many_tiles_some_from_all_over_are_looked_at(monkeypatch):
    tiles = make_tiles(toy())
    where, size = everything(tiles), tiles.record.size
    monkeypatch.setattr(feed, "LOOKED_PIXELS", 5 * size**2)
    assert len(where) == 16
    chosen = where[[0, 3, 7, 11, 15]]
    expected = np.concatenate([tiles.images[t][:, tiles.valid[t]].T for _, t in chosen])
    assert np.array_equal(pixel_sample([tiles], where, 0), expected)
    assert np.array_equal(noise([tiles], where), noise([tiles], chosen))


def drawn(tiles: TileSet, pixels: int = 100, *changes: str) -> tuple[Pixels, Any]:
    net = models.build("ring", 3, {"target_px": 3.0, "hidden": 8})
    found = made(tiles, *changes, context=net.context)
    return Pixels(found, net, pixels), net


def test_a_drawn_pixel_is_predicted_as_it_is_in_its_tile():
    tiles = make_tiles(toy())
    found, net = drawn(tiles)
    x, seen, ones = next(iter(found.plain(found.feed.chosen.held_out)))
    whole = [
        (x, net(x, valid).reconstruction, chosen)
        for x, valid, chosen in found.feed.plain(found.feed.chosen.held_out)
    ]
    expected = [
        torch.cat([t.permute(0, 2, 3, 1)[c[:, 0] > 0] for t, c in ((w[i], w[2]) for w in whole)])
        for i in (0, 1)
    ]
    assert x.shape == (1, 3, len(expected[0]), 1) and (ones == 1).all()
    assert torch.allclose(x[0, ..., 0].T, expected[0])
    assert torch.allclose(net.predict(x, seen).reconstruction[0, ..., 0].T, expected[1], atol=1e-4)


def test_drawn_pixels_are_the_chosen_ones_of_training_tiles_each_once_an_epoch():
    valid = np.random.default_rng(0).random((128, 128)) < 0.5
    tiles = make_tiles(toy(), valid)
    found, _ = drawn(tiles)
    count = sum(int(tiles.valid[t].sum()) for _, t in found.feed.chosen.train)
    assert len(found.x) == count
    batches = found.batches(found.feed.chosen.train, 0, 1)
    order = np.concatenate(batches)
    assert (
        len(np.unique(order)) == len(order)
        and count - len(order) < 100
        and all(len(b) == 100 for b in batches)
    )
    again, other = (np.concatenate(found.batches(found.feed.chosen.train, e, 1)) for e in (0, 1))
    assert np.array_equal(order, again) and not np.array_equal(order, other)
    assert len(found.batches(found.feed.chosen.train, 0, 999)) == 999


def test_the_tiles_of_a_batch_of_pixels_are_those_they_come_from():
    found, _ = drawn(make_tiles(toy()))
    assert sorted(found.tiles(np.arange(len(found.x)))) == sorted(found.feed.tiles(found.feed.chosen.train))


def test_of_too_many_pixels_an_even_share_is_drawn(monkeypatch):
    tiles = make_tiles(toy())
    whole, _ = drawn(tiles)
    monkeypatch.setattr("satae.training.pixels.DRAWN", 2_000)
    monkeypatch.setattr("satae.training.pixels.SPREAD", 1_000)
    part, _ = drawn(tiles)
    assert len(part.x) == pytest.approx(2_000, rel=0.1)
    assert torch.allclose(part.x.mean(dim=0), whole.x.mean(dim=0), atol=0.1)
    counts = [len(part.tiles(np.array([i]))) for i in range(3)]
    assert counts == [1, 1, 1] and len(part.tiles(np.arange(len(part.x)))) == len(part.feed.chosen.train)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("pass_over", [lambda s, w: pixel_sample(s, w, 0), noise, lambda s, w: rest(s)])
def test_pixels_that_were_passed_over_are_not_held(tile_set: Path, pass_over) -> None:
    tiles = load(tile_set)
    where, before = everything(tiles), np.array(tiles.images)
    assert resident(tile_set / "tiles.npy") > 0
    pass_over([tiles], where)
    assert resident(tile_set / "tiles.npy") == 0
    assert np.array_equal(tiles.images, before)


def resident(path: Path) -> int:
    """KiB of a file that are mapped and in memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.endswith(str(path))]
    return sum(int(line.split()[1]) for i in starts for line in lines[i : i + 5] if line.startswith("Rss:"))
