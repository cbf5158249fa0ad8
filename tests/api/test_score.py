"""`satae.score` and its kin: the bytes of the command, whatever the scene comes in as, and progress that is told."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from commands import typed
from rasterio.io import MemoryFile

import satae
from satae.scene.raster import FAILURES  # noqa: F401  the door is settled before rasterio is used

HOUR = "1700000000"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_functions_write_the_bytes_of_the_commands(
    tmp_path: Path, scene_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", HOUR)
    for name in ("typed", "called"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "typed")
    assert typed("tile", scene_path, "--size", "32").exit_code == 0
    assert typed("train", "--set", "model.name=rx").exit_code == 0
    assert typed("score", scene_path, "--top", "3").exit_code == 0
    monkeypatch.chdir(tmp_path / "called")
    satae.tile(scene_path, size=32)
    satae.train(settings={"model.name": "rx"})
    result = satae.score(scene_path, top=3)
    wanted, found = digests(tmp_path / "typed"), digests(tmp_path / "called")
    assert {"model.onnx", "anomalies.gpkg", "anomalies.html", "anomalies_heatmap.tif"} <= set(wanted)
    # what holds seconds or paths of its own is no result
    assert {n: d for n, d in wanted.items() if found.get(n) != d} == {}
    assert len(result) == 3 and set(wanted) == set(found)


def test_the_result_has_regions_and_a_heatmap_on_the_scenes_grid(
    here: Path, scene_path: Path, model: satae.Model
) -> None:
    result = satae.score(scene_path, model, "out.gpkg", top=3)
    heat = result.array()
    with rasterio.open(result.heatmap) as dataset, rasterio.open(scene_path) as scene:
        assert np.array_equal(dataset.read(1), heat, equal_nan=True) and heat.shape == scene.shape
        assert result.regions.crs == scene.crs
    assert result.regions["rank"].tolist() == [1, 2, 3]
    shown = result._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and 'sandbox=""' in shown and shown.count("<") == 2
    assert result.report is not None
    result.report.unlink()
    assert result._repr_html_() == "<p>out.gpkg: 3 regions in 1 scene</p>"


@pytest.mark.parametrize("kind", ["dataset", "memory", "array", "masked", "xarray"])
def test_whatever_holds_the_pixels_the_heatmap_is_that_of_the_file(
    kind: str, here: Path, scene_path: Path, model: satae.Model
) -> None:
    wanted = satae.score(scene_path, model, "wanted.gpkg", top=3)
    with rasterio.open(scene_path) as dataset, MemoryFile(scene_path.read_bytes()) as memory:
        found = satae.score(form(kind, dataset, memory), model, "found.gpkg", top=3)
    assert np.array_equal(wanted.array(), found.array(), equal_nan=True)
    assert found.regions.geometry.equals(wanted.regions.geometry)


def form(kind: str, dataset: Any, memory: Any) -> Any:
    """The scene in another form."""
    image, names = dataset.read(), dataset.descriptions
    where = {"transform": dataset.transform, "crs": dataset.crs, "names": [n or "" for n in names]}
    if kind == "dataset":
        return dataset
    if kind == "memory":
        return memory.open()
    if kind == "array":
        return satae.open_scene(image, nodata=0, **where)
    if kind == "masked":
        return satae.open_scene(np.ma.masked_equal(image, 0), **where)
    xarray = pytest.importorskip("xarray")
    rows, cols = np.arange(dataset.height) + 0.5, np.arange(dataset.width) + 0.5
    t = dataset.transform
    array = xarray.DataArray(
        image, dims=("band", "y", "x"), coords={"x": t.c + t.a * cols, "y": t.f + t.e * rows},
        attrs={"_FillValue": 0},
    )  # fmt: skip
    return array.assign_coords(spatial_ref=xarray.DataArray(0, attrs={"crs_wkt": dataset.crs.to_wkt()}))


def test_progress_is_told_and_what_it_raises_ends_the_call(
    here: Path, scene_path: Path, model: satae.Model
) -> None:
    seen: list[tuple[str, float, float]] = []
    satae.score(scene_path, model, "out.gpkg", progress=lambda *told: seen.append(told))
    titles = [title for title, _, _ in seen]
    assert len(set(titles)) >= 2 and all(0 <= done <= max(total, done) for _, done, total in seen)
    assert all(seen[len(titles) - 1 - titles[::-1].index(t)][1:] for t in titles)

    def stop(title: str, done: float, total: float) -> None:
        raise KeyError(title)

    with pytest.raises(KeyError):
        satae.score(scene_path, model, "stopped.gpkg", progress=stop)
    assert not (here / "stopped.gpkg").exists()


def test_the_public_names_are_those_of_the_types() -> None:
    typed_names = (Path(satae.__file__).parent / "__init__.pyi").read_text()
    for name in dir(satae):
        assert getattr(satae, name) is not None
        assert f" as {name}\n" in typed_names or name == "__version__"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        satae.nothing  # type: ignore[attr-defined]  # noqa: B018
