"""PRISMA L2D: one HE5 file, of which both cubes are read; its panchromatic band and its error flags are not."""

from __future__ import annotations

from pathlib import Path

from satae.scene import hdf, wavelengths
from satae.scene.products import Product
from satae.scene.readers import prisma


def matches(path: Path) -> bool:
    """Whether it is such a file."""
    return prisma.matches(path, hdf.head(path))


def product(path: Path) -> Product:
    """All bands by wavelength, those usual that the provider calls good."""
    source = prisma.describe(path)
    with hdf.open_file(path) as file:
        day, version = hdf.text(file, "Product_StartTime")[:10], hdf.text(file, "Processor_Version")
    return Product(
        path=path,
        name=path.stem,
        kind="PRISMA L2D",
        day=day,
        bands=tuple((source, band) for band in source.bands),
        usual=tuple(band.name for band in source.bands if band.good),
        baseline=version,
        remarks=wavelengths.left_out(source.bands, f"{path} marks", "as bad"),
    )
