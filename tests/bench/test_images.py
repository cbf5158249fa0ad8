"""The input path of image sets: what a batch holds, pixel by pixel, and that it follows from seed, epoch and step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from satae import config
from satae.bench.images import LUMA, Images, Store, corrupted_view, unit_contrast

CPU = torch.device("cpu")


def pixels(count: int = 9, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def source(*changes: str, count: int = 9) -> Images:
    return Images(pixels(count), config.load(None, ["train.batch=4", *changes]), CPU)


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_a_cut_is_the_square_that_was_asked_for(pad: int) -> None:
    images, rng = pixels(), np.random.default_rng(1)
    where, corners = rng.integers(0, 9, 50), rng.integers(0, 2 * pad + 1, (2, 50))
    mirrored = rng.random(50) < 0.5
    found = Store(images, pad, CPU).cut(where, corners, mirrored).numpy()
    for i in range(50):
        one = np.pad(images[where[i]], ((0, 0), (pad, pad), (pad, pad)))
        one = one[..., ::-1] if mirrored[i] else one
        row, col = corners[:, i]
        assert np.array_equal(found[i], one[:, row : row + 8, col : col + 8])


def test_without_mirroring_half_the_memory_is_taken() -> None:
    both, one = (Store(pixels(), 2, CPU, mirror=mirror) for mirror in (True, False))
    assert both.padded.numel() == 2 * one.padded.numel() == 2 * 9 * 3 * 12 * 12
    last = np.array([8])
    assert np.array_equal(one.cut(last, np.full((2, 1), 2), np.array([False]))[0], pixels()[8])


def test_a_batch_is_rgb_in_0_to_1_and_all_of_it_counts() -> None:
    x, valid, counted = source("images.flip=false").training(np.array([3, 0]), 0, 0)
    assert torch.equal(x, torch.from_numpy(pixels()[[3, 0]]) * (1 / 255)) and x.max() <= 1
    assert x.dtype == torch.float32 and valid.shape == (2, 1, 8, 8) and bool((valid == 1).all())
    assert torch.equal(valid, counted)


def test_half_are_mirrored_and_shifts_go_all_ways() -> None:
    found = source("images.pad=1", count=1)
    seen = {tuple(found.training(np.zeros(1, int), 0, step)[0].ravel().tolist()) for step in range(400)}
    assert len(seen) == 2 * 3 * 3
    plain = source()
    x = plain.training(np.zeros(2000, int), 0, 0)[0]
    same = (x == torch.from_numpy(pixels()[0]) * (1 / 255)).flatten(1).all(dim=1).float().mean()
    assert 0.45 < same < 0.55


def test_batches_and_what_is_drawn_follow_from_seed_epoch_and_step() -> None:
    one, two = source("images.pad=2"), source("images.pad=2")
    other = source("images.pad=2", "train.seed=1")
    where = np.arange(9)
    for a, b in zip(one.batches(where, 3, 1), two.batches(where, 3, 1), strict=True):
        assert np.array_equal(a, b)
        assert torch.equal(one.training(a, 3, 1)[0], two.training(b, 3, 1)[0])
        for epoch, step in ((4, 1), (3, 2)):
            assert not torch.equal(one.training(a, 3, 1)[0], one.training(a, epoch, step)[0])
    assert not np.array_equal(
        np.concatenate(one.batches(where, 3, 1)), np.concatenate(one.batches(where, 4, 1))
    )
    assert not np.array_equal(
        np.concatenate(one.batches(where, 3, 1)), np.concatenate(other.batches(where, 3, 1))
    )


def test_batches_are_of_one_size_and_an_epoch_holds_no_image_twice() -> None:
    found = source().batches(np.arange(9), 0, 1)
    assert [len(b) for b in found] == [4, 4] and len(set(np.concatenate(found))) == 8
    assert [len(b) for b in source().batches(np.arange(9), 0, 5)] == [4] * 5
    assert [len(b) for b in source().batches(np.array([7, 2]), 0, 1)] == [2]


def test_plain_is_every_image_in_order_whatever_is_drawn_in_training() -> None:
    x = torch.cat([x for x, _, _ in source("images.pad=3").plain(np.array([5, 1, 8]))])
    assert torch.equal(x, torch.from_numpy(pixels()[[5, 1, 8]]) * (1 / 255))


def test_a_common_contrast_has_mean_0_and_deviation_1_but_for_flat_images() -> None:
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    x[3] = 0.5 + 1e-5 * x[3]
    found = unit_contrast(x).flatten(1)
    assert torch.allclose(found.mean(dim=1), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found[:3].std(dim=1, unbiased=False), torch.ones(3, dtype=torch.float64))
    assert found[3].abs().max() < 1e-3
    assert torch.allclose(unit_contrast(3 * x[:3] + 1), unit_contrast(x[:3]))


def test_what_is_to_be_restored_is_grey_and_turned() -> None:
    x = torch.rand(5, 3, 6, 6)
    found, turns = corrupted_view(x, np.array([0, 1, 2, 3, 1])).numpy(), [0, 1, 2, 3, 1]
    for i, turn in enumerate(turns):
        grey = np.tensordot(LUMA, x[i].numpy(), 1)
        assert np.allclose(found[i], np.rot90(grey, turn), atol=1e-6)


def test_to_restore_what_is_shown_stands_beside_what_is_wanted() -> None:
    made = source("images.restore=true", "images.flip=false")
    x, given, ones = made.training(np.array([2, 4, 6, 8]), 0, 0)
    assert torch.equal(x, torch.from_numpy(pixels()[[2, 4, 6, 8]]) * (1 / 255)) and given.shape == x.shape
    assert ones.shape == (4, 1, 8, 8)
    _, all_turned, _ = next(made.plain_at(np.array([2, 4]), 3))
    assert torch.allclose(all_turned, corrupted_view(x[:2], np.array([3, 3])))
    _, by_number, _ = next(made.plain(np.array([5, 2])))
    assert torch.allclose(by_number[1], corrupted_view(x[:1], np.array([2]))[0])


def test_messages_name_images_by_number() -> None:
    assert source().tiles(np.array([4, 7])) == ["image 4", "image 7"] and len(source()) == 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_cuts_the_same_squares() -> None:
    images, rng = pixels(), np.random.default_rng(1)
    drawn = rng.integers(0, 9, 50), rng.integers(0, 5, (2, 50)), rng.random(50) < 0.5
    one, two = (Store(images, 2, torch.device(d)).cut(*drawn) for d in ("cpu", "cuda"))
    assert torch.equal(one, two.cpu())
