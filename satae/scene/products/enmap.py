"""EnMAP Level 2A: a folder with *-METADATA.XML and *-SPECTRAL_IMAGE.TIF, or that metadata; L1C reads in the same way.

Reflectance is DN times gain, 0.0001, and offset added. Where air lets no light through, bands hold noise or nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from satae.errors import SceneError
from satae.scene import readers, wavelengths
from satae.scene.products import Files, Product
from satae.scene.source import Band, Exclusion

METADATA = re.compile(r"ENMAP.*-METADATA\.XML$")
LEVEL = re.compile(r"ENMAP\d+-_*(L\w+?)-")
IMAGES = ("-SPECTRAL_IMAGE.TIF", "-SPECTRAL_IMAGE_COG.TIF", "-SPECTRAL_IMAGE_COG.TIFF")
MASKS = ("-QL_QUALITY_CLOUD.TIF", "-QL_QUALITY_CLOUDSHADOW.TIF")  # 1 where there is some
FILL = {"int16": -32768.0, "uint16": 0.0}  # of Level 2A, and 1C
OPAQUE = ((1340, 1440), (1790, 1960))  # nanometres: water vapour


def matches(path: Path) -> bool:
    """Whether it is a folder with such metadata, or the metadata."""
    if path.is_dir():
        return any(METADATA.match(p.name) for p in path.glob("ENMAP*-METADATA.XML"))
    return path.is_file() and bool(METADATA.match(path.name))


def product(path: Path) -> Product:
    """All bands, those usual in which air lets light through."""
    files = Files(path if path.is_dir() else path.parent)
    named = [n for n in files.names if METADATA.match(n) and (path.is_dir() or n == path.name)]
    if len(named) != 1:
        raise SceneError(
            f"{path} holds {len(named)} files of metadata (METADATA.XML); name the one that is meant"
        )
    stem = named[0].removesuffix("-METADATA.XML")
    image = next((stem + end for end in IMAGES if stem + end in files.names), stem + IMAGES[0])
    source = readers.source(*files.place(image))
    said = files.xml(named[0])
    bands = _bands(said, source.bands, path)
    source = replace(source, bands=bands)
    clouds = [readers.source(*files.place(stem + end)) for end in MASKS if stem + end in files.names]
    level, version = LEVEL.match(stem), re.search(r"_V(\d{6})", stem)
    return Product(
        path=path,
        name=stem,
        kind=f"EnMAP {level[1] if level else ''}".strip(),
        day=next((e.text or "" for e in said.iter("startTime")), "")[:10],
        bands=tuple((source, band) for band in bands),
        usual=tuple(band.name for band in bands if band.good),
        clouds=tuple(Exclusion(mask, 1, (1,)) for mask in clouds),
        baseline=version[1] if version else "",
        remarks=wavelengths.left_out(bands, f"{path}: in", "air lets no light through"),
    )


def _bands(said: Element, stored: tuple[Band, ...], path: Path) -> tuple[Band, ...]:
    """The bands of the image with what the metadata say of each, by its number."""
    facts = {element.get("number", ""): element for element in said.iter("bandID")}
    made = []
    for band in stored:
        # a file with other bands than its metadata was changed: which is which is unknown
        element = facts.get(str(band.index))
        if element is None or len(facts) != len(stored):
            raise SceneError(f"{path} holds {len(stored)} bands and its metadata describe {len(facts)}")
        nm, width, gain, offset = (
            _number(element, tag, path)
            for tag in ("wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand", "OffsetOfBand")
        )
        made.append(
            replace(
                band,
                name=wavelengths.name(round(nm, 3)),
                scale=gain,
                offset=offset,
                nodata=FILL.get(band.dtype) if band.nodata is None else band.nodata,
                wavelength=round(nm, 3),
                width=round(width, 3),
                good=not any(low <= nm <= high for low, high in OPAQUE),
            )
        )
    return tuple(made)


def _number(element: Element, tag: str, path: Path) -> float:
    text = element.findtext(tag)
    try:
        return float(text or "")
    except ValueError:
        raise SceneError(
            f"{path} states {tag} of band {element.get('number')} as {text!r}, no number"
        ) from None
