"""The ONNX file: torch is the oracle, at the size of the export and at others."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from detectors import BANDS, HEADS, Named, detector, image, mask

import satae
from satae import config, models
from satae.detector import graph
from satae.detector.graph import Detector
from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.card import KEY
from satae.models import Traits
from satae.tiles import store
from satae.training import export
from satae.training import run as training
from satae.training.export import PARITY, Lattice, lattice_of

SIZE = 32
NAMES = ["anomaly_map", "pred_score", "band_error", "reconstruction"]
STEPS = {"blur": 0.5, "around_px": 7, "support_px": 5, "max_object_px": 9}
ALONE = [("whitened", {})]
TOGETHER = [head for head in HEADS if head[0] != "surprise"]
# an export takes seconds: every architecture once, every head once, the map's steps once
ESPECIALLY = {
    "conv": (TOGETHER, {}),
    "density": ([("surprise", {})], {}),
    "rx": ([*ALONE, ("mse", {})], STEPS),
}
CASES = [(net, *ESPECIALLY.get(net, (ALONE, {}))) for net in models.NAMES]


def made(net: str, *heads: Named, seed: int = 0, **steps: float) -> Detector:
    """A fitted detector; another seed, other weights."""
    out = detector(net, *heads, **steps)
    torch.manual_seed(seed)
    for weight in out.model.parameters():
        weight.data += 0.02 * seed * torch.randn(weight.shape)
    return out


def batch(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return image(count, height, width, 3).numpy(), mask(count, height, width, 0.9)[:, 0].numpy() > 0


def session(content: bytes) -> Any:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def case_id(case: Any) -> str:
    net, heads, steps = case
    return f"{net}-{len(heads)}-{'steps' if steps else 'plain'}"


@pytest.fixture(scope="module", params=CASES, ids=case_id)
def exported(request: pytest.FixtureRequest) -> tuple[Detector, onnx.ModelProto]:
    net, heads, steps = request.param
    found = made(net, *heads, **steps)
    return found, export.to_onnx(found, BANDS)


@cache
def plain_of() -> tuple[Detector, bytes]:
    found = made("conv", ("mse", {}))
    return found, export.to_onnx(found, BANDS).SerializeToString(deterministic=True)


SHAPES = [(1, 32, 32), (5, 32, 32), (1, 64, 40), (2, 33, 47), (1, 8, 8), (3, 101, 17)]


def test_onnx_equals_torch_whatever_the_shape(exported):
    found, proto = exported
    opened = session(proto.SerializeToString())
    for shape in SHAPES:
        dn, valid = batch(*shape)
        feeds = {"image": dn, "valid": valid[:, None].astype(np.float32)}
        theirs = opened.run(NAMES, feeds)
        with torch.no_grad():
            ours = [out.numpy() for out in found(*(torch.from_numpy(f) for f in feeds.values()))]
        assert [one.shape for one in ours] == [other.shape for other in theirs]
        for name, one, other in zip(NAMES, ours, theirs, strict=True):
            apart = np.abs(one - other)
            # of two remembered pixels that are equally near, each side may take another: the shares differ, not the sum
            worst = np.quantile(apart, 0.99) if name == "band_error" else apart.max()
            span = np.ptp(ours[0] if name == "pred_score" else one)
            assert worst <= PARITY * span, (shape, name)


def test_the_file_has_the_inputs_and_outputs_that_are_promised(exported):
    graph = exported[1].graph
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in [*graph.input, *graph.output]
    }
    assert list(shapes) == ["image", "valid", *NAMES]
    n, c, h, w = shapes["image"]
    assert c == BANDS and all(isinstance(d, str) for d in (n, h, w)) and len({n, h, w}) == 3
    assert shapes["valid"] == shapes["anomaly_map"] == [n, 1, h, w]
    assert shapes["pred_score"] == [n] and shapes["band_error"] == shapes["reconstruction"] == [
        n,
        BANDS,
        h,
        w,
    ]
    kinds = {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]}
    assert kinds == {onnx.TensorProto.FLOAT}


def test_the_file_is_old_enough_for_onnx_runtime_1_17(exported):
    proto = exported[1]
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version <= 9
    assert {o.domain for o in proto.opset_import} <= {"", "ai.onnx"}
    assert all(o.version <= 20 for o in proto.opset_import)


def test_all_weights_are_inside(exported):
    proto = exported[1]
    assert not any(t.external_data or t.data_location for t in proto.graph.initializer)
    assert not proto.functions


def test_nothing_of_this_machine_is_in_the_graph(exported):
    content = exported[1].SerializeToString()
    for path in (Path(satae.__file__).parent, Path(torch.__file__).parent, Path.home(), Path.cwd()):
        assert str(path).encode() not in content
    assert b".py" not in content


def test_the_same_weights_give_the_same_bytes():
    plain = plain_of()
    again = export.to_onnx(made("conv", ("mse", {})), BANDS)
    assert again.SerializeToString(deterministic=True) == plain[1]


def test_parity_is_measured(exported):
    detector, proto = exported
    found = export.parity(detector, proto.SerializeToString(), *batch(4, SIZE, SIZE))
    assert found.tiles == 4
    assert found.largest_difference >= 0 and 0 <= found.share_of_range < PARITY
    assert found.rank_correlation > 0.99999


def test_another_graph_fails_parity():
    plain = plain_of()
    with pytest.raises(ModelError, match=r"^the exported model differs from torch by .*it was not written$"):
        export.parity(made("conv", ("mse", {}), seed=1), plain[1], *batch(4, SIZE, SIZE))


def test_a_graph_that_gives_no_numbers_fails_parity():
    plain = plain_of()
    detector = made("conv", ("mse", {}))
    for weight in detector.parameters():
        weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="differs from torch by nan"):
        export.parity(detector, plain[1], *batch(2, SIZE, SIZE))


def test_a_model_that_fails_parity_is_not_written(tile_set, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PARITY", 1e-12)
    recipe = config.load(
        None, ["model.name=conv", "train.epochs=1", "train.min_steps=1", "model.params.width=4"]
    )
    with pytest.raises(ModelError, match="differs from torch"):
        training.train([store.load(tile_set)], recipe, tmp_path / "m.onnx", tmp_path / "run", device="cpu")
    assert not (tmp_path / "m.onnx").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_card_is_in_the_file_and_changes_nothing_else(model_path):
    proto = onnx.load(model_path)
    assert [p.key for p in proto.metadata_props] == [KEY]
    assert proto.producer_name == "satae" and proto.producer_version == satae.__version__
    again = export.with_card(proto, runtime.load(model_path, "cpu").card)
    assert again == model_path.read_bytes()


def test_a_trained_model_is_one_checked_file_with_nothing_of_this_machine(model_path, tile_set):
    assert [p.name for p in sorted(model_path.parent.iterdir())] == ["model.onnx", "runs"]
    onnx.checker.check_model(str(model_path), full_check=True)
    content = model_path.read_bytes()
    record = store.load(tile_set).record
    for path in (
        model_path.parent,
        tile_set.parent,
        Path(record.files[0].path).parent,
        Path.home(),
        Path.cwd(),
    ):
        assert str(path).encode() not in content


# where inferences lie: by the measured reach, by the memory that a pixel needs, or by frames


class Part(torch.nn.Module):
    """Something that keeps so many numbers a pixel."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells


