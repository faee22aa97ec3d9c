"""One timer wheel for many machines: timers are set and stopped far more often than they fire.

Time is cut into slots, 64 a second. A timer lies in the slot of its deadline, unsorted, so that
setting and stopping it take the same few steps however many there are. A slot is put in order
once, when it is the next to come up. Slots exist while something lies in them: the wheel has no
circumference, and needs neither a second, slower wheel nor turns that find nothing.

The slots do not make deadlines coarser: what comes out, and when, is what a sorted list would give,
to the last digit of the clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import itemgetter
from typing import Final, Generic, Protocol, TypeVar

from callmeter.sip.timers import NEVER

__all__ = ["SLOTS_A_SECOND", "Timed", "TimerWheel"]

SLOTS_A_SECOND: Final = 64
COMPACT_FROM: Final = 256
"""Fewer numbers of slots that have gone are not worth a rebuild."""


class Timed(Protocol):
    """A machine that can wait here."""

    slot: int | None
    """Written by the wheel alone: where the machine lies; None for nowhere."""

    def next_deadline(self) -> float:
        """When the machine wants to be called; `NEVER` if not at all."""
        ...


T = TypeVar("T", bound=Timed)

_deadline = itemgetter(1)


class TimerWheel(Generic[T]):
    """The deadlines of many machines."""

    __slots__ = ("_numbers", "_ordered", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, dict[T, float]] = {}
        # A heap; some of them may have gone, or stand here twice.
        self._numbers: list[int] = []
        self._ordered: int | None = None

    def __len__(self) -> int:
        """Machines that wait."""
        return sum(map(len, self._slots.values()))

    def arm(self, machine: T) -> None:
        """Take note of a machine whose `next_deadline()` may have changed."""
        self.put(machine, machine.next_deadline())

    def put(self, machine: T, when: float) -> None:
        """As `arm`, for who knows that `next_deadline()` is `when`."""
        if when == NEVER:
            self.disarm(machine)
            return
        number = int(when * SLOTS_A_SECOND)
        if machine.slot != number:
            if machine.slot is not None:
                self.disarm(machine)
            slot = self._slots.get(number)
            if slot is None:
                slot = self._open(number)
            machine.slot = number
        else:
            slot = self._slots[number]
            if slot[machine] == when:
                return
        slot[machine] = when
        if number == self._ordered:
            self._ordered = None

    def disarm(self, machine: T) -> None:
        """Forget a machine; nothing here refers to it afterwards."""
        number = machine.slot
        if number is None:
            return
        machine.slot = None
        slot = self._slots[number]
        del slot[machine]
        if not slot:
            del self._slots[number]

    def next_deadline(self) -> float | None:
        """The earliest deadline, or None."""
        machine = self._first()
        return None if machine is None else machine.next_deadline()

    def pop_due(self, now: float) -> T | None:
        """Take out one machine whose deadline has come; `arm` puts it back."""
        machine = self._first()
        if machine is None:
            return None
        # The first machine lies in the first slot, and what is noted there is true.
        number = self._numbers[0]
        slot = self._slots[number]
        if slot[machine] > now:
            return None
        del slot[machine]
        machine.slot = None
        if not slot:
            del self._slots[number]
        return machine

    def _open(self, number: int) -> dict[T, float]:
        slot = self._slots[number] = {}
        heappush(self._numbers, number)
        if len(self._numbers) > 2 * len(self._slots) + COMPACT_FROM:
            # In order, a list is a heap.
            self._numbers = sorted(self._slots)
        return slot

    def _first(self) -> T | None:
        """The machine with the earliest deadline; of equal ones that which was armed first."""
        while self._numbers:
            number = self._numbers[0]
            slot = self._slots.get(number)
            if slot is None:
                heappop(self._numbers)
                continue
            if number != self._ordered:
                slot = self._slots[number] = dict(sorted(slot.items(), key=_deadline))
                self._ordered = number
            machine, noted = next(iter(slot.items()))
            if machine.next_deadline() == noted:
                return machine
            # It has moved, and nobody said so.
            self.arm(machine)
        return None
