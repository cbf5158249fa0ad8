"""The bands of Sentinel-2 (MSI), and which one a file is by its name."""

from __future__ import annotations

import re
from dataclasses import replace

from satae.scene.source import Band

BAND = re.compile(r"_(B(?:0[1-9]|8A|1[0-2]))(?:_(\d\d)m)?(?:\.jp2)?$")
IDS = (
    "B01",
    "B02",
    "B03",
    "B04",
    "B05",
    "B06",
    "B07",
    "B08",
    "B8A",
    "B09",
    "B10",
    "B11",
    "B12",
)  # by band_id
COMMON = (
    "coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "nir09", "cirrus", "swir16",
    "swir22",
)  # fmt: skip
FINEST = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)  # metres
NANOMETRES = (442.7, 492.7, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4)
WIDTHS = (20, 65, 35, 30, 14, 14, 19, 105, 21, 19, 29, 90, 174)
FILE = re.compile(r"(?:.*_)?T\d\d[A-Z]{3}_\d{8}T\d{6}_(B(?:0[1-9]|8A|1[0-2]))(?:_\d\dm)?\.jp2$")
UNIT = 1e-4  # reflectance of a DN, of every product so far
NODATA, SATURATED = 0.0, 65535.0  # DN of every product so far


def band_of(file: str) -> str:
    """The band that a single file is by its name, such as B02 of T32TQM_20230101T101401_B02_10m.jp2; else nothing."""
    found = FILE.match(file)
    return found[1] if found else ""


def with_facts(band: Band, name: str) -> Band:
    """A band of a file with what is known of it by its name."""
    number = IDS.index(name)
    return replace(
        band,
        name=name,
        scale=UNIT,
        wavelength=NANOMETRES[number],
        width=float(WIDTHS[number]),
        nodata=NODATA,
        saturated=SATURATED,
        common=COMMON[number],
    )
