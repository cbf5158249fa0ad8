"""Converts a model for the QGIS plugin Deepness: one image of fixed size in, one map in [0, 1] out.

The plugin cuts overlapping tiles, divides them by 255, standardises them, runs the model and puts the middle of each
result into a raster layer (https://github.com/PUTvision/qgis-plugin-deepness, `model_base.py`, `regressor.py`). Its map
here is the heatmap's value, -log10 of the tail probability, over HIGHEST. The graph itself is the model's own.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxscript import ir, optimizer

from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.calibrate import LAST, Tail
from satae.inference.card import Card
from satae.inference.runtime import Model

HIGHEST = 10.0  # -log10 p at which the map is 1
SCALING = 255.0  # what the plugin multiplies the map by
WIDEST = 4096  # pixels a side of a tile, at the most
PARITY = 1e-4  # of the map, which the calibration in single precision may differ by


@dataclass(frozen=True)
class Tiling:
    """How the plugin is told to cut: `size` pixels a side, of which neighbours share `percent`."""

    size: int
    percent: int

    @property
    def overlap(self) -> int:
        """In pixels, as the plugin computes it; half of it is cut off on each side."""
        return int(self.size * self.percent / 100 * 2) // 2


def tiling(card: Card) -> Tiling:
    """The smallest tiles whose kept middle has the halo around it, as far apart as the model's stride asks for.

    Raises ModelError where a model sees one frame at a time: the plugin cannot blend frames.
    """
    if card.frame:
        raise ModelError(
            f"{card.architecture} sees frames that have to be blended, which Deepness cannot; train another "
            "architecture, such as conv"
        )
    first = -(-(card.core + 2 * card.halo) // card.stride) * card.stride
    for size in range(first, WIDEST + 1, card.stride):
        for percent in range(100):
            found = Tiling(size, percent)
            if found.overlap // 2 >= card.halo:
                if (size - found.overlap) % card.stride == 0:
                    return found
                break
    raise ModelError(
        f"a halo of {card.halo} pixels needs tiles of more than {WIDEST}, too large for Deepness"
    )


def check(model: Model) -> None:
    """ModelError where the plugin could not run a model; quick, so that it can come before all else."""
    tiling(model.card)
    if model.card.calibration is None:
        raise ModelError(f"{model.name} is not calibrated; train it again")


def plugin_model(proto: onnx.ModelProto, model: Model, nodata: float | None) -> bytes:
    """The file for the plugin; `proto` is the graph of `model`.

    A pixel is not scored, and its map is 0, where a band is NaN or `nodata`. Raises ModelError where the model is not
    calibrated or the map is not that of `model`, and as `tiling`.
    """
    check(model)
    card, how = model.card, tiling(model.card)
    assert card.calibration is not None
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    steps = _Steps()
    valid = _validity(steps, nodata)
    before = list(steps.nodes)
    steps.nodes.clear()
    calibrated = _calibrated(steps, "anomaly_map", card.calibration.pixel)
    share = steps("Clip", steps("Div", calibrated, HIGHEST), 0.0, 1.0)
    steps("Mul", share, valid, name="anomaly")
    nodes = [*before, *out.graph.node, *steps.nodes]
    for field in ("node", "input", "output", "value_info"):
        out.graph.ClearField(field)
    out.graph.node.extend(nodes)
    out.graph.initializer.extend(steps.constants)
    out.graph.input.append(_image("image", len(card.bands), how.size))
    out.graph.output.append(_image("anomaly", 1, how.size))
    onnx.helper.set_model_props(out, metadata(model, how))
    pruned = ir.from_proto(out)
    optimizer.remove_unused_nodes(pruned)
    out = ir.to_proto(pruned)
    onnx.checker.check_model(out)
    content: bytes = out.SerializeToString(deterministic=True)
    _check(content, model, how, nodata)
    return content


def metadata(model: Model, how: Tiling) -> dict[str, str]:
    """What the plugin reads, each a JSON text, and where the model comes from."""
    card, bands = model.card, len(model.card.bands)
    told: dict[str, Any] = {
        "model_type": "Regressor",
        "class_names": {"0": "anomaly"},
        "tile_size": how.size,  # the plugin's code reads this one, its documentation names the other
        "tiles_size": how.size,
        "tiles_overlap": how.percent,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1 / 255] * bands,
        "reg_output_scaling": SCALING,
        "description": f"satae {card.satae_version}, {card.architecture} as {card.precision}, bands "
        f"{', '.join(b.name for b in card.bands)}; a layer value of {SCALING:g} is -log10 p = {HIGHEST:g}",
        "satae_model_sha256": model.sha256,
    }
    if card.gsd_m:
        told["resolution"] = round(100 * statistics.median(card.gsd_m), 4)  # cm a pixel
    return {key: json.dumps(value) for key, value in told.items()}


def _image(name: str, channels: int, size: int) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", channels, size, size])


class _Steps:
    """Nodes that are made one after the other; each gives the name of what it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.made = 0

    def __call__(self, kind: str, *inputs: str | float | npt.NDArray[Any], name: str = "", **how: Any) -> str:
        read = [i if isinstance(i, str) else self.constant(np.asarray(i)) for i in inputs]
        output = name or self._name()
        self.nodes.append(onnx.helper.make_node(kind, read, [output], name=f"node_{output}", **how))
        return output

    def constant(self, value: npt.NDArray[Any]) -> str:
        stored = value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int64)
        self.constants.append(onnx.numpy_helper.from_array(stored, self._name()))
        return self.constants[-1].name

    def _name(self) -> str:
        self.made += 1
        return f"deepness_{self.made}"


