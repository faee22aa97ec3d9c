from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from callmeter.sip.timers import NEVER
from callmeter.sip.transaction.timer_wheel import COMPACT_FROM, SLOTS_A_SECOND, TimerWheel


class Machine:
    def __init__(self, when=NEVER, name=""):
        self.when = when
        self.name = name
        self.slot = None

    def next_deadline(self):
        return self.when


def drain(wheel, now):
    names = []
    while (machine := wheel.pop_due(now)) is not None:
        names.append(machine.name)
    return names


def test_nothing_is_due_in_an_empty_wheel():
    wheel = TimerWheel()
    assert wheel.next_deadline() is None
    assert wheel.pop_due(1e9) is None


def test_a_machine_without_a_deadline_takes_no_place():
    wheel = TimerWheel()
    wheel.arm(Machine())
    assert len(wheel) == 0


def test_machines_come_out_in_the_order_of_their_deadlines():
    wheel = TimerWheel()
    for when, name in ((3, "c"), (1, "a"), (2, "b")):
        wheel.arm(Machine(when, name))
    assert drain(wheel, 2) == ["a", "b"]
    assert wheel.next_deadline() == 3


def test_equal_deadlines_come_out_in_the_order_they_were_armed():
    wheel = TimerWheel()
    for name in "abc":
        wheel.arm(Machine(1, name))
    assert drain(wheel, 1) == ["a", "b", "c"]


def test_a_deadline_that_moved_later_costs_no_second_entry():
    wheel = TimerWheel()
    machine = Machine(1)
    wheel.arm(machine)
    machine.when = 5
    wheel.arm(machine)
    assert len(wheel) == 1
    assert wheel.next_deadline() == 5
    assert wheel.pop_due(4.9) is None
    assert wheel.pop_due(5) is machine


def test_a_deadline_that_did_not_move_costs_no_second_entry():
    wheel = TimerWheel()
    machine = Machine(1)
    for _ in range(3):
        wheel.arm(machine)
    assert len(wheel) == 1


def test_a_deadline_that_moved_earlier_fires_once():
    wheel = TimerWheel()
    machine = Machine(5)
    wheel.arm(machine)
    machine.when = 1
    wheel.arm(machine)
    assert wheel.next_deadline() == 1
    assert wheel.pop_due(9) is machine
    machine.when = NEVER
    assert wheel.next_deadline() is None


def test_a_stopped_timer_vanishes_from_the_wheel():
    wheel = TimerWheel()
    machine = Machine(1)
    wheel.arm(machine)
    machine.when = NEVER
    assert wheel.next_deadline() is None
    assert len(wheel) == 0
    assert machine.slot is None


def test_a_disarmed_machine_is_not_kept_alive():
    wheel = TimerWheel()
    machine = Machine(1)
    wheel.arm(machine)
    wheel.disarm(machine)
    wheel.disarm(machine)
    gone = weakref.ref(machine)
    del machine
    gc.collect()
    assert gone() is None
    assert wheel.next_deadline() is None


def test_slots_that_have_gone_are_not_kept_for_long():
    wheel = TimerWheel()
    survivor = Machine(20_000)
    wheel.arm(survivor)
    for when in range(10_000, 10_000 + 10 * COMPACT_FROM):
        machine = Machine(when)
        wheel.arm(machine)
        wheel.disarm(machine)
        assert len(wheel._numbers) <= COMPACT_FROM + 4
    assert wheel.next_deadline() == 20_000
    assert len(wheel) == 1


def test_deadlines_within_a_slot_come_out_to_the_digit():
    wheel = TimerWheel()
    slot = 1 / SLOTS_A_SECOND
    for part in (0.75, 0.25, 0.5):
        wheel.arm(Machine(5 + part * slot, part))
    assert wheel.next_deadline() == 5 + 0.25 * slot
    assert drain(wheel, 5 + 0.25 * slot) == [0.25]
    late = Machine(5 + 0.3 * slot, 0.3)
    wheel.arm(late)
    assert drain(wheel, 5 + 0.6 * slot) == [0.3, 0.5]
    # The slot has gone and comes again.
    assert drain(wheel, 6) == [0.75]
    wheel.arm(Machine(5 + 0.9 * slot, 0.9))
    wheel.arm(Machine(5 + 0.1 * slot, 0.1))
    assert drain(wheel, 6) == [0.1, 0.9]


def test_a_deadline_that_moved_later_unsaid_is_found_where_it_is():
    wheel = TimerWheel()
    machine, other = Machine(1), Machine(2)
    wheel.arm(machine)
    wheel.arm(other)
    machine.when = 3
    assert wheel.next_deadline() == 2
    assert wheel.pop_due(9) is other
    assert wheel.pop_due(9) is machine
    assert wheel.pop_due(9) is None


DEADLINES = st.one_of(
    st.integers(0, 50), st.floats(0, 50), st.floats(0, 0.05), st.just(NEVER), st.none()
)


@given(st.lists(st.tuples(st.integers(0, 7), DEADLINES), max_size=60), st.floats(0, 50))
def test_the_wheel_agrees_with_a_sorted_list(steps, now):
    wheel = TimerWheel()
    machines = [Machine() for _ in range(8)]
    for number, when in steps:
        machine = machines[number]
        if when is None:
            machine.when = NEVER
            wheel.disarm(machine)
        else:
            machine.when = when
            wheel.arm(machine)
        waiting = sorted(each.when for each in machines if each.when != NEVER)
        assert len(wheel) == len(waiting)
        assert wheel.next_deadline() == (waiting[0] if waiting else None)
    fired = []
    while (machine := wheel.pop_due(now)) is not None:
        fired.append(machine.when)
        machine.when = NEVER
    assert fired == [when for when in waiting if when <= now] if steps else fired == []
    assert not [each for each in machines if each.when != NEVER and each.slot is None]


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 2)), max_size=40))
def test_time_goes_on_as_with_a_sorted_list(steps):
    """Timers are set while others fire, as transactions do it."""
    wheel, waiting, now = TimerWheel(), [], 0.0
    for delay, passed in steps:
        machine = Machine(now + delay)
        wheel.arm(machine)
        waiting.append(machine.when)
        waiting.sort()
        now += passed
        fired = []
        while (machine := wheel.pop_due(now)) is not None:
            fired.append(machine.when)
        assert fired == [when for when in waiting if when <= now]
        waiting = waiting[len(fired) :]
        assert wheel.next_deadline() == (waiting[0] if waiting else None)
