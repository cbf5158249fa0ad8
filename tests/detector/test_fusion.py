"""From errors to a map: openings against scipy and brute force, blur against scipy, constants against numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from detectors import mask
from scipy import ndimage

from satae import config
from satae.config import MapSettings
from satae.detector.fusion import (
    CALM,
    FAR,
    FLOOR,
    ORDINARY,
    Mapping,
    along,
    around,
    gaussian_mean,
    opening,
    segments,
    support,
)

LENGTHS = pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 11])


def level_of(height: int = 24, width: int = 30, seed: int = 0, smooth: float = 1.0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).normal(size=(height, width))
    return torch.tensor(ndimage.gaussian_filter(drawn, smooth))[None, None]


def footprint(step: tuple[int, int], half: int) -> np.ndarray:
    """The segment as a mask."""
    out = np.zeros((2 * half * abs(step[0]) + 1, 2 * half * abs(step[1]) + 1), bool)
    for i in range(-half, half + 1):
        out[i * step[0] + half * abs(step[0]), i * step[1] + half * abs(step[1])] = True
    return out


@LENGTHS
def test_segments_are_about_as_long_as_asked_for_in_all_directions(length: int):
    for (row, col), half in segments(length):
        assert abs((2 * half + 1) * np.hypot(row, col) - length) <= max(2.0, 4.3 - length)
    assert {step for step, _ in segments(length)} == {(0, 1), (1, 0), (1, 1), (1, -1)}


@LENGTHS
def test_an_opening_is_the_union_of_openings_by_the_segments(length: int):
    level = level_of(50, 54)
    openings = [ndimage.grey_opening(level[0, 0], footprint=footprint(*part)) for part in segments(length)]
    found = opening(level, torch.ones_like(level), length)[0, 0].numpy()
    inner = slice(2 * length, -2 * length), slice(2 * length, -2 * length)
    assert np.array_equal(found[inner], np.max(openings, axis=0)[inner])


def brute_opening(level: np.ndarray, valid: np.ndarray, length: int) -> np.ndarray:
    """The highest of the lowest valid levels over segments with a valid middle that hold a pixel; at most its own."""

    def good(row: int, col: int) -> bool:
        return 0 <= row < level.shape[0] and 0 <= col < level.shape[1] and bool(valid[row, col])

    out = np.full(level.shape, -np.inf)
    for (r, c), ((dr, dc), half) in itertools.product(np.argwhere(valid), segments(length)):
        for i in range(-half, half + 1):
            p, q = r + i * dr, c + i * dc
            if good(p, q):
                inside = [(p + j * dr, q + j * dc) for j in range(-half, half + 1)]
                out[r, c] = max(out[r, c], min(level[place] for place in inside if good(*place)))
    return np.minimum(out, level)


@LENGTHS
@pytest.mark.parametrize("share", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("border", [0, 12])
def test_invalid_pixels_bound_nothing_and_neither_does_the_edge(length: int, share: float, border: int):
    level, good = level_of(13, 11), mask(1, 13, 11, share)
    frame = (
        torch.nn.functional.pad(level, (border,) * 4, value=-7.0),
        torch.nn.functional.pad(good, (border,) * 4),
    )
    found = opening(*frame, length)[0, 0].numpy()[border : border + 13, border : border + 11]
    valid = good[0, 0].numpy() > 0
    assert np.array_equal(found[valid], brute_opening(level[0, 0].numpy(), valid, length)[valid])


@LENGTHS
def test_an_opening_lies_below_and_again_changes_nothing_and_moves_with_the_image(length: int):
    level, good = level_of(50, 50), torch.ones(1, 1, 50, 50)
    once = opening(level, good, length)
    assert (once <= level).all()
    inner = slice(2 * length, -2 * length)
    assert torch.equal(opening(once, good, length)[..., inner, inner], once[..., inner, inner])
    moved = opening(level.roll((1, 2), (2, 3)), good, length).roll((-1, -2), (2, 3))
    assert torch.equal(moved[..., inner, inner], once[..., inner, inner])
    assert torch.allclose(opening(level + 5, good, length), once + 5)


def test_what_is_shorter_than_the_segments_is_gone_and_what_is_longer_stays():
    level = torch.zeros(1, 1, 40, 40)
    level[..., 5:8, 5:8] = 1  # a blob of 3
    level[..., 20, 5:30] = 1  # a road
    left = opening(level, torch.ones_like(level), 9)
    assert (left[..., 5:8, 5:8] == 0).all() and (left[..., 20, 5:30] == 1).all()


@pytest.mark.parametrize("half", [0, 1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (1, -1), (0, -1)])
def test_an_extreme_along_a_segment_is_that_of_its_pixels(step: tuple[int, int], half: int):
    z = level_of(21, 18)
    found = along(z, step, half, torch.minimum, FAR)
    for row, col in ((10, 9), (0, 0), (20, 17), (3, 15)):
        places = [(row + step[0] * i, col + step[1] * i) for i in range(-half, half + 1)]
        known = [z[0, 0, r, c] for r, c in places if 0 <= r < 21 and 0 <= c < 18]
        assert found[0, 0, row, col] == min(known)


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 2.5])
def test_a_blur_is_the_gaussian_of_scipy_where_all_is_valid(sigma: float):
    error = level_of(40, 44, smooth=0.5).abs()
    radius = int(np.ceil(3 * sigma))
    expected = ndimage.gaussian_filter(error[0, 0].numpy(), sigma, radius=radius)
    found = gaussian_mean(error, torch.ones_like(error), sigma)[0, 0].numpy()
    inner = slice(radius, -radius), slice(radius, -radius)
    assert np.allclose(found[inner], expected[inner], rtol=1e-9)


def test_a_blur_is_a_weighted_mean_of_valid_pixels_alone():
    error, good = level_of().abs(), mask(1, 24, 30, 0.5).double()
    top = ndimage.gaussian_filter(np.where(good > 0, error, 0)[0, 0], 1.0, radius=3, mode="constant")
    weight = ndimage.gaussian_filter(good[0, 0].numpy(), 1.0, radius=3, mode="constant")
    valid = good[0, 0].numpy() > 0
    found = gaussian_mean(torch.where(good > 0, error, torch.nan), good, 1.0)[0, 0].numpy()
    assert np.allclose(found[valid], (top / weight)[valid], rtol=1e-9)
    constant = gaussian_mean(torch.full_like(error, 3.0), good, 1.0)
    assert torch.allclose(constant[good > 0], torch.tensor(3.0, dtype=torch.float64))


def test_no_blur_is_the_error_itself():
    error = level_of()
    assert gaussian_mean(error, torch.ones_like(error), 0.0) is error


def errors_of(heads: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Errors of heads (1, heads, 20, 20) in other units each, the mask and the chosen pixels, three times."""
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for i in range(3):
        valid = mask(1, 20, 20, seed=i)
        errors = [torch.randn(1, 1, 20, 20, generator=rng).exp() * 10.0**k for k in range(heads)]
        parts.append((torch.cat(errors, dim=1), valid, valid * mask(1, 20, 20, 0.9, 40 + i)))
    return parts


