"""Datagrams by `recvmmsg` and `sendmmsg` (Linux), called through ctypes.

The message tables are numpy arrays whose memory is the kernel's `struct mmsghdr`: filling a
column is one assignment, and no Python object exists per packet until somebody asks for one.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.media.datagrams.backend import (
    SCM_RXQ_OVFL,
    SCM_TIMESTAMPNS,
    Overflows,
    SendErrors,
    new_poller,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from callmeter.media.arena import Arena
    from callmeter.media.datagrams.backend import Received

__all__ = ["MmsgBackend", "available"]

# struct mmsghdr and struct iovec of a 64-bit Linux.
MESSAGE: Final = np.dtype(
    [
        ("name", "u8"), ("name_length", "u4"), ("_pad1", "u4"), ("iov", "u8"),
        ("iov_count", "u8"), ("control", "u8"), ("control_length", "u8"),
        ("flags", "i4"), ("_pad2", "i4"), ("length", "u4"), ("_pad3", "u4"),
    ]
)  # fmt: skip
VECTOR: Final = np.dtype([("base", "u8"), ("length", "u8")])
# A control message: length u8, level i4, type i4, then the data. The kernel writes the arrival
# stamp first and, once the socket has lost something, the drop count after it.
CONTROL: Final = np.dtype(
    [
        ("_length1", "u8"), ("_level1", "i4"), ("type1", "i4"), ("seconds", "i8"),
        ("nanoseconds", "i8"), ("_length2", "u8"), ("_level2", "i4"), ("type2", "i4"),
        ("dropped", "u4"), ("_pad", "u4"),
    ]
)  # fmt: skip
NAME_OCTETS: Final = 28
IPV4_NAME_OCTETS: Final = 16
PER_SOCKET: Final = 64


def _load() -> Any:
    """The C library's two calls, or None where they or the struct layout are not as expected."""
    if sys.platform != "linux" or struct.calcsize("P") != 8 or sys.byteorder != "little":  # noqa: PLR2004  a 64-bit pointer
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "recvmmsg") or not hasattr(library, "sendmmsg"):
        return None
    table: list[Any] = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    library.recvmmsg.argtypes = [*table, ctypes.c_void_p]
    library.sendmmsg.argtypes = table
    return library


_LIBRARY: Final = _load()


def available() -> bool:
    """Whether this system has both calls in the layout known here."""
    return _LIBRARY is not None


class _Tables:
    """The kernel's view of an arena."""

    __slots__ = ("address", "controls", "messages", "names", "vectors")

    def __init__(self, arena: Arena) -> None:
        capacity = arena.capacity
        slots = np.arange(capacity, dtype=np.uint64)
        self.names = np.zeros((capacity, NAME_OCTETS), np.uint8)
        self.controls = np.zeros(capacity, CONTROL)
        self.vectors = np.zeros(capacity, VECTOR)
        self.vectors["base"] = arena.octets.ctypes.data + slots * arena.octets.shape[1]
        self.vectors["length"] = arena.octets.shape[1]
        self.messages = np.zeros(capacity, MESSAGE)
        self.messages["name"] = self.names.ctypes.data + slots * NAME_OCTETS
        self.messages["iov"] = self.vectors.ctypes.data + slots * VECTOR.itemsize
        self.messages["iov_count"] = 1
        self.address = self.messages.ctypes.data


