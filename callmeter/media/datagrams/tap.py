"""A back-end that copies what passes, for streams that are captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Hashable, Sequence

    from callmeter.media.arena import Arena
    from callmeter.media.capture import MediaCapture
    from callmeter.media.datagrams.backend import Backend, Received

__all__ = ["TappedBackend"]

Tap = tuple["MediaCapture", tuple[str, int]]


class TappedBackend:
    """Does what another back-end does, and copies the datagrams of some sockets.

    Args:
        inner: What moves the datagrams.
        wall: Seconds since 1970, for what leaves and what the kernel did not stamp.
    """

    def __init__(self, inner: Backend, wall: Callable[[], float]) -> None:
        self.inner = inner
        self._wall = wall
        self.name = inner.name
        self.by_heads = False
        self.overflows = inner.overflows
        self.send_errors = inner.send_errors
        self.send_to_heads = inner.send_to_heads
        self.add = inner.add
        self.remove = inner.remove
        self.outlet = inner.outlet
        self.to_native = inner.to_native
        self.to_host_port = inner.to_host_port
        self.close = inner.close
        self._taps: dict[Any, Tap] = {}
        self._descriptors: dict[int, Tap] = {}

    @property
    def tapping(self) -> bool:
        """Whether any socket is copied."""
        return bool(self._descriptors)

    def tap(self, bound: socket.socket, capture: MediaCapture) -> None:
        """Copy what this socket sends and receives."""
        host, port, *_ = bound.getsockname()
        tap = capture, (str(host), int(port))
        self._descriptors[bound.fileno()] = self._taps[self.inner.outlet(bound)] = tap

    def untap(self, bound: socket.socket) -> None:
        """Copy nothing of it any more; called before it is closed."""
        self._descriptors.pop(bound.fileno(), None)
        self._taps.pop(self.inner.outlet(bound), None)

    def receive(self, arena: Arena, received: Received) -> None:
        """Fill the arena, and copy."""
        self.inner.receive(arena, received)
        for slot, descriptor in enumerate(received.descriptors[: received.count]):
            tap = self._descriptors.get(descriptor)
            if tap is not None:
                capture, local = tap
                wall = float(received.stamps[slot]) or self._wall()
                capture.add(wall, False, local, received.sources[slot], arena.packet(slot))  # noqa: FBT003

    def send(
        self, arena: Arena, count: int, outlets: Sequence[Any], destinations: Sequence[Any]
    ) -> list[int]:
        """Send, and copy what was not refused."""
        refused = self.inner.send(arena, count, outlets, destinations)
        wall, missing = self._wall(), frozenset(refused)
        for slot, outlet in enumerate(outlets[:count]):
            tap = self._taps.get(outlet)
            if tap is not None and slot not in missing:
                capture, local = tap
                capture.add(wall, True, local, destinations[slot], arena.packet(slot))  # noqa: FBT003
        return refused

    def send_one(self, outlet: Any, datagram: bytes, destination: Hashable) -> bool:
        """Send one datagram, and copy it when it was not refused."""
        sent = self.inner.send_one(outlet, datagram, destination)
        tap = self._taps.get(outlet)
        if sent and tap is not None:
            tap[0].add(self._wall(), True, tap[1], destination, datagram)  # noqa: FBT003
        return sent
