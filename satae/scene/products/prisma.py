"""PRISMA L2D: one HE5 file, of which both cubes are read; its panchromatic band and its error flags are not."""

from __future__ import annotations

from pathlib import Path

from satae.scene import hdf
from satae.scene.products import Product, cube
from satae.scene.readers import prisma


def matches(path: Path) -> bool:
    """Whether it is such a file."""
    return prisma.matches(path, hdf.head(path))


def product(path: Path) -> Product:
    """All bands by wavelength, those usual that the provider calls good."""
    source = prisma.describe(path)
    with hdf.open_file(path) as file:
        day, version = hdf.text(file, "Product_StartTime")[:10], hdf.text(file, "Processor_Version")
    return cube(path, "PRISMA L2D", source, day, version)
