"""Regions over dates: what pixels in alarm say of one region, beside numbers written out."""

import numpy as np
import pytest

from satae.series.tracks import FIELDS, Alarms, changes


def row_of(first, **given):
    """Pixels side by side in one row, of one band; `first` are the days on which each began."""
    count = len(first)
    numbers = {name: np.ones(count) for name in FIELDS}
    numbers |= {"first": np.array(first, float), "confirmed": np.array(first, float) + 16, **given}
    return Alarms(np.zeros(count, int), np.arange(count), numbers, np.ones((1, count)))


@pytest.mark.parametrize(
    ("first", "began"),
    [
        ([100.0] * 19 + [68.0], 100.0),  # one of twenty showed by chance
        ([100.0] * 18 + [68.0] * 2, 68.0),  # a tenth
        ([100.0] * 8 + [68.0], 68.0),  # of nine pixels each counts
        ([100.0, 116.0, 132.0, 148.0], 100.0),  # what grows began where it began
    ],
)
def test_a_region_begins_when_a_tenth_of_it_does(first, began):
    (found,) = changes(row_of(first), width=40, least=1)
    assert (found.first, found.confirmed) == (began, began + 16)
    assert found.region.pixels == len(first)


def test_neighbours_that_began_at_other_times_are_regions_of_their_own():
    found = changes(row_of([100.0] * 5 + [300.0] * 5), width=40, least=1)
    assert sorted((c.first, c.region.window.col) for c in found) == [(100.0, 0), (300.0, 5)]


def test_last_peak_and_persistence_are_those_of_all_pixels():
    alarms = row_of(
        [100.0] * 4,
        last=np.array([200.0, 240.0, 220.0, 200.0]),
        peak=np.array([3.0, 9.0, 5.0, 4.0]),
        peak_day=np.array([110.0, 130.0, 120.0, 110.0]),
        seen=np.full(4, 10.0),
        held=np.array([10.0, 10.0, 5.0, 5.0]),
    )
    (found,) = changes(alarms, width=40, least=1)
    assert (found.last, found.peak_day, found.region.col, found.region.peak) == (240.0, 130.0, 1, 9.0)
    assert found.persistence == pytest.approx(0.75)


def test_pixels_in_no_region_are_left_out():
    alarms = row_of([100.0] * 5 + [300.0] * 2 + [100.0])
    kept = alarms.of(changes(alarms, width=40, least=3), 40)
    assert kept.col.tolist() == [0, 1, 2, 3, 4] and kept.numbers["first"].tolist() == [100.0] * 5
    assert kept.magnitude.shape == (1, 5)
    assert not len(alarms.of([], 40).row)