class MmsgBackend:
    """Many datagrams a system call: best on sockets that many calls share."""

    name = "mmsg"

    def __init__(self) -> None:
        self.overflows = Overflows()
        self.send_errors = SendErrors()
        self._poller = new_poller()
        self._added: set[int] = set()
        self._tables: dict[int, _Tables] = {}

    def add(self, bound: socket.socket) -> None:
        """Receive from this socket from now on."""
        self._added.add(bound.fileno())
        self._poller.register(bound.fileno(), select.POLLIN)

    def remove(self, bound: socket.socket) -> None:
        """Forget the socket; called before it is closed."""
        if bound.fileno() in self._added:
            self._added.discard(bound.fileno())
            self._poller.unregister(bound.fileno())
        self.overflows.forget(bound.fileno())

    def outlet(self, bound: socket.socket) -> Any:
        """The file descriptor."""
        return bound.fileno()

    def to_native(self, bound: socket.socket, host: str, port: int) -> Hashable:
        """A `sockaddr`, zero-padded to 28 octets."""
        if bound.family is socket.AF_INET6:
            found = socket.getaddrinfo(
                host, port, socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
            )
            # The type of an IPv6 socket address has four parts, the last one the scope.
            scope = int(found[0][4][3]) if len(found[0][4]) == 4 else 0  # noqa: PLR2004
            name = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0)
            name += socket.inet_pton(socket.AF_INET6, str(found[0][4][0]).partition("%")[0])
            return name + struct.pack("=I", scope)
        name = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port)
        return (name + socket.inet_aton(host)).ljust(NAME_OCTETS, b"\0")

    def to_host_port(self, native: Any) -> tuple[str, int]:
        """Host and port of a native address."""
        port = int.from_bytes(native[2:4], "big")
        if native[0] == socket.AF_INET6:
            return (socket.inet_ntop(socket.AF_INET6, native[8:24]), port)
        return (socket.inet_ntoa(native[4:8]), port)

    def _of(self, arena: Arena) -> _Tables:
        tables = self._tables.get(id(arena))
        if tables is None:
            tables = self._tables[id(arena)] = _Tables(arena)
        return tables

    def receive(self, arena: Arena, received: Received) -> None:
        """Fill the arena with what is there, at most 64 datagrams a socket and round."""
        tables = self._of(arena)
        capacity, count = arena.capacity, 0
        descriptors: list[int] = []
        recvmmsg, size = _LIBRARY.recvmmsg, MESSAGE.itemsize
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        ready = self._poller.poll(0)
        prepared = 0
        while ready and count < capacity:
            again = False
            for descriptor, _ in ready:
                room = min(capacity - count, PER_SOCKET)
                if not room:
                    break
                if prepared < count + room:
                    prepared = self._prepare(tables, prepared, count + room)
                taken = recvmmsg(descriptor, tables.address + size * count, room, flags, None)
                if taken > 0:
                    count += taken
                    descriptors.extend([descriptor] * taken)
                    again |= taken == room
            ready = self._poller.poll(0) if again else ()
        received.count = count
        received.descriptors = descriptors
        if not count:
            received.sources = []
            return
        arena.lengths[:count] = tables.messages["length"][:count]
        received.sources = tables.names[:count].view(f"V{NAME_OCTETS}")[:, 0].tolist()
        self._read_controls(tables.controls[:count], descriptors, received)

    @staticmethod
    def _prepare(tables: _Tables, start: int, end: int) -> int:
        """Make entries ready, in steps, so that few datagrams do not pay for a whole arena."""
        end = min(len(tables.messages), max(end, 2 * start, 2 * PER_SOCKET))
        messages = tables.messages[start:end]
        messages["name_length"] = NAME_OCTETS
        messages["control"] = tables.controls.ctypes.data + (
            np.arange(start, end, dtype=np.uint64) * CONTROL.itemsize
        )
        messages["control_length"] = CONTROL.itemsize
        tables.names[start:end] = 0
        tables.controls[start:end] = 0
        return end

    def _read_controls(
        self, controls: np.ndarray[Any, Any], descriptors: list[int], received: Received
    ) -> None:
        stamped = controls["type1"] == SCM_TIMESTAMPNS
        stamps = controls["seconds"] + controls["nanoseconds"] * 1e-9
        received.stamps[: len(controls)] = np.where(stamped, stamps, 0.0)
        for index in np.flatnonzero(controls["type2"] == SCM_RXQ_OVFL).tolist():
            self.overflows.note(descriptors[index], int(controls["dropped"][index]))

    def send(
        self, arena: Arena, count: int, outlets: Sequence[Any], destinations: Sequence[Any]
    ) -> list[int]:
        """Send the first `count` slots, one call for each run of one socket."""
        tables = self._of(arena)
        messages = tables.messages[:count]
        names = np.frombuffer(b"".join(destinations), np.uint8).reshape(count, NAME_OCTETS)
        tables.names[:count] = names
        messages["name_length"] = np.where(
            names[:, 0] == socket.AF_INET6, NAME_OCTETS, IPV4_NAME_OCTETS
        )
        tables.vectors["length"][:count] = arena.lengths[:count]
        refused: list[int] = []
        sendmmsg, size = _LIBRARY.sendmmsg, MESSAGE.itemsize
        start = 0
        while start < count:
            end = start + 1
            while end < count and outlets[end] == outlets[start]:
                end += 1
            while start < end:
                sent = sendmmsg(
                    outlets[start], tables.address + size * start, end - start, socket.MSG_DONTWAIT
                )
                if sent <= 0:
                    self.send_errors.note(ctypes.get_errno())
                    refused.append(start)
                    sent = 1
                start += sent
        return refused

    def send_one(self, outlet: Any, datagram: bytes, destination: Any) -> bool:
        """Send one datagram of the control lane; False when the kernel refused it."""
        vector = np.zeros(1, VECTOR)
        vector["base"] = np.frombuffer(datagram, np.uint8).ctypes.data
        vector["length"] = len(datagram)
        name = np.frombuffer(destination, np.uint8)
        message = np.zeros(1, MESSAGE)
        message["name"] = name.ctypes.data
        message["name_length"] = NAME_OCTETS if name[0] == socket.AF_INET6 else IPV4_NAME_OCTETS
        message["iov"] = vector.ctypes.data
        message["iov_count"] = 1
        if _LIBRARY.sendmmsg(outlet, message.ctypes.data, 1, socket.MSG_DONTWAIT) <= 0:
            self.send_errors.note(ctypes.get_errno())
            return False
        return True

    def close(self) -> None:
        """Close the readiness set."""
        self._added.clear()
        closer = getattr(self._poller, "close", None)
        if closer is not None:
            closer()
