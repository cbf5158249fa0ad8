"""Augmentation: image and mask move together, every change follows from its key, and albumentations clips."""

import albumentations
import numpy as np
import pytest

from satae.config import AugmentSettings
from satae.errors import ConfigError
from satae.training.augment import SMALLEST_CROP, Augmenter

SIZE = 32
MOVES = AugmentSettings(flip=True, turn=True)
VALUES = AugmentSettings(flip=False, turn=False, gain=0.3, noise=0.05)


def tiles(bands: int = 3, count: int = 6, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(bands)
    images = rng.uniform(0.2, 0.6, (count, bands, size, size)).astype(np.float32)
    return images, rng.random((count, size, size)) < 0.8


def orientations(image: np.ndarray) -> list[np.ndarray]:
    """The eight ways in which a square image (band, row, col) can lie."""
    turned = [np.rot90(image, k, axes=(1, 2)) for k in range(4)]
    return turned + [t.transpose(0, 2, 1) for t in turned]


@pytest.mark.parametrize("bands", [1, 2, 3, 5, 13, 200])
def test_the_mask_moves_with_the_image(bands: int):
    images, valid = tiles(bands)
    images[:, 0] = valid
    moved, mask = Augmenter(MOVES, SIZE)(images, valid, (0, 1))
    assert moved.shape == images.shape and moved.dtype == np.float32 and mask.dtype == bool
    assert np.array_equal(moved[:, 0] > 0, mask)


@pytest.mark.parametrize("bands", [1, 3, 5, 13, 200])
def test_moves_only_reorder_pixels(bands: int):
    images, valid = tiles(bands)
    moved, _ = Augmenter(MOVES, SIZE)(images, valid, (0, 1))
    for before, after in zip(images, moved, strict=True):
        assert any(np.array_equal(after, way) for way in orientations(before))


def test_all_eight_orientations_appear():
    images, valid = (np.repeat(a[:1], 200, axis=0) for a in tiles())
    moved, _ = Augmenter(MOVES, SIZE)(images, valid, (0, 1))
    ways = orientations(images[0])
    seen = [next(i for i, way in enumerate(ways) if np.array_equal(m, way)) for m in moved]
    assert np.bincount(seen, minlength=8).min() >= 5


@pytest.mark.parametrize("bands", [1, 3, 200])
@pytest.mark.parametrize("settings", [MOVES, VALUES, AugmentSettings(crop=20, gain=0.2, noise=0.1)])
def test_the_same_key_gives_the_same_and_another_key_another(bands: int, settings: AugmentSettings):
    images, valid = tiles(bands)
    make = Augmenter(settings, SIZE)
    first, other, again = (make(images, valid, key) for key in ((0, 1), (0, 2), (0, 1)))
    fresh = Augmenter(settings, SIZE)(images, valid, (0, 1))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert np.array_equal(first[0], fresh[0])
    assert not np.array_equal(first[0], other[0])


def test_what_was_drawn_elsewhere_does_not_matter():
    images, valid = tiles()
    make = Augmenter(VALUES, SIZE)
    first, _ = make(images, valid, (5,))
    np.random.default_rng().random()
    assert np.array_equal(first, make(images, valid, (5,))[0])


def test_the_input_is_left_alone():
    images, valid = tiles()
    before = images.copy(), valid.copy()
    Augmenter(AugmentSettings(crop=20, gain=0.5, noise=0.5), SIZE)(images, valid, (0,))
    assert np.array_equal(images, before[0]) and np.array_equal(valid, before[1])


def test_gain_is_one_factor_a_tile():
    images, valid = tiles(bands=13)
    settings = AugmentSettings(flip=False, turn=False, gain=0.3)
    ratio = Augmenter(settings, SIZE)(images, valid, (0,))[0] / images
    factors = ratio[:, 0, 0, 0]
    assert np.allclose(ratio, factors[:, None, None, None], rtol=1e-5)
    assert factors.min() >= 0.7 and factors.max() <= 1.3 and len(set(factors.tolist())) == len(images)


@pytest.mark.parametrize("bands", [1, 5, 200])
def test_noise_has_the_asked_spread_and_differs_between_bands(bands: int):
    images, valid = tiles(bands, count=30)
    settings = AugmentSettings(flip=False, turn=False, noise=0.05)
    noise = Augmenter(settings, SIZE)(images, valid, (0,))[0] - images
    assert abs(noise.mean()) < 1e-3
    assert noise.std(axis=(1, 2, 3)).min() > 0 and noise.std(axis=(1, 2, 3)).max() < 0.053
    assert bands == 1 or not np.allclose(noise[:, 0], noise[:, 1])


def test_gain_and_noise_clip_to_the_unit_range_which_would_ruin_other_data():
    assert albumentations.__version__ == "2.0.8"
    images, valid = tiles()
    strong = Augmenter(AugmentSettings(gain=1.0, noise=0.5), SIZE)
    inside, _ = strong(images, valid, (0,))
    ruined, _ = strong(images * 1_000, valid, (0,))
    assert inside.min() >= 0 and inside.max() <= 1
    assert ruined.max() <= 1


def test_a_crop_takes_image_and_mask_from_one_place():
    images, valid = tiles()
    images[:, 0] = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    part, mask = Augmenter(AugmentSettings(crop=20, flip=False, turn=False), SIZE)(images, valid, (0,))
    assert part.shape == (6, 3, 20, 20) and mask.shape == (6, 20, 20)
    for whole, good, cropped, kept in zip(images, valid, part, mask, strict=True):
        row, col = divmod(int(cropped[0, 0, 0]), SIZE)
        assert np.array_equal(cropped, whole[:, row : row + 20, col : col + 20])
        assert np.array_equal(kept, good[row : row + 20, col : col + 20])


def test_nothing_asked_for_changes_nothing():
    images, valid = tiles()
    out, mask = Augmenter(AugmentSettings(flip=False, turn=False), SIZE)(images, valid, (0,))
    assert np.array_equal(out, images) and np.array_equal(mask, valid)


@pytest.mark.parametrize("crop", [1, SMALLEST_CROP - 1, SIZE + 1])
def test_a_crop_that_does_not_fit_is_refused(crop: int):
    with pytest.raises(ConfigError, match=rf"augment\.crop = {crop} .*{SMALLEST_CROP} to {SIZE}"):
        Augmenter(AugmentSettings(crop=crop), SIZE)
