"""Why a region was reported: shares recomputed by hand, residuals whose kind is known."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from looks import look
from maps import Memory, passed

from satae.demo import synthetic
from satae.grid import Window
from satae.inference import runtime
from satae.inference.regions import Anomaly
from satae.report import reasons
from satae.scene.scene import Scene

RNG = np.random.default_rng(0)
ONES = np.ones(3)


def region(box: tuple[int, int, int, int], peak: tuple[int, int] | None = None) -> Anomaly:
    """A rectangle (top, left, bottom, right)."""
    top, left, bottom, right = box
    window = Window(top, left, bottom - top, right - left)
    row, col = peak or (top, left)
    return Anomaly(window, np.ones((window.height, window.width), bool), 1.0, 1.0, row, col)


def test_a_uniform_offset_is_wholly_spectral() -> None:
    image = np.full((3, 8, 8), 100.0) + np.array([5.0, -3.0, 0.5])[:, None, None]
    assert reasons.spectral_share(look(image, 100), ONES) == 1


def test_texture_without_a_mean_is_wholly_structural() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    assert reasons.spectral_share(look(np.stack([checks, -3 * checks, checks])), ONES) == 0


def test_noise_is_spectral_by_one_over_the_number_of_its_pixels() -> None:
    shares = [reasons.spectral_share(look(RNG.normal(size=(3, 4, 5))), ONES) for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(1 / 20, abs=0.002)


def test_offset_and_texture_share_as_in_an_analysis_of_variance() -> None:
    image = 3 * (np.indices((6, 6)).sum(axis=0) % 2 * 2.0 - 1)[None] + np.full((1, 6, 6), 4.0)
    assert reasons.spectral_share(look(image), np.ones(1)) == pytest.approx(16 / 25)


def test_bands_are_weighed_by_their_spread_in_training() -> None:
    steady, busy = np.full((4, 4), 10.0), np.indices((4, 4)).sum(axis=0) % 2 * 2.0 - 1
    image = np.stack([steady, 1000 * busy])
    assert reasons.spectral_share(look(image), np.array([10.0, 1000.0])) == pytest.approx(0.5)


def test_only_pixels_of_the_region_count() -> None:
    image, inside = np.zeros((2, 6, 6)), np.zeros((6, 6), bool)
    image[:, :3], inside[:3] = 7, True
    image[:, 3:] = np.nan
    assert reasons.spectral_share(look(image, 0, inside), np.ones(2)) == 1


def test_where_there_is_no_residual_there_is_no_share() -> None:
    assert np.isnan(reasons.spectral_share(look(np.zeros((3, 4, 4))), ONES))


def test_integers_do_not_wrap_around() -> None:
    image = np.full((1, 4, 4), 10, np.uint8)
    image[0, 0, 0] = 0
    assert 0.99 < reasons.spectral_share(look(image, 200), np.ones(1)) < 1


def test_shares_fall_and_sum_to_one() -> None:
    found = json.loads(reasons.band_shares(np.array([1.0, 6.0, 3.0]), ["red", "nir", "swir"]))
    assert list(found.items()) == [("nir", 0.6), ("swir", 0.3), ("red", 0.1)]


def test_a_band_that_takes_error_away_has_no_share() -> None:
    assert json.loads(reasons.band_shares(np.array([4.0, -2.0]), ["é", "b"])) == {"é": 1.0, "b": 0.0}


@pytest.mark.parametrize("errors", [[0.0, 0.0], [-1.0, -2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_is_no_error_has_no_shares(errors: list[float]) -> None:
    assert reasons.band_shares(np.array(errors), ["a", "b"]) == "{}"


def test_of_many_bands_the_five_that_add_most_are_listed() -> None:
    errors = RNG.random(200)
    found = json.loads(reasons.band_shares(errors, [f"b{i}" for i in range(200)]))
    assert list(found) == [f"b{i}" for i in np.argsort(-errors)[:5]] and sum(found.values()) < 0.2


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("box", [(50, 60, 52, 62), (0, 0, 3, 9), (10, 10, 40, 50), (3, 5, 3 + 150, 20)])
def test_a_frame_holds_the_region_and_lies_on_the_stride(box: tuple[int, int, int, int], stride: int) -> None:
    window = reasons.frame(region(box), stride)
    assert window.row % stride == window.col % stride == window.height % stride == 0
    assert window.row <= box[0] and window.col <= box[1]
    assert window.stop[0] >= box[2] and window.stop[1] >= box[3]
    assert window.height == window.width <= 192


def test_a_huge_region_is_seen_around_its_peak() -> None:
    window = reasons.frame(region((0, 0, 5000, 9000), (4000, 77)), 4)
    assert (window.height, window.width) == (192, 192)
    assert window.row < 4000 - 80 and window.stop[0] > 4000 + 80 and window.col < 77 < window.stop[1]


@dataclass(frozen=True)
class Halved:
    """A model that expects half of what it sees, and whose errors are the bands times 1, 2, 3."""

    halo: int = 4

    device: str = "cpu"

    @property
    def card(self) -> Any:
        return SimpleNamespace(halo=self.halo, stride=4, core=32, frame=0)

    def explanation(self, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pair = image * np.arange(1, 4)[:, None, None], image / 2
        error, expected = (np.where(valid[:, None], o, 0).astype(np.float32) for o in pair)
        return np.where(valid, error.sum(axis=1), np.float32(np.nan)), error, expected


def test_looks_are_the_pixels_themselves(tmp_path: Path) -> None:
    image, valid = RNG.integers(1, 99, (3, 80, 90)).astype("uint16"), RNG.random((80, 90)) > 0.1
    found = [region((10, 20, 14, 29)), region((0, 80, 5, 90)), region((60, 0, 80, 2))]
    kept = passed(Memory(image, valid), Halved(), tmp_path)
    seen = list(reasons.looks(kept, 4, found))
    assert len(seen) == 3
    for anomaly, one in zip(found, seen, strict=True):
        rows, cols = anomaly.window.slices(Window(0, 0, 80, 90))
        own = valid[rows, cols]
        assert one.inside.sum() == own.sum()
        pixels = image[:, rows, cols][:, own]
        assert np.array_equal(one.image[:, one.inside], pixels)
        assert np.array_equal(one.expected[:, one.inside], pixels / np.float32(2))
        assert np.allclose(reasons.band_errors(one), pixels.sum(axis=1) * [1, 2, 3])


def test_a_look_agrees_with_one_inference_over_the_whole_scene(
    scene: Scene, model: runtime.Model, landscape: synthetic.Synthetic, tmp_path: Path
) -> None:
    margin = 4 * model.card.halo
    image = np.pad(landscape.image, ((0, 0), (margin, margin), (margin, margin)))[None]
    valid = np.pad(landscape.valid, margin)[None]
    outputs = model.reconstruction(image, valid)[0], model.band_error(image, valid)[0]
    whole = [o[:, margin:-margin, margin:-margin] for o in outputs]
    kept = passed(scene, model, tmp_path)
    for one in reasons.looks(kept, model.card.stride, [region((100, 150, 110, 163))]):
        rows, cols = one.window.slices(Window(0, 0, 256, 320))
        assert one.inside.sum() == landscape.valid[100:110, 150:163].sum() > 0
        assert np.allclose(one.expected, whole[0][:, rows, cols], rtol=1e-4, atol=0.1)
        assert np.allclose(one.error, whole[1][:, rows, cols], rtol=1e-3, atol=1e-4)
