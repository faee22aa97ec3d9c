"""Datagrams by `recvmmsg` and `sendmmsg` (Linux), called through ctypes.

The message tables are numpy arrays whose memory is the kernel's `struct mmsghdr`: filling a
column is one assignment, and no Python object exists per packet until somebody asks for one.
"""

from __future__ import annotations

import ctypes
import errno
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
from callmeter.media.datagrams.segmentation import Segmentation, slots_of
from callmeter.media.datagrams.tables import (
    CONTROL,
    IPV4_NAME_OCTETS,
    MESSAGE,
    NAME_OCTETS,
    STAMP_OCTETS,
    VECTOR,
)
from callmeter.udp_segmentation import can_cut

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy.typing as npt

    from callmeter.media.arena import Arena
    from callmeter.media.datagrams.backend import Received

__all__ = ["MmsgBackend", "Tables", "available"]

PER_SOCKET: Final = 64
CANNOT_CUT: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})


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
    datagram: list[Any] = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    library.sendto.argtypes = [*datagram, ctypes.c_char_p, ctypes.c_uint]
    library.sendto.restype = ctypes.c_ssize_t
    return library


_LIBRARY: Final = _load()


def available() -> bool:
    """Whether this system has both calls in the layout known here."""
    return _LIBRARY is not None


class Tables:
    """The kernel's view of an arena.

    Attributes:
        places: uint64, the address of each message.
        used: Messages that the kernel has written to since they were last renewed.
    """

    __slots__ = (
        "address",
        "controls",
        "heads",
        "messages",
        "names",
        "places",
        "sources",
        "used",
        "vectors",
    )

    def __init__(self, arena: Arena) -> None:
        capacity = arena.capacity
        slots = np.arange(capacity, dtype=np.uint64)
        self.names = np.zeros((capacity, NAME_OCTETS), np.uint8)
        self.sources = self.names.view(f"V{NAME_OCTETS}")[:, 0]
        self.heads = self.names.view(np.uint64)[:, 0]
        self.controls = np.zeros(capacity, CONTROL)
        self.vectors = np.zeros(capacity, VECTOR)
        self.vectors["base"] = arena.octets.ctypes.data + slots * arena.octets.shape[1]
        self.vectors["length"] = arena.octets.shape[1]
        self.messages = np.zeros(capacity, MESSAGE)
        self.messages["name"] = self.names.ctypes.data + slots * NAME_OCTETS
        self.messages["iov"] = self.vectors.ctypes.data + slots * VECTOR.itemsize
        self.messages["iov_count"] = 1
        self.messages["control"] = self.controls.ctypes.data + slots * CONTROL.itemsize
        self.address = self.messages.ctypes.data
        self.places = self.address + slots * MESSAGE.itemsize
        self.used = capacity

    def renew(self, *, wide: bool) -> None:
        """Make what the kernel wrote to ready for the next datagrams."""
        self._renew(0, self.used, wide=wide)
        self.used = 0

    def _renew(self, first: int, end: int, *, wide: bool) -> None:
        messages = self.messages[first:end]
        messages["name_length"] = NAME_OCTETS
        messages["control_length"] = CONTROL.itemsize
        # A shorter address leaves what a longer one has written.
        if wide:
            self.names[first:end, IPV4_NAME_OCTETS:] = 0

    def move_up(self, arena: Arena, first: int, good: npt.NDArray[np.int64], *, wide: bool) -> None:
        """Let the datagrams that came stand together: those of `first + good`, from `first` on."""
        end = first + len(good)
        moved = slice(first, end)
        for column in (arena.octets, self.names, self.controls, self.messages["length"]):
            column[moved] = column[first + good]
        for field in ("name_length", "control_length"):
            self.messages[field][moved] = self.messages[field][first + good]
        self._renew(end, self.used, wide=wide)
        self.used = end


