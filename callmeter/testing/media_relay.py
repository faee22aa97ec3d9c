"""A relay for the media of calls: what is between two endpoints that should reach each other by it.

It stands in the session descriptions in place of either end (as a border controller does) and
forwards each datagram, SRTP and DTLS included, by way of whatever `carry` makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from callmeter.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.testing.network import Address

__all__ = ["Carry", "MediaRelay"]

DATAGRAM: Final = 65_535
A_TURN: Final = 64
"""Datagrams that are forwarded before anybody else gets a turn."""
ATTEMPTS: Final = 64
CANDIDATE_FIELDS: Final = 6


class Carry(Protocol):
    """What takes a datagram of one user to another one."""

    def __call__(
        self, data: bytes, source: str, destination: str, deliver: Callable[[bytes], None]
    ) -> None:
        """Call `deliver` with it, once, never or twice, now or later."""


@dataclass(slots=True)
class _Side:
    """What faces one user: the socket that is, for this user, the other party.

    Attributes:
        user: Who.
        bound: The socket.
        remote: Where the user receives, None until told.
        retired: Sockets of before, which take datagrams and forget them.
    """

    user: str
    bound: socket.socket
    remote: Address | None = None
    retired: list[socket.socket] = field(default_factory=list)


class MediaRelay:
    """All media between the users of one registrar.

    Args:
        host: Address of its ports.
        carry: The way between users.

    Attributes:
        homeless: Datagrams to a user who has not said where to send them.
    """

    def __init__(self, host: str, carry: Carry) -> None:
        self._host = host
        self._carry = carry
        self._loop = asyncio.get_running_loop()
        self._streams: dict[tuple[str, frozenset[str], int], tuple[_Pair, _Pair]] = {}
        self.homeless = 0

    def close(self) -> None:
        """Free every port."""
        for pairs in self._streams.values():
            for pair in pairs:
                pair.close()
        self._streams.clear()

    def rewrite(self, body: bytes, call_id: str, source: str, destination: str) -> bytes:
        """The session description of `source` as `destination` is to see it.

        Args:
            body: SDP.
            call_id: Of the call.
            source: Whose description it is.
            destination: Who gets it; where the two are one user, nothing is changed.
        """
        if source == destination:
            return body
        lines = body.decode("utf-8", "surrogateescape").split("\r\n")
        sections = [at for at, line in enumerate(lines) if line.startswith("m=")]
        if not sections:
            return body
        common = _connection(lines[: sections[0]])
        ends = [*sections[1:], len(lines)]
        for number, (start, end) in enumerate(zip(sections, ends, strict=True)):
            section = lines[start:end]
            kind, port, *rest = section[0].split(" ")
            host = _connection(section) or common
            if host is None or not port.isdecimal() or port == "0":
                continue
            pairs = self._pairs(call_id, source, destination, number)
            shown = self._face(pairs, source, destination, (host, int(port)), section)
            section[0] = " ".join((kind, str(shown[0]), *rest))
            lines[start:end] = [section[0], *(self._line(line, shown) for line in section[1:])]
        lines[: sections[0]] = [self._line(line, (0, 0)) for line in lines[: sections[0]]]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def rebind(self, user: str) -> None:
        """The address translation of a user forgets: its datagrams come from new ports."""
        for pairs in self._streams.values():
            for pair in pairs:
                pair.rebind(user)

    # descriptions

    def _pairs(
        self, call_id: str, source: str, destination: str, number: int
    ) -> tuple[_Pair, _Pair]:
        key = (call_id, frozenset((source, destination)), number)
        if key not in self._streams:
            rtp, rtcp = _neighbours(self._host, 2)
            self._streams[key] = (
                _Pair(self, rtp, source, destination),
                _Pair(self, rtcp, source, destination),
            )
        return self._streams[key]

    @staticmethod
    def _face(
        pairs: tuple[_Pair, _Pair],
        source: str,
        destination: str,
        remote: Address,
        section: list[str],
    ) -> tuple[int, int]:
        """Note where the source receives; the ports that stand for it towards the destination."""
        host, port = remote
        rtcp = next((line[7:].split(" ")[0] for line in section if line.startswith("a=rtcp:")), "")
        control = int(rtcp) if rtcp.isdecimal() else port + 1
        for pair, at in zip(pairs, (port, control), strict=True):
            pair.sides[source].remote = (host, at)
        ports = [pair.sides[destination].bound.getsockname()[1] for pair in pairs]
        return ports[0], ports[1]

    def _line(self, line: str, ports: tuple[int, int]) -> str:
        if line.startswith("c="):
            return f"c=IN {'IP6' if ':' in self._host else 'IP4'} {self._host}"
        if line.startswith("a=rtcp:"):
            return f"a=rtcp:{ports[1]}"
        if line.startswith("a=candidate:"):
            fields = line.split(" ")
            if len(fields) > CANDIDATE_FIELDS and fields[1] in {"1", "2"}:
                fields[4:6] = [self._host, str(ports[int(fields[1]) - 1])]
            return " ".join(fields)
        return line

    # datagrams

    def forward(self, pair: _Pair, side: _Side, data: bytes) -> None:
        """A user has sent this to the socket that faces it."""
        other = pair.other(side)

        def deliver(arriving: bytes) -> None:
            if other.remote is None:
                self.homeless += 1
                return
            with contextlib.suppress(OSError):
                # Sent from what the other user knows as this one.
                other.bound.sendto(arriving, other.remote)

        self._carry(data, side.user, other.user, deliver)


class _Pair:
    """RTP or RTCP of one stream: a socket towards either user."""

    def __init__(
        self,
        relay: MediaRelay,
        sockets: tuple[socket.socket, socket.socket],
        source: str,
        destination: str,
    ) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self.sides = {
            user: _Side(user, bound)
            for user, bound in zip((source, destination), sockets, strict=True)
        }
        for side in self.sides.values():
            self._read(side)

    def other(self, side: _Side) -> _Side:
        """What faces the other user."""
        return next(each for each in self.sides.values() if each is not side)

    def rebind(self, user: str) -> None:
        """Let what `user` sends leave from a new port."""
        if user not in self.sides:
            return
        side = self.other(self.sides[user])
        self._loop.remove_reader(side.bound.fileno())
        side.retired.append(side.bound)
        side.bound = _bound(side.bound.getsockname()[0], 0)
        self._read(side)

    def close(self) -> None:
        """Free the ports."""
        for side in self.sides.values():
            self._loop.remove_reader(side.bound.fileno())
            for each in (side.bound, *side.retired):
                each.close()

    def _read(self, side: _Side) -> None:
        self._loop.add_reader(side.bound.fileno(), self._on_readable, side)

    def _on_readable(self, side: _Side) -> None:
        for _ in range(A_TURN):
            try:
                data = side.bound.recv(DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # An ICMP error of what was sent before.
                continue
            self._relay.forward(self, side, data)


def _neighbours(
    host: str, count: int
) -> tuple[tuple[socket.socket, socket.socket], tuple[socket.socket, socket.socket]]:
    """For each of two users an RTP port and the one above it for RTCP (RFC 3550 section 11)."""
    facing = [_two(host) for _ in range(count)]
    (first_rtp, first_rtcp), (second_rtp, second_rtcp) = facing
    return (first_rtp, second_rtp), (first_rtcp, second_rtcp)


def _two(host: str) -> tuple[socket.socket, socket.socket]:
    for _ in range(ATTEMPTS):
        lower = _bound(host, 0)
        port = lower.getsockname()[1]
        try:
            return lower, _bound(host, port + 1)
        except (OSError, OverflowError):
            lower.close()
    raise ConnectionFailed(f"no two ports in a row are free on {host}")


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    )
    try:
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def _connection(lines: list[str]) -> str | None:
    found = next((line for line in lines if line.startswith("c=")), None)
    return None if found is None else found.split(" ")[-1].partition("/")[0]
