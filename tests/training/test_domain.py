"""What a model remembers of the pixels that it learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import make_tiles

from satae.training.domain import conventions, training_domain


def test_what_was_learned_are_the_quantiles_of_the_training_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 2000, (3, 128, 160)).astype("uint16")
    valid = np.random.default_rng(2).random((128, 160)) > 0.2
    sets = make_tiles(image, valid)
    where = np.array([(0, t) for t in range(len(sets))])
    domain = training_domain([sets], where)
    assert domain.pixels == valid.sum() and {0.01, 0.05, 0.5, 0.95} < set(domain.levels)
    assert np.allclose(domain.quantiles, np.quantile(image[:, valid], domain.levels, axis=1).T)


def landscape(seed: int, size: int = 192) -> np.ndarray:
    """Four bands of ground, smooth and of very different brightness, with dark water in every band."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((size // 16, size // 16)).repeat(16, 0).repeat(16, 1)
    ground = 150 + 2500 * coarse[None] * np.array([0.3, 0.6, 1.0, 1.6])[:, None, None]
    return (ground * rng.uniform(0.9, 1.1, (4, size, size))).astype("uint16")


def told_of(image: np.ndarray, folder: Path) -> list[str]:
    valid = np.ones(image.shape[1:], bool)
    one = replace(make_tiles(landscape(1), valid), path=folder / "one")
    return list(conventions([one, replace(make_tiles(image, valid), path=folder / "other")]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda dn: dn + 1000, "were added to every DN"),
        (lambda dn: dn * 12, "have DN of another scale"),
        (lambda dn: dn[::-1], "bands came in another order"),
    ],
)
def test_sets_of_two_conventions_are_told_by_name(change, said: str, tmp_path: Path) -> None:
    (found,) = told_of(change(landscape(2)), tmp_path)
    assert said in found and str(tmp_path / "one") in found and str(tmp_path / "other") in found


def test_true_pairs_of_scenes_are_alike(tmp_path: Path) -> None:
    assert [told_of(landscape(seed), tmp_path) for seed in range(2, 8)] == [[]] * 6
