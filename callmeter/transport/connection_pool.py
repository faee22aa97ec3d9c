"""The connections of a stack: found again for reuse, capped, swept for what took too long.

RFC 5923 for reuse, RFC 5626 section 4.4.1 for keep-alives. One timer serves all connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections import deque
from dataclasses import replace
from itertools import count
from operator import eq
from typing import TYPE_CHECKING, Final

from callmeter.errors import CallmeterError, ConnectionFailed, FlowLost, TlsError
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.connection import Connection, ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.config import ConnectionLimits
    from callmeter.errors import TransportError
    from callmeter.sip.parser import ParserLimits
    from callmeter.transport.base import ByteLayer, StreamUser

__all__ = ["Address", "ConnectionPool"]

SWEEP_S: Final = 0.5
PING_FROM, PING_TO = 0.8, 1.0
"""Share of the keep-alive interval after which a ping goes out (RFC 5626 section 4.4.1)."""
WEB_SOCKET_PING_S: Final = 30.0
"""HTTP proxies forget a silent WebSocket sooner than others forget a TCP connection."""
ENDINGS_A_TURN: Final = 100
"""Connections that may be ended before others get their turn."""
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux; not named by the socket module of Python 3.11."""

SECURE: Final = frozenset({"TLS", "WSS"})
_OPENED: Final = ""
"""Stands for the name in the address of a connection that its peer has opened."""
Address = tuple[str, str, int, str | None, int | None]
"""Transport, host, port, name to be certified and TLS settings: all but the number of a hop."""


