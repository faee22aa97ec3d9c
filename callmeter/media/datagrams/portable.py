"""Datagrams by the socket module alone: one system call each."""

from __future__ import annotations

import select
import socket
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
    from collections.abc import Callable, Hashable, Sequence

    import numpy.typing as npt

    from callmeter.media.arena import Arena
    from callmeter.media.datagrams.backend import Received

__all__ = ["PortableBackend"]

STAMP_OCTETS: Final = 16
NO_STAMP: Final = bytes(STAMP_OCTETS)
ANCILLARY_OCTETS: Final = socket.CMSG_SPACE(STAMP_OCTETS) + socket.CMSG_SPACE(4)
MAX_VIEW_LENGTHS: Final = 16


class PortableBackend:
    """`recvmsg_into` over a readiness set, and `sendto`."""

    name = "portable"
    by_heads = False

    def __init__(self) -> None:
        self.overflows = Overflows()
        self.send_errors = SendErrors()
        self._poller = new_poller()
        self._receivers: dict[int, Callable[..., Any]] = {}
        self._buffers: dict[Arena, list[list[memoryview]]] = {}
        self._views: dict[tuple[Arena, int], list[memoryview]] = {}

    def add(self, bound: socket.socket) -> None:
        """Receive from this socket from now on."""
        self._receivers[bound.fileno()] = bound.recvmsg_into
        self._poller.register(bound.fileno(), select.POLLIN)

    def remove(self, bound: socket.socket) -> None:
        """Forget the socket; called before it is closed."""
        if self._receivers.pop(bound.fileno(), None) is not None:
            self._poller.unregister(bound.fileno())
        self.overflows.forget(bound.fileno())

    def outlet(self, bound: socket.socket) -> Any:
        """The socket's own `sendto`."""
        return bound.sendto

    def to_native(self, bound: socket.socket, host: str, port: int) -> Hashable:
        """The address tuple `recvmsg_into` gives for this peer."""
        if bound.family is socket.AF_INET6:
            found = socket.getaddrinfo(
                host, port, socket.AF_INET6, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
            )
            return found[0][4]
        return (socket.inet_ntoa(socket.inet_aton(host)), port)

    def to_host_port(self, native: Any) -> tuple[str, int]:
        """Host and port of a native address."""
        return (native[0], native[1])

    def receive(self, arena: Arena, received: Received) -> None:
        """Fill the arena with what is there, one datagram a socket and round."""
        buffers = self._buffers.get(arena)
        if buffers is None:
            buffers = self._buffers[arena] = [[view] for view in arena.views]
        descriptors: list[int] = []
        sources: list[Hashable] = []
        lengths: list[int] = []
        stamps: list[bytes] = []
        receivers, poll, room = self._receivers, self._poller.poll, arena.capacity
        before = -1
        # Who is ready and never has anything must not hold this up.
        while room and before < len(lengths) and (ready := poll(0)):
            before = len(lengths)
            for descriptor, _ in ready[:room]:
                try:
                    octets, ancillary, _, source = receivers[descriptor](
                        buffers[len(lengths)], ANCILLARY_OCTETS
                    )
                except OSError:
                    # Ready, yet nothing there (a bad checksum), or an ICMP error to be read.
                    continue
                lengths.append(octets)
                descriptors.append(descriptor)
                sources.append(source)
                if len(ancillary) == 1:
                    stamps.append(ancillary[0][2])
                else:
                    stamps.append(self._unusual(descriptor, ancillary))
            room = arena.capacity - len(lengths)
        count = received.count = len(lengths)
        received.descriptors = descriptors
        received.sources = sources
        if count:
            arena.lengths[:count] = lengths
            pairs = np.frombuffer(b"".join(stamps), np.int64).reshape(count, 2)
            received.stamps[:count] = pairs[:, 0] + pairs[:, 1] * 1e-9

    def _unusual(self, descriptor: int, ancillary: list[tuple[int, int, bytes]]) -> bytes:
        """No stamp at all, or a drop count beside it."""
        stamp = NO_STAMP
        for _, kind, value in ancillary:
            if kind == SCM_TIMESTAMPNS:
                stamp = value
            elif kind == SCM_RXQ_OVFL:
                self.overflows.note(descriptor, int.from_bytes(value, "little"))
        return stamp

    def send(
        self, arena: Arena, count: int, outlets: Sequence[Any], destinations: Sequence[Any]
    ) -> list[int]:
        """Send the first `count` slots; returns the slots the kernel refused."""
        refused: list[int] = []
        lengths = arena.lengths[:count].tolist()
        uniform = count and lengths.count(lengths[0]) == count
        if uniform:
            datagrams: Any = self._views_of(arena, lengths[0])
        else:
            datagrams = [view[:length] for view, length in zip(arena.views, lengths, strict=False)]
        for slot in range(count):
            try:
                outlets[slot](datagrams[slot], destinations[slot])
            except OSError as error:
                self.send_errors.note(error.errno)
                refused.append(slot)
        return refused

    def send_to_heads(
        self,
        arena: Arena,
        count: int,
        descriptors: npt.NDArray[np.int64],
        heads: npt.NDArray[np.uint64],
    ) -> list[int]:
        """Nothing: addresses are no octets here."""
        del arena, descriptors, heads
        return list(range(count))

    def _views_of(self, arena: Arena, length: int) -> list[memoryview]:
        """Slices of all slots: the same few lengths come again and again."""
        views = self._views.get((arena, length))
        if views is None:
            if len(self._views) >= MAX_VIEW_LENGTHS:
                self._views.clear()
            views = self._views[arena, length] = [view[:length] for view in arena.views]
        return views

    def send_one(self, outlet: Any, datagram: bytes, destination: Any) -> bool:
        """Send one datagram of the control lane; False when the kernel refused it."""
        try:
            outlet(datagram, destination)
        except OSError as error:
            self.send_errors.note(error.errno)
            return False
        return True

    def close(self) -> None:
        """Close the readiness set."""
        self._receivers.clear()
        closer = getattr(self._poller, "close", None)
        if closer is not None:
            closer()
