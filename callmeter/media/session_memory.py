"""Where the SRTP sessions of many calls lie: side by side, in memory of their own.

The C library gives every thread an arena of its own to allocate from. What the thread of an event
loop allocates is scattered over the holes that messages and calls have left; a thread that makes
sessions and nothing else has them one after the other. Batches then go through them in that order
(`LaneTable.arrange`), which takes a third less time. Where the C library has no such arenas, it
does no harm.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from callmeter.srtp.libsrtp import DOOR

if TYPE_CHECKING:
    from callmeter.srtp.stream_policy import Door, Session, StreamPolicy

__all__ = ["SessionMemory"]

FEW: Final = 64
"""So many sessions are made where they are asked for: those of a few calls stay in the caches."""


class SessionMemory:
    """A door to libsrtp that makes the sessions, from some number on, in a thread.

    Args:
        door: Opens them.
    """

    def __init__(self, door: Door = DOOR) -> None:
        self.name = door.name
        self.suites = door.suites
        self.whole = door.whole
        self._door = door
        self._few = FEW
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    def open(self, policy: StreamPolicy) -> Session | None:
        """Make a session, or None when the door refuses the policy."""
        if self._few or self._closed:
            self._few = max(0, self._few - 1)
            return self._door.open(policy)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "callmeter-sessions")
        # It takes some 20 us: no reason for the event loop to do something else meanwhile.
        return self._thread.submit(self._door.open, policy).result()

    def close(self) -> None:
        """End the thread for good; the sessions live on, and a late one is made without it."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
