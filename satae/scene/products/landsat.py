"""Landsat Collection 2, Level 1 and 2: a folder of GeoTIFF files with MTL.txt, that file, or the .tar as downloaded.

Level 2 is surface reflectance, DN * 0.0000275 - 0.2; Level 1 reflectance at the top of the atmosphere without the
correction for the sun. Bits of QA_PIXEL: 0 fill, 1 dilated cloud, 2 cirrus, 3 cloud, 4 shadow of a cloud, 5 snow, which
is ground (Landsat 8-9 Collection 2 Level 2 Science Product Guide, USGS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from satae.errors import SceneError
from satae.scene import readers
from satae.scene.products import Files, Product, without
from satae.scene.source import Exclusion

ARCHIVE = re.compile(r"L[COTEM]\d\d_L[12]\w{2}_\d{6}_.*\.tar$")
METADATA = re.compile(r"L[COTEM]\d\d_L[12]\w{2}_.*_MTL\.txt$")
FILL, CLOUDED = 1 << 0, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4
CENTRES: dict[str, dict[int, float]] = {  # nanometres, by band, of reflective bands
    "OLI": {1: 443, 2: 482, 3: 561.5, 4: 654.5, 5: 865, 6: 1608.5, 7: 2200.5, 8: 589.5, 9: 1373.5},
    "TM": {1: 485, 2: 560, 3: 660, 4: 830, 5: 1650, 7: 2215, 8: 710},
    "MSS": {1: 550, 2: 650, 3: 750, 4: 950},
    "early MSS": {
        4: 550,
        5: 650,
        6: 750,
        7: 950,
    },  # on Landsat 1 to 3, where another camera has the first numbers
}
COMMON = {
    "OLI": {
        1: "coastal",
        2: "blue",
        3: "green",
        4: "red",
        5: "nir",
        6: "swir16",
        7: "swir22",
        8: "pan",
        9: "cirrus",
    },
    "TM": {1: "blue", 2: "green", 3: "red", 4: "nir", 5: "swir16", 7: "swir22", 8: "pan"},
    "MSS": {1: "green", 2: "red", 4: "nir"},
    "early MSS": {4: "green", 5: "red", 7: "nir"},
}
# of 30 m, or 60 m
USUAL = {
    "OLI": (1, 2, 3, 4, 5, 6, 7), "TM": (1, 2, 3, 4, 5, 7), "MSS": (1, 2, 3, 4), "early MSS": (4, 5, 6, 7),
}  # fmt: skip


def matches(path: Path) -> bool:
    """Whether it is a folder with such metadata, the metadata, or an archive named as the provider names them."""
    if path.is_dir():
        return any(METADATA.match(p.name) for p in path.glob("L*_MTL.txt"))
    return path.is_file() and bool(METADATA.match(path.name) or ARCHIVE.match(path.name))


def product(path: Path) -> Product:
    """The reflective bands, with scale and offset as the metadata state them."""
    files, metadata = _metadata(path)
    folder = metadata.removesuffix(metadata.rpartition("/")[2])
    said = _groups(files.text(metadata))
    # what the product is comes first; a product of Level 2 ends with what its Level 1 was, under the same names
    every = {key: value for group in reversed(said.values()) for key, value in group.items()}
    level = every.get("PROCESSING_LEVEL", "")
    # a product of Level 2 states those of Level 1 too, under the same names in another group
    surface = level.startswith("L2")
    rescaling = said.get(
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if surface else "LEVEL1_RADIOMETRIC_RESCALING", {}
    )
    contents = said.get("PRODUCT_CONTENTS", {})
    kind = _instrument(every.get("SENSOR_ID", ""), contents)
    bands, lacking = [], []
    for number, centre in CENTRES[kind].items():
        key = f"REFLECTANCE_MULT_BAND_{number}"
        if f"FILE_NAME_BAND_{number}" not in contents or key not in rescaling:
            continue
        file = contents[f"FILE_NAME_BAND_{number}"]
        if not files.holds(folder + file):
            lacking.append(file)
            continue
        source = readers.source(*files.place(folder + file))
        try:
            scale, offset = float(rescaling[key]), float(rescaling[f"REFLECTANCE_ADD_BAND_{number}"])
        except (KeyError, ValueError) as error:
            raise SceneError(
                f"{metadata} states no scale and offset of band {number} that are numbers"
            ) from error
        band = replace(
            source.bands[0],
            name=f"B{number}",
            scale=scale,
            offset=offset,
            nodata=0.0,
            wavelength=float(centre),
            common=COMMON[kind].get(number, ""),
        )
        bands.append((replace(source, bands=(band,)), band))
    if not bands:
        raise SceneError(f"{path} holds none of the bands that {metadata} names; download the product again")
    fill, clouds = [], []
    if quality := contents.get("FILE_NAME_QUALITY_L1_PIXEL"):
        flags = readers.source(*files.place(folder + quality))
        fill, clouds = [Exclusion(flags, bits=FILL)], [Exclusion(flags, bits=CLOUDED)]
    have = {band.name for _, band in bands}
    return Product(
        path=path,
        name=metadata.rpartition("/")[2].removesuffix("_MTL.txt"),
        kind=f"{every.get('SPACECRAFT_ID', 'Landsat').replace('_', ' ').title()} {level}",
        day=every.get("DATE_ACQUIRED", ""),
        bands=tuple(bands),
        usual=tuple(f"B{n}" for n in USUAL[kind] if f"B{n}" in have) or tuple(b.name for _, b in bands),
        fill=tuple(fill),
        clouds=tuple(clouds),
        baseline=f"Collection {every.get('COLLECTION_NUMBER', '?')}",
        remarks=without(path, lacking, len(bands) + len(lacking)),
    )


def _metadata(path: Path) -> tuple[Files, str]:
    """The files of a product, and the name of its metadata."""
    # the metadata themselves may be named, of several beside each other
    one = path.name if METADATA.match(path.name) else ""
    files = Files(path.parent if one else path)
    # archives may hold the folder, a folder may hold others
    inner = path.suffix.lower() == ".tar"
    named = [
        n
        for n in files.ending("_MTL.txt")
        if METADATA.match(n.rpartition("/")[2] if inner else n) and one in ("", n)
    ]
    if len(named) != 1:
        raise SceneError(f"{path} holds {len(named)} files of metadata (MTL.txt); name the one that is meant")
    return files, named[0]


def _instrument(sensor: str, contents: Mapping[str, str]) -> str:
    """The key of the instrument in the tables above."""
    if sensor.startswith("MSS"):
        return "early MSS" if "FILE_NAME_BAND_7" in contents else "MSS"
    return "OLI" if sensor.startswith("OLI") else "TM"


def _groups(text: str) -> dict[str, dict[str, str]]:
    """key = "value" lines by the innermost group that they stand in."""
    # the format of PDS and of ODL, of which nothing else is used here
    groups: dict[str, dict[str, str]] = {}
    within = [""]
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        if key == "GROUP":
            within.append(value)
        elif key == "END_GROUP":
            within = within[:-1] or [""]
        else:
            groups.setdefault(within[-1], {})[key] = value.strip('"')
    return groups
