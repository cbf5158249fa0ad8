"""The door to ONNX Runtime: what it refuses, where it runs, and that masked pixels come back as NaN."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from satae.errors import DeviceError, ModelError
from satae.inference import runtime
from satae.inference.card import KEY


def refusal(content: bytes, folder: Path) -> str:
    path = folder / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        runtime.load(path, "cpu")
    text = str(caught.value)
    assert text.startswith("bad.onnx") and "\n" not in text and len(text) < 500
    return text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 1_000,
        np.random.default_rng(0).bytes(10_000),
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<html><body>404</body></html>",
        b"{}",
        b"PK\x03\x04" + b"\0" * 100,
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_sentence(tmp_path, content: bytes):
    assert "is not a usable ONNX model" in refusal(content, tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused_in_one_sentence(tmp_path, model_path, share: float):
    content = model_path.read_bytes()
    assert refusal(content[: int(share * len(content))], tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_model_with_flipped_bytes_is_refused_or_works(tmp_path, model_path, seed: int):
    content = bytearray(model_path.read_bytes())
    for position in np.random.default_rng(seed).integers(0, len(content), 20):
        content[position] ^= 0xFF
    try:
        model = runtime.from_bytes(bytes(content), "bad.onnx", "cpu")
        model.anomaly_map(*pixels(model))
    except ModelError as error:
        assert "\n" not in str(error)


def with_props(path: Path, props: dict[str, str]) -> bytes:
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, props)
    return proto.SerializeToString()


def test_a_model_without_a_card_is_refused(tmp_path, model_path):
    assert "carries no satae model card" in refusal(with_props(model_path, {}), tmp_path)
    assert "carries no satae model card" in refusal(with_props(model_path, {"other": "{}"}), tmp_path)


@pytest.mark.parametrize(
    "card", ["", "{}", "[]", "null", "nonsense", "[" * 100_000, '{"version": 99}', "\ud7ff"]
)
def test_a_model_with_a_broken_card_is_refused(tmp_path, model_path, card: str):
    assert "model card that this satae cannot read" in refusal(with_props(model_path, {KEY: card}), tmp_path)


def test_a_card_that_is_no_text_is_refused(tmp_path, model_path):
    content = model_path.read_bytes()
    place = content.index(b'"version"')
    assert "no text" in refusal(content[:place] + b"\xd3" + content[place + 1 :], tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("halo", -1), ("halo", 10**9), ("stride", 0), ("tile", 0), ("tile", "x"), ("version", "x"), ("more", 1)],
)
def test_a_card_out_of_range_is_refused(tmp_path, model_path, key: str, value: object):
    card = json.loads(runtime.load(model_path, "cpu").card.model_dump_json()) | {key: value}
    assert "cannot read" in refusal(with_props(model_path, {KEY: json.dumps(card)}), tmp_path)


@pytest.mark.parametrize("place", ["weights.bin", "/etc/passwd", "../weights.bin"])
def test_weights_in_another_file_are_refused(tmp_path, model_path, place: str):
    proto = onnx.load(model_path)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], place)
    assert "keeps weights in another file" in refusal(proto.SerializeToString(), tmp_path)


def test_weights_in_another_file_are_refused_however_the_key_is_encoded(tmp_path, model_path):
    proto = onnx.load(model_path)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "w")
    content = proto.SerializeToString()
    for spelled in (
        b"\x0a\x88\x00location",
        b"\x8a\x00\x08location",
        b"\x8a\x80\x00\x88\x80\x80\x00location",
    ):
        assert runtime.EXTERNAL.search(content.replace(b"\x0a\x08location", spelled))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"absent.onnx does not exist; make a model with `satae train`"):
        runtime.load(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        runtime.load(tmp_path)


def test_a_file_over_the_limit_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "large.onnx"
    path.touch()
    os.truncate(path, runtime.MAX_BYTES + 1)
    with pytest.raises(ModelError, match="larger than 2 GiB"):
        runtime.load(path)


def test_cuda_is_refused_where_the_provider_did_not_take(model_path, monkeypatch):
    monkeypatch.setattr(runtime, "_cuda_visible", lambda: False)
    with pytest.raises(DeviceError, match=r"^--device cuda: .* on CPUExecutionProvider.*--device auto$"):
        runtime.load(model_path, "cuda")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_provider_is_the_one_of_the_session(model_path, monkeypatch, device: str):
    monkeypatch.setattr(runtime, "_cuda_visible", lambda: False)
    model = runtime.load(model_path, device)
    assert model.provider == model.session.get_providers()[0] == "CPUExecutionProvider"
    assert model.device == "cpu"


def pixels(model: runtime.Model, count: int = 2, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    low, high = (np.array(getattr(model.card.normalization, k)) for k in ("low", "high"))
    rng = np.random.default_rng(0)
    share = rng.random((count, len(low), size, size))
    image = low[:, None, None] + share * (high - low)[:, None, None]
    return image, rng.random((count, size, size)) < 0.9


def test_scores_are_nan_where_invalid_and_only_there(model_path):
    model = runtime.load(model_path, "cpu")
    image, valid = pixels(model)
    scores = model.anomaly_map(image, valid)
    assert scores.shape == valid.shape and scores.dtype == np.float32
    assert np.array_equal(np.isfinite(scores), valid)
    assert np.allclose(model.pred_score(image, valid), np.nanmax(scores, axis=(1, 2)))
    shares = model.band_error(image, valid).sum(axis=1)
    assert np.allclose(shares, np.where(valid, scores, 0), rtol=1e-4, atol=1e-3)


def test_one_inference_gives_what_two_would(model_path):
    model = runtime.load(model_path, "cpu", threads=1)
    pair = pixels(model)
    scores, error, expected = model.explanation(*pair)
    assert np.array_equal(scores, model.anomaly_map(*pair), equal_nan=True)
    assert np.array_equal(error, model.band_error(*pair))
    assert np.array_equal(expected, model.reconstruction(*pair))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("fill", [0, 1e300, np.nan, -np.inf])
def test_what_invalid_pixels_hold_does_not_matter(model_path, dtype, fill: float):
    model = runtime.load(model_path, "cpu")
    image, valid = pixels(model)
    image = image.astype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        filled = np.where(valid[:, None], image, np.array(fill).astype(dtype))
    one, other = model.anomaly_map(image, valid), model.anomaly_map(filled, valid)
    assert np.array_equal(one, other, equal_nan=True)


def test_an_enormous_valid_pixel_is_scored_with_a_finite_number(model_path):
    model = runtime.load(model_path, "cpu")
    image, valid = pixels(model)
    image[0, :, 20, 20], valid[0, 20, 20] = 1e300, True
    assert np.isfinite(model.anomaly_map(image, valid)[valid]).all()


def test_a_tile_is_scored_the_same_alone_and_in_a_batch(model_path):
    model = runtime.load(model_path, "cpu")
    image, valid = pixels(model, count=5)
    together = model.anomaly_map(image, valid)
    alone = np.concatenate([model.anomaly_map(image[i : i + 1], valid[i : i + 1]) for i in range(5)])
    assert np.allclose(together, alone, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_the_same_pixels_give_the_same_scores_every_time(model_path):
    one, other = (runtime.load(model_path, "cpu", threads=1) for _ in range(2))
    image, valid = pixels(one)
    assert np.array_equal(one.anomaly_map(image, valid), other.anomaly_map(image, valid), equal_nan=True)
    assert one.sha256 == other.sha256 and len(one.sha256) == 64


def test_an_image_that_does_not_fit_the_graph_is_refused_in_one_sentence(model_path):
    model = runtime.load(model_path, "cpu")
    with pytest.raises(ModelError, match=r"^model.onnx failed while scoring: [^\n]*$"):
        model.anomaly_map(np.zeros((1, 9, 32, 32)), np.ones((1, 32, 32), bool))


def test_a_fall_back_from_a_device_that_is_there_is_said(model_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("satae"), "propagate", True)
    monkeypatch.setattr(runtime, "_cuda_visible", lambda: True)
    monkeypatch.setattr(runtime.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert runtime.load(model_path, "auto").device == "cpu"
    assert "there is a CUDA device, but ONNX Runtime runs" in caplog.text
