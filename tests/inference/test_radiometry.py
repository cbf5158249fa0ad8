"""What was done to DN is told from what lies in a scene: made-up landscapes as they are, changed, and in part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from satae.demo import synthetic
from satae.inference import radiometry
from satae.inference.card import Domain
from satae.inference.radiometry import Change

LAND = [synthetic.scene(height=160, width=200, seed=seed) for seed in (3, 4)]
ORDERS = [order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)]


def domain(image: np.ndarray, valid: np.ndarray) -> Domain:
    return radiometry.measure([(image, valid)])


def judged(image: np.ndarray, dtype: str = "uint16", valid: np.ndarray = LAND[1].valid) -> Change | None:
    """What seems to have been done to the second landscape, for a model of the first."""
    return radiometry.change(domain(image, valid), domain(LAND[0].image, LAND[0].valid), dtype)


def test_what_is_measured_are_quantiles_covariance_and_steps() -> None:
    rng = np.random.default_rng(1)
    image, valid = rng.integers(0, 2000, (3, 60, 70)), rng.random((60, 70)) > 0.2
    found = domain(image, valid)
    assert found.pixels == valid.sum()
    assert np.allclose(found.quantiles, np.quantile(image[:, valid], found.levels, axis=1).T)
    # the darkest and the brightest hundredth of each band are held at its ends
    ends = np.quantile(image[:, valid], [0.01, 0.99], axis=1)[:, :, None, None]
    image = np.minimum(np.maximum(image, ends[0]), ends[1])
    assert np.allclose(found.covariance, np.cov(image[:, valid]), rtol=1e-5, atol=1)
    down = [
        (image[:, r + 1, c] - image[:, r, c])
        for r in range(59)
        for c in range(70)
        if valid[r : r + 2, c].all()
    ]
    right = [
        (image[:, r, c + 1] - image[:, r, c])
        for r in range(60)
        for c in range(69)
        if valid[r, c : c + 2].all()
    ]
    steps = np.array(down + right, float)
    assert np.allclose(found.texture, steps.T @ steps / len(steps), rtol=1e-5, atol=1)


def test_windows_are_measured_as_one_and_invalid_pixels_are_of_no_account() -> None:
    rng = np.random.default_rng(1)
    image, valid = rng.integers(0, 2000, (3, 60, 70)), rng.random((60, 70)) > 0.2
    other = np.where(valid, image, 60_000)
    assert domain(other, valid) == domain(image, valid)
    twice = radiometry.measure([(image, valid), (image, valid)])
    assert twice.texture == domain(image, valid).texture and twice.pixels == 2 * valid.sum()


def test_another_scene_is_taken_as_it_is() -> None:
    assert judged(LAND[1].image) is None
    for part in (np.s_[:, :80], np.s_[:, 80:], np.s_[:, :, :100], np.s_[:, :, 100:]):
        assert judged(LAND[1].image[part], valid=LAND[1].valid[part[1:]]) is None


@pytest.mark.parametrize("by", [1000, 700])
def test_a_number_added_to_every_band_is_told(by: int) -> None:
    found = judged(LAND[1].image + np.uint16(by))
    assert found is not None and found.kind == "shifted" and abs(found.number - by) < 0.3 * by
    away = radiometry.change(
        domain(LAND[1].image, LAND[1].valid), domain(LAND[0].image + np.uint16(by), LAND[0].valid), "uint16"
    )
    assert away is not None and away.kind == "shifted" and abs(away.number + by) < 0.3 * by


@pytest.mark.parametrize("times", [0.1, 6.5535, 10, 1e-4])
def test_a_factor_is_told(times: float) -> None:
    found = judged(LAND[1].image * times, "float32")
    assert found is not None and found.kind == "scaled" and found.number == pytest.approx(times, rel=0.3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_factor_that_was_too_large_for_the_type_is_told(dtype: str) -> None:
    small = [np.clip(s.image / s.image.max() * 200, 1, 255) for s in LAND]
    end = np.iinfo(dtype).max
    learned = domain((small[0] * (1 if dtype == "uint8" else 200)).astype(dtype), LAND[0].valid)
    full = np.minimum(small[1].astype(float) * end, end).astype(dtype)
    found = radiometry.change(domain(full, LAND[1].valid), learned, dtype)
    assert found is not None and found.kind == "full"


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_bands_in_any_other_order_are_told_with_the_one_that_fits(order: tuple[int, ...]) -> None:
    found = judged(LAND[1].image[list(order)])
    assert found is not None and found.kind == "swapped"
    assert [order[i] for i in found.order] == [0, 1, 2, 3]


def test_of_many_bands_the_reversed_order_is_told_without_naming_one() -> None:
    # forty bands between the four, each with noise of its own
    rng, at = np.random.default_rng(0), np.linspace(0, 3, 40)
    cubes = []
    for made in LAND:
        left = np.minimum(at.astype(int), 2)
        share = (at - left)[:, None, None]
        cube = made.image[left] * (1 - share) + made.image[left + 1] * share
        cubes.append(cube + rng.normal(0, 5, cube.shape) + np.linspace(0, 400, 40)[:, None, None])
    learned = domain(cubes[0], LAND[0].valid)
    assert len(learned.texture) == 16 and len(learned.quantiles) == 40
    assert radiometry.change(domain(cubes[1], LAND[1].valid), learned, "float32") is None
    found = radiometry.change(domain(cubes[1][::-1], LAND[1].valid), learned, "float32")
    assert found == Change("swapped")


def test_where_too_little_is_seen_or_known_nothing_is_said() -> None:
    swapped, old = LAND[1].image[::-1], domain(LAND[0].image, LAND[0].valid)
    few = domain(swapped[:, :40, :40], LAND[1].valid[:40, :40])
    assert radiometry.change(few, old, "uint16") is None
    flat = np.full_like(swapped, 700) + np.random.default_rng(0).integers(0, 9, swapped.shape).astype(
        "uint16"
    )
    assert radiometry.change(domain(flat, LAND[1].valid), old, "uint16") is None
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    bare = Domain(levels=levels, quantiles=[[1.0] * 5] * 4, pixels=9)  # of a model of before
    assert radiometry.change(domain(swapped, LAND[1].valid), bare, "uint16") is None


def test_decibels_have_no_dark_end() -> None:
    db = [np.log10(np.maximum(s.image, 1.0)) * 10 - 33 for s in LAND]
    learned = domain(db[0], LAND[0].valid)
    assert radiometry.change(domain(db[1] + 4, LAND[1].valid), learned, "float32") is None


def test_bands_that_are_alike_may_stand_in_any_order() -> None:
    """Noise of one kind in every band: by chance another order is always a little nearer."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image = (rng.normal(0, 100, (4, 128, 128)) + rng.normal(1000, 160, (128, 128))).round()
        found.append(domain(image, np.ones((128, 128), bool)))
    changes = [radiometry.change(scene, found[0], "uint16") for scene in found[1:]]
    assert changes == [None] * 11
