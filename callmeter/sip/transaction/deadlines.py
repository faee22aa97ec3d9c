"""One heap of deadlines for many machines, with lazy deletion.

A deadline that moves later costs nothing: its entry stays, and goes back in at the new time when
it comes up. Only one that moves earlier is pushed again, and the old entry dies where it lies.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from callmeter.sip.timers import NEVER

__all__ = ["Deadlines", "Entry", "Timed"]

Entry = list[Any]
"""`[when, number, owner]`: a list, for heapq compares lists without calling Python code.

The number makes entries unique, and lets equal deadlines fire in the order they were armed.
"""

COMPACT_FROM = 256
"""Fewer dead entries than this are not worth a rebuild."""


class Timed(Protocol):
    """A machine that can wait here."""

    entry: Entry | None
    """Written by `Deadlines` alone; None while no entry of this machine lives."""

    def next_deadline(self) -> float:
        """When the machine wants to be called; `NEVER` if not at all."""
        ...


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """The deadlines of many machines."""

    __slots__ = ("_dead", "_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._number = 0
        self._dead = 0

    def __len__(self) -> int:
        """Entries held, dead ones included."""
        return len(self._heap)

    def arm(self, machine: T) -> None:
        """Take note of a machine whose `next_deadline()` may have changed."""
        when = machine.next_deadline()
        entry = machine.entry
        if entry is not None:
            if when >= entry[0]:
                return
            self._kill(entry)
        elif when == NEVER:
            return
        self._push(machine, when)

    def disarm(self, machine: T) -> None:
        """Forget a machine; nothing here refers to it afterwards."""
        if machine.entry is not None:
            self._kill(machine.entry)
            machine.entry = None

    def next_deadline(self) -> float | None:
        """The earliest deadline, or None."""
        heap = self._heap
        while heap:
            when, _, machine = heap[0]
            if machine is None:
                self._dead -= 1
            elif machine.next_deadline() == when:
                return float(when)
            else:
                machine.entry = None
            heappop(heap)
            if machine is not None:
                self.arm(machine)
        return None

    def pop_due(self, now: float) -> T | None:
        """Take out one machine whose deadline has come; `arm` puts it back."""
        when = self.next_deadline()
        if when is None or when > now:
            return None
        machine: T = heappop(self._heap)[2]
        machine.entry = None
        return machine

    def _push(self, machine: T, when: float) -> None:
        self._number += 1
        machine.entry = [when, self._number, machine]
        heappush(self._heap, machine.entry)

    def _kill(self, entry: Entry) -> None:
        entry[2] = None
        self._dead += 1
        if self._dead > COMPACT_FROM and 2 * self._dead > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2] is not None]
            heapify(self._heap)
            self._dead = 0
