"""What every way of moving datagrams has to offer, and what the ways share."""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    import socket
    from collections.abc import Hashable, Sequence

    import numpy.typing as npt

    from callmeter.media.arena import Arena

__all__ = [
    "Backend",
    "Overflows",
    "Received",
    "SendErrors",
    "head_number",
    "new_poller",
    "port_number",
]

SCM_TIMESTAMPNS: Final = 35
SCM_RXQ_OVFL: Final = 40


class Received:
    """What one `receive` brought; the datagrams themselves are in the arena.

    Attributes:
        count: Slots filled, from slot 0.
        descriptors: The socket of each datagram.
        stamps: float64, kernel arrival in wall-clock seconds; 0 where the kernel gave none.
        heads: uint64, the first octets of each source: all of an IPv4 address with its port.
            None where they are not to be had, or do not tell sources apart.
    """

    __slots__ = ("_names", "_sources", "count", "descriptors", "heads", "stamps")

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self.descriptors: list[int] = []
        self.stamps = np.zeros(capacity, np.float64)
        self.heads: npt.NDArray[np.uint64] | None = None
        self._sources: list[Hashable] | None = []
        self._names: npt.NDArray[np.void] | None = None

    @property
    def sources(self) -> list[Hashable]:
        """The source address of each datagram, in the back-end's own form."""
        if self._sources is None:
            self._sources = [] if self._names is None else self._names.tolist()
        return self._sources

    @sources.setter
    def sources(self, sources: list[Hashable]) -> None:
        self._sources = sources
        self.heads = None

    def source(self, slot: int) -> Hashable:
        """One of them: few packets of a batch are asked for theirs."""
        if self._sources is None and self._names is not None:
            name: Hashable = self._names[slot].tobytes()
            return name
        return self.sources[slot]

    def take_names(self, names: npt.NDArray[np.void], heads: npt.NDArray[np.uint64] | None) -> None:
        """Sources as the kernel wrote them; they become objects when somebody asks for them."""
        self._names, self._sources, self.heads = names, None, heads

    def ports(self) -> npt.NDArray[np.int64]:
        """The source port of each datagram."""
        if self.heads is not None:
            return ((self.heads >> np.uint64(16)) & np.uint64(0xFFFF)).astype(np.int64)
        return np.array([port_number(source) for source in self.sources], np.int64)


def port_number(native: Any) -> int:
    """What tells the ports of two sources apart: the number, in the back-end's octet order."""
    return int.from_bytes(native[2:4], "little") if isinstance(native, bytes) else int(native[1])


def head_number(native: Any) -> int:
    """What `Received.heads` has of a source; 0 where addresses have another form."""
    return int.from_bytes(native[:8], "little") if isinstance(native, bytes) else 0


class Backend(Protocol):
    """Moves datagrams between sockets and an arena.

    Addresses have the form that is cheapest for the back-end; they are hashable and compare
    equal when they are the same endpoint.
    """

    name: str
    overflows: Overflows
    send_errors: SendErrors

    @property
    def by_heads(self) -> bool:
        """Whether `send_to_heads` can be used."""

    def add(self, bound: socket.socket) -> None:
        """Receive from this socket from now on."""

    def remove(self, bound: socket.socket) -> None:
        """Forget the socket; called before it is closed."""

    def outlet(self, bound: socket.socket) -> Any:
        """What `send` wants for this socket."""

    def to_native(self, bound: socket.socket, host: str, port: int) -> Hashable:
        """An address in this back-end's form, for use with this socket."""

    def to_host_port(self, native: Any) -> tuple[str, int]:
        """The other way round."""

    def receive(self, arena: Arena, received: Received) -> None:
        """Fill the arena with what is there, at most its capacity; never waits."""

    def send(
        self, arena: Arena, count: int, outlets: Sequence[Any], destinations: Sequence[Any]
    ) -> list[int]:
        """Send the first `count` slots; returns the slots the kernel refused."""

    def send_to_heads(
        self,
        arena: Arena,
        count: int,
        descriptors: npt.NDArray[np.int64],
        heads: npt.NDArray[np.uint64],
    ) -> list[int]:
        """As `send`, to addresses given by their heads; only under `by_heads`."""

    def send_one(self, outlet: Any, datagram: bytes, destination: Any) -> bool:
        """Send one datagram of the control lane; False when the kernel refused it."""

    def close(self) -> None:
        """Release what the back-end holds; the sockets are the caller's."""


class Overflows:
    """Datagrams the kernel threw away because a receive queue was full (SO_RXQ_OVFL).

    The kernel tells the count of a socket since its birth, with a later datagram.
    """

    __slots__ = ("_gone", "_sockets")

    def __init__(self) -> None:
        self._sockets: dict[int, int] = {}
        self._gone = 0

    def note(self, descriptor: int, dropped: int) -> None:
        """Take the newest count of a socket."""
        self._sockets[descriptor] = dropped

    def forget(self, descriptor: int) -> None:
        """The socket is closed; what it lost stays counted."""
        self._gone += self._sockets.pop(descriptor, 0)

    def of(self, descriptor: int) -> int:
        """Datagrams this socket lost."""
        return self._sockets.get(descriptor, 0)

    @property
    def total(self) -> int:
        """Datagrams all sockets lost."""
        return self._gone + sum(self._sockets.values())


class SendErrors:
    """Refused sends by the name of the error, such as `"ENETUNREACH"`."""

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}

    def note(self, number: int | None) -> None:
        """Count one."""
        name = errno.errorcode.get(number or 0, "EUNKNOWN")
        self.by_name[name] = self.by_name.get(name, 0) + 1

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_name.values())


def new_poller() -> Any:
    """The readiness set: epoll where there is one, else poll, which has the same calls."""
    return getattr(select, "epoll", select.poll)()
