from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from callmeter.sip.timers import NEVER
from callmeter.sip.transaction.deadlines import COMPACT_FROM, Deadlines


class Machine:
    def __init__(self, when=NEVER, name=""):
        self.when = when
        self.name = name
        self.entry = None

    def next_deadline(self):
        return self.when


def drain(deadlines, now):
    names = []
    while (machine := deadlines.pop_due(now)) is not None:
        names.append(machine.name)
    return names


def test_nothing_is_due_in_an_empty_heap():
    deadlines = Deadlines()
    assert deadlines.next_deadline() is None
    assert deadlines.pop_due(1e9) is None


def test_a_machine_without_a_deadline_takes_no_place():
    deadlines = Deadlines()
    deadlines.arm(Machine())
    assert len(deadlines) == 0


def test_machines_come_out_in_the_order_of_their_deadlines():
    deadlines = Deadlines()
    for when, name in ((3, "c"), (1, "a"), (2, "b")):
        deadlines.arm(Machine(when, name))
    assert drain(deadlines, 2) == ["a", "b"]
    assert deadlines.next_deadline() == 3


def test_equal_deadlines_come_out_in_the_order_they_were_armed():
    deadlines = Deadlines()
    for name in "abc":
        deadlines.arm(Machine(1, name))
    assert drain(deadlines, 1) == ["a", "b", "c"]


def test_a_deadline_that_moved_later_costs_no_second_entry():
    deadlines = Deadlines()
    machine = Machine(1)
    deadlines.arm(machine)
    machine.when = 5
    deadlines.arm(machine)
    assert len(deadlines) == 1
    assert deadlines.next_deadline() == 5
    assert deadlines.pop_due(4.9) is None
    assert deadlines.pop_due(5) is machine


def test_a_deadline_that_did_not_move_costs_no_second_entry():
    deadlines = Deadlines()
    machine = Machine(1)
    for _ in range(3):
        deadlines.arm(machine)
    assert len(deadlines) == 1


def test_a_deadline_that_moved_earlier_fires_once():
    deadlines = Deadlines()
    machine = Machine(5)
    deadlines.arm(machine)
    machine.when = 1
    deadlines.arm(machine)
    assert deadlines.next_deadline() == 1
    assert deadlines.pop_due(9) is machine
    machine.when = NEVER
    assert deadlines.next_deadline() is None


def test_a_stopped_timer_vanishes_from_the_heap():
    deadlines = Deadlines()
    machine = Machine(1)
    deadlines.arm(machine)
    machine.when = NEVER
    assert deadlines.next_deadline() is None
    assert len(deadlines) == 0
    assert machine.entry is None


def test_a_disarmed_machine_is_not_kept_alive():
    deadlines = Deadlines()
    machine = Machine(1)
    deadlines.arm(machine)
    deadlines.disarm(machine)
    deadlines.disarm(machine)
    gone = weakref.ref(machine)
    del machine
    gc.collect()
    assert gone() is None
    assert deadlines.next_deadline() is None


def test_dead_entries_are_swept_before_they_outnumber_the_living():
    deadlines = Deadlines()
    survivor = Machine(2000)
    deadlines.arm(survivor)
    for when in range(1000, 1000 + 10 * COMPACT_FROM):
        machine = Machine(when)
        deadlines.arm(machine)
        deadlines.disarm(machine)
        assert len(deadlines) <= COMPACT_FROM + 2
        assert deadlines._dead == len(deadlines) - 1
    assert deadlines.next_deadline() == 2000


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.one_of(st.integers(0, 50), st.just(NEVER), st.none())),
        max_size=60,
    )
)
def test_the_heap_agrees_with_a_plain_search(steps):
    deadlines = Deadlines()
    machines = [Machine() for _ in range(8)]
    for number, when in steps:
        machine = machines[number]
        if when is None:
            machine.when = NEVER
            deadlines.disarm(machine)
        else:
            machine.when = when
            deadlines.arm(machine)
        assert deadlines._dead == sum(entry[2] is None for entry in deadlines._heap)
        earliest = min(each.when for each in machines)
        assert deadlines.next_deadline() == (None if earliest == NEVER else earliest)
    due = sorted(each.when for each in machines if each.when <= 25)
    fired = []
    while (machine := deadlines.pop_due(25)) is not None:
        fired.append(machine.when)
        machine.when = NEVER
    assert fired == due