def fitted(heads: int, **settings: float) -> Mapping:
    out = Mapping(MapSettings(**settings), heads)
    out.fit(errors_of(heads))
    return out


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_one_head_without_an_area_term_is_its_blurred_error(blur: float):
    made, (errors, valid, _) = fitted(1, blur=blur), errors_of(1)[0]
    assert made.plain and made.median == 1
    assert torch.equal(made(errors, valid), gaussian_mean(errors, valid, blur))


def numpy_level(error: np.ndarray, unit: float) -> np.ndarray:
    return np.log(error / unit + FLOOR)


def smoothed(sample: list[tuple[torch.Tensor, ...]], sigma: float) -> list[tuple[torch.Tensor, ...]]:
    """The sample with each error at the Gaussian mean of the valid pixels around, by scipy in float64."""
    if not sigma:
        return sample
    radius = int(np.ceil(3 * sigma))

    def over(z: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(z, sigma, radius=radius, mode="constant", axes=(2, 3))

    out = []
    for errors, valid, chosen in sample:
        known, weight = errors.double().numpy() * valid.numpy(), over(valid.double().numpy())
        out.append((torch.from_numpy(over(known) / np.maximum(weight, 1e-6)), valid, chosen))
    return out


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_several_heads_are_the_exponential_of_their_mean_standardised_level(smooth: float):
    made, sample = fitted(2, smooth=smooth), smoothed(errors_of(2), smooth)
    parts = []
    for i in range(2):
        chosen = np.concatenate([e[:, i : i + 1][c > 0].numpy() for e, _, c in sample]).astype(np.float64)
        median = np.sort(chosen)[(len(chosen) - 1) // 2]
        level = numpy_level(chosen, median)
        assert made.median[i] == pytest.approx(median, rel=1e-5)
        assert made.mean[i] == pytest.approx(level.mean(), abs=1e-4)
        assert made.spread[i] == pytest.approx(level.std(ddof=1), rel=1e-4)
        parts.append(
            (numpy_level(sample[0][0][:, i : i + 1].double().numpy(), median) - level.mean())
            / level.std(ddof=1)
        )
    errors, valid, _ = errors_of(2)[0]
    found, good = made(errors, valid).numpy(), valid.numpy() > 0
    assert np.allclose(found[good], np.exp(np.mean(parts, axis=0))[good], rtol=1e-3)


def test_heads_in_other_units_give_the_same_map():
    sample = errors_of(2)
    scaled = [(e * torch.tensor([1.0, 1e3])[:, None, None], v, c) for e, v, c in sample]
    made, other = fitted(2, max_object_px=5), Mapping(MapSettings(max_object_px=5), 2)
    other.fit(scaled)
    assert torch.allclose(made(*sample[0][:2]), other(*scaled[0][:2]), rtol=1e-3)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_area_term_adds_the_standardised_top_hat(heads: int):
    made, sample = fitted(heads, max_object_px=5), errors_of(heads)
    levels = []
    for errors, valid, chosen in sample:
        s = made.fuse(errors, valid)
        levels.append((made.level(s), valid, chosen > 0))
    tops = [level - opening(level, valid, 5) for level, valid, _ in levels]
    deviations = [
        np.concatenate([z[c].numpy() for z, (_, _, c) in zip(zs, levels, strict=True)]).std(ddof=1)
        for zs in ([level for level, _, _ in levels], tops)
    ]
    assert np.allclose(made.deviation, deviations, rtol=1e-4)
    expected = torch.log1p(torch.exp(levels[0][0] / deviations[0] + tops[0] / deviations[1]))
    assert torch.allclose(made(*sample[0][:2]), expected.float(), rtol=1e-4)


@pytest.mark.parametrize(("heads", "length"), [(1, 0), (2, 0), (1, 5), (3, 5)])
def test_the_map_is_never_negative_and_rises_with_every_error(heads: int, length: int):
    made, (errors, valid, _) = fitted(heads, max_object_px=length), errors_of(heads, seed=3)[0]
    before = made(errors, valid)
    assert before.min() >= 0 and torch.isfinite(before).all()
    assert made(errors * 0, valid).min() >= 0
    for i in range(heads):
        more = errors.clone()
        more[:, i, 9, 9] *= 50
        assert made(more, valid)[..., 9, 9] > before[..., 9, 9]


@pytest.mark.parametrize("side", [1, 5, 9])
def test_support_is_twice_the_valid_share_of_the_box(side: int):
    good = mask(1, 24, 30, 0.4)
    share = ndimage.uniform_filter(good[0, 0].double().numpy(), side, mode="constant")
    found = support(good, side)[0, 0]
    assert np.allclose(found, np.minimum(1, 2 * share), atol=1e-5)


def test_a_straight_edge_costs_nothing_and_a_sliver_nearly_all():
    errors = errors_of(1)[0][0] + 9.0
    height, width = errors.shape[-2:]
    half, sliver = torch.zeros(1, 1, height, width), torch.zeros(1, 1, height, width)
    half[..., : width // 2], sliver[..., width // 2] = 1.0, 1.0
    plain, made = fitted(2), fitted(2, support_px=9)
    both = errors.expand(-1, 2, -1, -1)
    straight = slice(4, -4), slice(4, width // 2)
    assert torch.equal(made(both, half)[0, 0][straight], plain(both, half)[0, 0][straight])
    level = torch.log(plain(both, sliver))[..., 4:-4, width // 2]
    assert level.min() > 0
    assert torch.allclose(torch.log(made(both, sliver))[..., 4:-4, width // 2], level * 2 / 9, rtol=1e-4)


@pytest.mark.parametrize("side", [1, 5, 9])
def test_the_level_around_is_the_mean_of_valid_pixels_in_the_box(side: int):
    level, good = level_of(), mask(1, 24, 30, 0.4).double()
    known = np.where(good[0, 0] > 0, level[0, 0], 0.0)
    sums, count = (
        ndimage.uniform_filter(z, side, mode="constant") * side**2 for z in (known, good[0, 0].numpy())
    )
    # what invalid pixels hold is not looked at
    found = around(torch.where(good > 0, level, torch.full_like(level, torch.nan)), good, side)
    assert np.allclose(found[0, 0], sums / np.maximum(1, count), atol=1e-9)


def test_calm_ground_is_a_quarter_of_the_chosen_sample_by_the_heads_that_tell():
    made, parts = Mapping(MapSettings(around_px=5), 3, [0, 2]), errors_of(3)
    made.fit(parts)
    told = []
    for errors, valid, chosen in parts:
        levels = [
            (numpy_level(errors[:, i].numpy(), made.median[i].item()) - made.mean[i].item())
            / made.spread[i].item()
            for i in (0, 2)
        ]
        level = torch.tensor(np.mean(levels, axis=0))[None].double()
        told.append(around(level, valid.double(), 5)[chosen > 0.5].numpy())
    assert made.calm.item() == pytest.approx(np.quantile(np.concatenate(told), CALM) + ORDINARY, abs=1e-5)


def test_one_that_stands_out_alone_keeps_its_level_and_one_among_many_does_not():
    errors, good, middle = errors_of(2)[0][0], torch.ones(1, 1, 20, 20), (..., 10, 10)
    plain, made = fitted(2), fitted(2, around_px=15)
    calm = torch.ones_like(errors) * plain.median[:, None, None]
    alone, many = calm.clone(), calm * 60
    alone[middle], many[middle] = (40 * calm)[middle], (100 * calm)[middle]
    assert torch.allclose(made(alone, good)[middle], plain(alone, good)[middle], rtol=1e-4)
    # what goes is the mean level of the box around, less that of calm ground
    over = torch.log(plain(many, good)[middle]) - torch.log(made(many, good)[middle])
    level = torch.log(plain(many, good))[..., 3:18, 3:18].mean() - made.calm
    assert torch.allclose(over, level, rtol=1e-3)
    assert (
        plain(many, good)[middle] > plain(alone, good)[middle]
        and made(many, good)[middle] < made(alone, good)[middle]
    )


def test_heads_that_do_not_tell_what_is_around_change_nothing_of_it():
    made, (errors, valid, _) = Mapping(MapSettings(around_px=9), 2, [0]), errors_of(2)[0]
    made.fit(errors_of(2))
    busy = errors.clone()
    busy[:, 1] *= 1_000
    assert torch.equal(*(made.around(made.parts(e), valid) for e in (errors, busy)))
    busy[:, 0] *= 1_000
    assert (made.around(made.parts(busy), valid) > made.around(made.parts(errors), valid) + 1).all()


@pytest.mark.parametrize(
    ("heads", "told"), [("[local, mse, edges]", [0, 2]), ("[mse, edges]", [1]), ("[mse, mae]", [0, 1])]
)
def test_a_recipe_names_the_heads_that_tell_and_where_it_has_none_of_them_all_do(heads: str, told: list[int]):
    recipe = config.load(None, ["map.around_heads=[local, edges]", f"score={heads}"])
    assert list(Mapping.of(recipe).tellers) == told


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_errors_that_are_all_the_same_are_no_division_by_zero(value: float):
    flat = [(torch.full_like(errors, value), v, c) for errors, v, c in errors_of(2)]
    made = Mapping(MapSettings(max_object_px=5, blur=0.5), 2)
    made.fit(flat)
    assert torch.isfinite(made(*flat[0][:2])).all()
    assert torch.isfinite(made(*errors_of(2)[0][:2])).all()


def test_only_chosen_pixels_settle_the_constants():
    made, other = fitted(2, max_object_px=5), Mapping(MapSettings(max_object_px=5), 2)
    changed = errors_of(2)
    chosen = changed[0][2]
    changed[0][0].mul_(torch.where(chosen < 0.5, 100.0, 1.0))
    other.fit(changed)
    assert torch.equal(made.median, other.median) and torch.equal(made.mean, other.mean)
