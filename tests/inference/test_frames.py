"""Frames are blended as a few plain loops would: no seams, nodata respected, whatever the cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from maps import Memory, stitched
from shared import Shared

from satae import config
from satae.errors import ConfigError
from satae.grid import Window
from satae.inference import frames, runtime
from satae.inference.scan import scan, scan_windows
from satae.scene.scene import Scene
from satae.tiles import store
from satae.training import run as training

FRAME, STEP = 16, 8


def spread(images: np.ndarray, valid: np.ndarray) -> list[np.ndarray]:
    """The mean over the valid pixels of a frame at each of them, and the first band: (n, 1, F, F), (n, B, F, F)."""
    known = np.where(valid[:, None], images, 0).astype(np.float64)
    mean = known[:, 0].sum((1, 2)) / np.maximum(valid.sum((1, 2)), 1)
    heat = np.where(valid, mean[:, None, None], 0)[:, None]
    return [heat.astype(np.float32), known.astype(np.float32)]


def reference(image: np.ndarray, valid: np.ndarray, frame: int = FRAME, step: int = STEP) -> np.ndarray:
    """The first output for a whole scene (B, H, W), pixel by pixel in float64, NaN where invalid."""
    height, width = valid.shape
    out = np.full((height, width), np.nan)
    far = frame - step
    image = np.pad(image, ((0, 0), (far, 2 * frame), (far, 2 * frame)))
    seen = np.pad(valid, ((far, 2 * frame), (far, 2 * frame)))
    for row, col in np.argwhere(valid):
        total = weights = 0.0
        for top in range(0, image.shape[1] - frame + 1, step):
            for left in range(0, image.shape[2] - frame + 1, step):
                i, j = row + far - top, col + far - left
                if not (0 <= i < frame and 0 <= j < frame):
                    continue
                part = seen[top : top + frame, left : left + frame]
                mean = image[0, top : top + frame, left : left + frame][part].astype(float).mean()
                weight = np.sin(np.pi * (i + 0.5) / frame) ** 2 * np.sin(np.pi * (j + 0.5) / frame) ** 2
                total += weight * part.mean() * mean
                weights += weight * part.mean()
        out[row, col] = total / weights
    return out


def holed(height: int, width: int, share: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with noise and random holes, and a frame-wide band without a valid pixel."""
    rng = np.random.default_rng(height)
    image, valid = rng.random((2, height, width), np.float32), rng.random((height, width)) < share
    valid[:, 20:40] = False
    return image, valid


