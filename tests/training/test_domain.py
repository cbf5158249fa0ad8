"""What a model remembers of the pixels that it learned from."""

import numpy as np
from scenes import make_tiles

from satae.training.domain import training_domain


def test_what_was_learned_are_the_quantiles_of_the_training_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 2000, (3, 128, 160)).astype("uint16")
    valid = np.random.default_rng(2).random((128, 160)) > 0.2
    sets = make_tiles(image, valid)
    where = np.array([(0, t) for t in range(len(sets))])
    domain = training_domain([sets], where)
    assert domain.pixels == valid.sum() and {0.01, 0.05, 0.5, 0.95} < set(domain.levels)
    assert np.allclose(domain.quantiles, np.quantile(image[:, valid], domain.levels, axis=1).T)
