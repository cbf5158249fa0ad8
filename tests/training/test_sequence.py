"""A network over dates learns what can be learned of them and nothing else, and its file says what it is."""

from dataclasses import replace
from pathlib import Path

import lefts
import numpy as np
import pytest

from satae import config
from satae.errors import ConfigError, ModelError
from satae.inference import network, runtime, sequences
from satae.models.sequence import LEARNED
from satae.training import sequence


def learned(name, memory):
    """The network of dates that remember so much, and the mean squares of other pixels before and after it."""
    recipe = config.load(Path(name), lefts.QUICK)
    found = sequence.train(lefts.episodes(memory), lefts.PLACE, recipe)
    before, after = [], []
    for episode in lefts.episodes(memory, seed=0, pixels=500)[:4]:
        for left, day in zip(episode.left, episode.days_left, strict=True):
            mean, variance = found.expectation(episode.seen, episode.days, day)
            good = np.isfinite(left[0])
            before.append((left[:, good] ** 2).mean())
            after.append(((left - mean)[:, good] ** 2).mean())
    return found, np.mean(before), np.mean(after), variance


@pytest.mark.parametrize("name", LEARNED)
def test_dates_that_remember_one_another_are_expected_and_others_are_left_alone(name):
    _, before, after, _ = learned(name, 0.95)
    # of dates some 17 days apart, in parts of ten, those before and after tell a part
    assert after < 0.93 * before
    _, before, after, variance = learned(name, 0.0)
    assert after < 1.05 * before
    assert np.median(np.abs(np.log(1 + variance))) < 0.35


def test_a_file_gives_the_network_and_its_card_again_and_is_none_of_scenes(tmp_path):
    recipe = config.load(Path("sequence_transformer"), ["train.epochs=1", "train.min_steps=2"])
    first = lefts.episodes(0.5)[0]
    found = sequence.train([first], lefts.PLACE, recipe).with_threshold(0.5, 17.25)
    assert found.card.parity.share_of_range < 1e-5 and found.card.bands == lefts.PLACE.bands
    path = tmp_path / "a_model.onnx"
    path.write_bytes(found.content)
    again = network.load(path)
    assert again.card == found.card and again.card.threshold == 17.25 and again.content == found.content
    day = float(first.days_left[3])
    for one, two in zip(
        found.expectation(first.seen, first.days, day),
        again.expectation(first.seen, first.days, day),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ModelError, match="satae series"):
        runtime.load(path, "cpu")


def test_the_same_seed_gives_the_same_file():
    recipe = config.load(Path("sequence_rnn"), ["train.epochs=1", "train.min_steps=2"])
    one, two = (sequence.train(lefts.episodes(0.5), lefts.PLACE, recipe).content for _ in range(2))
    other = sequence.train(
        lefts.episodes(0.5),
        lefts.PLACE,
        config.load(Path("sequence_rnn"), ["train.epochs=1", "train.seed=1"]),
    )
    assert one == two != other.content


def test_a_date_is_not_expected_from_itself():
    recipe = config.load(Path("sequence_rnn"), ["train.epochs=1", "train.min_steps=5"])
    episode = lefts.episodes(0.9)[0]
    found = sequence.train([episode], lefts.PLACE, recipe)
    other = episode.seen.copy()
    other[4] += 3
    day = float(episode.days[4])
    one, two = (found.expectation(seen, episode.days, day)[0] for seen in (episode.seen, other))
    np.testing.assert_array_equal(one, two)
    later = [found.expectation(seen, episode.days, day + 3)[0] for seen in (episode.seen, other)]
    assert np.abs(later[0] - later[1]).max() > 1e-3


def test_a_recipe_of_no_network_is_refused():
    with pytest.raises(ConfigError, match=r"model.name = pca: .*sequence_rnn"):
        sequence.trainer(config.load(Path("pca")))


def test_a_part_known_in_part_is_no_target_where_it_is_known():
    source = sequence.Episodes([replace(lefts.episodes(0.5)[1])], 0, 64)
    x, given, counted = source.training(np.arange(64), 0, 3)
    part = given[:, -1, 0, 0] > 0
    shown, known = given[part, -3, 0], counted[:, 0, 0]
    assert len(x) == part.sum() and not ((shown > 0) & (known > 0)).any()
    assert known.sum() > 0


def test_a_card_that_is_none_is_refused():
    with pytest.raises(ModelError, match="card"):
        sequences.parse("{}", "a.onnx")