def test_a_graph_that_needs_much_memory_a_pixel_yields_less_at_once():
    sides = [
        export.core(SimpleNamespace(traits=Traits(cells=n), heads=[Part(0)])) for n in (0, 1, 1_000, 10**9)
    ]
    assert sides == [256, 256, 128, 32]
    assert export.core(SimpleNamespace(traits=Traits(), heads=[Part(5), Part(1_000)])) == 128


def test_a_wide_halo_is_shared_by_more_pixels_at_once_where_memory_allows():
    light, heavy = (SimpleNamespace(traits=Traits(cells=n), heads=[Part(0)]) for n in (0, 1_000))
    assert [export.core(light, halo) for halo in (0, 64, 65, 200)] == [256, 256, 384, 384]
    assert export.core(heavy, 200) == 128


@pytest.mark.parametrize("net", models.NAMES)
def test_the_halo_is_the_reach_up_to_the_stride_or_what_frames_share(net: str):
    found = detector(net)
    made, stride = lattice_of(found, BANDS), found.traits.stride
    if found.traits.frame:
        assert made == Lattice(stride // 2, stride // 2, 256, stride) and made.context == 0
        return
    reach = graph.reach(found, BANDS, stride)
    assert made.stride == stride and made.frame == 0 and made.context == made.halo
    assert 0 <= made.halo - reach < stride and made.halo % stride == 0


@pytest.mark.parametrize("size", [16, 32])
def test_frames_overlap_by_half(size: int):
    found = SimpleNamespace(traits=Traits(stride=size, frame=size))
    assert lattice_of(found, BANDS) == Lattice(size // 2, size // 2, 256, size)
