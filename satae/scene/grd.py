"""Sentinel-1 ground range images (GRD): how files of them are known, and what is said of their pixels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from satae.scene.source import Source

FILE = re.compile(r"s1[a-d]-(?:s[1-6]|iw|ew|wv|en)-grd-(vv|vh|hh|hv)-", re.IGNORECASE)
PRODUCT = re.compile(r"S1[A-D]_(?:S[1-6]|IW|EW|WV|EN)_GRD[FHM]_")
TITLE = re.compile(r"Sentinel-1[A-D] \w+ GRD")


def is_one(path: Path, title: str) -> bool:
    """Whether a file is such an image, by its name or by the description in it."""
    return bool(FILE.match(path.name) or PRODUCT.match(path.name) or TITLE.match(title))


def with_facts(source: Source) -> Source:
    """The source of such an image, its band named by the polarisation: 0 is what was not imaged."""
    found = FILE.match(source.path.name)
    named = found[1].lower() if found and len(source.bands) == 1 else ""
    bands = tuple(
        replace(b, name=b.name or named, nodata=0.0 if b.nodata is None else b.nodata) for b in source.bands
    )
    return replace(source, bands=bands, remarks=(*source.remarks, remark(source.path)))


def remark(path: Path) -> str:
    """What is to be known of such images."""
    return (
        f"{path} holds amplitudes of Sentinel-1 as they were delivered: nothing is calibrated (no sigma nought), "
        "no speckle is filtered and no terrain corrected; train on scenes of the same orbit and processing"
    )
