"""The only door to h5py, which reads HDF5 and the netCDF that is HDF5; an extra of satae brings it.

A file is checked before anything is read: what it links to in other files, and filters that are programs, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from satae.errors import DamageError, SceneError
from satae.grid import Window
from satae.scene import raster

MAGIC = b"\x89HDF\r\n\x1a\n"
INSTALL = "pip install 'satae[hyper]'"
CACHE_BYTES = 16 << 20  # of decoded chunks
CHUNK_BYTES = 256 << 20  # of one chunk, decoded
FILTERS = {"gzip", "lzf", "szip", None}  # that h5py itself brings


def head(path: Path) -> bytes:
    """The first bytes of a file, none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC))
    except OSError:
        return b""


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """An open h5py.File; SceneError where it is none, or h5py is absent."""
    h5py = _library(path)
    try:
        # a lock would be written beside files on some systems; nobody writes what satae reads
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE_BYTES)
    except OSError as error:
        raise SceneError(
            f"{path} is HDF5 that cannot be opened: {_short(error)}; it may be half copied"
        ) from error
    with file:
        yield file


@contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """An open h5py.File that is written."""
    with _library(path).File(path, "w", locking=False) as file:
        yield file


def _library(path: Path) -> Any:
    try:
        import h5py  # an extra, and slow to load
    except ImportError as error:
        raise SceneError(
            f"{path} is HDF5 or netCDF, and h5py, which reads it, is not installed; run `{INSTALL}`"
        ) from error
    return h5py


def holds(path: Path, name: str) -> bool:
    """Whether a file has a data set of that name in itself."""
    with open_file(path) as file:
        return is_inside(file, name)


def is_inside(file: Any, name: str) -> bool:
    """Whether a name leads to a data set, through groups of this very file."""
    h5py, group = _library(Path(file.filename)), file
    parts = name.split("/")
    for i, part in enumerate(parts):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part in group else None
        if not isinstance(link, h5py.HardLink):  # an external or a soft one leads elsewhere
            return False
        group = group[part]
        if i == len(parts) - 1:
            return isinstance(group, h5py.Dataset)
    return False


def array(file: Any, name: str, dimensions: int) -> Any:
    """A data set with so many dimensions, not read yet; SceneError where it is not there or cannot be trusted."""
    path = file.filename
    if not is_inside(file, name):
        raise SceneError(f"{path} lacks the data set {name}; download the product again")
    found = file[name]
    if found.ndim != dimensions or found.dtype.kind not in "iuf" or not found.size:
        raise SceneError(
            f"{path} holds {name} as {found.dtype} of shape {found.shape}, not as {dimensions}-dimensional numbers"
        )
    # bytes of any file on this machine could be shown as pixels; plugins of HDF5 are programs
    if found.external or found.is_virtual or found.compression not in FILTERS:
        raise SceneError(f"{path} keeps {name} in other files or behind a filter that satae does not know")
    # one pixel costs a whole chunk
    if found.chunks and np.prod(found.chunks, dtype=float) * found.dtype.itemsize > CHUNK_BYTES:
        raise SceneError(
            f"{path} stores {name} in chunks of {found.chunks}, more than {CHUNK_BYTES >> 20} MiB each"
        )
    return found


def check_size(path: Path, bands: int, height: int, width: int) -> None:
    """SceneError beyond the limits that hold for all scenes."""
    if bands > raster.MAX_BANDS:
        raise SceneError(f"{path} has {bands} bands, more than the limit of {raster.MAX_BANDS}")
    if height * width > raster.MAX_PIXELS:
        raise SceneError(
            f"{path} claims {height} x {width} pixels, more than the limit of {raster.MAX_PIXELS:.0e}"
        )


def text(file: Any, name: str) -> str:
    """A text among the attributes of a file; empty where there is none."""
    value = file.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def numbers(file: Any, name: str) -> npt.NDArray[np.float64]:
    """Numbers among the attributes of a file; SceneError where they are none, or not there."""
    try:
        return np.atleast_1d(np.asarray(file.attrs[name], np.float64))
    except (KeyError, ValueError, TypeError, OSError):
        raise SceneError(
            f"{file.filename} states no {name} that is a number; download the product again"
        ) from None


def read(source: Any, index: Any, path: Path, window: Window) -> npt.NDArray[Any]:
    """Numbers of a data set; DamageError, with the window that they were read for, where they cannot be decoded."""
    try:
        return np.asarray(source[index])
    except (OSError, RuntimeError) as error:
        raise DamageError(
            f"{path} is damaged between rows {window.row} and {window.stop[0]}, columns {window.col} and "
            f"{window.stop[1]} ({_short(error)}); the file may be half copied"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
