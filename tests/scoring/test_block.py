"""A scene that is scanned in blocks of rows has the record and the files of one scan."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from satae.batch import store
from satae.errors import ResultError
from satae.inference import runtime
from satae.inference import scan as scanning
from satae.scene.describe import describe
from satae.scene.scene import Limits
from satae.scoring.block import Blocks, strips_of
from satae.scoring.record import How, scan_block, score_scene
from satae.scoring.rule import Top


def files(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("count", "damaged"), [(3, False), (9, True)])
def test_blocks_put_together_are_one_scan(
    count: int, damaged: bool, model_path: Path, tmp_path: Path, make_scene: Any, landscape: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(scanning, "STRIP_BYTES", 1)
    monkeypatch.setattr(scanning, "core_of", lambda model: 32)
    image, stored = landscape.image[:, :140, :70], {"compress": "deflate", "blockysize": 20}
    path, model = make_scene(image, name="a.tif", **stored), runtime.load(model_path, "cpu", 1)
    if damaged:
        with path.open("r+b") as file:
            file.seek(path.stat().st_size * 2 // 3)
            file.write(b"\xff" * 300)
    scene, how = describe([path], limits=Limits(salvage=damaged)), How(Top(5), workers=1)
    one = score_scene(scene, model, made(tmp_path / "one"), how)
    parts = [made(tmp_path / f"part-{i}") for i in range(count)]
    for i, part in enumerate(parts):
        scan_block(scene, model, part, how, (i, count))
    many = score_scene(scene, model, made(tmp_path / "many"), how, blocks=parts)
    for record in (one, many):
        store.write(record)
    assert files(tmp_path / "many") == files(tmp_path / "one")
    assert len({w.row for i in range(count) for w in strips_of(scene, model, i, count)}) > 3
    assert bool(one.damage) == damaged and many.damage == one.damage
    assert one.layer.regions and len(files(tmp_path / "one")) >= 7


def test_a_block_that_is_gone_is_no_scan_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no block of a scene any more"):
        Blocks.read([tmp_path])
