"""Bands as pictures: their colours by hand, and what does not count in grey."""

import numpy as np
import pytest

from satae import composite

RNG = np.random.default_rng(0)


def level(value: float, low: float, high: float) -> float:
    """How bright a value is, by hand."""
    return float(min(max((value - low) / (high - low), 0), 1) ** 0.7)


@pytest.mark.parametrize("bands", [1, 2, 3, 13])
def test_a_composite_is_rgb_between_0_and_1(bands: int) -> None:
    low, high = RNG.uniform(0, 100, bands), RNG.uniform(4_000, 5_000, bands)
    image = RNG.integers(0, 9_000, (bands, 20, 30)).astype("uint16")
    shown = composite.rgb(image, low, high)
    assert shown.shape == (20, 30, 3) and shown.min() >= 0 and shown.max() <= 1
    wanted = [2, 1, 0] if bands >= 3 else [0, 0, 0]
    expected = [level(image[b, 5, 7], low[b], high[b]) for b in wanted]
    assert np.allclose(shown[5, 7], expected, rtol=1e-12)


def test_what_is_stored_has_blue_first_and_whole_numbers() -> None:
    image = RNG.uniform(0, 1, (3, 4, 5))
    shown = composite.rgb(image, [0] * 3, [1] * 3)
    stored = composite.bgr(image, [0] * 3, [1] * 3)
    assert stored.dtype == np.uint8
    assert (stored == np.rint(255 * shown[..., ::-1])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_that_do_not_count_are_grey_whatever_they_hold(dtype: str) -> None:
    image = np.full((3, 2, 2), np.nan, dtype)
    image[:, 0, 0] = 1
    shown = composite.rgb(image, np.zeros(3, dtype), np.ones(3, dtype), ~np.isnan(image[0]))
    assert shown.dtype == dtype and (shown[0, 0] == 1).all() and (shown.reshape(4, 3)[1:] == 0.5).all()


def test_a_band_of_one_value_and_a_pixel_that_is_no_number_are_black() -> None:
    image = np.full((1, 2, 2), 7.0)
    image[0, 1, 1] = np.nan
    assert (composite.rgb(image, [7.0], [7.0]) == 0).all()


def test_contrast_is_taken_band_by_band_and_leaves_extremes_out() -> None:
    sample = np.stack([np.arange(1001), 10 * np.arange(1001)])
    low, high = composite.contrast(sample)
    assert np.allclose([low, high], [[5, 50], [995, 9950]])


@pytest.mark.parametrize(
    ("names", "wavelengths", "declared", "expected"),
    [
        (("red", "green", "blue", "nir"), (), (), [2, 1, 0]),
        (("B02", "B03", "B04", "B08"), (492.0, 560.0, 665.0, 833.0), (), [0, 1, 2]),
        (("nir", "Red band", "SR green", "blue_b1"), (), (), [3, 2, 1]),
        (("b1", "b2", "b3"), (), ("red", "green", "blue"), [2, 1, 0]),
        (
            ("red", "green", "blue"),
            (),
            ("blue", "green", "red"),
            [2, 1, 0],
        ),  # a name says more than GDAL's default
        (("red edge", "blue", "green", "red"), (), (), [1, 2, 3]),
        (tuple("abcde"), (2200.0, 660.0, 555.0, 470.0, 480.0), (), [4, 2, 1]),  # nearest, not first
        (("red", "red", "green", "blue"), (), (), [0, 1, 2]),  # which one is not said: by place
        (("red", "nir"), (), (), [0]),
        (("x",) * 5, (1600.0,) * 5, (), [0, 1, 2]),
    ],
)
def test_natural_bands_are_found_by_name_wavelength_or_what_is_declared(
    names: tuple[str, ...], wavelengths: tuple[float, ...], declared: tuple[str, ...], expected: list[int]
) -> None:
    assert composite.natural(names, wavelengths, declared) == expected
