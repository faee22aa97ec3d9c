from __future__ import annotations

from dataclasses import asdict

import pytest

from callmeter.config import TimerConfig
from callmeter.sip.timers import NEVER, TimerValues, backoff


def test_datagrams_have_the_default_values_of_table_4():
    values = asdict(TimerValues.of(TimerConfig(), reliable=False))
    assert values == {
        "t1": 0.5,
        "t2": 4.0,
        "t4": 5.0,
        "a": 0.5,
        "b": 32.0,
        "d": 32.0,
        "e": 0.5,
        "f": 32.0,
        "g": 0.5,
        "h": 32.0,
        "i": 5.0,
        "j": 32.0,
        "k": 5.0,
        "l": 32.0,
        "m": 32.0,
    }


def test_streams_neither_retransmit_nor_wait_for_stragglers():
    values = TimerValues.of(TimerConfig(), reliable=True)
    assert (values.a, values.e, values.g) == (NEVER, NEVER, NEVER)
    assert (values.d, values.i, values.j, values.k) == (0, 0, 0, 0)
    assert (values.b, values.f, values.h, values.l, values.m) == (32, 32, 32, 32, 32)


@pytest.mark.parametrize("reliable", [False, True])
def test_all_waits_follow_t1(reliable):
    values = TimerValues.of(TimerConfig(t1=0.01, t2=0.08, t4=0.1), reliable=reliable)
    assert {values.b, values.f, values.h, values.l, values.m} == {0.64}


def test_intervals_double_up_to_the_ceiling():
    intervals = [0.5]
    while len(intervals) < 6:
        intervals.append(backoff(intervals[-1], 4.0))
    assert intervals == [0.5, 1, 2, 4, 4, 4]


def test_intervals_double_for_ever_without_a_ceiling():
    assert backoff(64.0) == 128.0
    assert backoff(NEVER) == NEVER
