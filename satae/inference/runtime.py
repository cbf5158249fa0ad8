"""The only door to ONNX Runtime: a model file as something that scores arrays."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from satae import heap
from satae.errors import DeviceError, ModelError
from satae.inference.card import KEY, Card, parse
from satae.inference.footprint import check_memory
from satae.inference.frames import blend
from satae.inference.part import nodes_of, part, with_outputs
from satae.inference.sequences import carries

MAX_BYTES = 2 * 2**30
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
# the key of a tensor stored in another file, in protobuf's shortest form and in those padded to hide it
EXACT = {"use_tf32": "0"}  # TF32 rounds products to 10 bits, which is not what was calibrated
EXTERNAL = re.compile(rb"(\x0a|\x8a\x80*\x00)(\x08|\x88\x80*\x00)location")

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Origin:
    """The file of a model and how it was opened."""

    path: Path
    device: str
    threads: int


@dataclass(frozen=True)
class Model:
    """An open session. `provider` is the one that really took; `device` its short name.

    A model that sees one frame at a time is blended (`frames`), from the first pixel of an image on. One that comes
    from a file is pickled by path and hash, and opened again where it arrives.
    """

    session: Any
    card: Card
    provider: str
    sha256: str
    name: str
    origin: Origin | None = None

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", threads: int = 0) -> Model:
        """Open a model file on a device, auto, cpu or cuda; ModelError where it is none of satae's."""
        return load(Path(path), device, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            raise ModelError(
                f"{self.name} was not opened from a file and cannot be handed to another process"
            )
        # a session cannot be pickled, and a file can have been replaced meanwhile: path and hash
        return _reopened, (self.origin, self.sha256)

    @property
    def device(self) -> str:
        """'cuda' or 'cpu'."""
        return "cuda" if self.provider == PROVIDERS["cuda"] else "cpu"

    def anomaly_map(self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Array:
        """Scores (N, H, W) of DN (N, B, H, W), NaN where `valid` (N, H, W) is False."""
        scores = self._blended(["anomaly_map"], image, valid)[0][:, 0]
        return np.where(valid, scores, np.float32(np.nan))

    def band_error(self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Array:
        """What each band adds to the error: (N, B, H, W), 0 where invalid."""
        return self._blended(["band_error"], image, valid)[0]

    def reconstruction(self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Array:
        """What the autoencoder made of the image, in DN: (N, B, H, W), 0 where invalid."""
        return self._blended(["reconstruction"], image, valid)[0]

    def explanation(
        self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> tuple[Array, Array, Array]:
        """`anomaly_map`, `band_error` and `reconstruction` of one inference."""
        scores, error, expected = self._blended(["anomaly_map", "band_error", "reconstruction"], image, valid)
        return np.where(valid, scores[:, 0], np.float32(np.nan)), error, expected

    def pred_score(self, image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Array:
        """One score a tile (N)."""
        return self._run(["pred_score"], image, valid)[0]

    def rest(self) -> None:
        """Give back what inference has taken, which is as much as one took at most; the next takes it again."""
        self.session.rest()
        heap.trim()

    def _blended(
        self, outputs: list[str], image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
    ) -> Sequence[Array]:
        card = self.card
        if not card.frame:
            return self._run(outputs, image, valid)
        return blend(lambda i, v: self._run(outputs, i, v), image, valid, card.frame, card.stride)

    def _run(self, outputs: list[str], image: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> list[Array]:
        with np.errstate(invalid="ignore", over="ignore"):
            feed = {
                # what invalid pixels hold never enters the graph: a NaN would spread through sums over boxes
                "image": np.where(valid[:, None], image, 0).astype(np.float32),
                "valid": valid[:, None].astype(np.float32),
            }
        try:
            return [np.asarray(out) for out in self.session.run(outputs, feed)]
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelError(f"{self.name} failed while scoring: {_first_line(error)}") from error


def load(path: Path, device: str = "auto", threads: int = 0) -> Model:
    """Open a model file; see `from_bytes`. ModelError, too, where an inference would take too much memory."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"{path} {what}; make a model with `satae train`")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path} is larger than {MAX_BYTES >> 30} GiB, the limit of an ONNX file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    origin = Origin(path.absolute(), device, threads)
    model = from_bytes(content, path.name, device, threads)
    # a file may come from anywhere, and claims what it likes
    check_memory(*_session_of_all(content, path.name), model.card, path.name)
    return replace(model, origin=origin)


def _session_of_all(content: bytes, name: str) -> tuple[Any, list[tuple[list[str], list[str]]]]:
    """A session that gives every tensor of a graph and computes nothing beforehand; and the graph's nodes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    # constants that are folded would be filled, whatever their size
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        nodes = nodes_of(content)
        every = with_outputs(content, [made for _, outputs in nodes for made in outputs])
        return onnxruntime.InferenceSession(every, options, providers=[PROVIDERS["cpu"]]), nodes
    except Exception as error:
        raise ModelError(f"{name} is not a usable ONNX model: {_first_line(error)}") from error


def _reopened(origin: Origin, sha256: str) -> Model:
    """A model that was pickled; ModelError where its file is another one by now."""
    model = load(origin.path, origin.device, origin.threads)
    if model.sha256 != sha256:
        raise ModelError(f"{origin.path} was replaced since it was opened; start again")
    return model


def from_bytes(content: bytes, name: str, device: str = "auto", threads: int = 0) -> Model:
    """A session on the device that was asked for.

    'auto' takes CUDA where its provider loads. Raises DeviceError where 'cuda' was asked for and ONNX
    Runtime fell back, ModelError where the bytes are no model that satae wrote.
    """
    if EXTERNAL.search(content):
        raise ModelError(f"{name} keeps weights in another file, which is not read; export it as one file")
    session = open_session(content, name, device, threads)
    provider = session.get_providers()[0]
    if device == "cuda" and provider != PROVIDERS["cuda"]:
        raise DeviceError(
            f"--device cuda: ONNX Runtime runs {name} on {provider}; it needs onnxruntime-gpu and its CUDA "
            "libraries (`pip install onnxruntime-gpu[cuda,cudnn]`), or use --device auto"
        )
    if device == "auto" and _cuda_visible() and provider != PROVIDERS["cuda"]:
        log.warning("there is a CUDA device, but ONNX Runtime runs %s on %s", name, provider)
    try:
        text = session.get_modelmeta().custom_metadata_map.get(KEY)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name} has metadata that are no text: the file is damaged") from error
    if text is None and carries(content):
        raise ModelError(
            f"{name} is a network over the dates of one place, which `satae series --state` goes on with"
        )
    if text is None:
        raise ModelError(f"{name} carries no satae model card; make a model with `satae train`")
    card = parse(text, name)
    return Model(session, card, provider, hashlib.sha256(content).hexdigest(), name)


def open_session(content: bytes, name: str, device: str = "cpu", threads: int = 0) -> Any:
    """An ONNX Runtime session, on CUDA where that is wanted and takes; ModelError where the bytes are no model."""
    options = onnxruntime.SessionOptions()
    # ONNX Runtime prints to stderr by itself; what goes wrong is raised as well
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # planned ahead, memory for every shape of window is kept, and opening takes twice as long; nothing gets faster
    options.enable_mem_pattern = options.enable_mem_reuse = False
    # idle threads would spin, on cores that readers of the next window need
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    offered = onnxruntime.get_available_providers()
    wanted: list[Any] = [PROVIDERS["cpu"]]
    if device != "cpu" and PROVIDERS["cuda"] in offered and _cuda_visible():
        # newer versions only
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # the CUDA libraries that pip installed
        wanted.insert(0, (PROVIDERS["cuda"], EXACT | {"device_id": str(device_id())}))
    try:
        return Session(content, options, wanted)
    except Exception as error:
        # [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what went wrong
        reason = _first_line(error).rpartition(" : ")[2].rstrip(".")
        raise ModelError(
            f"{name} is not a usable ONNX model, or a damaged one ({reason}); export or copy it again"
        ) from error


class Session:
    """An ONNX Runtime session that computes no more than it is asked for, where that is one output."""

    def __init__(self, content: bytes, options: Any, providers: list[Any]) -> None:
        self._content, self._how = content, {"sess_options": options, "providers": providers}
        self._opened: dict[str, Any] = {}
        self._of("")

    def _of(self, output: str) -> Any:
        """The session of one output, or of the whole model for an empty name, opened at the first call."""
        if output not in self._opened:
            cut = part(self._content, output) if output else self._content
            self._opened[output] = onnxruntime.InferenceSession(cut, **self._how)
        return self._opened[output]

    def run(self, outputs: Sequence[str] | None, feed: dict[str, Array]) -> list[Array]:
        """The outputs (None: all), from a session of their own where there is one of them."""
        alone = outputs[0] if outputs is not None and len(outputs) == 1 else ""
        return list(self._of(alone).run(outputs, feed))

    def rest(self) -> None:
        """Give back what inference has taken; the next call opens the model again."""
        self._opened.clear()

    def __getattr__(self, name: str) -> Any:
        # inputs, outputs, providers and metadata are those of the whole model
        return getattr(self._of(""), name)


def device_id(environment: Mapping[str, str] = os.environ) -> int:
    """The GPU to open on, counted among those that this process is shown: the first, or that of its local rank.

    Where a launcher starts several processes on a machine and shows all GPUs to each, all would open on the first one.
    """
    shown, rank = environment.get("CUDA_VISIBLE_DEVICES"), environment.get("LOCAL_RANK", "0")
    number = int(rank) if rank.isdecimal() else 0
    # a process that is shown GPUs of its own has no use for its number
    return number if shown is None or number < len(shown.split(",")) else 0


def _cuda_visible() -> bool:
    """Whether a CUDA driver is on this machine: without one, trying only prints errors."""
    return os.path.exists("/proc/driver/nvidia") or os.path.exists("/dev/nvidiactl") or os.name == "nt"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