class ConnectionPool:
    """All stream connections of one stack.

    Args:
        loop: The running event loop.
        user: Who takes what arrives.
        limits: Caps and time-outs.
        parser_limits: What a message may be.
        entropy: Spreads the keep-alives.
        trusts_alike: Whether what one number of TLS settings trusts is what the other does.

    Attributes:
        newest: Number of the connection that was begun last; numbers grow.
        refused: Connections that a cap has turned away.
        last_tls_error: What went wrong last in TLS.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        user: StreamUser,
        limits: ConnectionLimits,
        parser_limits: ParserLimits,
        entropy: Callable[[int], bytes],
        trusts_alike: Callable[[int | None, int | None], bool] = eq,
    ) -> None:
        self._trusts_alike = trusts_alike
        self._loop = loop
        self.user = user
        self.limits = limits
        self.parser_limits = parser_limits
        self._entropy = entropy
        self._numbers = count(1)
        self.newest = 0
        self._live: dict[int, Connection] = {}
        self._by_address: dict[Address, int] = {}
        self._inbound_by_host: dict[str, int] = {}
        self._inbound = 0
        self._unfinished = 0
        self._timer: asyncio.TimerHandle | None = None
        self._handshakes: deque[int] = deque()
        self._handshake_timer: asyncio.TimerHandle | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.refused = 0
        self.last_tls_error: TlsError | None = None

    def __len__(self) -> int:
        return len(self._live)

    # finding

    def get(self, number: int | None) -> Connection | None:
        """The live connection of that number."""
        return None if number is None else self._live.get(number)

    def find(self, hop: Hop) -> Connection | None:
        """The live connection a message to `hop` may use."""
        if hop.connection is not None:
            return self._live.get(hop.connection)
        found = self.get(self._by_address.get(_address(hop)))
        if found is None:
            found = self.get(self._by_address.get(_opened_address(hop, hop.port)))
            if found is not None and not self._proven(found, hop):
                return None
        return found

    def _proven(self, opened: Connection, hop: Hop) -> bool:
        """Whether the peer of a connection it opened is whom `hop` asks for (RFC 5923 9.1)."""
        if hop.transport not in SECURE:
            return True
        return (
            hop.name is not None
            and opened.vouches_for(hop.name)
            and self._trusts_alike(hop.tls, opened.hop.tls)
        )

    def alias(self, number: int, port: int) -> None:
        """Requests to `port` of this connection's peer may use it (RFC 5923 section 4).

        Over TLS only when the peer has shown a certificate (section 9), and only requests to a
        name that it holds.
        """
        connection = self._live.get(number)
        if connection is not None and connection.vouched_for:
            self._name(connection, _opened_address(connection.hop, port))

    def _name(self, connection: Connection, address: Address) -> None:
        """Let `find` give this connection for `address`, unless another one is given already."""
        number = connection.hop.connection or 0
        known = self._by_address.setdefault(address, number)
        if known == number and address not in connection.addresses:
            connection.addresses.append(address)

    # opening

    def open(self, hop: Hop, layers: Sequence[ByteLayer], bind: str | None) -> Connection:
        """Begin a connection to `hop`.

        Raises:
            ConnectionFailed: The system has no socket left, or refuses at once.
        """
        family = socket.AF_INET6 if ":" in hop.host else socket.AF_INET
        try:
            sock = _client_socket(family, bind)
        except OSError as error:
            raise ConnectionFailed(
                f"{hop}: {error.strerror or error}", destination=str(hop)
            ) from error
        number = self.newest = next(self._numbers)
        own = replace(hop, connection=number)
        connection = Connection(self, self._loop, sock, own, layers, inbound=False)
        self._live[number] = connection
        self._name(connection, _address(hop))
        self._sweep_later()
        connection.connect()
        if connection.failure is not None:
            raise connection.failure
        return connection

    def accept(
        self,
        sock: socket.socket,
        peer: tuple[str, int],
        transport: str,
        make_layers: Callable[[], Sequence[ByteLayer]],
        tls: int | None = None,
    ) -> None:
        """Take a connection a peer has opened, unless a cap is reached.

        Args:
            sock: The accepted socket.
            peer: Address and port at its other end.
            transport: As in a Via header.
            make_layers: Makes the layers on the socket.
            tls: Number of the TLS settings that its client certificate is held against.
        """
        host = peer[0]
        if (
            self._inbound >= self.limits.inbound
            or self._inbound_by_host.get(host, 0) >= self.limits.inbound_per_host
            or self._unfinished >= self.limits.unfinished_handshakes
        ):
            self.refused += 1
            sock.close()
            return
        sock.setblocking(False)  # noqa: FBT003  the socket module's own signature
        number = self.newest = next(self._numbers)
        self._inbound += 1
        self._inbound_by_host[host] = self._inbound_by_host.get(host, 0) + 1
        self._unfinished += 1
        hop = Hop(transport, host, peer[1], number, tls=tls)
        try:
            connection = Connection(self, self._loop, sock, hop, make_layers(), inbound=True)
        except (OSError, CallmeterError):
            self._forget_inbound(host, finished=False)
            self._loop.remove_reader(sock.fileno())
            sock.close()
            return
        if connection.state is not ConnectionState.CLOSED:
            self._live[number] = connection
            # RFC 3261 section 18: an accepted connection is found by where it came from.
            self._name(connection, _opened_address(hop, hop.port))
            self._sweep_later()
            self._handshakes.append(number)
            if self._handshake_timer is None:
                self._end_handshakes()

    async def opened(self, connection: Connection) -> None:
        """Wait until a connection is open.

        Raises:
            TransportError: It never was.
        """
        if connection.state is ConnectionState.OPEN:
            return
        if connection.failure is None:
            number = connection.hop.connection or 0
            waiter = self._waiting.get(number)
            if waiter is None:
                waiter = self._waiting[number] = self._loop.create_future()
            # Shielded: one that gives up must not take the others along.
            await asyncio.shield(waiter)
        if connection.failure is not None:
            raise connection.failure
        if connection.state is ConnectionState.CLOSED:
            raise FlowLost(f"{connection.hop}: closed", destination=str(connection.hop))

    # what connections tell

    def on_open(self, connection: Connection) -> None:
        """A connection is open."""
        if connection.inbound:
            self._unfinished -= 1
        self._wake(connection)

    def on_closed(self, connection: Connection, error: TransportError, *, was_open: bool) -> None:
        """A connection has ended by itself."""
        if isinstance(error, TlsError):
            self.last_tls_error = error
        self._drop(connection, finished=was_open)
        self._wake(connection)
        if was_open:
            self.user.on_flow_lost(connection.hop, str(error))
        elif not connection.inbound:
            self.user.on_unreachable(replace(connection.hop, connection=None), str(error))

    def _drop(self, connection: Connection, *, finished: bool) -> None:
        number = connection.hop.connection or 0
        self._live.pop(number, None)
        for address in connection.addresses:
            del self._by_address[address]
        if connection.inbound:
            self._forget_inbound(connection.hop.host, finished=finished)

    def _forget_inbound(self, host: str, *, finished: bool) -> None:
        self._inbound -= 1
        left = self._inbound_by_host[host] - 1
        if left:
            self._inbound_by_host[host] = left
        else:
            del self._inbound_by_host[host]
        if not finished:
            self._unfinished -= 1

    def _wake(self, connection: Connection) -> None:
        waiter = self._waiting.pop(connection.hop.connection or 0, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # time

    def ping_interval(self, transport: str = "TCP", longest: float | None = None) -> float:
        """Seconds until the next keep-alive: spread, so that pings do not come in waves."""
        longest = min(longest or self.limits.keep_alive, self.limits.keep_alive)
        if transport in {"WS", "WSS"}:
            longest = min(longest, WEB_SOCKET_PING_S)
        share = int.from_bytes(self._entropy(2), "big") / 65_536
        return longest * (PING_FROM + (PING_TO - PING_FROM) * share)

    def _sweep_later(self) -> None:
        if self._timer is None and self._live:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self._sweep_on(list(self._live.values()))

    def _sweep_on(self, connections: list[Connection]) -> None:
        """Look at each; many endings at once would keep everybody else waiting."""
        now = self._loop.time()
        ended = 0
        while connections:
            connection = connections.pop()
            ended += connection.on_sweep(now)
            if ended >= ENDINGS_A_TURN:
                self._timer = self._loop.call_later(0, self._sweep_on, connections)
                return
        self._timer = None
        self._sweep_later()

    def _end_handshakes(self) -> None:
        """End those that are not open in time, to the moment: they come in their order."""
        self._handshake_timer = None
        now, ended = self._loop.time(), 0
        while self._handshakes:
            connection = self._live.get(self._handshakes[0])
            if connection is not None and connection.state is ConnectionState.HANDSHAKING:
                due = now if connection.deadline is None else connection.deadline[0]
                if due > now or ended >= ENDINGS_A_TURN:
                    self._handshake_timer = self._loop.call_at(due, self._end_handshakes)
                    return
                ended += connection.on_sweep(now)
            self._handshakes.popleft()

    def close(self) -> None:
        """End every connection in good order."""
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._live.values()):
            connection.close()
            self._wake(connection)
        self._live.clear()
        self._by_address.clear()
        self._inbound_by_host.clear()
        self._inbound = self._unfinished = 0


def _client_socket(family: socket.AddressFamily, bind: str | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003  the socket module's own signature
        if bind is not None and not ipaddress.ip_address(bind).is_unspecified:
            with contextlib.suppress(OSError):
                # Else each connection takes a port of its own, whatever its destination.
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((bind, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _opened_address(hop: Hop, port: int) -> Address:
    """What a connection that its peer opened is found by, whatever name it has to prove."""
    return (hop.transport, hop.host, port, _OPENED, None)


def _address(hop: Hop) -> Address:
    return (hop.transport, hop.host, hop.port, hop.name, hop.tls)
