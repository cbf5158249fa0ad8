"""Regions against objects: on masks whose numbers are known."""

import numpy as np
import pytest

from satae.bench.objects import Hits, far_regions, hits, lines, pool, top_regions
from satae.inference import calibrate
from satae.inference.calibrate import Alarms, Calibration

SAMPLE = np.random.default_rng(0).exponential(size=20_000)
TAIL = calibrate.fit(SAMPLE)
CALIBRATION = Calibration(
    pixel=TAIL, tile=TAIL, region=TAIL, candidate=float(np.quantile(SAMPLE, 0.99)), pixels=20_000, blocks=9,
    alarms=[Alarms(pixels=4, per_pixel=1e-4, tail=TAIL)],
)  # fmt: skip


def drawn(text: str) -> np.ndarray:
    return np.array([[int(c) if c.isdigit() else 0 for c in line] for line in text.split()], np.int32)


def test_a_region_that_is_the_object_covers_it_fully():
    found = hits(drawn("110. 110. ...."), drawn("110. 110. ....") > 0)
    assert found == Hits(1, 1, 1, (1.0,))
    assert (found.precision, found.recall, found.overlap) == (1, 1, 1)


def test_pieces_of_one_object_count_as_regions_each_and_as_one_outline():
    found = hits(drawn("12.. .... ...3"), drawn("111. .... ....") > 0)
    assert found == Hits(3, 2, 1, (2 / 3,))


def test_a_blur_over_two_objects_touches_both_and_is_one_region():
    found = hits(drawn("11111"), drawn("1...1") > 0)
    assert found == Hits(1, 1, 2, (0.2, 0.2)) and found.recall == 1


def test_what_no_region_touches_lowers_recall_and_not_the_overlap():
    found = hits(drawn("11... ..... ....."), drawn("11... ..... ...11") > 0)
    assert (found.precision, found.recall, found.overlap) == (1, 0.5, 1)


def test_objects_that_touch_at_a_corner_are_one():
    assert hits(drawn(".. .."), drawn("1. .1") > 0).objects == 1


def test_nothing_reported_and_nothing_there_are_zeros_and_no_errors():
    for found in (hits(drawn("..."), drawn("1..") > 0), hits(drawn("1.."), drawn("...") > 0)):
        assert (found.precision, found.recall, found.overlap) == (0, 0, 0)


def test_scenes_are_pooled_object_by_object():
    whole = pool([Hits(3, 1, 1, (0.5,)), Hits(1, 1, 3, (1.0, 0.0))])
    assert whole == Hits(4, 2, 4, (0.5, 1.0, 0.0)) and whole.overlap == 0.5


def test_the_rules_report_what_the_command_does():
    scores = np.full((40, 40), 0.5, np.float32)
    for i, peak in enumerate((12.0, 9.0, 5.5)):
        scores[10 * i : 10 * i + 3, 5:8] = peak
    assert top_regions(scores, CALIBRATION).max() == 3
    assert np.array_equal(top_regions(scores, CALIBRATION, 2) > 0, scores > 8)
    rate = 1e-3 * 1e-4 * 1e6  # of the background's regions one in a thousand is left, in 1e6 pixels of 100 m2
    level = CALIBRATION.level(rate, 100.0, 4)
    assert 5.5 < level < 9 and np.array_equal(far_regions(scores, CALIBRATION, 100.0, rate) > 0, scores > 8)


def test_the_table_has_a_line_a_name():
    text = lines({"busan": Hits(4, 1, 2, (0.25,)), "all": Hits(4, 1, 2, (0.25,))})
    assert len(text) == 3 and text[1].split() == ["busan", "4", "1", "0.250", "2", "1", "0.500", "0.250"]


@pytest.mark.parametrize("height", [1, 5])
def test_a_map_without_a_score_has_no_regions(height: int):
    assert far_regions(np.full((height, 9), np.nan, np.float32), CALIBRATION, None).max() == 0
