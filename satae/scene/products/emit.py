"""EMIT L2A: one netCDF file of reflectance; the files of uncertainty and masks beside it are not read."""

from __future__ import annotations

from pathlib import Path

from satae.scene import hdf
from satae.scene.products import Product, cube
from satae.scene.readers import emit


def matches(path: Path) -> bool:
    """Whether it is such a file."""
    return emit.matches(path, hdf.head(path))


def product(path: Path) -> Product:
    """All bands, those usual that the provider calls good."""
    source = emit.describe(path)
    # the cube is described without being read; so are the attributes
    with hdf.open_file(path) as file:
        day, version = hdf.text(file, "time_coverage_start")[:10], hdf.text(file, "product_version")
    return cube(path, "EMIT L2A", source, day, version)
