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


def distances(x: np.ndarray, valid: np.ndarray, row: int, col: int, params: Params) -> list[float]:
    """Squared distances of a pixel from the means of boxes with their centre in the image and a valid pixel."""
    found = []
    for side, far in params.boxes():
        for r, c in ((row + dr * far, col + dc * far) for dr, dc in EIGHT):
            top, left = max(0, r - side // 2), max(0, c - side // 2)
            part = slice(top, r + side // 2 + 1), slice(left, c + side // 2 + 1)
            if 0 <= r < SIDE and 0 <= c < SIDE and valid[part].any():
                found.append(
                    ((x[:, row, col] - x[(slice(None), *part)][:, valid[part]].mean(axis=1)) ** 2).sum()
                )
    return sorted(found)


@pytest.mark.parametrize("nearest", [1, 3, 9])
@pytest.mark.parametrize("bands", [1, 4])
def test_boxes_without_a_valid_pixel_do_not_count(nearest: int, bands: int):
    rng = np.random.default_rng(bands)
    x, valid = rng.normal(size=(bands, SIDE, SIDE)) * 3, mask(1, SIDE, SIDE, 0.7)[0, 0].numpy() > 0
    valid[10:24, 18:44] = False
    params = {"target_px": 3.0, "nearest": nearest}
    found = error_of(np.where(valid, x, 1e6), valid, **params)
    for row, col in np.argwhere(valid)[::61]:
        around = distances(x, valid, row, col, Params(**params))
        assert found[row, col] == pytest.approx(
            around[nearest - 1] if len(around) >= nearest else 0, rel=1e-4
        )


def test_what_cannot_be_compared_is_not_out_of_place():
    x, valid = np.full((3, SIDE, SIDE), 50.0), np.zeros((SIDE, SIDE), bool)
    valid[20:22, 20:22] = True
    assert not error_of(x, valid)[valid].any()


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
    assert torch.equal(found, torch.stack(planes).sort(dim=0).values[nearest - 1])
    for plane in planes:
        spoiled = [torch.where(torch.arange(6) == 2, torch.nan, p) if p is plane else p for p in planes]
        assert (
            torch.isnan(smallest(spoiled, nearest))[0, 0].any(dim=0).tolist()
            == [False] * 2 + [True] + [False] * 3
        )
