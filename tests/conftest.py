"""Fixtures: scenes made in code, one small model, and where the real data lies."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from detectors import toy
from endings import CPU, recipe
from hypothesis import settings
from results import finished
from scenes import UTM, MakeScene, make_tiles
from shared import Shared, root

from satae.demo import synthetic
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scene.scene import Scene
from satae.tiles import cut as tiling
from satae.tiles import store
from satae.training import loop

os.environ.setdefault("NO_COLOR", "1")
settings.register_profile(
    "satae", deadline=None
)  # a machine at work is slow now and then, and no test is about that
settings.load_profile("satae")


def pytest_collection_finish() -> None:
    """Modules stay to the end: what looks for garbage, as every command does once, need not go through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real scenes; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("SATAE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set SATAE_DATA)")
    return folder


@pytest.fixture(scope="session")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> MakeScene:
    """Write an image (band, row, col) as a GeoTIFF, with any creation option of rasterio."""

    def make(
        image: np.ndarray,
        *,
        name: str = "scene.tif",
        crs: str | None = "EPSG:32632",
        transform: Affine = UTM,
        mask: np.ndarray | None = None,
        folder: Path | None = None,
        **options: object,
    ) -> Path:
        path = (folder or tmp_path_factory.mktemp("scene")) / name
        bands, height, width = image.shape
        kind = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": image.dtype}
        with rasterio.open(path, "w", **kind, crs=crs, transform=transform, **options) as out:
            out.write(image)
            if mask is not None:
                with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                    out.write_mask(mask)
        return path

    return make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """What is made once for all processes of the run."""
    return Shared(root(tmp_path_factory))


@pytest.fixture(scope="session")
def landscape() -> synthetic.Synthetic:
    """A small made-up landscape: 4 bands, 256 x 320 pixels, three planted anomalies."""
    return synthetic.scene(height=256, width=320, seed=1)


@pytest.fixture(scope="session")
def scene_path(shared: Shared, make_scene: MakeScene, landscape: synthetic.Synthetic) -> Path:
    """The landscape as a tiled GeoTIFF with nodata 0."""

    def write(folder: Path) -> None:
        blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        make_scene(landscape.image, name="land.tif", folder=folder, nodata=0, **blocks)

    return shared.made("scene", write) / "land.tif"


@pytest.fixture(scope="session")
def scene(scene_path: Path) -> Scene:
    """The landscape as it is described."""
    return describe([scene_path])


@pytest.fixture(scope="session")
def tile_set(shared: Shared, scene: Scene) -> Path:
    """The landscape cut into tiles of 32 pixels."""
    made = shared.made("tiles", lambda folder: tiling.cut(scene, folder / "land", tiling.Cut(size=32)))
    return made / "land"


@pytest.fixture(scope="session", params=[0, 12], ids=["apart", "overlapping"])
def complete(request: pytest.FixtureRequest, shared: Shared, scene: Scene) -> store.TileSet:
    """The landscape with every tile kept, apart and overlapping."""
    kept = tiling.Cut(size=32, overlap=request.param, min_valid=0)
    made = shared.made(f"complete-{request.param}", lambda folder: tiling.cut(scene, folder / "land", kept))
    return store.load(made / "land")


@pytest.fixture(scope="session")
def model_path(shared: Shared, tile_set: Path) -> Path:
    """A model of few weights trained on the landscape for two epochs; `runs/model` lies beside it."""
    recipe = "model.name=conv", "train.epochs=2", "train.min_steps=4", "model.params.width=8"
    return shared.trained(tile_set, *recipe) / "model.onnx"


@pytest.fixture(scope="session")
def model(model_path: Path) -> runtime.Model:
    """That model, opened on one thread."""
    return runtime.load(model_path, "cpu", threads=1)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., loop.TrainedModel]:
    """Train on the toy in the run folder `run` (made below tmp_path)."""

    def make(
        *changes: str, tiles: store.TileSet | None = None, run: str = "run", **how: Any
    ) -> loop.TrainedModel:
        folder = tmp_path / run
        folder.mkdir(exist_ok=True)
        sets = [make_tiles(toy()) if tiles is None else tiles]
        return loop.fit(sets, loop.plan(sets, recipe(*changes)), folder, device=CPU, **how)

    return make


@pytest.fixture
def gpkg(tmp_path: Path, shared: Shared) -> Path:
    """The GeoPackage of a finished result to work on, with scene, heatmap and chips beside it."""
    return shutil.copytree(finished(shared), tmp_path / "out") / "anomalies.gpkg"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the one that is worked in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """The commands send satae's log to stderr; the tests after them want it back."""
    log = logging.getLogger("satae")
    before = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate = before[0], before[1]
    log.setLevel(before[2])
