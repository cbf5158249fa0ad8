"""Planet: a folder of one PSScene item, *_AnalyticMS*.tif with its *_udm2.tif (usable data mask) where it has one.

Surface reflectance is DN / 10000. Of the mask band 1 says clear or not, and bit 0 of band 8 that a pixel holds nothing
(Planet, Usable Data Mask 2.1).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from satae.errors import SceneError
from satae.scene import readers
from satae.scene.products import Product
from satae.scene.source import Exclusion

IMAGE = re.compile(
    r"(?P<item>(?P<day>\d{8})_\w+?)_3B_Analytic(?:MS)?(?:_SR)?(?:_8b)?(?:_clip|_harmonized)*\.tif$"
)
BANDS = {
    4: (("blue", 490), ("green", 565), ("red", 665), ("nir", 865)),
    8: (
        ("coastal_blue", 443), ("blue", 490), ("green_i", 531), ("green", 565), ("yellow", 610), ("red", 665),
        ("rededge", 705), ("nir", 865),
    ),
}  # fmt: skip


def matches(path: Path) -> bool:
    """Whether it is a folder with such an image and its mask."""
    return path.is_dir() and bool(_images(path)) and any(path.glob("*_udm2*.tif"))


def product(path: Path) -> Product:
    """The bands by name, with the mask of the same item."""
    images = _images(path)
    if len(images) != 1:
        raise SceneError(
            f"{path} holds {len(images)} Planet images, {', '.join(p.name for p in images[:3])}; put each in a folder "
            "of its own with its udm2, or name the one that is meant and pass its mask with --mask"
        )
    image, found = images[0], IMAGE.match(images[0].name)
    assert found
    source = readers.source(image)
    # files state no names; their number tells which instrument it was
    named = BANDS.get(len([b for b in source.bands if b.colour != "alpha"]))
    bands = source.bands
    if named:
        scale = 1e-4 if "_SR" in image.name else 1.0
        bands = tuple(
            replace(band, name=name, wavelength=float(nm), scale=scale)
            for band, (name, nm) in zip(bands, named, strict=False)
        )
        source = replace(source, bands=bands)
    # of the same item: a folder may hold masks of its neighbours
    masks = sorted(path.glob(f"{found['item']}*_udm2*.tif"))
    if not masks:
        raise SceneError(f"{path} holds no udm2 of {image.name}; download it, or name the image itself")
    mask = readers.source(masks[0])
    day = found["day"]
    return Product(
        path=path,
        name=image.stem,
        kind="PlanetScope",
        day=f"{day[:4]}-{day[4:6]}-{day[6:]}",
        bands=tuple((source, band) for band in bands if band.colour != "alpha"),
        usual=tuple(band.name for band in bands if band.colour != "alpha"),
        fill=(Exclusion(mask, 8, bits=1),) if len(mask.bands) >= 8 else (),
        clouds=(Exclusion(mask, 1, (0,)),),
    )


def _images(path: Path) -> list[Path]:
    return sorted(p for p in path.glob("*.tif") if IMAGE.match(p.name))
