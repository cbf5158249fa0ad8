"""What a calibration sample cannot tell is said once, with how many more scenes would tell."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from satae.console import round_up
from satae.inference.calibrate import Calibration, Tail, fit
from satae.scoring.support import Doubt, of_scene, of_scenes, of_scores


def known(tail: Tail) -> Calibration:
    return SimpleNamespace(region=tail, blocks=3)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("number", "found"),
    [(1, 1), (9, 9), (9.01, 9.1), (12, 12), (12.1, 13), (1234, 1300), (99.5, 100), (0.0341, 0.035)],
)
def test_a_number_to_plan_with_is_never_less_than_is_needed(number: float, found: float) -> None:
    assert round_up(number) == found


@pytest.mark.parametrize("n", [5, 99, 105, 108])
def test_few_regions_that_differ_are_few_and_not_alike(n: int) -> None:
    tail = fit(np.random.default_rng(n).random(n))
    assert len(np.unique(tail.scores)) == len(tail.scores) < 100
    doubt = of_scores(known(tail), [0.1, tail.reach + 0.1])
    assert doubt is not None and doubt.factor == 110 / n and "alike" not in str(doubt)
    assert of_scores(known(tail), [0.1, tail.reach]) is None


def test_regions_that_are_alike_need_ground_of_more_kinds() -> None:
    tail = Tail(n=4000, scores=[1.0], exponents=[0.1], shape=0, scale=1)
    text = str(of_scores(known(tail), [tail.reach + 0.1]))
    assert text == (
        "ranks hold, the highest scores do not: 4,000 background regions in 3 held-out blocks, nearly all alike, "
        f"cannot tell how rare scores above {tail.reach:.1f} are; ground of more kinds would"
    )


def test_scenes_are_counted_that_would_be_needed_beside_those_of_the_training() -> None:
    counted = Doubt(("whether 0.1 of 40 candidates are false",), "60 background regions", 5.0, True, "--top")
    high = Doubt(("how rare scores above 2.1 are",), "60 background regions", 2.0)
    both = of_scene([None, counted, high], scenes=3)
    assert str(both) == (
        "ranks hold, counts do not: 60 background regions cannot tell whether 0.1 of 40 candidates are false, nor how "
        "rare scores above 2.1 are; about 12 more training scenes of this size would, or ask with --top"
    )
    assert of_scene([None, None], scenes=3) is None
    # one scene learned from, and a little more than that is needed
    assert "about 1 more training scene of this size" in str(of_scene([Doubt(("a",), "b", 1.01)], scenes=1))


def test_of_several_scenes_the_one_that_asks_most_speaks() -> None:
    doubts = [Doubt(("a",), "s", 2.0), None, Doubt(("b",), "s", 7.0), Doubt(("b", "c"), "s", 7.0)]
    assert of_scenes(doubts) is doubts[3]
    assert of_scenes([None]) is None
    endless = Doubt(("d",), "s", math.inf)
    assert of_scenes([*doubts, endless]) is endless