@dataclasses.dataclass(frozen=True)
class Framed:
    """A model that sees FRAME pixels at once and scores a pixel by the mean of its frame."""

    device: str = "cpu"
    core: int = 32

    @property
    def card(self) -> Framed:
        return self

    frame, stride, halo = FRAME, STEP, FRAME - STEP

    def anomaly_map(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        heat = frames.blend(spread, image, valid, FRAME, STEP)[0][:, 0]
        return np.where(valid, heat, np.nan)


@pytest.mark.parametrize(("height", "width"), [(48, 56), (33, 70), (5, 61), (100, 47)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_stitched_map_is_that_of_plain_loops_over_the_scene(height: int, width: int, device: str):
    image, valid = holed(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("satae.inference.scan.STRIP_BYTES", 9000)
        out = stitched(Memory(image, valid), Framed(device))
    assert np.allclose(out, reference(image, valid), rtol=1e-5, equal_nan=True)
    assert np.array_equal(np.isnan(out), ~valid)


def test_a_window_of_any_size_gives_its_part_of_the_map():
    """Held-out blocks end anywhere; what they are calibrated on is what a scene is scored with."""
    image, valid = holed(60, 70)
    source, asked = Memory(image, valid), Window(8, 16, 29, 43)
    ((window, part),) = scan_windows(source, Framed(), [asked], workers=1)
    assert window == asked
    assert np.array_equal(part, stitched(source, Framed())[asked.slices(source.grid.window)], equal_nan=True)


def test_the_control_without_the_shared_halo_is_another_map():
    image, valid = holed(48, 56)
    out = stitched(Memory(image, valid), Framed())
    wrong = frames.blend(spread, image[None], valid[None], FRAME, FRAME)[0][0, 0]
    assert not np.allclose(np.where(valid, wrong, np.nan), out, rtol=1e-2, equal_nan=True)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_weights_of_frames_that_overlap_by_half_sum_to_one(side: int):
    half, weight = side // 2, frames.window(side)
    parts = (slice(0, half), slice(half, None))
    assert np.allclose(sum(weight[rows, cols] for rows in parts for cols in parts), 1)
    assert weight.min() > 0


def test_there_are_no_seams():
    """A step between frames' means, as large as they are, is a step of at most the weight's slope in the map."""
    image = np.zeros((1, 64, 64), np.float32)
    image[:, :, 32:] = 1
    valid = np.ones((64, 64), bool)
    smooth = stitched(Memory(image, valid), Framed())
    seamed = np.concatenate([np.full(32, 0.0), np.full(32, 1.0)])
    assert np.abs(np.diff(seamed)).max() == 1
    assert 0 < np.abs(np.diff(smooth, axis=1)).max() < 0.5 * np.pi / FRAME * 1.01


def test_frames_without_a_valid_pixel_are_not_run_and_pixels_of_none_are_zero():
    seen = []

    def run(images: np.ndarray, valid: np.ndarray) -> list[np.ndarray]:
        seen.extend(valid.any(axis=(1, 2)))
        return spread(images, valid)

    valid = np.zeros((1, 64, 64), bool)
    valid[0, 20, 40] = True
    heat, bands = frames.blend(run, np.ones((1, 3, 64, 64)), valid, FRAME, STEP)
    assert len(seen) == 4 and all(seen)
    assert heat.shape == (1, 1, 64, 64) and bands.shape == (1, 3, 64, 64)
    assert heat[0, 0, 20, 40] == 1 and np.count_nonzero(heat) == 1


def test_an_image_smaller_than_a_frame_or_without_a_valid_pixel_has_a_map():
    heat, _ = frames.blend(spread, np.ones((2, 1, 5, 7)), np.ones((2, 5, 7), bool), FRAME, STEP)
    assert heat.shape == (2, 1, 5, 7) and np.allclose(heat, 1)
    nothing, _ = frames.blend(spread, np.ones((1, 1, 32, 32)), np.zeros((1, 32, 32), bool), FRAME, STEP)
    assert (nothing == 0).all()


def test_an_emptier_frame_counts_less():
    image, valid = np.ones((1, 1, 16, 24)), np.ones((1, 16, 24), bool)
    image[..., 16:] = 0
    valid[..., 16:] = False
    valid[..., 16] = True

    def run(images: np.ndarray, masks: np.ndarray) -> list[np.ndarray]:
        return [masks.mean(axis=(1, 2), keepdims=True)[:, None] * np.ones((1, 1, 16, 16), np.float32)]

    heat = frames.blend(run, image, valid, FRAME, STEP)[0][0, 0, 0, 12]
    along = np.sin(np.pi * (np.array([12, 4]) + 0.5) / 16) ** 2
    shares = np.array([1.0, 9 / 16])
    assert heat == pytest.approx((along * shares**2).sum() / (along * shares).sum())


SMALL = ["model.name=dense", "model.params.size=16", "model.params.width=4", "model.params.code=8"]


def dense_of(shared: Shared, tile_set: Path) -> runtime.Model:
    folder = shared.trained(tile_set, *SMALL, "train.epochs=1", "train.min_steps=4")
    return runtime.load(folder / "model.onnx", "cpu", threads=1)


def test_a_dense_model_says_how_it_is_blended(shared: Shared, tile_set: Path):
    dense = dense_of(shared, tile_set)
    card = dense.card
    assert (card.frame, card.stride, card.halo) == (16, 8, 8) and card.code_size == 8
    assert card.calibration is not None and card.calibration.pixels > 0


def test_a_scene_is_scored_as_single_frames_blended_by_hand(shared: Shared, tile_set: Path, scene: Scene):
    dense = dense_of(shared, tile_set)
    alone = dataclasses.replace(dense, card=dense.card.model_copy(update={"frame": 0}))
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    out = stitched(scene, dense)
    assert np.array_equal(np.isnan(out), ~valid)
    weight = frames.window(16)
    places = [(r, c) for r, c in [(40, 64), (100, 8), (200, 240), (128, 160)] if valid[r, c]]
    assert len(places) >= 3
    for row, col in places:
        total = weights = 0.0
        for top in (row - 8, row):
            for left in (col - 8, col):
                part = slice(top, top + 16), slice(left, left + 16)
                heat = alone.anomaly_map(image[None, :, *part], valid[None, *part])[0]
                share = weight[row - top, col - left] * valid[part].mean()
                total, weights = total + share * heat[row - top, col - left], weights + share
        assert out[row, col] == pytest.approx(total / weights, rel=1e-4)


def test_one_and_four_workers_and_any_strips_give_equal_bytes(
    shared: Shared, tile_set: Path, scene: Scene, monkeypatch
):
    dense = dense_of(shared, tile_set)
    one, four = (list(scan(scene, dense, n)) for n in (1, 4))
    assert [m.tobytes() for _, m in one] == [m.tobytes() for _, m in four]
    whole = stitched(scene, dense)
    monkeypatch.setattr("satae.inference.scan.STRIP_BYTES", 64 << 20)
    assert len(list(scan(scene, dense, 1))) < len(one)
    assert stitched(scene, dense).tobytes() == whole.tobytes()


def test_why_and_score_see_the_same_error(shared: Shared, tile_set: Path, scene: Scene):
    dense = dense_of(shared, tile_set)
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    heat, error, rebuilt = dense.explanation(image[None], valid[None])
    assert np.allclose(error.sum(axis=1)[:, valid], heat[:, valid], rtol=1e-3)
    assert rebuilt.shape == image[None].shape


def test_tiles_that_frames_do_not_fill_are_refused(tile_set: Path, tmp_path: Path):
    recipe = config.load(None, ["model.name=dense", "model.params.size=24"])
    with pytest.raises(ConfigError, match=r"dense sees frames of 24 pixels .* has 32 a side"):
        training.train([store.load(tile_set)], recipe, tmp_path / "m.onnx", tmp_path / "run", device="cpu")


def test_a_card_whose_frames_do_not_fit_is_refused(shared: Shared, tile_set: Path):
    dense = dense_of(shared, tile_set)
    values = dense.card.model_dump() | {"halo": 4}
    with pytest.raises(ValueError, match="frames of 16 pixels are not 8 apart and 4 shared"):
        type(dense.card).model_validate(values)
