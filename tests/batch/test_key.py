"""A result is known by what the scene holds, the model and what was asked; by nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from satae.batch.key import BLOCK, SAMPLES, content, key_of
from satae.batch.task import Request
from satae.scene.scene import Limits
from satae.scoring.rule import Top

LONG = 10 * BLOCK * SAMPLES


def written(path: Path, size: int = LONG) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(size))
    os.utime(path, (1000, 1000))
    return path


def changed(path: Path, at: int, *, keep_time: bool) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\0changed")
    if keep_time:
        os.utime(path, (1000, 1000))


def test_the_same_bytes_and_time_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    one = written(tmp_path / "a.tif")
    (tmp_path / "other").mkdir()
    other = shutil.copy2(one, tmp_path / "other" / "b.tif")
    assert content([one]) == content([Path(other)]) and content([one]).size == LONG


@pytest.mark.parametrize("at", [0, BLOCK // 2, (LONG - BLOCK) // 3 + 5, LONG - 8])
def test_a_change_in_a_sampled_block_counts_whatever_the_time_says(at: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif")
    before = content([path])
    changed(path, at, keep_time=True)
    assert content([path]) != before


def test_a_change_anywhere_counts_by_the_time_and_a_longer_file_by_its_size(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif")
    before = content([path])
    changed(path, 2 * BLOCK, keep_time=True)
    assert content([path]) == before  # what is given up, as the module says
    changed(path, 2 * BLOCK, keep_time=False)
    assert content([path]) != before
    small = written(tmp_path / "b.tif", BLOCK + 3)
    changed(small, BLOCK, keep_time=True)
    assert content([small]) != content([written(tmp_path / "c.tif", BLOCK + 3)])


def test_what_lies_beside_a_scene_and_changes_its_pixels_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif")
    seen = [content([path])]
    for name in ("a.tif.msk", "a.tif.aux.xml", "a.tfw"):
        written(tmp_path / name, 10)
        seen.append(content([path]))
    written(tmp_path / "a.txt", 10)
    assert len(set(seen)) == 4 and content([path]) == seen[-1]


def test_a_folder_counts_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "x.SAFE"
    (folder / "deep").mkdir(parents=True)
    written(folder / "deep" / "a.jp2")
    before = content([folder])
    written(folder / "deep" / "b.xml", 5)
    assert content([folder]) != before
    shutil.rmtree(folder)
    assert content([folder]).size == 0


def test_a_vrt_counts_with_the_files_that_it_names(tmp_path: Path, make_scene: Any) -> None:
    path = make_scene(np.ones((1, 16, 16), np.uint8), name="a.tif", folder=tmp_path)
    band = '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><GeoTransform>0,1,0,0,0,-1</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1">{band}</VRTRasterBand></VRTDataset>'
    )
    before = content([tmp_path / "a.vrt"])
    os.utime(path, (5, 5))
    assert content([tmp_path / "a.vrt"]) != before


def test_all_that_is_asked_for_is_in_the_key(tmp_path: Path) -> None:
    held = content([written(tmp_path / "a.tif")])
    base, aoi = Request(), written(tmp_path / "aoi.gpkg")
    other = {
        "bands": (1,), "limits": Limits(nodata=3), "gsd": 5.0, "rule": Top(3), "min_area_m2": 1.0, "chips": 3,
        "force_domain": True, "baseline": written(tmp_path / "m.onnx"),
    }  # fmt: skip
    assert set(other) == {f.name for f in fields(Request)}
    keys = {key_of("a", held, "m", replace(base, **{k: v}).hash()) for k, v in other.items()}
    keys |= {key_of("b", held, "m", base.hash()), key_of("a", held, "n", base.hash())}
    limited = replace(base, limits=Limits(aoi=aoi))
    keys.add(key_of("a", held, "m", limited.hash()))
    changed(aoi, 0, keep_time=True)
    keys.add(key_of("a", held, "m", limited.hash()))
    assert len(keys | {key_of("a", held, "m", base.hash())}) == len(other) + 5
