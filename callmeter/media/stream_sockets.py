"""The sockets of an engine's streams: of one alone, or shared by many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.media.ports import PortAllocator, widen
from callmeter.media.shared_port import SharedPort

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from callmeter.media.lanes import LaneTable
    from callmeter.media.receive import ReceiveLane
    from callmeter.rtp.stream_table import StreamTable

__all__ = ["StreamSockets"]


class StreamSockets:
    """Binds, listens and closes.

    Args:
        lanes: Has the shared port of each stream that is on one.
        reception: The accounting, with the same rows.
        receive: What takes the datagrams, from its back-end.
        entropy: Gives random octets.

    Attributes:
        allocator: Hands out the ports.
    """

    def __init__(
        self,
        lanes: LaneTable,
        reception: StreamTable,
        receive: ReceiveLane,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.allocator = PortAllocator(entropy)
        self._lanes = lanes
        self._reception = reception
        self._receive = receive
        self._shared: dict[tuple[str, tuple[int, int], int | None], SharedPort] = {}
        self._listening: set[int] = set()
        self._dropped: dict[str, int] = {}

    @property
    def dropped(self) -> dict[str, int]:
        """Datagrams to shared ports that were for no stream, or for one of several, so far."""
        total = dict(self._dropped)
        for port in self._shared.values():
            _add(total, port)
        return total

    def open(
        self,
        address: str,
        ports: tuple[int, int],
        dscp: int | None,
        *,
        rtcp_mux: bool,
    ) -> tuple[socket.socket, socket.socket | None]:
        """Bind the ports of one stream alone; arguments as in `MediaEngine.open_stream`.

        Raises:
            TransportError: No port is free.
        """
        if rtcp_mux:
            return self.allocator.open_one(address, ports, dscp), None
        return self.allocator.open_pair(address, ports, dscp)

    def share(
        self,
        row: int,
        address: str,
        ports: tuple[int, int],
        dscp: int | None,
        alone_with: tuple[str, int] | None,
    ) -> socket.socket | None:
        """Put a stream on the port for these settings, bound for the first of them.

        Args:
            row: The stream.
            address: As for `MediaEngine.open_stream`.
            ports: As for `MediaEngine.open_stream`.
            dscp: As for `MediaEngine.open_stream`.
            alone_with: As for `MediaEngine.open_stream`.

        Returns:
            The socket; None when the peer must not share it.

        Raises:
            TransportError: No port is free.
        """
        key = (address, ports, dscp)
        port = self._shared.get(key)
        if port is None:
            bound = self.allocator.open_one(address, ports, dscp)
            widen(bound)
            port = self._shared[key] = SharedPort(bound, self._lanes, self._reception)
        elif alone_with is not None:
            try:
                peer = self._receive.backend.to_native(port.bound, *alone_with)
            except OSError:
                return None
            if port.has_peer(peer):
                return None
        self._lanes.ports[row] = port
        port.join(row)
        return port.bound

    def close(self, bound: socket.socket, row: int) -> None:
        """A stream needs its socket no more; a shared one is closed with the last of them."""
        port = self._lanes.ports.pop(row, None)
        if port is None:
            bound.close()
            return
        port.leave(row)
        if len(port):
            return
        self._shared = {key: other for key, other in self._shared.items() if other is not port}
        _add(self._dropped, port)
        if bound.fileno() in self._listening:
            self._listening.discard(bound.fileno())
            self._receive.backend.remove(bound)
            self._receive.remove(bound.fileno())
        bound.close()

    def listen(self, bound: socket.socket, row: int, *, rtcp_only: bool) -> None:
        """Receive from a socket of a stream."""
        port = self._lanes.ports.get(row)
        if port is not None:
            if bound.fileno() not in self._listening:
                self._listening.add(bound.fileno())
                self._receive.share(port)
                self._receive.backend.add(bound)
            return
        self._receive.add(bound.fileno(), row, rtcp_only=rtcp_only)
        self._receive.backend.add(bound)

    def unlisten(self, bound: socket.socket, row: int) -> None:
        """The stream is about to close its socket."""
        if row in self._lanes.ports:
            return
        self._receive.backend.remove(bound)
        self._receive.remove(bound.fileno())


def _add(total: dict[str, int], port: SharedPort) -> None:
    for reason, count in (("unknown", port.unknown), ("ambiguous", port.ambiguous)):
        if count:
            total[reason] = total.get(reason, 0) + count
