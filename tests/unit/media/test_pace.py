"""Histogram of lateness, and the offset of two clocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeter.media.pace import ClockOffset, LatenessHistogram, Overload

durations = st.lists(st.floats(0, 15), min_size=1, max_size=200)


@given(durations, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_never_below_the_exact_one_nor_far_above(values, share):
    histogram = LatenessHistogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    rank = max(0, -int(-share * len(values) // 1) - 1)
    exact = ordered[rank]
    found = histogram.quantile(share)
    assert found >= exact * 0.999 - 1e-12
    assert found <= max(exact * 1.13, 1.2e-5)


@given(durations, durations)
def test_merging_is_counting_together(first, second):
    one, other, both = LatenessHistogram(), LatenessHistogram(), LatenessHistogram()
    for value in first:
        one.add(value)
        both.add(value)
    for value in second:
        other.add(value, 3)
        both.add(value, 3)
    one.merge(other)
    assert (one.count, one.late, one.maximum) == (both.count, both.late, both.maximum)
    assert one.quantile(0.9) == both.quantile(0.9)


def test_late_means_more_than_five_milliseconds():
    histogram = LatenessHistogram()
    histogram.add(0.005)
    histogram.add(0.0051, 4)
    assert (histogram.count, histogram.late) == (5, 4)


def test_an_empty_histogram_has_no_quantile_and_an_hour_still_fits():
    histogram = LatenessHistogram()
    assert histogram.quantile(0.99) == 0
    histogram.add(3600)
    assert histogram.maximum == 3600
    assert histogram.quantile(1.0) <= 3600


class Clocks:
    """Two clocks; a read of the wall clock may be held up."""

    def __init__(self):
        self.loop_time, self.wall_time = 10.0, 1000.0
        self.held_up = 0.0

    def loop(self):
        return self.loop_time

    def wall(self):
        now = self.wall_time
        self.loop_time += self.held_up
        self.wall_time += self.held_up
        return now


def test_a_reading_that_was_held_up_does_not_move_the_offset():
    clocks = Clocks()
    offset = ClockOffset(clocks.loop, clocks.wall)
    assert offset.seconds == -990
    clocks.held_up = 0.004
    offset.sample()
    assert offset.seconds == pytest.approx(-990)


def test_a_stepped_wall_clock_is_followed_even_then():
    clocks = Clocks()
    offset = ClockOffset(clocks.loop, clocks.wall)
    clocks.wall_time += 2.0
    offset.sample()
    assert offset.seconds == pytest.approx(-992)
    clocks.held_up = 0.004
    clocks.wall_time -= 1.0
    offset.sample()
    assert offset.seconds == pytest.approx(-991, abs=0.005)


def pass_seconds(overload, *lateness):
    for late in lateness:
        for tick in range(50):
            overload.add(late if tick % 3 else 0.0)
        overload.on_second()


def test_three_seconds_of_late_ticks_are_too_much_and_three_of_others_end_that():
    told = []
    overload = Overload(0.05, told.append)
    pass_seconds(overload, 0.2, 0.2, 0.01, 0.2, 0.2)
    assert told == []
    pass_seconds(overload, 0.2)
    assert told == [True]
    assert overload.exceeded
    pass_seconds(overload, 0.01, 0.01, 0.2, 0.01, 0.01)
    assert told == [True]
    pass_seconds(overload, 0.01, 0.2)
    assert told == [True, False]


def test_without_ticks_there_is_nothing_too_late():
    told = []
    overload = Overload(0.05, told.append)
    overload.end()
    pass_seconds(overload, 0.2, 0.2, 0.2)
    overload.end()
    assert told == [True, False]
    assert not overload.exceeded
