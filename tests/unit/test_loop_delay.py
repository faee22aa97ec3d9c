"""When a loop counts as overloaded, by a clock of the test's own."""

from __future__ import annotations

import pytest

from callmeter.loop_delay import LATE_TICKS, QUIET_TICKS, TICK_S, LoopDelay


class Clock:
    def __init__(self):
        self.now, self.calls = 100.0, []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.calls.append((when, callback))
        return self

    def cancel(self):
        self.calls.clear()

    def tick(self, late=0.0):
        ((when, callback),) = self.calls
        self.calls.clear()
        self.now = when + late
        callback()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def delay(clock, told):
    return LoopDelay(clock, 0.1, told.append)


def test_a_loop_whose_timers_are_late_one_after_the_other_has_too_much_to_do(delay, clock, told):
    delay.watch()
    for _ in range(LATE_TICKS):
        assert not delay.exceeded
        clock.tick(late=0.15)
    assert delay.exceeded
    clock.tick(late=0.2)
    clock.tick(late=0.05)
    assert not delay.exceeded
    assert told == [True, False]


def test_a_stall_now_and_then_is_no_overload(delay, clock, told):
    for late in [*[0.5] * (LATE_TICKS - 1), 0.0] * 3:
        delay.watch()
        clock.tick(late=late)
    assert told == []


def test_nobody_looks_at_a_clock_that_no_message_waits_for(delay, clock, told):
    assert clock.calls == []
    delay.watch()
    delay.watch()
    assert [when for when, _ in clock.calls] == [100.0 + TICK_S]
    for _ in range(QUIET_TICKS):
        clock.tick(late=1.0)
    assert clock.calls == []
    # What was shed for is over when nobody asks any more.
    assert told == [True, False]
    delay.watch()
    delay.close()
    delay.close()
    assert clock.calls == []
