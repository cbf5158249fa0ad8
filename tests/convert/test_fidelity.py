"""What a model in fewer bits loses, against numbers written out, and where it is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from satae import config
from satae.convert import fidelity
from satae.errors import ModelError
from satae.inference import runtime
from satae.inference.card import Fidelity
from satae.tiles import store
from satae.tiles.split import split


def drawn(*blocks: tuple[int, int, int], value: float = 5.0) -> np.ndarray:
    """A map of 20 x 20 pixels of 1, with squares (row, col, side) of `value`."""
    out = np.ones((20, 20), np.float32)
    for row, col, side in blocks:
        out[row : row + side, col : col + side] = value
    return out


def test_regions_count_that_have_four_pixels_and_touch_by_corners():
    one, other = drawn((0, 0, 2), (10, 10, 1), (14, 2, 2), (16, 4, 2)), drawn((0, 0, 2), (16, 5, 2))
    one[0, 19] = np.nan
    # the single pixel is none, the last two squares are one, and both regions are met
    assert fidelity.overlap([one], [other], 5.0, 5.0) == 1.0
    assert fidelity.overlap([one], [drawn((0, 0, 2))], 5.0, 5.0) == pytest.approx(2 / 3)


def test_regions_reach_down_to_their_share():
    one, other = drawn((4, 4, 2)), drawn((8, 4, 2))
    one[6:8, 4:6] = other[6:8, 4:6] = 3.5
    assert fidelity.overlap([one], [other], 5.0, 5.0) == 0 and fidelity.overlap([one], [other], 5.0, 2.0) == 1


def test_overlap_counts_what_was_lost_and_what_is_new():
    before = [drawn((0, 0, 3), (6, 6, 3)), drawn((0, 0, 3))]
    after = [drawn((1, 1, 3), (12, 12, 3)), drawn()]
    # 2 + 1 regions before, of which one is met; 2 after, of which one is met
    assert fidelity.overlap(before, after, 5.0, 5.0) == pytest.approx(2 / 5)
    assert fidelity.overlap(before, before, 5.0, 5.0) == 1.0
    assert fidelity.overlap([drawn()], [drawn()], 5.0, 5.0) == 1.0


def test_rank_correlation_is_that_of_ranks():
    rng = np.random.default_rng(0)
    ours = rng.permutation(500).astype(np.float32)
    theirs = np.exp(ours / 100 + 0.3 * rng.normal(size=500)).astype(np.float32)
    ranks = [np.argsort(np.argsort(v)) for v in (ours, theirs)]
    assert fidelity.rank_correlation(ours, theirs) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    flat = np.zeros(3, np.float32)
    assert (fidelity.rank_correlation(flat, flat), fidelity.rank_correlation(flat, ours[:3])) == (1.0, 0.0)


class Noisy:
    """A session whose maps are spoiled by a factor."""

    def __init__(self, session: Any, sigma: float) -> None:
        self.session, self.sigma, self.rng = session, sigma, np.random.default_rng(0)

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = self.session.run(names, feed)
        return [
            np.asarray(o * np.exp(self.sigma * self.rng.normal(size=o.shape)), np.float32) for o in outputs
        ]


def test_a_model_is_compared_on_its_held_out_blocks(model_path, tile_set):
    model, sets = runtime.load(model_path, "cpu"), [store.load(tile_set)]
    train = config.recipe_of(model.card.recipe).train
    chosen = split(sets, share=train.validation, block=train.block, seed=train.seed)
    same = fidelity.fidelity(sets, chosen, model, model)
    assert (same.rank_correlation, same.overlap) == (1.0, 1.0)
    held_out = sum(int(sets[s].valid[t].sum()) for s, t in chosen.held_out)
    assert same.pixels == held_out == model.card.calibration.pixels and same.regions > 0
    fidelity.check(same, "int8", "it")
    noisy = replace(model, session=Noisy(model.session, 0.5))
    worse = fidelity.fidelity(sets, chosen, model, noisy)
    assert worse.rank_correlation < 0.99 and worse.regions == same.regions and worse.score == same.score
    with pytest.raises(ModelError, match="it loses too much as int8"):
        fidelity.check(worse, "int8", "it")


@pytest.mark.parametrize(
    ("rank", "overlap", "passes"), [(0.995, 0.95, True), (0.98, 1, False), (1, 0.85, False)]
)
def test_either_loss_is_too_much(rank, overlap, passes):
    found = Fidelity(pixels=10, rank_correlation=rank, score=3, regions=20, overlap=overlap)
    if passes:
        fidelity.check(found, "fp16", "it")
    else:
        with pytest.raises(ModelError, match="loses too much"):
            fidelity.check(found, "fp16", "it")
