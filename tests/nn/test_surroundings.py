"""What surrounds a pixel: loops over valid pixels are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectors import mask

from satae.nn.surroundings import EIGHT, means, odd, ring_total, rings, sectors, shift, spread_nan, total

HEIGHT, WIDTH = 15, 18


def scene(share: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    """x of two tiles with NaN where it is not valid, and the mask; a corner without any valid pixel."""
    rng = torch.Generator().manual_seed(0)
    valid = mask(2, HEIGHT, WIDTH, share).double()
    valid[..., :6, :6] = 0
    x = torch.randn(2, 3, HEIGHT, WIDTH, generator=rng, dtype=torch.float64) + 4
    return torch.where(valid > 0, x, torch.nan), valid


def mean_over(x: np.ndarray, valid: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """The mean (C) over valid pixels, None where there is none."""
    found = inside & valid
    return x[:, found].mean(axis=1) if found.any() else None


def square(row: int, col: int, side: int) -> np.ndarray:
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    return (np.maximum(abs(rows - row), abs(cols - col)) <= side // 2) & (side > 0)


def loops(x: np.ndarray, valid: np.ndarray, sides: list[tuple[int, int]]) -> np.ndarray:
    """Means over rings (ring, C, H, W) of one tile; where one is empty the next larger, in the end 0."""
    out = np.zeros((len(sides), len(x), HEIGHT, WIDTH))
    for r in range(HEIGHT):
        for c in range(WIDTH):
            mean = np.zeros(len(x))
            for inner, outer in sorted(sides, key=lambda s: -s[1]):
                found = mean_over(x, valid, square(r, c, outer) & ~square(r, c, inner))
                mean = mean if found is None else found
                out[sides.index((inner, outer)), :, r, c] = mean
    return out


@pytest.mark.parametrize("sides", [[(1, 3)], [(3, 7)], [(0, 5)], [(3, 5), (5, 9)], [(5, 9), (1, 3), (3, 9)]])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.1])
def test_rings_are_means_over_the_valid_pixels_of_each(sides: list[tuple[int, int]], share: float):
    x, valid = scene(share)
    found = torch.stack(rings(x, valid, sides), dim=1).numpy()
    for i in range(2):
        expected = loops(x[i].numpy(), valid[i, 0].numpy() > 0, sides)
        assert np.allclose(found[i], expected)


def box_mean(x: np.ndarray, valid: np.ndarray, centre: tuple[int, int], side: int) -> np.ndarray | None:
    """The mean (C) over the valid pixels of a box, None where its centre is beyond the edge or it holds none."""
    inside = 0 <= centre[0] < HEIGHT and 0 <= centre[1] < WIDTH
    return mean_over(x, valid, square(*centre, side)) if inside else None


@pytest.mark.parametrize(("side", "distance"), [(1, 1), (3, 3), (3, 5), (5, 9)])
def test_sectors_are_means_over_boxes_in_eight_directions_or_over_their_mirror_images(
    side: int, distance: int
):
    x, valid = scene()
    values, good = x[0].numpy(), valid[0, 0].numpy() > 0
    found = sectors(x, valid, side, distance, torch.full_like(x, 77.0)).chunk(8, dim=1)
    assert len(found) == len(EIGHT) == 8
    for (dr, dc), mean in zip(EIGHT, found, strict=True):
        for r, c in ((0, 0), (7, 8), (14, 17), (3, 12), (10, 2)):
            mirrored = [(dr, dc), (-dr, dc), (dr, -dc), (-dr, -dc)]
            centres = [(r + p * distance, c + q * distance) for p, q in mirrored]
            means_of = [m for centre in centres if (m := box_mean(values, good, centre, side)) is not None]
            assert np.allclose(mean[0, :, r, c], means_of[0] if means_of else 77.0)


def test_the_eight_directions_are_the_neighbours():
    assert {*EIGHT} == {(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)} - {(0, 0)}


@pytest.mark.parametrize("side", [1, 3, 7, 33])
def test_a_total_is_a_sum_over_a_box_with_nothing_beyond_the_edge(side: int):
    z = torch.randn(1, 2, HEIGHT, WIDTH, dtype=torch.float64)
    found = total(z, side)
    for r, c in ((0, 0), (7, 8), (14, 17)):
        assert np.allclose(found[0, :, r, c], z[0].numpy()[:, square(r, c, side)].sum(axis=1))


@pytest.mark.parametrize("side", [1, 3, 5, 11])
def test_eight_boxes_are_the_large_box_without_the_one_inside(side: int):
    z = torch.randn(2, 3, HEIGHT, WIDTH, dtype=torch.float64)
    assert torch.allclose(ring_total(z, side), total(z, 3 * side) - total(z, side))


def test_where_nothing_is_valid_the_mean_is_what_is_given():
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(means(0 * x, torch.zeros(1, 1, 8, 8), 5, 3, x), x)
    assert all((r == 0).all() for r in rings(x, torch.zeros(1, 1, 8, 8), [(1, 3), (3, 5)]))


@pytest.mark.parametrize("step", [(0, 0), (2, 0), (0, -3), (-1, 4), (20, 0)])
def test_moved_is_what_lies_so_far_away(step: tuple[int, int]):
    z = torch.randn(1, 1, HEIGHT, WIDTH)
    found, other = shift(z, [step, (1, -2)], beyond=9.0)
    assert torch.equal(other, shift(z, [(1, -2)], beyond=9.0)[0])
    for r in range(HEIGHT):
        for c in range(WIDTH):
            p, q = r + step[0], c + step[1]
            inside = 0 <= p < HEIGHT and 0 <= q < WIDTH
            assert found[0, 0, r, c] == (z[0, 0, p, q] if inside else 9.0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0.2, 1), (1, 1), (1.9, 1), (2, 3), (3, 3), (4, 5), (5.1, 5), (6, 7), (8.9, 9), (-4, 1)],
)
def test_odd_is_the_nearest_odd_number_and_of_two_the_larger(size: float, expected: int):
    assert odd(size) == expected


def test_what_was_compared_is_felt():
    out, z = torch.ones(1, 1, 2, 2), torch.randn(1, 3, 2, 2)
    assert torch.equal(spread_nan(out, z), out)
    z[0, 1, 0, 1] = torch.nan
    assert torch.isnan(spread_nan(out, z)).flatten().tolist() == [False, True, False, False]
