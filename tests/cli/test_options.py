"""Options as text: numbers, folders, and groups of files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from satae.api import tile as cutting
from satae.cli import options
from satae.cli.flags import PixelOptions
from satae.errors import ConfigError, OutputError
from satae.scene.scene import Limits

PIXELS = np.random.default_rng(2).integers(1, 200, (1, 24, 32)).astype("uint16")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (None, None),
        ("3", [3]),
        ("1,2,3", [1, 2, 3]),
        ("4,1", [4, 1]),
        ("1-4", [1, 2, 3, 4]),
        ("5,1-2", [5, 1, 2]),
        ("B02, nir,3", ["B02", "nir", 3]),
    ],
)
def test_band_numbers_are_read_in_order(text: str | None, numbers: list[int] | None) -> None:
    assert options.chosen_bands(text) == numbers


@pytest.mark.parametrize("text", ["", "1,,2", "1-", "-1", "0", "3-1", "1.5", "1-2-3", "1-99999999999"])
def test_other_texts_are_no_band_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a list of numbers such as"):
        options.chosen_bands(text)


def test_files_are_scenes_of_their_own_unless_stacked(make_scene, caplog, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("satae"), "propagate", True)
    paths = [make_scene(PIXELS, name=f"b{i}.tif") for i in (1, 2, 3)]
    assert [s.names for s in options.scenes_at(paths, None, True, Limits())] == [("b1", "b2", "b3")]
    assert "pass --stack" not in caplog.text
    assert [s.names for s in options.scenes_at(paths, None, False, Limits())] == [("band1",)] * 3
    assert "3 single-band files on one grid are taken as 3 scenes; pass --stack" in caplog.text


def test_twelve_landsat_files_are_one_scene_with_bands(data: Path) -> None:
    folder = data / "formats" / "rasterframes"
    paths = [folder / f"L8-B{b}-Elkton-VA.tiff" for b in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11)]
    (scene,) = options.scenes_at(paths, "2-4,10", True, Limits())
    assert (scene.names, scene.name) == (("B2", "B3", "B4", "B11"), "L8_Elkton_VA")


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    assert cutting.make_folder(tmp_path / "new") and not cutting.make_folder(tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        cutting.make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="there is no folder"):
        cutting.make_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_damaged_blocks_stop_or_are_masked() -> None:
    assert options.limits_of(PixelOptions(), "mask").salvage
    assert not options.limits_of(PixelOptions(), "stop").salvage
