"""SIP over UDP: one socket, a bounded drain, ICMP errors by destination (RFC 3261 section 18.1).

`create_datagram_endpoint` is not used: its 256 KiB read buffer costs 16 us a datagram.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from callmeter.errors import ConnectionFailed, MessageTooLarge
from callmeter.sip.transaction.effects import Hop
from callmeter.udp_segmentation import MAX_OCTETS, MAX_SEGMENTS, SOL_UDP, UDP_SEGMENT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from callmeter.errors import TransportError
    from callmeter.transport.base import DatagramUser

__all__ = ["UdpTransport", "local_address_towards"]

DRAIN = 64
"""Datagrams taken per turn of the loop, so that a flood cannot starve it."""
BY_HAND = 16
"""Times as many where the reader has chosen the time."""
MUCH = 1_500
"""Datagrams a second from which on they are read at intervals, by `pace_reading`."""
SOURCES = 1_024
"""Addresses whose hops are kept, as most datagrams come from the same few."""
MAX_DATAGRAM = 65_535
LEAST_SEGMENTS = 2
"""Datagrams that have to fit into a piece for it to be one."""
ATTEMPTS = 3
RECEIVE_BUFFER = 4 * 1024 * 1024
# Linux values that the socket module does not name before Python 3.14.
IP_RECVERR = 11
IPV6_RECVERR = 25
MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_SEGMENT = struct.Struct("=H")
FROM_NETWORK = frozenset({2, 3})
"""SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6."""


class UdpTransport:
    """One UDP socket that sends and receives SIP.

    Args:
        loop: The running event loop.
        user: Who takes what arrives.
        bind: IP address to bind.
        port: Port to bind; 0 takes a free one.
        cuts: Whether the kernel may be given several datagrams in one piece.

    Raises:
        ConnectionFailed: The address or port cannot be bound.

    Attributes:
        dropped_sends: Datagrams for which there was no room in the send queue.
        drained: What is called once all that has come, or a part of it, was given to the user.
    """

    name = "UDP"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        user: DatagramUser,
        bind: str,
        port: int,
        *,
        cuts: bool = False,
    ) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self._loop = loop
        self._user = user
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._closed = False
        self._cuts = cuts
        self.dropped_sends = 0
        self.drained: Callable[[], None] = nothing
        self._sources: dict[tuple[Any, ...], Hop] = {}
        self._pace = 0.0
        self._since = 0.0
        self._count = 0
        self._next_reading: asyncio.TimerHandle | None = None
        try:
            self._socket.setblocking(False)  # noqa: FBT003  the socket module's own signature
            self._ask_for_errors(family)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._socket.bind((bind, port))
        except OSError as error:
            self._socket.close()
            where = f"UDP {bind}:{port}"
            raise ConnectionFailed(
                f"cannot listen on {where}: {error.strerror}", destination=where
            ) from error
        name = self._socket.getsockname()
        self._local: tuple[str, int] = name[0], name[1]
        self._listen(listens=True)

    def _ask_for_errors(self, family: int) -> None:
        # Without this an unconnected socket never learns that a port is closed.
        with contextlib.suppress(OSError):
            if family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

    @property
    def local(self) -> tuple[str, int]:
        """Address and port that listen."""
        return self._local

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one datagram.

        Raises:
            MessageTooLarge: More octets than a datagram holds.
            ConnectionFailed: The network refused at once (no route, not permitted).
        """
        attempts = ATTEMPTS
        while True:
            try:
                self._socket.sendto(data, (hop.host, hop.port))
            except (BlockingIOError, InterruptedError):
                # A full send queue is loss like any other: retransmissions recover it.
                self.dropped_sends += 1
            except OSError as error:
                # A pending ICMP error of an earlier datagram is reported by the next call,
                # whatever its destination: take it from the queue and send again.
                attempts -= 1
                if self._drain_errors() and attempts:
                    continue
                raise self._failure(error, data, hop) from error
            return

    def send_alike(self, datagrams: list[bytes], hop: Hop) -> int:
        """Send datagrams of one length in large pieces, which the kernel cuts (UDP GSO).

        Returns:
            How many of them were sent, the first ones. The others are for `send`, which says what
            is the matter: too long for the way, no room, a word of the network about others.
        """
        size, sent = len(datagrams[0]), 0
        most = min(MAX_SEGMENTS, MAX_OCTETS // max(size, 1))
        if not self._cuts or not size or most < LEAST_SEGMENTS:
            return 0
        control = [(SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(size))]
        while sent < len(datagrams):
            piece = datagrams[sent : sent + most]
            try:
                self._socket.sendmsg([b"".join(piece)], control, 0, (hop.host, hop.port))
            except OSError:
                break
            sent += len(piece)
        return sent

    def _failure(self, error: OSError, data: bytes, hop: Hop) -> TransportError:
        """Why a datagram could not be sent."""
        where = str(hop)
        if self._closed:
            return ConnectionFailed("the transport is closed", destination=where)
        if error.errno == errno.EMSGSIZE:
            text = f"{len(data)} octets do not fit into a datagram"
            return MessageTooLarge(text, destination=where)
        if error.errno == errno.EINVAL:
            # Linux says so of what has no way from here: from loopback, to another machine.
            text = f"{hop}: it cannot be reached from {self._local[0]}"
            return ConnectionFailed(text, destination=where)
        return ConnectionFailed(f"{hop}: {error.strerror or error}", destination=where)

    def close(self) -> None:
        """Stop listening and free the socket."""
        if not self._closed:
            self._closed = True
            self._listen(listens=False)
            self._socket.close()

    def _listen(self, *, listens: bool) -> None:
        """Whether the loop wakes up for what comes."""
        if self._next_reading is not None:
            self._next_reading.cancel()
            self._next_reading = None
        if listens:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
        else:
            self._loop.remove_reader(self._socket.fileno())

    def pace_reading(self, seconds: float) -> None:
        """While much comes, read it at these intervals: the loop does not wake up for each.

        What comes after a silence is read at once.
        """
        self._pace = seconds

    @contextlib.contextmanager
    def read_by_hand(self) -> Iterator[Callable[[], object]]:
        """Datagrams wait until what this gives is called: the loop does not wake up for each."""
        self._listen(listens=False)
        try:
            yield self._read_all
        finally:
            if not self._closed:
                self._listen(listens=True)

    def _read_all(self) -> int:
        """All that has come, within reason; returns how many there were."""
        total = 0
        for _ in range(BY_HAND):
            if self._closed:
                break
            taken = self._drain()
            total += taken
            if taken < DRAIN:
                break
        self.drained()
        return total

    def _on_readable(self) -> None:
        taken = self._drain()
        self.drained()
        if self._pace and not self._closed:
            self._count += taken
            now = self._loop.time()
            if now - self._since >= self._pace:
                self._since, self._count = now, taken
            if self._count >= MUCH * self._pace:
                self._listen(listens=False)
                self._next_reading = self._loop.call_later(self._pace, self._on_pace)

    def _on_pace(self) -> None:
        taken = self._read_all()
        if self._closed:
            return
        if taken >= MUCH * self._pace:
            self._next_reading = self._loop.call_later(self._pace, self._on_pace)
        else:
            self._since, self._count = self._loop.time(), 0
            self._listen(listens=True)

    def _drain(self) -> int:
        """Take what has come, at most `DRAIN` datagrams; returns how many there were."""
        receive, sources = self._socket.recvfrom, self._sources
        for taken in range(DRAIN):
            try:
                data, address = receive(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                # Readable without data: only the error queue has something.
                if not taken:
                    self._drain_errors()
                return taken
            except OSError:
                if not self._drain_errors():
                    return taken
                continue
            source = sources.get(address)
            if source is None:
                if len(sources) >= SOURCES:
                    sources.clear()
                source = sources[address] = Hop("UDP", address[0], address[1])
            self._user.on_datagram(data, source)
            if self._closed:
                return taken
        return DRAIN

    def _drain_errors(self) -> int:
        """Report each queued ICMP error to the user; returns how many there were."""
        count = 0
        while not self._closed and count < DRAIN:
            try:
                _, ancillary, _, address = self._socket.recvmsg(1, 512, MSG_ERRQUEUE)
            except OSError:
                break
            count += 1
            for _, _, payload in ancillary:
                if len(payload) >= _EXTENDED_ERROR.size and address:
                    number, origin, *_ = _EXTENDED_ERROR.unpack_from(payload)
                    if origin not in FROM_NETWORK:
                        break  # a word of the own kernel about one datagram, such as its size
                    hop = Hop("UDP", address[0], address[1])
                    self._user.on_unreachable(hop, f"{hop}: {os.strerror(number)}")
                    break
        return count


def nothing() -> None:
    """All that is to be done by who does not ask for more."""


def local_address_towards(host: str, port: int = 5060) -> str:
    """The own address that the routing table picks for packets to `host`.

    Nothing is sent: connecting a UDP socket only asks the routing table.

    Raises:
        ConnectionFailed: There is no route.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port or 5060))
        except OSError as error:
            raise ConnectionFailed(
                f"no route to {host}: {error.strerror}", destination=host
            ) from error
        return str(probe.getsockname()[0])