class MmsgBackend:
    """Many datagrams a system call: best on sockets that many calls share.

    Args:
        segmentation: Let the kernel cut what goes to one address, where it can.
    """

    name = "mmsg"

    @property
    def by_heads(self) -> bool:
        """Whether there are IPv4 sockets alone."""
        return not self._wide

    def __init__(self, *, segmentation: bool = True) -> None:
        self.overflows = Overflows()
        self.send_errors = SendErrors()
        self._poller = new_poller()
        self._added: set[int] = set()
        self._wide = False
        self._tables: dict[Arena, Tables] = {}
        self._segments: dict[Arena, Segmentation] = {}
        self._cuts = segmentation and can_cut()

    def add(self, bound: socket.socket) -> None:
        """Receive from this socket from now on."""
        self._added.add(bound.fileno())
        self._wide |= bound.family is socket.AF_INET6
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
        """A `sockaddr`, zero-padded."""
        if bound.family is socket.AF_INET6:
            found = socket.getaddrinfo(
                host, port, socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
            )
            # The type of an IPv6 socket address has four parts, the last one the scope.
            scope = int(found[0][4][3]) if len(found[0][4]) == 4 else 0  # noqa: PLR2004
            name = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0)
            name += socket.inet_pton(socket.AF_INET6, str(found[0][4][0]).partition("%")[0])
            return (name + struct.pack("=I", scope)).ljust(NAME_OCTETS, b"\0")
        name = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port)
        return (name + socket.inet_aton(host)).ljust(NAME_OCTETS, b"\0")

    def to_host_port(self, native: Any) -> tuple[str, int]:
        """Host and port of a native address."""
        port = int.from_bytes(native[2:4], "big")
        if native[0] == socket.AF_INET6:
            return (socket.inet_ntop(socket.AF_INET6, native[8:24]), port)
        return (socket.inet_ntoa(native[4:8]), port)

    def _of(self, arena: Arena) -> Tables:
        tables = self._tables.get(arena)
        if tables is None:
            tables = self._tables[arena] = Tables(arena)
        return tables

    def receive(self, arena: Arena, received: Received) -> None:
        """Fill the arena with what is there, in turn from each socket that has something."""
        tables = self._of(arena)
        tables.renew(wide=self._wide)
        descriptors = self._take(tables, arena)
        count = received.count = len(descriptors)
        received.descriptors = descriptors
        if not count:
            received.sources = []
            return
        arena.lengths[:count] = tables.messages["length"][:count]
        received.take_names(tables.sources[:count], None if self._wide else tables.heads[:count])
        self._read_controls(tables, count, descriptors, received)

    def _take(self, tables: Tables, arena: Arena) -> list[int]:
        """Returns the socket of each slot that was filled."""
        descriptors: list[int] = []
        ready = self._poller.poll(0)
        while ready and len(descriptors) < arena.capacity:
            again = self._take_from(tables, arena, ready, descriptors)
            ready = self._poller.poll(0) if again else ()
        return descriptors

    def _take_from(
        self, tables: Tables, arena: Arena, ready: Sequence[tuple[int, int]], descriptors: list[int]
    ) -> bool:
        """Take the share of each socket; returns whether one of them may have more."""
        recvmmsg, size, again = _LIBRARY.recvmmsg, MESSAGE.itemsize, False
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        share = max(PER_SOCKET, arena.capacity // len(ready))
        for descriptor, _ in ready:
            count = len(descriptors)
            room = min(arena.capacity - count, share)
            if not room:
                break
            taken = recvmmsg(descriptor, tables.address + size * count, room, flags, None)
            if taken > 0:
                descriptors.extend([descriptor] * taken)
                tables.used = count + taken
                again |= taken == room
        return again

    def _read_controls(
        self, tables: Tables, count: int, descriptors: list[int], received: Received
    ) -> None:
        controls = tables.controls[:count]
        # The kernel says how much it wrote; behind that stands what an earlier datagram left.
        written = tables.messages["control_length"][:count]
        stamped = (controls["type1"] == SCM_TIMESTAMPNS) & (written >= STAMP_OCTETS)
        stamps = controls["seconds"] + controls["nanoseconds"] * 1e-9
        received.stamps[:count] = np.where(stamped, stamps, 0.0)
        if int(written.max()) > STAMP_OCTETS:
            lost = (written > STAMP_OCTETS) & (controls["type2"] == SCM_RXQ_OVFL)
            for index in np.flatnonzero(lost).tolist():
                self.overflows.note(descriptors[index], int(controls["dropped"][index]))

    def send(
        self, arena: Arena, count: int, outlets: Sequence[Any], destinations: Sequence[Any]
    ) -> list[int]:
        """Send the first `count` slots."""
        tables = self._of(arena)
        messages = tables.messages[:count]
        names = np.frombuffer(b"".join(destinations), np.uint8).reshape(count, NAME_OCTETS)
        tables.names[:count] = names
        messages["name_length"] = (
            np.where(names[:, 0] == socket.AF_INET6, NAME_OCTETS, IPV4_NAME_OCTETS)
            if self._wide
            else IPV4_NAME_OCTETS
        )
        tables.vectors["length"][:count] = arena.lengths[:count]
        return self._send_from(tables, outlets, count)

    def _send_from(
        self, tables: Tables, descriptors: Sequence[int] | npt.NDArray[np.int64], count: int
    ) -> list[int]:
        """Send the first `count` messages, one call for each run of one socket."""
        refused: list[int] = []
        start = 0
        while start < count:
            end = start + 1
            while end < count and descriptors[end] == descriptors[start]:
                end += 1
            self._send_run(tables, int(descriptors[start]), start, end, refused)
            start = end
        return refused

    def send_to_heads(
        self,
        arena: Arena,
        count: int,
        descriptors: npt.NDArray[np.int64],
        heads: npt.NDArray[np.uint64],
    ) -> list[int]:
        """Send the first `count` slots to IPv4 addresses."""
        only = int(descriptors[0])
        alone = bool((descriptors == only).all())
        if alone and self._cuts and bool((arena.lengths[:count] == arena.lengths[0]).all()):
            refused = self._send_segments(arena, count, only, heads)
            if refused is not None:
                return refused
        tables = self._of(arena)
        self._address(tables, arena, count, heads)
        if not alone:
            return self._send_from(tables, descriptors, count)
        refused = []
        self._send_run(tables, only, 0, count, refused)
        return refused

    def _send_segments(
        self, arena: Arena, count: int, descriptor: int, heads: npt.NDArray[np.uint64]
    ) -> list[int] | None:
        """Send datagrams of one length; None when there is too little to one address."""
        segments = self._segments.get(arena)
        if segments is None:
            segments = self._segments[arena] = Segmentation(arena)
        size = int(arena.lengths[0])
        chosen = segments.plan(heads, size)
        if chosen is None:
            return None
        segments.fill(chosen, heads, size)
        refused: list[int] = []
        done, messages = 0, len(chosen.starts)
        while done < messages:
            sent = _LIBRARY.sendmmsg(
                descriptor,
                segments.address + MESSAGE.itemsize * done,
                messages - done,
                socket.MSG_DONTWAIT,
            )
            if sent <= 0:
                error = ctypes.get_errno()
                slots = slots_of(chosen, done)
                if error in CANNOT_CUT and len(slots) > 1:
                    # Of this interface the kernel does not know how to.
                    self._cuts = False
                    rest = chosen.order[chosen.starts[done] :].tolist()
                    return refused + self._send_each(arena, count, descriptor, heads, rest)
                for _ in slots:
                    self.send_errors.note(error)
                refused += slots
                sent = 1
            done += sent
        return refused

    def _send_each(
        self,
        arena: Arena,
        count: int,
        descriptor: int,
        heads: npt.NDArray[np.uint64],
        slots: list[int],
    ) -> list[int]:
        tables = self._of(arena)
        self._address(tables, arena, count, heads)
        refused: list[int] = []
        for slot in slots:
            self._send_run(tables, descriptor, slot, slot + 1, refused)
        return refused

    @staticmethod
    def _address(tables: Tables, arena: Arena, count: int, heads: npt.NDArray[np.uint64]) -> None:
        tables.heads[:count] = heads
        tables.messages["name_length"][:count] = IPV4_NAME_OCTETS
        tables.vectors["length"][:count] = arena.lengths[:count]

    def _send_run(
        self, tables: Tables, descriptor: int, start: int, end: int, refused: list[int]
    ) -> None:
        sendmmsg, size = _LIBRARY.sendmmsg, MESSAGE.itemsize
        while start < end:
            sent = sendmmsg(
                descriptor, tables.address + size * start, end - start, socket.MSG_DONTWAIT
            )
            if sent <= 0:
                self.send_errors.note(ctypes.get_errno())
                refused.append(start)
                sent = 1
            start += sent

    def send_one(self, outlet: Any, datagram: bytes, destination: Any) -> bool:
        """Send one datagram of the control lane; False when the kernel refused it."""
        length = NAME_OCTETS if destination[0] == socket.AF_INET6 else IPV4_NAME_OCTETS
        if (
            _LIBRARY.sendto(
                outlet, datagram, len(datagram), socket.MSG_DONTWAIT, destination, length
            )
            < 0
        ):
            self.send_errors.note(ctypes.get_errno())
            return False
        return True

    def close(self) -> None:
        """Close the readiness set."""
        self._added.clear()
        closer = getattr(self._poller, "close", None)
        if closer is not None:
            closer()
