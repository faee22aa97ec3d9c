"""Datagrams of one length to one address leave as one message, which the kernel cuts (UDP GSO).

Many calls to the same media address are a third as dear to send like this: the way through the
network stack is gone once for all of them. On the wire there is no difference. Whoever captures
on this host sees them before they are cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from callmeter.media.datagrams.tables import (
    IPV4_NAME_OCTETS,
    MESSAGE,
    NAME_OCTETS,
    VECTOR,
)
from callmeter.udp_segmentation import MAX_OCTETS, MAX_SEGMENTS, SOL_UDP, UDP_SEGMENT

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.arena import Arena

    Heads = npt.NDArray[np.uint64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Plan", "Segmentation", "plan", "slots_of"]

LEAST_SHARE: Final = 2
"""So many datagrams to an address in the mean are worth the sorting."""
MAX_PLANS: Final = 16
SEGMENT: Final = np.dtype(
    [("length", "u8"), ("level", "i4"), ("type", "i4"), ("size", "u2"), ("_pad", "V6")]
)
"""A control message with the length of the pieces."""
SEGMENT_OCTETS: Final = 18


class Plan(NamedTuple):
    """Which datagrams go together.

    Attributes:
        order: The slots, those of one message side by side.
        starts: Where each message begins in `order`.
        counts: How many datagrams each has.
    """

    order: Integers
    starts: Integers
    counts: Integers


def plan(heads: Heads, most: int) -> Plan | None:
    """Group datagrams by address, each group in their order.

    Args:
        heads: The address of each.
        most: Datagrams of a message at most.

    Returns:
        None when there is too little to group.
    """
    count = len(heads)
    order = np.argsort(heads, kind="stable")
    ordered = heads[order]
    first = np.ones(count, np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    if len(starts) * LEAST_SHARE > count:
        return None
    place = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    starts = np.flatnonzero(place % most == 0)
    return Plan(order, starts, np.diff(starts, append=count))


class Segmentation:
    """The kernel's tables for an arena whose datagrams are grouped.

    Args:
        arena: The datagrams.
    """

    def __init__(self, arena: Arena) -> None:
        capacity, octets = arena.octets.shape
        numbers = np.arange(capacity, dtype=np.uint64)
        self._slots = arena.octets.ctypes.data + numbers * octets
        self._vectors = np.zeros(capacity, VECTOR)
        self._names = np.zeros((capacity, NAME_OCTETS), np.uint8)
        self._heads = self._names.view(np.uint64)[:, 0]
        self._controls = np.zeros(capacity, SEGMENT)
        self._controls["length"] = SEGMENT_OCTETS
        self._controls["level"], self._controls["type"] = SOL_UDP, UDP_SEGMENT
        self._messages = np.zeros(capacity, MESSAGE)
        self._messages["name"] = self._names.ctypes.data + numbers * NAME_OCTETS
        self._messages["name_length"] = IPV4_NAME_OCTETS
        self._messages["control"] = self._controls.ctypes.data + numbers * SEGMENT.itemsize
        self._plans: dict[tuple[bytes, int], Plan | None] = {}
        self._filled: tuple[Plan, int] | None = None
        self.address = self._messages.ctypes.data

    def plan(self, heads: Heads, size: int) -> Plan | None:
        """The same streams are due together again and again, so few plans are made."""
        most = min(MAX_SEGMENTS, MAX_OCTETS // size)
        key = heads.tobytes(), most
        if key not in self._plans:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan(heads, most)
        return self._plans[key]

    def fill(self, chosen: Plan, heads: Heads, size: int) -> None:
        """Write the messages; those of the last time are still there.

        Args:
            chosen: Which datagrams go together, by `plan`.
            heads: The address of each, as `plan` was given them.
            size: The length of each.
        """
        if self._filled is not None and self._filled[0] is chosen and self._filled[1] == size:
            return
        self._filled = chosen, size
        order, starts, counts = chosen
        messages = self._messages[: len(starts)]
        self._vectors["base"][: len(order)] = self._slots[order]
        self._vectors["length"][: len(order)] = size
        self._heads[: len(starts)] = heads[order[starts]]
        self._controls["size"][: len(starts)] = size
        messages["iov"] = self._vectors.ctypes.data + starts.astype(np.uint64) * VECTOR.itemsize
        messages["iov_count"] = counts
        messages["control_length"] = np.where(counts > 1, SEGMENT.itemsize, 0)


def slots_of(chosen: Plan, message: int) -> list[int]:
    """The slots of one message."""
    start = int(chosen.starts[message])
    slots: list[int] = chosen.order[start : start + int(chosen.counts[message])].tolist()
    return slots
