"""Sentinel-1 GRD: a .SAFE folder with manifest.safe and measurement/*.tiff, whose images have been brought to a map.

As delivered they are in the geometry of the radar, located by ground control points: that is refused, with what brings
them to a map. DN are amplitudes; nothing is calibrated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from satae.errors import SceneError, UnplacedError
from satae.scene import grd, readers
from satae.scene.products import Files, Product

MANIFEST = "manifest.safe"


def matches(path: Path) -> bool:
    """Whether it is such a folder, or its manifest."""
    folder = path.parent if path.name == MANIFEST else path
    return (folder / MANIFEST).is_file() and bool(_images(folder))


def product(path: Path) -> Product:
    """A band for each polarisation."""
    folder = path.parent if path.name == MANIFEST else path
    files = Files(folder)
    try:
        sources = [readers.source(image) for image in _images(folder)]
    except UnplacedError as error:
        raise SceneError(
            f"{path} is in the geometry of the radar: {error}; do so for each polarisation, and pass what comes of it "
            "with --stack"
        ) from error
    # once for all bands
    sources = [replace(s, remarks=tuple(r for r in s.remarks if r != grd.remark(s.path))) for s in sources]
    said = files.xml(MANIFEST)
    days = [e.text or "" for e in said.iter() if e.tag.endswith("}startTime")]
    versions = [e.get("version", "") for e in said.iter() if e.tag.endswith("}software")]
    bands = tuple((source, band) for source in sources for band in source.bands)
    return Product(
        path=path,
        name=folder.name.removesuffix(".SAFE"),
        kind="Sentinel-1 GRD",
        day=(days or [""])[0][:10],
        bands=bands,
        usual=tuple(band.name for _, band in bands),
        baseline=next((v for v in versions if v), ""),
        remarks=(grd.remark(path),),
    )


def _images(folder: Path) -> list[Path]:
    found = (folder / "measurement").glob("*.tif*")
    # the number at the end is that of the channel
    images = (p for p in found if grd.FILE.match(p.name) and not p.is_symlink())
    return sorted(images, key=lambda p: (p.stem.rpartition("-")[2], p.name))
