"""DN with an offset: as integers of any size have it, held inside of their type."""

from __future__ import annotations

import numpy as np
import pytest

from satae.scene.values import sums

SHIFTS = (0, 7, -1000, 1000, -70_000, 2**33)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_sums_stay_inside_of_the_type(kind: str) -> None:
    limits = np.iinfo(kind)
    ends = [limits.min, limits.min + 1, limits.max - 1, limits.max]
    draws = np.random.default_rng(0).integers(limits.min, limits.max, (6, 2, 10), kind, endpoint=True)
    image = np.concatenate([np.broadcast_to(np.array(ends, kind), (6, 2, 4)), draws], axis=2)
    found = sums(image, SHIFTS)
    wanted = [
        [max(int(limits.min), min(int(limits.max), int(dn) + shift)) for dn in plane.flat]
        for plane, shift in zip(image, SHIFTS, strict=True)
    ]
    assert found.dtype == image.dtype and found.reshape(6, -1).tolist() == wanted


def test_floats_have_room() -> None:
    image = np.array([[[1.5, -2]], [[3, np.nan]]], np.float32)
    assert np.array_equal(sums(image, (0.5, -4)), [[[2, -1.5]], [[-1, np.nan]]], equal_nan=True)
    assert sums(image, (0, 0)) is image