def _validity(steps: _Steps, nodata: float | None) -> str:
    """The model's `valid` of its `image`; what the plugin's arithmetic does to a DN is less than the tolerance."""
    bad = steps("IsNaN", "image")
    if nodata is not None and math.isfinite(nodata):
        apart = steps("Abs", steps("Sub", "image", float(nodata)))
        bad = steps("Or", bad, steps("LessOrEqual", apart, 1e-6 * abs(nodata)))
    counted = steps("ReduceMax", steps("Cast", bad, to=onnx.TensorProto.FLOAT), np.array([1]), keepdims=1)
    return steps("Sub", 1.0, counted, name="valid")


def _calibrated(steps: _Steps, scores: str, tail: Tail) -> str:
    """`Tail.exponent` in single precision; the knot below a score is found by halving, not by comparing with all."""
    knots, exponents = np.array(tail.scores), np.array(tail.exponents)
    slopes = np.append(np.diff(exponents) / np.diff(knots), 0.0)
    depth = max(1, (len(knots) - 1).bit_length())
    ends = np.append(knots, np.full(2**depth - len(knots), np.inf))
    place = steps.constant(np.array(0))
    for i in reversed(range(depth)):
        tried = steps("Add", place, np.array(2**i))
        reached = steps("GreaterOrEqual", scores, steps("Gather", ends, tried))
        place = steps("Where", reached, tried, place)
    along = steps("Max", steps("Sub", scores, steps("Gather", knots, place)), 0.0)
    along = steps("Min", along, knots[-1] - knots[0])
    inner = steps(
        "Add", steps("Gather", exponents, place), steps("Mul", along, steps("Gather", slopes, place))
    )
    short = steps("Min", steps("Sub", scores, knots[0]), 0.0)
    below = steps("Exp", steps("Div", short, tail.scale))
    excess = steps("Div", steps("Max", steps("Sub", scores, knots[-1]), 0.0), tail.scale)
    if tail.shape < 1e-9:
        above = steps("Div", excess, math.log(10))
    else:
        grown = steps("Log", steps("Add", steps("Mul", excess, tail.shape), 1.0))
        above = steps("Div", grown, tail.shape * math.log(10))
    fitted = steps("Add", steps("Mul", inner, below), above)
    beyond = steps("Log", steps("Add", steps("Max", steps("Sub", fitted, tail.reach), 0.0), 1.0))
    share = steps("Div", beyond, steps("Add", beyond, LAST))
    return steps("Add", steps("Min", fitted, tail.reach), steps("Mul", share, LAST))


def _check(content: bytes, model: Model, how: Tiling, nodata: float | None) -> None:
    """ModelError where the map of a made-up image is not what the model and its calibration give."""
    card = model.card
    assert card.calibration is not None
    low, high = (np.array(v)[None, :, None, None] for v in (card.normalization.low, card.normalization.high))
    drawn = low + (high - low) * np.random.default_rng(0).random((1, len(card.bands), how.size, how.size))
    image = drawn.astype(card.dtype).astype(np.float32)
    valid = (image != (np.nan if nodata is None else nodata)).all(axis=1)
    session = runtime.open_session(content, "the exported model")
    theirs = session.run(None, {"image": image})[0][:, 0]
    exponents = card.calibration.pixel.exponent(model.anomaly_map(image, valid))
    apart = float(np.abs(np.where(valid, np.clip(exponents / HIGHEST, 0, 1), 0) - theirs).max())
    if not apart <= PARITY:
        raise ModelError(f"the exported map differs by {apart:.3g} (limit {PARITY:.0e}); it was not written")
