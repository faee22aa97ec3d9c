"""One io_uring (Linux) as a way to make many system calls on many sockets at a time.

The rings are memory shared with the kernel, seen as numpy columns. Nothing polls them: what is
queued is carried out within `io_uring_enter` by the thread that calls it, so each side has finished
writing when the other one reads, and no memory barriers are needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.datagrams.tables import MESSAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["RECEIVE_MESSAGE", "SEND_MESSAGE", "Ring", "available"]

SEND_MESSAGE: Final = 9
RECEIVE_MESSAGE: Final = 10
"""IORING_OP_SENDMSG and IORING_OP_RECVMSG."""

# The same numbers on all architectures.
_SETUP: Final = 425
_ENTER: Final = 426
_GET_EVENTS: Final = 1
_SINGLE_MAPPING: Final = 1
"""Feature: both rings in one mapping (Linux 5.4)."""
_ENTRIES_OFFSET: Final = 0x1000_0000
# struct io_uring_params: ten words of 32 bits, then the offsets within both rings.
_PARAMETERS: Final = struct.Struct("=10I8IQ8IQ")
_ENTRY: Final = np.dtype(
    [
        ("opcode", "u1"), ("_flags", "u1"), ("_priority", "u2"), ("descriptor", "i4"),
        ("_offset", "u8"), ("address", "u8"), ("length", "u4"), ("message_flags", "u4"),
        ("user_data", "u8"), ("_more", "u8", 3),
    ]
)  # fmt: skip
_COMPLETION: Final = np.dtype([("user_data", "u8"), ("result", "i4"), ("_flags", "u4")])


@functools.cache
def _system_call() -> Any:
    if sys.platform != "linux" or struct.calcsize("P") != 8 or sys.byteorder != "little":  # noqa: PLR2004  a 64-bit pointer
        return None
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


@functools.cache
def available() -> bool:
    """Whether this system lets the process have a ring: many containers do not."""
    if _system_call() is None:
        return False
    try:
        with (
            contextlib.closing(Ring(1)) as ring,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as empty,
        ):
            message = np.zeros(1, MESSAGE)
            places = np.array([message.ctypes.data], np.uint64)
            found = ring.perform(RECEIVE_MESSAGE, [empty.fileno()], places, socket.MSG_DONTWAIT)
    except OSError:
        return False
    # Another layout, or operations of another meaning, would give another answer.
    return int(found[0]) == -errno.EAGAIN


class Ring:
    """Submission and completion ring; both are empty between two calls.

    Args:
        entries: Calls at a time, a power of two.

    Raises:
        OSError: The system does not give one, or not in the layout known here.
    """

    def __init__(self, entries: int) -> None:
        parameters = bytearray(_PARAMETERS.size)
        self._call = _system_call()
        if self._call is None:
            raise OSError(errno.ENOSYS, "no io_uring on this system")
        held = (ctypes.c_char * len(parameters)).from_buffer(parameters)
        self._descriptor = int(self._call(_SETUP, entries, held))
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            self._map(_PARAMETERS.unpack(parameters))
        except (OSError, ValueError):
            os.close(self._descriptor)
            raise

    def _map(self, parameters: tuple[int, ...]) -> None:
        submissions, completions = parameters[0], parameters[1]
        if not parameters[5] & _SINGLE_MAPPING:
            raise OSError(errno.ENOSYS, "io_uring has two mappings here")
        head, tail, _, _, _, _, array = parameters[10:17]
        done_head, done_tail, _, _, _, entries = parameters[19:25]
        octets = max(array + 4 * submissions, entries + _COMPLETION.itemsize * completions)
        rings = self._memory(octets, 0)
        words = np.frombuffer(rings, np.uint32, len(rings) // 4)
        self._head, self._tail = words[head // 4 :][:1], words[tail // 4 :][:1]
        self._queue = words[array // 4 :][:submissions]
        self._done_head, self._done_tail = words[done_head // 4 :][:1], words[done_tail // 4 :][:1]
        self._done = np.frombuffer(rings, _COMPLETION, completions, entries)
        memory = self._memory(_ENTRY.itemsize * submissions, _ENTRIES_OFFSET)
        self._entries = np.frombuffer(memory, _ENTRY, submissions)
        self._entries["length"] = 1
        self._entries["user_data"] = self._numbers = np.arange(submissions, dtype=np.uint32)
        self.capacity = submissions

    def _memory(self, octets: int, offset: int) -> mmap.mmap:
        shared, both = mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(self._descriptor, octets, shared, both, offset=offset)

    def perform(
        self,
        operation: int,
        descriptors: Sequence[int] | npt.NDArray[np.int64],
        messages: npt.NDArray[np.uint64],
        flags: int,
    ) -> npt.NDArray[np.int32]:
        """Carry out one operation on each of some sockets.

        Args:
            operation: What.
            descriptors: The sockets, at most `capacity`.
            messages: Address of the `struct msghdr` for each.
            flags: Of the message; MSG_DONTWAIT is among them, or this may wait.

        Returns:
            int32: what the call of each socket would have returned; an error as a negative number.
        """
        count = len(descriptors)
        entries = self._entries[:count]
        entries["opcode"] = operation
        entries["descriptor"] = descriptors
        entries["address"] = messages
        entries["message_flags"] = flags
        results = np.full(count, -errno.ECANCELED, np.int32)
        tail = int(self._tail[0])
        numbers = self._numbers[:count]
        self._queue[(numbers + np.uint32(tail)) & np.uint32(self.capacity - 1)] = numbers
        self._tail[0] = (tail + count) & 0xFFFF_FFFF
        submitted = done = 0
        while done < count:
            taken = self._call(
                _ENTER, self._descriptor, count - submitted, count - done, _GET_EVENTS, None, 0
            )
            if taken >= 0:
                submitted += taken
            elif ctypes.get_errno() != errno.EINTR:
                # The kernel has no memory for it: what it did not take is not done.
                self._tail[0] = self._head[0]
                count = submitted
            done += self._collect(results)
        return results

    def _collect(self, results: npt.NDArray[np.int32]) -> int:
        head = int(self._done_head[0])
        number = (int(self._done_tail[0]) - head) & 0xFFFF_FFFF
        first, size = head % len(self._done), len(self._done)
        over = max(0, first + number - size)
        for part in (self._done[first : first + number], self._done[:over]):
            results[part["user_data"]] = part["result"]
        self._done_head[0] = (head + number) & 0xFFFF_FFFF
        return number

    def close(self) -> None:
        """Give the ring back; it is of no use afterwards."""
        if self._descriptor >= 0:
            # The mappings go with the last of their views.
            del self._head, self._tail, self._queue, self._done_head, self._done_tail
            del self._done, self._entries
            os.close(self._descriptor)
            self._descriptor = -1
