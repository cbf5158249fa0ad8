"""Inference on a GPU: which one is opened, and that its map is that of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from satae.inference import runtime
from satae.inference.scan import scan
from satae.scene.scene import Scene
from satae.training.export import PARITY

PROVIDER = runtime.PROVIDERS["cuda"]


def lack() -> str:
    """Why nothing can be scored on a GPU here; empty where it can."""
    if PROVIDER not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider"
    return "" if runtime._cuda_visible() else "there is no CUDA device"


def whole_map(scene: Scene, model: runtime.Model) -> np.ndarray:
    """The anomaly map (row, col), NaN where not valid."""
    out = np.full((scene.grid.height, scene.grid.width), np.nan, np.float32)
    for window, scores in scan(scene, model, 1):
        out[window.slices(scene.grid.window)] = scores
    return out


@pytest.mark.gpu
@pytest.mark.skipif(bool(lack()), reason=lack() or "there is one")
def test_the_map_of_a_scene_on_a_gpu_is_that_of_the_cpu(scene: Scene, model_path: Path) -> None:
    models = [runtime.load(model_path, device) for device in ("cuda", "cpu")]
    assert [model.device for model in models] == ["cuda", "cpu"]
    one, other = (whole_map(scene, model) for model in models)
    valid = np.isfinite(other)
    assert valid.any() and np.array_equal(valid, np.isfinite(one))
    # as between torch and ONNX Runtime when a model is exported
    assert np.abs(one[valid] - other[valid]).max() <= PARITY * np.ptp(other[valid])


def test_the_gpu_that_is_opened_is_told_by_its_number(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def session(content: bytes, options: Any, providers: list[Any]) -> None:
        asked.append(providers)

    monkeypatch.setattr(runtime, "_cuda_visible", lambda: True)
    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(runtime.onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(runtime, "Session", session)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for rank in (None, "3"):
        monkeypatch.setenv("LOCAL_RANK", rank) if rank else monkeypatch.delenv("LOCAL_RANK", raising=False)
        runtime.open_session(b"", "m", "auto")
    runtime.open_session(b"", "m", "cpu")
    options = [dict(providers[0][1]) for providers in asked[:2]]
    assert [(o["device_id"], o["use_tf32"]) for o in options] == [("0", "0"), ("3", "0")]
    assert asked[2] == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "2"}, 2),
        ({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "5"}, 0),
        ({"LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "4,5,6,7"}, 2),
        ({"LOCAL_RANK": "none"}, 0),
    ],
)
def test_a_process_opens_on_the_gpu_of_its_local_rank_among_those_it_is_shown(
    environment: dict[str, str], number: int
) -> None:
    assert runtime.device_id(environment) == number
