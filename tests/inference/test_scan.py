"""Stitching is exact: no seam, no shift, no pixel twice, whatever the grid."""

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import Memory, stitched
from scipy import ndimage

from satae.grid import Window
from satae.inference import runtime, scan
from satae.scene.scene import Scene


@dataclass(frozen=True)
class Box:
    """A model whose score is the mean of the first band over a square of `reach` pixels around."""

    reach: int
    halo: int
    stride: int = 4
    device: str = "cpu"
    core: int = 16

    @property
    def card(self) -> Any:
        return SimpleNamespace(halo=self.halo, stride=self.stride, core=self.core, frame=0)

    def anomaly_map(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.where(v, boxed(i[0] * v, self.reach), np.nan) for i, v in zip(image, valid, strict=True)]
        )


def boxed(plane: np.ndarray, reach: int) -> np.ndarray:
    return ndimage.uniform_filter(plane.astype(np.float32), 2 * reach + 1, mode="constant")


def plane(height: int, width: int, a: float = 3, b: float = -2) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return (a * rows + b * cols + 500).astype(np.float32)[None]


sides = st.integers(1, 70)


@given(
    height=sides, width=sides, a=st.integers(-9, 9), b=st.integers(-9, 9), halo=st.sampled_from([0, 4, 12])
)
@settings(max_examples=60)
def test_any_plane_survives_stitching_on_any_grid(height: int, width: int, a: int, b: int, halo: int) -> None:
    image = plane(height, width, a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("satae.inference.scan.STRIP_BYTES", 9000)
        out = stitched(Memory(image, np.ones((height, width), bool)), Box(0, halo))
    assert np.array_equal(out, image[0])


@given(height=sides, width=sides, reach=st.integers(0, 12), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_any_filter_within_the_halo_survives_stitching(
    height: int, width: int, reach: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image, valid = rng.random((1, height, width), np.float32), rng.random((height, width)) > 0.2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("satae.inference.scan.STRIP_BYTES", 9000)
        out = stitched(Memory(image, valid), Box(reach, -(-reach // 4) * 4))
    assert np.allclose(out, np.where(valid, boxed(image[0] * valid, reach), np.nan), 1e-5, equal_nan=True)


def test_a_filter_beyond_the_halo_does_not() -> None:
    source = Memory(plane(64, 64), np.ones((64, 64), bool))
    assert not np.allclose(stitched(source, Box(5, 4)), boxed(source.image[0], 5))


def test_cells_without_a_valid_pixel_are_never_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(Box, "anomaly_map", lambda self, image, valid: seen.append(valid) or image[:, 0])
    valid = np.zeros((64, 64), bool)
    valid[20, 40] = True
    stitched(Memory(plane(64, 64), valid), Box(0, 4))
    assert len(seen) == 1 and seen[0].shape == (1, 24, 24)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_of_any_size_give_the_same_map(device: str) -> None:
    valid = np.random.default_rng(0).random((70, 90)) > 0.5
    source = Memory(plane(70, 90), valid)
    assert np.array_equal(
        stitched(source, Box(3, 4, device=device)), stitched(source, Box(3, 4)), equal_nan=True
    )


def untiled(scene: Scene, model: runtime.Model) -> np.ndarray:
    """One inference over the whole scene, with far more context than the halo."""
    stride, margin = model.card.stride, 2 * model.card.halo
    height, width = (-(-v // stride) * stride for v in (scene.grid.height, scene.grid.width))
    with scene.open() as reader:
        image, valid = reader.read(Window(0, 0, height, width).with_margin(margin))
    out = model.anomaly_map(image[None], valid[None])[0]
    return out[margin : margin + scene.grid.height, margin : margin + scene.grid.width]


def largest(a: np.ndarray, b: np.ndarray) -> float:
    assert np.array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(np.abs(a - b)) / np.nanmax(b))


def test_halo_inference_equals_untiled_inference_and_less_halo_does_not(
    scene: Scene, model: runtime.Model
) -> None:
    stride, halo = model.card.stride, model.card.halo
    whole = untiled(scene, model)
    small, less = (
        dataclasses.replace(model, card=model.card.model_copy(update={"core": 8 * stride, "halo": h}))
        for h in (halo, halo - 2 * stride)  # one may be slack
    )
    close = largest(stitched(scene, small), whole)
    assert close < 1e-6
    assert largest(stitched(scene, less), whole) > max(1e-6, 10 * close)


@pytest.mark.parametrize(
    ("core", "stride", "side"), [(256, 1, 256), (256, 12, 264), (16, 16, 16), (10, 4, 12)]
)
def test_the_lattice_is_a_multiple_of_the_stride(core: int, stride: int, side: int) -> None:
    assert scan.core_of(Box(0, 0, stride=stride, core=core)) == side  # type: ignore[arg-type]


@given(height=sides, width=sides, core=st.integers(1, 40), stride=st.sampled_from([1, 4, 6]))
@settings(max_examples=40)
def test_a_lattice_of_any_side_gives_the_same_map(height: int, width: int, core: int, stride: int) -> None:
    rng = np.random.default_rng(0)
    image, valid = rng.random((1, height, width), np.float32), rng.random((height, width)) > 0.2
    halo = -(-5 // stride) * stride
    out = stitched(Memory(image, valid), Box(5, halo, stride=stride, core=core))
    assert np.allclose(out, np.where(valid, boxed(image[0] * valid, 5), np.nan), 1e-5, equal_nan=True)


def test_one_and_four_workers_give_equal_bytes(scene: Scene, model: runtime.Model) -> None:
    one, four = (list(scan.scan(scene, model, n)) for n in (1, 4))
    assert [w for w, _ in one] == [w for w, _ in four]
    assert [m.tobytes() for _, m in one] == [m.tobytes() for _, m in four]


def test_an_invalid_pixel_is_not_scored_and_changes_nothing_out_of_reach(
    scene: Scene, model: runtime.Model
) -> None:
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    holed = valid.copy()
    row, col = map(int, np.argwhere(valid)[valid.sum() // 2])
    holed[row, col] = False
    image[:, row, col] = 65535
    before, after = (stitched(Memory(image, v), model) for v in (valid, holed))
    changed = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    rows, cols = np.nonzero(changed)
    assert np.isnan(after[row, col]) and np.array_equal(np.isnan(after), ~holed)
    assert max(abs(rows - row).max(), abs(cols - col).max()) <= model.card.halo


def test_what_lies_under_invalid_pixels_does_not_matter(scene: Scene, model: runtime.Model) -> None:
    with scene.open() as reader:
        image, valid = reader.read(scene.grid.window)
    float_image = image.astype(np.float32)
    changed = np.where(valid, float_image, np.nan)
    assert (
        stitched(Memory(float_image, valid), model).tobytes()
        == stitched(Memory(changed, valid), model).tobytes()
    )
