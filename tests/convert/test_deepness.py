"""The export for the QGIS plugin Deepness, run as the plugin runs it and compared with the heatmap of `satae score`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio

from satae.convert import deepness
from satae.demo import synthetic
from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.calibrate import Tail
from satae.scene.describe import describe
from satae.scoring import heatmap


def layer(content: bytes, image: np.ndarray) -> np.ndarray:
    """What the plugin makes of an image (band, row, col) as 'Entire layer', after its source: the raster layer.

    Its tiles start at the top left of an extent that is widened to the right and upwards until whole tiles fit.
    """
    session = onnxruntime.InferenceSession(content)
    (given,) = session.get_inputs()
    told = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    mean, std = (np.array(told[f"standardization_{k}"], np.float32) for k in ("mean", "std"))
    size = given.shape[-1]
    overlap = int(size * int(told["tiles_overlap"]) / 100 * 2) // 2
    step, half = size - overlap, overlap // 2
    _, height, width = image.shape
    top, right = (size - n if n <= size else -(n - size) % step for n in (height, width))
    wide = np.pad(image, ((0, 0), (top, 0), (0, right)))
    out = np.zeros(wide.shape[1:], np.float32)
    counts = [(n - size) // step for n in out.shape]
    for row in range(counts[0] + 1):
        for col in range(counts[1] + 1):
            y, x = row * step, col * step
            tile = wide[:, y : y + size, x : x + size].transpose(1, 2, 0)[None]
            normalised = np.float32(tile * 1.0 / 255.0)
            fed = ((normalised - mean) / std).transpose(0, 3, 1, 2)
            result = session.run(None, {given.name: fed})[0]
            result *= told["reg_output_scaling"]
            rows, cols = (
                slice(0 if i == 0 else half, size if i == count else size - half)
                for i, count in ((row, counts[0]), (col, counts[1]))
            )
            out[y : y + size, x : x + size][rows, cols] = result[0, 0][rows, cols]
    return out[top:, :width]


def wide_scene(make_scene):
    """A scene of several tiles with a hole of nodata: (its path, its image)."""
    image = synthetic.scene(height=420, width=640, seed=3).image.copy()
    image[:, 150:200, 280:330] = 0
    return make_scene(image, name="wide.tif", nodata=0), image


def heat(path: Path, model: runtime.Model, out: Path) -> np.ndarray:
    """The heatmap that `satae score` writes."""
    heatmap.write(describe([path]), model, model.card.calibration, out, 1, lambda pixels: None)
    with rasterio.open(out) as dataset:
        return dataset.read(1)


def test_the_plugins_layer_is_the_heatmap(model, model_path, make_scene, tmp_path):
    path, image = wide_scene(make_scene)
    proto = onnx.load(model_path)
    expected = heat(path, model, tmp_path / "heat.tif")
    shown = layer(deepness.plugin_model(proto, model, nodata=0), image) * 10 / 255
    valid = np.isfinite(expected)
    assert not valid[150:200, 280:330].any() and (shown[~valid] == 0).all()
    halo = model.card.halo
    inside = np.zeros_like(valid)
    inside[halo:-halo, halo:-halo] = True  # beyond, satae sees nothing and the plugin the end of the image
    np.testing.assert_allclose(
        shown[valid & inside], np.clip(expected, 0, 10)[valid & inside], rtol=0, atol=1e-3
    )
    assert expected[valid & inside].max() > 3  # there is something to see


def test_without_overlap_there_would_be_seams(model, model_path, make_scene, tmp_path):
    path, image = wide_scene(make_scene)
    proto = onnx.load(model_path)
    expected = heat(path, model, tmp_path / "heat.tif")
    loose = onnx.load_from_string(deepness.plugin_model(proto, model, nodata=0))
    for told in loose.metadata_props:
        if told.key == "tiles_overlap":
            told.value = "0"
    shown = layer(loose.SerializeToString(), image) * 10 / 255
    assert np.nanmax(np.abs(shown - np.clip(expected, 0, 10))[:, 100:-100]) > 0.05


def test_without_a_nodata_value_all_pixels_are_scored(model, model_path, make_scene, tmp_path):
    path, image = wide_scene(make_scene)
    proto = onnx.load(model_path)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = None
    expected = heat(path, model, tmp_path / "heat.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 0
    shown = layer(deepness.plugin_model(proto, model, nodata=None), image) * 10 / 255
    inside = (slice(model.card.halo, -model.card.halo),) * 2
    np.testing.assert_allclose(shown[inside], np.clip(expected, 0, 10)[inside], rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_every_part_of_the_tail_is_in_the_graph(model, model_path, landscape, shape):
    proto = onnx.load(model_path)
    size = deepness.tiling(model.card).size
    image = np.resize(landscape.image, (4, size, size)).astype(np.float32)
    raw = model.anomaly_map(image[None], np.ones((1, size, size), bool))[0]
    knots = np.quantile(raw.astype(np.float64), [0.2, 0.4, 0.7, 0.9, 0.95])
    tail = Tail(
        n=99, scores=knots.tolist(), exponents=[0.1, 0.2, 0.5, 1.0, 1.3], shape=shape, scale=float(knots[0])
    )
    calibration = model.card.calibration.model_copy(update={"pixel": tail})
    other = replace(model, card=model.card.model_copy(update={"calibration": calibration}))
    shown = layer(deepness.plugin_model(proto, other, nodata=None), image) * 10 / 255
    np.testing.assert_allclose(shown, np.clip(tail.exponent(raw), 0, 10), rtol=0, atol=1e-3)


def test_the_plugin_can_read_what_it_is_told(model, model_path):
    proto = onnx.load(model_path)
    made = onnx.load_from_string(deepness.plugin_model(proto, model, nodata=None))
    told = {p.key: json.loads(p.value) for p in made.metadata_props}
    size = deepness.tiling(model.card).size
    assert told["model_type"] == "Regressor" and told["class_names"] == {"0": "anomaly"}
    assert told["resolution"] == 1000.0  # cm a pixel
    assert told["tile_size"] == told["tiles_size"] == size and told["reg_output_scaling"] == 255
    assert told["standardization_mean"] == [0] * 4 and told["standardization_std"] == [1 / 255] * 4
    (given,), (result,) = made.graph.input, made.graph.output
    for value, channels in ((given, 4), (result, 1)):
        dims = value.type.tensor_type.shape.dim
        assert [d.dim_value for d in dims[1:]] == [channels, size, size] and dims[0].dim_param
    assert {o.domain: o.version for o in made.opset_import} == {"": 18}
    assert not any(i.data_location == onnx.TensorProto.EXTERNAL for i in made.graph.initializer)
    onnx.checker.check_model(made, full_check=True)


@pytest.mark.parametrize("halo", [0, 1, 7, 24, 60, 85])
@pytest.mark.parametrize("stride", [1, 2, 8, 12])
@pytest.mark.parametrize("core", [32, 256])
def test_tiles_overlap_by_the_halo_and_keep_to_the_stride(model, halo, stride, core):
    card = model.card.model_copy(update={"halo": halo * stride, "stride": stride, "core": core})
    found = deepness.tiling(card)
    step = found.size - found.overlap
    assert found.overlap // 2 >= card.halo and step > 0
    assert step % stride == 0 and found.size % stride == 0


def test_frames_are_refused(model, model_path):
    proto = onnx.load(model_path)
    framed = replace(model, card=model.card.model_copy(update={"frame": 32, "halo": 28, "stride": 4}))
    with pytest.raises(ModelError, match="frames that have to be blended"):
        deepness.plugin_model(proto, framed, nodata=None)


def test_a_map_that_differs_is_not_exported(model, model_path, monkeypatch):
    proto = onnx.load(model_path)
    monkeypatch.setattr(deepness, "PARITY", -1.0)
    with pytest.raises(ModelError, match="differs by"):
        deepness.plugin_model(proto, model, nodata=None)
