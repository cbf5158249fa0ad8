"""Embeddings are known by bands and type, decoded as their makers say, and compared by angle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from commands import told, typed
from scenes import MakeScene

from satae.scene.describe import describe
from satae.scene.scene import Limits, Scene

RNG = np.random.default_rng(8)


def read(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=0)


def test_alphaearth_is_known_and_decoded_by_sign_and_square(make_scene: MakeScene) -> None:
    stored = RNG.integers(-127, 128, (64, 9, 10)).astype("int8")
    stored[:, 2, 3], stored[:, 4, 5] = -128, 0
    scene = describe([make_scene(stored)])
    image, valid = read(scene)
    assert scene.dtype == image.dtype == "float32" and (scene.names[0], scene.names[-1]) == ("A00", "A63")
    assert np.argwhere(~valid).tolist() == [[2, 3], [4, 5]]  # nodata, and no direction
    value = float(stored[7, 1, 1])
    decoded = np.sign(stored.astype(float)) * (stored / 127.5) ** 2
    assert decoded[7, 1, 1] == pytest.approx(np.sign(value) * value**2 / 16256.25)
    assert np.allclose(image[:, valid], unit(decoded[:, valid]), atol=1e-6)
    # a pixel of the grid's outside is none
    with scene.open() as reader:
        assert not reader.read(scene.grid.window.with_margin(2))[1][:2].any()


def test_vectors_that_were_quantised_come_back_to_a_degree(make_scene: MakeScene) -> None:
    true = unit(RNG.normal(size=(64, 12, 12)))
    stored = np.rint(np.sign(true) * np.sqrt(np.abs(true)) * 127.5).astype("int8")
    image, _ = read(describe([make_scene(stored)]))
    assert np.degrees(np.arccos(np.clip((image * true).sum(axis=0), -1, 1))).max() < 1
    floats, _ = read(describe([make_scene(true.astype("float32"))], limits=Limits(sensor="alphaearth")))
    assert np.allclose(floats, true, atol=1e-6)


def test_of_tessera_the_scale_of_a_pixel_is_of_no_account(make_scene: MakeScene) -> None:
    stored = RNG.integers(-127, 128, (128, 8, 8)).astype("int8")
    scene = describe([make_scene(stored)])
    floats = (stored * RNG.uniform(0.01, 0.2, (8, 8))).astype("float32")
    floats[:, 3, 3] = np.nan
    image, valid = read(describe([make_scene(floats)], limits=Limits(sensor="tessera")))
    assert (scene.names[0], scene.names[127]) == ("T000", "T127") and np.argwhere(~valid).tolist() == [[3, 3]]
    assert np.allclose(image[:, valid], read(scene)[0][:, valid], atol=1e-6)


def test_what_may_be_spectra_is_no_embedding_unless_it_is_said(make_scene: MakeScene) -> None:
    spectra = make_scene(RNG.random((128, 8, 8)).astype("float32"))
    assert describe([spectra]).names[0] == "band1" and not describe([spectra]).bands[0].coded
    with rasterio.open(spectra, "r+") as file:
        for i in range(1, 129):
            file.set_band_description(i, f"Tessera_Band_{i - 1}")
    assert describe([spectra]).bands[0].coded == "vector"
    bytes_ = make_scene(RNG.integers(-9, 9, (64, 8, 8)).astype("int8"))
    plain = describe([bytes_], limits=Limits(sensor="none"))
    assert plain.dtype == "int8" and plain.names[0] == "band1"


def ground(side: int, seed: int) -> np.ndarray:
    """Unit vectors (64, side, side): patches of five directions that fade into each other, and noise."""
    rng = np.random.default_rng(seed)
    fields = np.stack([cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), 7) for _ in range(5)])
    share = np.exp(fields * 40)
    directions = np.random.default_rng(0).normal(size=(64, 5))
    return unit(
        np.tensordot(directions, share / share.sum(axis=0), 1) + rng.normal(0, 0.15, (64, side, side))
    )


def test_an_odd_direction_is_found_by_the_commands_as_they_are(make_scene: MakeScene, here: Path) -> None:
    vectors = ground(128, 1)
    odd = np.random.default_rng(99).normal(size=64)
    vectors[:, 70:75, 40:45] = unit(odd)[:, None, None]
    stored = np.rint(np.sign(vectors) * np.sqrt(np.abs(vectors)) * 127.5).astype("int8")
    path = make_scene(stored, nodata=-128)
    assert typed("tile", path, "--size", 32).exit_code == 0
    said = told("info", here / "tiles" / path.stem)
    assert (said["sensor"], said["embedded"], said["dtype"]) == ("alphaearth", True, "float32")
    assert typed("train", "--device", "cpu").exit_code == 0
    assert told("info", "model.onnx")["score"] == "whitened + memory + sectors"
    assert typed("score", path, "--top", 1, "--chips", 0, "--out", "a.geojson").exit_code == 0
    (region,) = json.loads((here / "a.geojson").read_text())["features"]
    row, col = map(int, re.findall(r"\d+", region["properties"]["anomaly_id"])[-2:])
    assert 70 <= row < 75 and 40 <= col < 45
