"""Model, score and card as one ONNX file, compared with torch before it is believed; and where it is to be run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from scipy import stats

from satae import heads
from satae.detector.graph import Detector, reach
from satae.errors import ModelError
from satae.inference import frames, runtime
from satae.inference.card import KEY, Card, Parity
from satae.training.tracing import Trace
from satae.training.translation import TRANSLATIONS

OUTPUTS = ("anomaly_map", "pred_score", "band_error", "reconstruction")
CORE = 256  # pixels a side that one inference yields
CELLS = 24_000_000  # numbers that one step of the graph may hold; about 100 MB
EXAMPLE = 2, 40, 48  # tiles, rows and columns that the detector is run on to be written down
OPSET = 18
IR_VERSION = 9  # what ONNX Runtime 1.17 reads
PARITY = 1e-4  # of the score's range


@dataclass(frozen=True)
class Lattice:
    """Where inferences lie, in pixels: the fields of a model card of these names."""

    stride: int
    halo: int
    core: int
    frame: int = 0

    @property
    def context(self) -> int:
        """Pixels around a tile that its scores follow from; a frame has nothing around it."""
        return 0 if self.frame else self.halo


def lattice_of(detector: Detector, bands: int) -> Lattice:
    """The lattice of a detector, whose halo is the reach of its whole graph in whole strides.

    That of a model that sees one frame at a time is what its frames overlap by, and the stride how far they
    are apart. Raises ModelError as `graph.reach`.
    """
    frame, stride = detector.traits.frame, detector.traits.stride
    # frames overlap by OVERLAP in each direction, and the halo is what completes them at an edge
    if frame:
        step = frame // frames.OVERLAP
        return Lattice(step, frame - step, CORE, frame)
    # rounded up to whole strides, so that a window with its halo still begins at a multiple of one
    halo = -(-reach(detector, bands, stride) // stride) * stride
    return Lattice(stride, halo, core(detector, halo))


def core(detector: Detector, halo: int = 0) -> int:
    """The side of what one inference yields: CORE, half as much again with a wide halo, for that is worked out too, or
    less where a step of the graph needs much memory."""
    side = CORE if halo <= CORE // 4 else 3 * CORE // 2
    most = max(detector.traits.cells, *map(heads.cells, detector.heads))
    return side if not most else max(32, min(side, math.isqrt(CELLS // most) // 32 * 32))


def to_onnx(detector: Detector, bands: int) -> onnx.ModelProto:
    """The graph with inputs image and valid and the outputs of `graph.Detector`.

    N, H and W are dynamic; weights are inside. Raises ModelError where the detector calls what has no translation.
    """
    # sizes of the example are of no account, but for finding out which numbers follow from them
    image, valid = torch.zeros(EXAMPLE[0], bands, *EXAMPLE[1:]), torch.ones(EXAMPLE[0], 1, *EXAMPLE[1:])
    trace = Trace(detector.eval(), TRANSLATIONS)
    trace.bind(image, "image")
    trace.bind(valid, "valid")
    with torch.no_grad(), trace:
        outputs = detector(image, valid)
    proto = trace.model(
        {"image": ("N", bands, "H", "W"), "valid": ("N", 1, "H", "W")},
        {name: (made, _free(made)) for name, made in zip(OUTPUTS, outputs, strict=True)},
        OPSET,
    )
    proto.ir_version = IR_VERSION
    onnx.checker.check_model(proto)
    return proto


def _free(made: torch.Tensor) -> list[int | str]:
    """The shape of an output (N) or (N, B, H, W), whose N, H and W are free."""
    return ["N", *(made.shape[1:2]), *"HW"][: made.dim()]


def parity(
    detector: Detector, content: bytes, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> Parity:
    """Compare torch and ONNX Runtime (CPU) on each of the tiles (N, B, H, W), and on pieces of two.

    Raises ModelError where they differ by more than PARITY of the score's range.
    """
    session = runtime.open_session(content, "the exported model")
    pairs = [_scores(detector, session, image[i : i + 1], valid[i : i + 1]) for i in range(len(image))]
    ours, theirs = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    # another N, H and W than the graph was traced with, and odd ones
    rows, cols = (max(1, side * 5 // 8 - 1) for side in valid.shape[1:])
    pairs.append(_scores(detector, session, image[:2, :, :rows, :cols], valid[:2, :rows, :cols]))
    largest = float(np.max([np.abs(one - other).max(initial=0) for one, other in pairs]))
    # relative to the range of scores: they have no unit of their own
    span, varies = float(np.ptp(ours)) or 1.0, bool(np.ptp(ours))
    rank = float(stats.spearmanr(ours, theirs).statistic) if varies else 1.0
    if not largest / span <= PARITY:
        raise ModelError(
            f"the exported model differs from torch by {largest:.3g} ({largest / span:.1e} of the score's "
            f"range, limit {PARITY:.0e}); it was not written"
        )
    return Parity(
        tiles=len(image), largest_difference=largest, share_of_range=largest / span, rank_correlation=rank
    )


@torch.no_grad()
def _scores(
    detector: Detector, session: Any, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The scores of the valid pixels of tiles, from torch and from ONNX Runtime."""
    dn, mask = np.where(valid[:, None], image, 0).astype(np.float32), valid[:, None].astype(np.float32)
    theirs = session.run(["anomaly_map"], {"image": dn, "valid": mask})[0]
    ours = detector(torch.from_numpy(dn), torch.from_numpy(mask))[0].numpy()
    return ours[valid[:, None]], theirs[valid[:, None]]


def with_card(proto: onnx.ModelProto, card: Card) -> bytes:
    """The file's bytes, with the card in its metadata."""
    # the card holds what was measured with the graph, so it comes after it
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.producer_name, copy.producer_version = "satae", card.satae_version
    onnx.helper.set_model_props(copy, {KEY: card.model_dump_json()})
    content: bytes = copy.SerializeToString(deterministic=True)
    return content
