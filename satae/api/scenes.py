"""Anything that holds an image as a scene: files and products, open datasets, arrays, DataArrays of xarray."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from satae.errors import ConfigError
from satae.publish import check_target
from satae.scene import arrays
from satae.scene.describe import describe
from satae.scene.naming import apart
from satae.scene.scene import Limits, Scene

Source = Any
"""A `Scene`, a path, several paths (bands of one scene), an open dataset of rasterio, an array or a DataArray."""


def open_scene(
    source: Source,
    *,
    bands: Sequence[int | str] | None = None,
    transform: Any = None,
    crs: Any = None,
    nodata: float | None = None,
    names: Sequence[str] | None = None,
    limits: Limits | None = None,
    gsd: float | None = None,
    keep: str | Path | None = None,
) -> Scene:
    """Say where pixels are and which of them count; no pixel of a file is read, and none is held.

    `bands` are names, or numbers from 1 on. Arrays (band, row, col) need `transform`, an Affine or its six numbers;
    without `crs` they are as a file without one, of which areas are not known. `names` are those of their bands.
    `nodata` is a DN that marks fill. `limits` are an AOI, a mask and the like. What is no file on this machine is
    written to one, `keep`, or one that is gone when the program ends: keep it where QGIS or `satae review` are to
    show the scene later. SceneError where it cannot be used.
    """
    how = limits or Limits()
    if isinstance(source, Scene):
        return source
    if isinstance(source, str | Path):
        paths = [Path(source)]
    elif isinstance(source, list | tuple):
        paths = [Path(path) for path in source]
    elif arrays.is_dataset(source) and (path := arrays.file_of(source)):
        paths = [path]
    else:
        paths, nodata = [_copy(_image(source, transform, crs, nodata, names), keep)], None
    # of a copy nodata is declared in the file already, for all that reads it
    if nodata is not None:
        how = replace(how, nodata=nodata)
    return describe(paths, bands=bands, limits=how, gsd=gsd)


def open_scenes(sources: Source) -> list[Scene]:
    """One source or a list of them as scenes, each of its own, whose names tell them apart where their folders do."""
    found = sources if isinstance(sources, list | tuple) else [sources]
    return apart([open_scene(source) for source in found])


def _image(
    source: Any, transform: Any, crs: Any, nodata: float | None, names: Sequence[str] | None
) -> arrays.Image:
    if arrays.has_labels(source):
        return arrays.of_dataarray(source, transform, crs, nodata)
    if arrays.is_dataset(source):
        return arrays.of_dataset(source)
    if not hasattr(source, "__array__"):
        raise ConfigError(f"{type(source).__name__} is no scene; give a path, a dataset or an array")
    array = source if hasattr(source, "dtype") and hasattr(source, "ndim") else source.__array__()
    return arrays.of_array(array, transform, crs, nodata, names)


def _copy(image: arrays.Image, keep: str | Path | None) -> Path:
    """The image as a file."""
    # a scene is read again and again, by threads and processes of their own: it must be a file
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="satae-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = folder / "array.tif"
    else:
        path = Path(keep)
        check_target(path, overwrite=False)
    image.write(path)
    return path
