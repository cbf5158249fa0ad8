"""The synthetic scene: its layout, its nodata, its repeatability, and the truth about its planted objects."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from satae.demo import synthetic

SCENES = [(768, 1024, 0), (768, 1024, 5), (256, 256, 0), (256, 256, 1), (256, 256, 2), (128, 400, 3)]
every_scene = pytest.mark.parametrize(("height", "width", "seed"), SCENES)


@cache
def scene(height: int = 256, width: int = 256, seed: int = 0) -> synthetic.Synthetic:
    return synthetic.scene(height=height, width=width, seed=seed)


@every_scene
def test_layers_share_one_grid(height, width, seed):
    made = scene(height, width, seed)
    assert made.image.shape == (len(synthetic.BANDS), height, width)
    assert made.valid.shape == made.truth.shape == (height, width)
    assert (made.image.dtype, made.valid.dtype, made.truth.dtype) == (np.uint16, np.bool_, np.uint16)


def test_same_seed_gives_equal_bytes():
    again = synthetic.scene(height=256, width=256, seed=0)
    assert again.image.tobytes() == scene().image.tobytes()
    assert again.valid.tobytes() == scene().valid.tobytes()
    assert again.truth.tobytes() == scene().truth.tobytes()
    assert again.planted == scene().planted


def test_other_seed_gives_another_scene():
    other = scene(seed=1)
    assert not np.array_equal(other.image, scene().image)
    assert not np.array_equal(other.valid, scene().valid)
    assert other.planted != scene().planted


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002 - the legacy state is what must not move
    synthetic.scene(height=128, width=128)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


@every_scene
def test_zero_means_nodata_in_every_band(height, width, seed):
    made = scene(height, width, seed)
    assert np.array_equal(made.image == 0, np.broadcast_to(~made.valid, made.image.shape))


@every_scene
def test_nodata_takes_six_to_ten_percent(height, width, seed):
    assert 0.06 < 1 - scene(height, width, seed).valid.mean() < 0.10


@every_scene
def test_nodata_is_an_edge_and_a_hole(height, width, seed):
    invalid = ~scene(height, width, seed).valid
    assert invalid[:, 0].all() != invalid[:, -1].all()
    assert invalid[:, width // 5 : -width // 5].any()


@pytest.mark.parametrize(("height", "width", "count"), [(768, 1024, 14), (256, 256, 3), (400, 700, 5)])
def test_count_of_planted_objects_follows_the_area(height, width, count):
    assert len(scene(height, width).planted) == count


@every_scene
def test_truth_labels_are_the_planted_objects(height, width, seed):
    made = scene(height, width, seed)
    assert np.array_equal(np.unique(made.truth), np.arange(len(made.planted) + 1))
    for label, planted in enumerate(made.planted, start=1):
        rows, cols = np.nonzero(made.truth == label)
        assert (planted.pixels, planted.row, planted.col) == (rows.size, rows.mean(), cols.mean())


@every_scene
def test_planted_objects_have_6_to_80_pixels(height, width, seed):
    assert all(6 <= planted.pixels <= 80 for planted in scene(height, width, seed).planted)


@every_scene
def test_planted_objects_stay_25_pixels_apart(height, width, seed):
    made = scene(height, width, seed)
    places = [np.argwhere(made.truth == label + 1) for label in range(len(made.planted))]
    for one, other in combinations(places, 2):
        assert np.hypot(*np.moveaxis(one[:, None] - other, -1, 0)).min() >= 25


@every_scene
def test_planted_objects_do_not_touch_nodata(height, width, seed):
    made = scene(height, width, seed)
    for row, col in np.argwhere(made.truth):
        assert made.valid[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2].all()


def test_default_scene_holds_every_kind():
    kinds = {planted.kind for planted in scene(768, 1024, 0).planted}
    assert kinds == {recipe.kind for recipe in synthetic.RECIPES}


def test_planted_objects_do_not_set_the_extremes():
    made = scene(768, 1024, 0)
    landscape = made.image[:, made.valid & (made.truth == 0)]
    assert (made.image[:, made.truth > 0].max(axis=1) <= 1.1 * landscape.max(axis=1)).all()


def test_vegetation_is_brighter_in_the_near_infrared():
    made = scene(768, 1024, 0)
    red, nir = made.image[2:, made.valid].astype(np.int64)
    assert 0.5 < np.mean(nir > 2 * red) < 0.95


def test_too_small_a_scene_is_refused_with_its_size():
    with pytest.raises(ValueError, match="100x300"):
        synthetic.scene(height=100, width=300)
