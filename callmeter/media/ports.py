"""Media ports: RTP on an even port and RTCP on the next one, or one port for both.

RFC 3550 section 11 asks for the pair, RFC 5761 for the single port.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

from callmeter.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PortAllocator", "bind_socket", "mark", "widen"]

EPHEMERAL_ATTEMPTS: Final = 64
TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
# Linux numbers that the socket module has no names for.
SO_TIMESTAMPNS: Final = 35
SO_RXQ_OVFL: Final = 40
SO_RCVBUFFORCE: Final = 33
RECEIVE_BUFFER_OCTETS: Final = 1 << 19
SHARED_BUFFER_OCTETS: Final = 1 << 25
"""What thousands of calls send within some 100 ms; the kernel counts more than the octets."""


def bind_socket(address: str, port: int, dscp: int | None) -> socket.socket:
    """Bind one non-blocking media socket with kernel arrival stamps and drop counts.

    The stamps are asked for before the bind: the kernel switches them on a moment after the
    first socket asks, and stamps at reading until then.

    Raises:
        OSError: The port is taken, or the address is not ours.
    """
    ipv6 = ":" in address
    bound = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)  # noqa: FBT003  the socket module's own signature
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            bound.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        if dscp is not None:
            mark(bound, dscp)
        bound.bind((address, port))
    except BaseException:
        bound.close()
        raise
    return bound


def mark(bound: socket.socket, dscp: int | None) -> None:
    """Set the code point of what leaves from now on; None sets none (RFC 2474).

    Raises:
        OSError: The system does not allow it.
    """
    place = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        if bound.family is socket.AF_INET6
        else (socket.IPPROTO_IP, socket.IP_TOS)
    )
    bound.setsockopt(*place, (dscp or 0) << 2)


def widen(bound: socket.socket) -> None:
    """Make room for what many streams receive; a system that limits it gives what it allows."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, SHARED_BUFFER_OCTETS)
            return


class PortAllocator:
    """Hands out bound sockets and walks each range in turn, so that no port is reused at once.

    Args:
        entropy: Gives the place in a range where the walk begins.
    """

    __slots__ = ("_entropy", "_next")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._next: dict[tuple[str, int, int, int], int] = {}

    def open_one(self, address: str, ports: tuple[int, int], dscp: int | None) -> socket.socket:
        """Bind one port for RTP and RTCP together (RFC 5761).

        Raises:
            TransportError: No port of the range is free.
        """
        low, high = ports
        if not high:
            return self._checked(address, ports, lambda: bind_socket(address, low, dscp))
        for port in self._walk(address, low, high, 1):
            bound = self._try(address, port, dscp)
            if bound is not None:
                return bound
        raise _exhausted(address, ports, "port")

    def open_pair(
        self, address: str, ports: tuple[int, int], dscp: int | None
    ) -> tuple[socket.socket, socket.socket]:
        """Bind an even port for RTP and the next one for RTCP (RFC 3550 section 11).

        Raises:
            TransportError: No such pair of the range is free.
        """
        low, high = ports
        if high:
            for port in self._walk(address, low + low % 2, high - 1, 2):
                rtp = self._try(address, port, dscp)
                if rtp is None:
                    continue
                rtcp = self._beside(rtp, address, port + 1, dscp)
                if rtcp is not None:
                    return rtp, rtcp
            raise _exhausted(address, ports, "pair of ports")
        for _ in range(EPHEMERAL_ATTEMPTS):
            first = self._checked(address, ports, lambda: bind_socket(address, 0, dscp))
            port = first.getsockname()[1]
            # An odd port is as good: its even neighbour becomes the RTP port.
            second = self._beside(first, address, port ^ 1, dscp)
            if second is not None:
                return (second, first) if port % 2 else (first, second)
        raise _exhausted(address, ports, "pair of ports")

    def _walk(self, address: str, low: int, high: int, step: int) -> list[int]:
        """Every candidate once, beginning after the one handed out last."""
        count = max(0, (high - low) // step + 1)
        if not count:
            return []
        key = (address, low, high, step)
        start = self._next.get(key)
        if start is None:
            start = int.from_bytes(self._entropy(4), "big")
        start %= count
        self._next[key] = start + 1
        return [low + step * ((start + index) % count) for index in range(count)]

    def _beside(
        self, first: socket.socket, address: str, port: int, dscp: int | None
    ) -> socket.socket | None:
        """The other port of a pair; without it the first one is given back."""
        second = None
        try:
            second = self._try(address, port, dscp)
        finally:
            if second is None:
                first.close()
        return second

    def _try(self, address: str, port: int, dscp: int | None) -> socket.socket | None:
        try:
            return bind_socket(address, port, dscp)
        except OSError as error:
            if error.errno in TAKEN:
                return None
            raise _unusable(address, error) from error

    @staticmethod
    def _checked(
        address: str, ports: tuple[int, int], bind: Callable[[], socket.socket]
    ) -> socket.socket:
        try:
            return bind()
        except OSError as error:
            if error.errno in TAKEN:
                raise _exhausted(address, ports, "port") from error
            raise _unusable(address, error) from error


def _exhausted(address: str, ports: tuple[int, int], what: str) -> TransportError:
    low, high = ports
    where = f"{low} to {high}" if high else (str(low) if low else "the system's range")
    return TransportError(
        f"no free UDP {what} on {address} in {where}", destination=f"UDP {address}"
    )


def _unusable(address: str, error: OSError) -> TransportError:
    reason = error.strerror or str(error)
    return TransportError(f"no media socket on {address}: {reason}", destination=f"UDP {address}")
