"""Model, score and card as one ONNX file, compared with torch before it is believed."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxscript import optimizer
from scipy import stats

from satae.detector.graph import Detector
from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.card import KEY, Card, Parity

OPSET = 18
IR_VERSION = 9  # what ONNX Runtime 1.17 reads
PARITY = 1e-4  # of the score's range


def to_onnx(detector: Detector, bands: int, size: int) -> onnx.ModelProto:
    """The graph with inputs image and valid and the outputs of `graph.Detector`.

    N, H and W are dynamic; weights are inside.
    """
    detector.eval()
    example = torch.zeros(2, bands, size, size), torch.ones(2, 1, size, size)
    n, h, w = (torch.export.Dim(name, min=1 if name == "N" else 8) for name in "NHW")
    axes = {0: n, 2: h, 3: w}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            detector, example, dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
            input_names=["image", "valid"], output_names=["anomaly_map", "pred_score", "band_error", "reconstruction"],
            dynamic_shapes=(axes, axes), optimize=False,
        )  # fmt: skip
        assert program is not None
        optimizer.fold_constants(program.model)  # all of `optimize=True` that counts, in half of its time
        optimizer.remove_unused_nodes(program.model)
    proto: onnx.ModelProto = program.model_proto
    proto.ir_version = IR_VERSION
    del proto.metadata_props[:]
    for node in proto.graph.node:  # traces of the exporter, with paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(proto)
    return proto


def parity(
    detector: Detector, content: bytes, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> Parity:
    """Compare torch and ONNX Runtime (CPU) on tiles (N, B, H, W).

    Raises ModelError where they differ by more than PARITY of the score's range.
    """
    session = runtime.open_session(content, "the exported model")
    dn = torch.from_numpy(np.where(valid[:, None], image, 0).astype(np.float32))
    mask = torch.from_numpy(valid[:, None].astype(np.float32))
    with torch.no_grad():
        ours = detector(dn, mask)[0].numpy()
    theirs = session.run(["anomaly_map"], {"image": dn.numpy(), "valid": mask.numpy()})[0]
    good = valid[:, None]
    largest = float(np.abs(ours - theirs)[good].max())
    span = float(np.ptp(ours[good])) or 1.0
    rank = float(stats.spearmanr(ours[good], theirs[good]).statistic) if np.ptp(ours[good]) else 1.0
    if not largest / span <= PARITY:
        raise ModelError(
            f"the exported model differs from torch by {largest:.3g} ({largest / span:.1e} of the score's "
            f"range, limit {PARITY:.0e}); it was not written"
        )
    return Parity(
        tiles=len(image), largest_difference=largest, share_of_range=largest / span, rank_correlation=rank
    )


def with_card(proto: onnx.ModelProto, card: Card) -> bytes:
    """The file's bytes, with the card in its metadata."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.producer_name, copy.producer_version = "satae", card.satae_version
    onnx.helper.set_model_props(copy, {KEY: card.model_dump_json()})
    content: bytes = copy.SerializeToString(deterministic=True)
    return content
