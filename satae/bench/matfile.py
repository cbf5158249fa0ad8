"""Reads hyperspectral benchmark scenes from MATLAB files: `data` (rows, cols, bands) and the truth `map` (rows, cols).

They become GeoTIFFs without a position, so that what follows is the path of every other scene.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io
from affine import Affine
from scipy.io.matlab import MatReadError

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import output

KEYS = ("data", "map")
FAULTS = (
    MatReadError, OSError, ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError, zlib.error,
)  # fmt: skip


def read(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """(cube (band, row, col), truth (row, col), True = target); SceneError where the file is no such scene.

    The cube keeps its numeric type where GeoTIFF has it; half floats and logicals are widened.
    """
    try:
        found = scipy.io.loadmat(path, variable_names=KEYS)
    except NotImplementedError as error:
        raise SceneError(
            f"{path} is a MATLAB 7.3 file, which is not read; save it in MATLAB with `save -v7`"
        ) from error
    except FAULTS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SceneError(f"{path} cannot be read as a MATLAB file: {reason}") from error
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise SceneError(
            f"{path} has no {' and no '.join(missing)}; it must hold data (rows, cols, bands) and map"
        )
    cube, truth = (np.asarray(found[key]) for key in KEYS)
    for key, array in zip(KEYS, (cube, truth), strict=True):
        if array.dtype.kind not in "biuf":
            raise SceneError(f"{path}: {key} holds {array.dtype}, not numbers")
    if cube.ndim != 3 or cube.shape[:2] != truth.shape:
        raise SceneError(
            f"{path}: data has the shape {_shape(cube)} and map {_shape(truth)}; they must be rows x cols x bands "
            "and rows x cols"
        )
    return np.moveaxis(cube, 2, 0).astype(_stored(cube.dtype)), truth > 0


def to_geotiff(cube: npt.NDArray[Any], path: Path) -> None:
    """Write a cube (band, row, col) without position or CRS: none is known, and none is invented."""
    bands, height, width = cube.shape
    grid = Grid(height, width, Affine.identity(), None)
    with output.writing(path, grid, bands=bands, dtype=str(cube.dtype)) as out:
        out.write(cube, grid.window)


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which a GeoTIFF holds the values of another unchanged, in the byte order of this machine."""
    wider = {"b": "uint8", "f2": "float32", "f16": "float64"}
    return np.dtype(wider.get(dtype.kind if dtype.kind == "b" else dtype.str[1:], dtype.newbyteorder("=")))


def _shape(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))
