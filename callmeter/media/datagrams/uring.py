"""Datagrams of many sockets by io_uring (Linux): one system call for all of them.

Where a stream has a port of its own there is one datagram to a socket, so that `recvmmsg` and
`sendmmsg` save nothing. What concerns few sockets, or one, goes the way of those two.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.media.datagrams import mmsg
from callmeter.media.datagrams import ring as rings
from callmeter.media.datagrams.mmsg import MmsgBackend
from callmeter.media.datagrams.ring import RECEIVE_MESSAGE, SEND_MESSAGE, Ring

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from callmeter.media.arena import Arena
    from callmeter.media.datagrams.mmsg import Tables

__all__ = ["UringBackend", "available"]

RING_PAYS: Final = 8
"""Sockets; with fewer of them a call for each is cheaper."""
ENTRIES: Final = 1024


def available() -> bool:
    """Whether there are rings, and the calls for what does not need them."""
    return mmsg.available() and rings.available()


class UringBackend(MmsgBackend):
    """One system call for many sockets: best where each call has a port of its own.

    Args:
        segmentation: Let the kernel cut what goes to one address, where it can.
    """

    name = "uring"

    def __init__(self, *, segmentation: bool = True) -> None:
        super().__init__(segmentation=segmentation)
        self._ring: Ring | None = None
        self._refused = False

    def _ring_for(self, sockets: int) -> Ring | None:
        """The ring, made for the first sockets that are worth it; None where they are too few."""
        if sockets < RING_PAYS:
            return None
        if self._ring is None and not self._refused:
            try:
                self._ring = Ring(ENTRIES)
            except OSError:
                # No memory or descriptor is left for it.
                self._refused = True
        return self._ring

    def _take_from(
        self, tables: Tables, arena: Arena, ready: Sequence[tuple[int, int]], descriptors: list[int]
    ) -> bool:
        ring = self._ring_for(len(ready))
        if ring is None:
            return super()._take_from(tables, arena, ready, descriptors)
        count = len(descriptors)
        room = min(arena.capacity - count, ring.capacity)
        asked = [descriptor for descriptor, _ in ready[:room]]
        end = tables.used = count + len(asked)
        results = ring.perform(
            RECEIVE_MESSAGE,
            asked,
            tables.places[count:end],
            socket.MSG_DONTWAIT | socket.MSG_TRUNC,
        )
        tables.messages["length"][count:end] = results
        if results.min() >= 0:
            descriptors += asked
        else:
            # Ready, yet nothing there (a bad checksum), or an ICMP error to be read.
            good = np.flatnonzero(results >= 0)
            tables.move_up(arena, count, good, wide=self._wide)
            descriptors += [asked[index] for index in good.tolist()]
        # Who is ready and never has anything must not hold this up.
        return len(descriptors) > count

    def _send_from(
        self, tables: Tables, descriptors: Sequence[int] | npt.NDArray[np.int64], count: int
    ) -> list[int]:
        ring = self._ring_for(count)
        if ring is None:
            return super()._send_from(tables, descriptors, count)
        refused: list[int] = []
        for start in range(0, count, ring.capacity):
            end = min(count, start + ring.capacity)
            results = ring.perform(
                SEND_MESSAGE, descriptors[start:end], tables.places[start:end], socket.MSG_DONTWAIT
            )
            for index in np.flatnonzero(results < 0).tolist():
                self.send_errors.note(-int(results[index]))
                refused.append(start + index)
        return refused

    def remove(self, bound: socket.socket) -> None:
        """Forget the socket; called before it is closed. The ring goes with the last of them."""
        super().remove(bound)
        if not self._added:
            self._close_ring()

    def close(self) -> None:
        """Close the readiness set and the ring."""
        super().close()
        self._close_ring()

    def _close_ring(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None
