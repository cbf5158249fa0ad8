"""Every recipe in configs/ does what it is there for: it trains, is scored, and says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from detectors import small
from scenes import make_tiles

from satae import config, models
from satae.config import Recipe
from satae.inference import runtime
from satae.scene.describe import describe
from satae.scoring import run as scoring
from satae.scoring.outputs import Options
from satae.tiles import store
from satae.training import presets
from satae.training import run as training
from satae.training.loop import fit, plan

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FAMILIES = [
    "undercomplete", "overcomplete", "sparse", "denoising", "contractive", "variational", "adversarial",
    "residual", "skip", "attention", "mobile", "shuffle", "dense",
]  # fmt: skip
ARCHITECTURES = ["variational", "residual", "skip", "attention", "mobile", "shuffle"]  # dense: in test_blend


def shrunk(name: str, *changes: str) -> Recipe:
    """A recipe with a network of few weights and one short epoch."""
    first = config.load(CONFIGS / f"{name}.yaml")
    params = [f"model.params.{key}={value}" for key, value in small(models.MODELS, first.model.name).items()]
    quick = ["train.epochs=1", "train.min_steps=2", "train.batch=4"]
    return config.load(CONFIGS / f"{name}.yaml", [*params, *quick, *changes])


def noise(bands: int, side: int = 128) -> np.ndarray:
    """Bands that are mixed from three, and noise."""
    rng = np.random.default_rng(bands)
    mixed = np.tensordot(rng.normal(size=(bands, 3)), rng.normal(size=(3, side, side)), 1)
    return (1000 + 100 * mixed + 5 * rng.normal(size=mixed.shape)).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("bands", [1, 3, 5, 13, 200])
def test_every_family_trains_on_any_number_of_bands(tmp_path: Path, name: str, bands: int):
    sets = [make_tiles(noise(bands))]
    recipe = presets.complete_recipe(shrunk(name), bands, None)
    done = fit(sets, plan(sets, recipe), tmp_path, device=torch.device("cpu"))
    assert np.isfinite([done.state.history[0].train_loss, done.state.best_loss]).all()
    assert type(done.model) is type(models.build(recipe.model.name, bands, {}))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_recipe_trains_and_scores_a_scene(
    tile_set: Path, scene_path: Path, tmp_path: Path, name: str
) -> None:
    found = training.train(
        [store.load(tile_set)], shrunk(name), tmp_path / "m.onnx", tmp_path / "run", device="cpu"
    )
    scene = describe([scene_path])
    done = scoring.score([scene], runtime.load(tmp_path / "m.onnx", "cpu"), tmp_path / "a.gpkg", Options())
    assert done.scenes[0].valid_fraction > 0.5
    with rasterio.open(done.scenes[0].heatmap) as heat, rasterio.open(scene_path) as image:
        scored = np.isfinite(heat.read(1))
        assert np.array_equal(scored, (image.read_masks() > 0).all(axis=0))
    assert found.card.architecture == config.load(CONFIGS / f"{name}.yaml").model.name
    assert found.card.parity.share_of_range < 1e-4


def sized(name: str) -> float:
    """Numbers of the input over numbers of the code."""
    recipe = presets.complete_recipe(config.load(CONFIGS / f"{name}.yaml"), 4, None)
    made = models.build(recipe.model.name, 4, recipe.model.params)
    return 4 * made.stride**2 / made.code_size


def test_an_undercomplete_code_is_smaller_than_its_input_and_an_overcomplete_one_larger():
    assert sized("undercomplete") == 32 and sized("overcomplete") == 0.5


PENALTIES = {
    "overcomplete": {"sparse_l1"}, "sparse": {"sparse_l1", "sparse_kl"}, "contractive": {"contractive"},
    "variational": {"kl"}, "adversarial": {"adversarial"},
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_recipe_is_called_after_is_on(name: str):
    recipe = config.load(CONFIGS / f"{name}.yaml")
    assert PENALTIES.get(name, set()) == {*recipe.objective.terms} - {"mse"}
    assert all(weight > 0 for weight in recipe.objective.terms.values())
    spoilt = any(recipe.corrupt.model_dump().values())
    assert spoilt == (name in ("denoising", "overcomplete"))
