"""The two text tags: every byte order and size, written by GDAL and by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from satae.scene.tags import GDAL_METADATA, GDAL_NODATA, MAX_TEXT, text_tags

ASCII, SHORT = 2, 3
LITTLE, BIG = "<", ">"


def tiff(path: Path, tag: int, content: bytes, *, order: str, big: bool, kind: int = ASCII) -> Path:
    """A TIFF directory with one entry and nothing else."""
    count = len(content) // (2 if kind == SHORT else 1)
    start, entry = (16, "HHQQ") if big else (8, "HHII")
    head = struct.pack(order + ("2sHHHQ" if big else "2sHI"), b"II" if order == LITTLE else b"MM",
                       *((43, 8, 0, start) if big else (42, start)))  # fmt: skip
    behind = start + (8 + 20 + 8 if big else 2 + 12 + 4)
    fields = struct.pack(order + entry, tag, kind, count, behind)
    if len(content) <= (8 if big else 4):
        fields = fields[: -8 if big else -4] + content.ljust(8 if big else 4, b"\0")
    number = struct.pack(order + ("Q" if big else "H"), 1)
    path.write_bytes(head + number + fields + bytes(8 if big else 4) + content)
    return path


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("text", ["0", "nan", "-9999", "-3.40282346600000016e+38"])
def test_texts_within_and_behind_the_entry_are_read(tmp_path: Path, order: str, big: bool, text: str) -> None:
    path = tiff(tmp_path / "a.tif", GDAL_NODATA, text.encode() + b"\0", order=order, big=big)
    assert text_tags(path) == {GDAL_NODATA: text}


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}])
def test_tags_that_gdal_wrote_are_read(make_scene, options: dict) -> None:
    texts = text_tags(make_scene(np.ones((1, 16, 16), "float32"), nodata=-1.5, **options))
    assert float(texts[GDAL_NODATA]) == -1.5


def test_text_stored_as_wider_integers_is_read(tmp_path: Path) -> None:
    wide = "OVERVIEW_FILE".encode("utf-16-le")
    path = tiff(tmp_path / "a.tif", GDAL_METADATA, wide, order=LITTLE, big=False, kind=SHORT)
    assert text_tags(path)[GDAL_METADATA] == "OVERVIEW_FILE"


def test_a_text_beyond_the_limit_is_cut_just_behind_it(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GDAL_METADATA, b"x" * (MAX_TEXT + 500), order=LITTLE, big=False)
    assert len(text_tags(path)[GDAL_METADATA]) == MAX_TEXT + 1


@pytest.mark.parametrize(
    "content", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01", b"MM\0+" + bytes(12)]
)
def test_broken_structures_have_no_tags(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert text_tags(tmp_path / "a.tif") == {}
