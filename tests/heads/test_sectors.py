"""The boxes around that are most alike, beside gaps and edges: loops over valid pixels are the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectors import fitted, head_of, mask

from satae.heads import View
from satae.heads.sectors import Params, smallest
from satae.nn.surroundings import EIGHT

SIDE = 44


def error_of(x: np.ndarray, valid: np.ndarray, **params: float) -> np.ndarray:
    """The error (H, W) of an image (K, H, W)."""
    view = View(
        torch.tensor(x)[None].float(), torch.tensor(valid)[None, None].float(), torch.zeros(1, *x.shape)
    )
    return head_of(("sectors", params), fitted(len(x)))(view).sum(dim=1)[0].numpy()


def distance(
    x: np.ndarray, valid: np.ndarray, row: int, col: int, nearest: int, boxes: list[tuple[int, int]]
) -> float:
    """Squared distance of a pixel from the mean of the box that counts, of those with their centre in the image and
    a valid pixel; 0 where there are not so many."""
    found = []
    for side, far in boxes:
        for r, c in ((row + dr * far, col + dc * far) for dr, dc in EIGHT):
            top, left = max(0, r - side // 2), max(0, c - side // 2)
            part = slice(top, r + side // 2 + 1), slice(left, c + side // 2 + 1)
            if 0 <= r < SIDE and 0 <= c < SIDE and valid[part].any():
                found.append(
                    ((x[:, row, col] - x[(slice(None), *part)][:, valid[part]].mean(axis=1)) ** 2).sum()
                )
    return sorted(found)[nearest - 1] if len(found) >= nearest else 0


@pytest.mark.parametrize("large", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("nearest", [1, 3, 9])
@pytest.mark.parametrize("bands", [1, 4])
def test_boxes_without_a_valid_pixel_do_not_count(nearest: int, bands: int, large: float):
    rng = np.random.default_rng(bands)
    x, valid = rng.normal(size=(bands, SIDE, SIDE)) * 3, mask(1, SIDE, SIDE, 0.7)[0, 0].numpy() > 0
    valid[10:24, 18:44] = False
    params = Params(3.0, nearest, large)
    found, boxes = error_of(np.where(valid, x, 1e6), valid, **vars(params)), params.boxes()
    for row, col in np.argwhere(valid)[::61]:
        # of all boxes, and of the farthest eight, of which there are no nine
        every, outer = (
            distance(x, valid, row, col, at, some)
            for at, some in ((nearest, boxes), (min(nearest, 8), boxes[-1:]))
        )
        assert found[row, col] == pytest.approx(max(every, large * outer), rel=1e-4)


@pytest.mark.parametrize("across", [16, 18])
def test_the_middle_of_what_holds_the_nearer_boxes_counts_with_large_alone(across: int):
    x, valid = np.random.default_rng(2).normal(size=(3, 64, 64)), np.ones((64, 64), bool)
    away = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    x[:, away <= across / 2] += 8.0
    plain, found = (error_of(x, valid, target_px=5.0, large=large) for large in (0.0, 0.05))
    middle, usual = (slice(30, 34),) * 2, plain[away > 2 * across].mean()
    assert plain[middle].mean() < 1.5 * usual and found[middle].mean() > 2 * usual
    assert np.array_equal(plain[away > 2 * across], found[away > 2 * across])


def test_what_cannot_be_compared_is_not_out_of_place():
    x, valid = np.full((3, SIDE, SIDE), 50.0), np.zeros((SIDE, SIDE), bool)
    valid[20:22, 20:22] = True
    assert not any(error_of(x, valid, large=large)[valid].any() for large in (0.0, 0.5))


def test_the_edge_of_nodata_and_of_the_image_is_nearly_as_usual_as_the_middle():
    x, valid = np.random.default_rng(0).normal(size=(4, 160, 160)), np.ones((160, 160), bool)
    valid[:, 100:] = False
    error = np.log(np.maximum(error_of(x, valid, target_px=5.0), 1e-9))
    middle, spread = error[30:130, 30:70].mean(), error[30:130, 30:70].std()
    for edge in (error[30:130, 95:100], error[:5, 30:70], error[30:130, :5]):
        assert abs(edge.mean() - middle) < spread / 3


@pytest.mark.parametrize("nearest", [1, 3, 7])
def test_the_smallest_is_that_of_a_sort_and_feels_every_nan(nearest: int):
    planes = list(torch.randn(7, 1, 1, 5, 6))
    found = smallest(planes, nearest)
    assert torch.equal(torch.stack(found), torch.stack(planes).sort(dim=0).values[:nearest])
    assert all(map(torch.equal, smallest(planes[4:], nearest, smallest(planes[:4], nearest)), found))
    for plane in planes:
        spoiled = [torch.where(torch.arange(6) == 2, torch.nan, p) if p is plane else p for p in planes]
        assert (
            torch.isnan(smallest(spoiled, nearest)[-1])[0, 0].any(dim=0).tolist()
            == [False] * 2 + [True] + [False] * 3
        )
