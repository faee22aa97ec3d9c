"""A fixed arena of datagram slots, seen as numpy columns and as C pointers.

Packets are received, decrypted, built, encrypted and sent in place. A slot is an odd number of
cache lines long: the first line of every slot would otherwise compete for the same few cache sets.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from callmeter.rtp.header import PacketColumns
from callmeter.srtp import libsrtp

__all__ = ["MAX_DATAGRAM", "Arena"]

MAX_DATAGRAM: Final = 1500
"""The longest datagram taken, octets; longer ones are counted and dropped."""
# Protecting in place writes tag and MKI past the end: up to `stream_policy.MAX_TRAILER`, 148.
SLOT_OCTETS: Final = 1728


class Arena:
    """`capacity` slots of `SLOT_OCTETS` each.

    Attributes:
        octets: uint8, one row per slot.
        headers: The RTP header fields of all slots, as views.
        lengths: int32, octets used in each slot.
        pointers: A C pointer to each slot.
        length_pointers: A C pointer to each length.
        views: A memoryview of each slot.
    """

    __slots__ = (
        "capacity",
        "headers",
        "length_pointers",
        "lengths",
        "octets",
        "pointers",
        "views",
    )

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.octets = np.zeros((capacity, SLOT_OCTETS), np.uint8)
        self.headers = PacketColumns(self.octets)
        self.lengths = np.zeros(capacity, np.int32)
        slot, length = self.octets.ctypes.data, self.lengths.ctypes.data
        cast = libsrtp.ffi.cast
        self.pointers: list[Any] = [
            cast("void *", slot + SLOT_OCTETS * index) for index in range(capacity)
        ]
        self.length_pointers: list[Any] = [
            cast("int *", length + 4 * index) for index in range(capacity)
        ]
        whole = memoryview(self.octets.data).cast("B")
        self.views = [
            whole[SLOT_OCTETS * index : SLOT_OCTETS * (index + 1)] for index in range(capacity)
        ]

    def packet(self, slot: int) -> bytes:
        """A copy of the datagram in a slot."""
        return bytes(self.views[slot][: int(self.lengths[slot])])
