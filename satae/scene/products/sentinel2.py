"""Sentinel-2 Level-1C and Level-2A: a .SAFE folder, the .zip as downloaded, or the file MTD_MSIL*.xml in it.

DN of processing baselines from 04.00 on are larger by an offset that the metadata state; it is taken off, so that one
model serves products of all baselines: reflectance is DN / 10000 (Sentinel-2 Products Specification Document, ESA).
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from satae.errors import SceneError
from satae.grid import Grid
from satae.scene import readers
from satae.scene.msi import BAND, FINEST, IDS, NODATA, SATURATED, with_facts
from satae.scene.products import Files, Product, without
from satae.scene.readers import gml
from satae.scene.source import Band, Exclusion, Source

METADATA = re.compile(r"MTD_MSIL(1C|2A)\.xml$", re.I)  # MTD_MSIL2a.xml where others processed it again
ARCHIVE = re.compile(r"S2[A-Z]_MSIL(1C|2A)_.*\.zip$")
LISTS = ("IMAGE_FILE", "IMAGE_ID", "IMAGE_FILE_2A", "IMAGE_ID_2A")  # the latter until baseline 02.06
SUFFIXES = (".jp2", ".tif")  # TIFF where others processed it again
QUANTUM = ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
USUAL = ("B02", "B03", "B04", "B08")  # those of 10 m
# Scene classification: no data, saturated or defective, shadow of a cloud, cloud of medium and high probability, cirrus
CLOUDED = (0, 1, 3, 8, 9, 10)


def matches(path: Path) -> bool:
    """Whether it is such a folder, an archive named as the provider names them, or the metadata of one."""
    if path.is_dir():
        return any(METADATA.match(p.name) for p in path.glob("MTD_MSIL*.xml"))
    named = METADATA.match(path.name) or ARCHIVE.match(path.name)
    return path.is_file() and (bool(named) or (path.suffix.lower() == ".zip" and _holds_metadata(path)))


def _holds_metadata(path: Path) -> bool:
    """Whether a .zip under a name of its own holds such a product, as some servers send it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(METADATA.match(name.rpartition("/")[2]) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def product(path: Path) -> Product:
    """The bands, each from its finest file, with the offset that its baseline asks for."""
    root = path.parent if METADATA.match(path.name) else path
    files = Files(root)
    named = sorted((n for n in files.ending(".xml") if METADATA.match(n.rpartition("/")[2])), key=len)
    if not named:
        raise SceneError(
            f"{path} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml; the download may have ended early"
        )
    said, folder = files.xml(named[0]), named[0].rpartition("/")[0]
    level = "L2A" if named[0].upper().endswith("2A.XML") else "L1C"
    offsets = _offsets(said, path)
    values = {
        _text(v, "SPECIAL_VALUE_TEXT"): _text(v, "SPECIAL_VALUE_INDEX") for v in said.iter("Special_Values")
    }
    quantum = float(_first(said, QUANTUM) or 10000)
    bands, (images, remarks) = [], _images(files, folder, said, path)
    for name, (source, band) in sorted(images.items(), key=lambda of: IDS.index(of[0])):
        made = replace(
            with_facts(band, name), scale=1 / quantum, nodata=float(values.get("NODATA") or NODATA),
            saturated=float(values.get("SATURATED") or SATURATED), shift=offsets.get(IDS.index(name), 0),
        )  # fmt: skip
        bands.append((replace(source, bands=(made,)), made))
    finest = min((source.grid for source, _ in bands), key=lambda g: abs(g.transform.determinant))
    have = {band.name for _, band in bands}
    usual = tuple(name for name in USUAL if name in have) or tuple(band.name for _, band in bands)
    return Product(
        path=path,
        name=re.sub(r"\.(SAFE|zip)$", "", re.sub(r"\.zip$", "", root.name)),
        kind=f"Sentinel-2 {level}",
        day=(_first(said, ("PRODUCT_START_TIME",)) or "")[:10],
        bands=tuple(bands),
        usual=usual,
        clouds=tuple(_clouds(files, level, finest)),
        baseline=_first(said, ("PROCESSING_BASELINE",)) or "",
        remarks=remarks,
    )


def _images(
    files: Files, folder: str, said: Element, path: Path
) -> tuple[dict[str, tuple[Source, Band]], tuple[str, ...]]:
    """The finest image of each band that the metadata list and the product holds; a remark about what it lacks."""
    listed = [e.text.strip() for tag in LISTS for e in said.iter(tag) if e.text]
    best: dict[str, tuple[int, str]] = {}
    lacking = dict[str, None]()
    for name in listed:
        found = BAND.search(name)
        if not found:  # SCL, AOT, TCI and the like
            continue
        # Level-1C has each band once, at its own distance, which its names do not state
        own = int(found[2] or FINEST[IDS.index(found[1])])
        places = (f"{folder}/{name}{suffix}".lstrip("/") for suffix in SUFFIXES)
        file = next((place for place in places if files.holds(place)), None)
        if file is None:
            lacking[name.rpartition("/")[2]] = None
        elif found[1] not in best or own < best[found[1]][0]:
            best[found[1]] = own, file
    if not best and not lacking:
        raise SceneError(f"{path} names no images in its metadata; download the product again")
    if not best:
        raise SceneError(
            f"{path} holds none of the {len(lacking)} images that its metadata name; download it again"
        )
    images = {}
    for name, (_, file) in best.items():
        source = readers.source(*files.place(file))
        images[name] = source, source.bands[0]
    return images, without(path, list(lacking), len(listed))


def _offsets(said: Element, path: Path) -> dict[int, int]:
    """What is to be added to the DN of each band, by its number; nothing before baseline 04.00."""
    # one element a band: nobody may rely on all bands having the same one
    found = {}
    for tag in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"):
        for element in said.iter(tag):
            try:
                found[int(element.attrib["band_id"])] = round(float(element.text or ""))
            except (KeyError, ValueError) as error:
                raise SceneError(
                    f"{path} states {tag} as {element.text!r}, which is no number of a band"
                ) from error
    return found


def _clouds(files: Files, level: str, grid: Grid) -> list[Exclusion]:
    """What the provider takes for cloud: the scene classification, or the masks of Level-1C.

    Those that are outlines are burned on `grid`, that of the finest band.
    """
    classes = [n for metres in (20, 60) for end in SUFFIXES for n in files.ending(f"_SCL_{metres}m{end}")]
    if level == "L2A" and (named := classes):
        return [Exclusion(readers.source(*files.place(named[0])), 1, CLOUDED)]
    if named := files.ending("MSK_CLASSI_B00.jp2"):
        source = readers.source(*files.place(named[0]))
        return [Exclusion(source, band, (1,)) for band in (1, 2)]  # opaque clouds, cirrus
    # until baseline 04.00
    if named := files.ending("MSK_CLOUDS_B00.gml"):
        place = files.place(named[0])[0]
        return [Exclusion(gml.outlines(files.xml(named[0]), place, named[0], grid), 1, (1,))]
    return []


def _first(said: Element, tags: tuple[str, ...]) -> str | None:
    return next((e.text.strip() for tag in tags for e in said.iter(tag) if e.text), None)


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()
