"""Reads CIFAR-10 (Krizhevsky 2009) as it is distributed: binary or Python batches, in folders or in tar archives.

Nothing is downloaded, extracted to disk or run: pickles are read by `pickled`. All that a header or an archive
claims is bounded before memory is taken.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from satae.bench import pickled
from satae.errors import DataError

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SHAPE = (3, 32, 32)  # red, green, blue; rows from the top
PIXELS = 3 * 32 * 32
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
LARGEST = 64 * 2**20  # bytes of one batch; those that are distributed have 31 million
LARGEST_ARCHIVE = 256 * 2**20  # bytes, unpacked; those that are distributed have 186 million
MOST_MEMBERS = 100  # of an archive
HOW = (
    "get cifar-10-binary.tar.gz (162 MB) or cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html "
    "and pass it, or the folder that it unpacks to, with --data"
)

Bytes = npt.NDArray[np.uint8]
Files = dict[str, bytes]  # contents by name without a folder


@dataclass(frozen=True)
class Cifar:
    """The images of CIFAR-10: `train` and `test` (n, 3, 32, 32) uint8, and the class (n,) of each as in CLASSES."""

    train: Bytes
    train_classes: Bytes
    test: Bytes
    test_classes: Bytes


def read(path: Path) -> Cifar:
    """The images in an archive, in a folder of batches, or in a folder that holds one of these.

    Raises DataError, with what to do, where there are none, a batch is missing, or one is damaged or hostile.
    """
    found, kind = _batches(path), ""
    for kind in (".bin", ""):
        if f"{BATCHES[0]}{kind}" in found:
            break
    else:
        raise DataError(f"{path} holds no CIFAR-10 batches; {HOW}")
    missing = [f"{name}{kind}" for name in BATCHES if f"{name}{kind}" not in found]
    if missing:
        raise DataError(f"{path} is not complete: {', '.join(missing)} is missing; {HOW}")
    parse = binary if kind else python
    parts = [parse(found[f"{name}{kind}"](), f"{path}: {name}{kind}") for name in BATCHES]
    images, classes = (np.concatenate([part[i] for part in parts[:-1]]) for i in range(2))
    return Cifar(images, classes, *parts[-1])


def binary(content: bytes, name: str) -> tuple[Bytes, Bytes]:
    """Images (n, 3, 32, 32) and classes (n,) of binary records: a class byte and 3072 pixel bytes, plane by plane."""
    if not content or len(content) % (1 + PIXELS):
        raise DataError(
            f"{name} has {len(content)} bytes, which is no whole number of records of {1 + PIXELS}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return _checked(records[:, 1:], records[:, 0], name)


def python(content: bytes, name: str) -> tuple[Bytes, Bytes]:
    """Images and classes, as `binary`, of a pickled dictionary with `data` (n, 3072) and a list `labels`."""
    found = pickled.loads(content, name)
    if not isinstance(found, dict):
        raise DataError(f"{name} holds no dictionary with data and labels")
    found = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    data, labels = found.get("data"), found.get("labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS or not len(data):
        raise DataError(f"{name} has no array data of n x {PIXELS} unsigned bytes")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{name} has no list labels with a number for each of its {len(data)} images")
    if not all(isinstance(label, int) and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{name}: a label is no number from 0 to {len(CLASSES) - 1}")
    return _checked(data, np.array(labels, np.uint8), name)


def _checked(data: Bytes, classes: Bytes, name: str) -> tuple[Bytes, Bytes]:
    if classes.max() >= len(CLASSES):
        raise DataError(f"{name}: a label is {classes.max()}, and there are classes 0 to {len(CLASSES) - 1}")
    return data.reshape(-1, *SHAPE), classes


Load = Callable[[], bytes]


def _batches(path: Path) -> dict[str, Load]:
    """How to load each batch under a path, by name without a folder."""
    if not path.exists():
        raise DataError(f"{path} does not exist; {HOW}")
    if path.is_file():
        return {name: partial(bytes, content) for name, content in _unpacked(path).items()}
    for folder in (path, *(path / name for name in FOLDERS)):
        here = {p.name: p for name in BATCHES for p in (folder / f"{name}.bin", folder / name) if p.is_file()}
        if here:
            return {name: partial(_loaded, file) for name, file in here.items()}
    for archive in (path / name for name in ARCHIVES):
        if archive.is_file():
            return _batches(archive)
    return {}


def _loaded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file.read(LARGEST + 1), str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _unpacked(path: Path) -> Files:
    """The batches in a tar archive, gzipped or not, in memory; other members, links too, are passed over."""
    wanted = {f"{name}{kind}" for name in BATCHES for kind in ("", ".bin")}
    found: Files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(path)), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count == MOST_MEMBERS or member.size > LARGEST:
                    raise DataError(f"{path} is refused: it has more or larger members than CIFAR-10")
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if member.isreg() and name in wanted else None
                if content is not None:
                    found[name] = content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} cannot be read as a tar archive ({reason}); {HOW}") from error
    return found


def _decompressed(path: Path) -> bytes:
    """The tar archive in a file, bounded: headers in it may claim any size."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        content = (gzip.GzipFile(fileobj=raw) if zipped else raw).read(LARGEST_ARCHIVE + 1)
    if len(content) > LARGEST_ARCHIVE:
        raise DataError(
            f"{path} is refused: it holds more than {LARGEST_ARCHIVE} bytes, more than CIFAR-10 has"
        )
    return content


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > LARGEST:
        raise DataError(f"{name} has more than {LARGEST} bytes, the most that a batch may have")
    return content
