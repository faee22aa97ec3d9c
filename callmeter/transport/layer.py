"""The transport layer: which socket carries a message, and where a URI leads (RFC 3261 18)."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
from typing import TYPE_CHECKING, Final, Protocol

from callmeter.config import StackConfig, Transport
from callmeter.errors import ConfigurationError, ConnectionFailed, ResolutionFailed
from callmeter.sip.parser import ParserLimits
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.base import DatagramUser, StreamUser
from callmeter.transport.connection import ConnectionState
from callmeter.transport.connection_pool import ConnectionPool
from callmeter.transport.stream import StreamTransport
from callmeter.transport.udp import UdpTransport, local_address_towards

if TYPE_CHECKING:
    import asyncio

    from callmeter.sip.uri import SipUri
    from callmeter.transport.base import SipTransport

__all__ = ["TransportLayer", "TransportUser"]

MAX_TARGETS: Final = 32
"""A request is tried at no more addresses than this (RFC 3263 section 4.3, bounded)."""
SAME_PORT_ATTEMPTS: Final = 32
ROUTE_S: Final = 5.0
"""How long the routing table's word is taken for granted."""
ROUTES: Final = 1_024


class TransportUser(DatagramUser, StreamUser, Protocol):
    """Who takes what arrives on any transport."""


class TransportLayer:
    """All SIP transports of one stack.

    Args:
        loop: The running event loop.
        user: Who takes what arrives.
        config: Addresses and transports.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, user: TransportUser, config: StackConfig
    ) -> None:
        self._loop = loop
        self._user = user
        self._config = config
        self._transports: dict[str, SipTransport] = {}
        self._routes: dict[str, tuple[float, str]] = {}
        self.pool = ConnectionPool(
            loop,
            user,
            config.connections,
            ParserLimits(message=config.limits.message),
            secrets.token_bytes,
        )

    def start(self) -> None:
        """Open the transports that listen.

        Raises:
            ConnectionFailed: An address or port cannot be bound.
            ConfigurationError: A transport that this version does not have.
        """
        wanted = set(self._config.transports)
        missing = wanted - {Transport.UDP, Transport.TCP}
        if missing:
            names = ", ".join(sorted(missing))
            raise ConfigurationError(f"this version of callmeter has no SIP over {names}")
        attempts = 1 if self._config.port else SAME_PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                self._listen(wanted, self._config.port)
            except ConnectionFailed:
                self._close_transports()
                if attempt == attempts:
                    raise
            else:
                return

    def _listen(self, wanted: set[Transport], port: int) -> None:
        """Open UDP and TCP on one port (RFC 3261 section 18.2.1 asks for both)."""
        if Transport.UDP in wanted:
            udp = UdpTransport(self._loop, self._user, self._config.bind, port)
            self._transports["UDP"] = udp
            port = udp.local[1]
        listening = Transport.TCP in wanted
        self._transports["TCP"] = StreamTransport(
            self._loop,
            self.pool,
            "TCP",
            client_layers=_no_layers,
            server_layers=_none if listening else None,
            bind=self._config.bind,
            port=port if listening else 0,
        )

    def _close_transports(self) -> None:
        while self._transports:
            self._transports.popitem()[1].close()

    def close(self) -> None:
        """Close every transport and connection; a second call does nothing."""
        self._close_transports()
        self.pool.close()

    # sending

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message towards `hop`.

        Raises:
            TransportError: The network refused, no such transport is open, or the message does
                not fit.
        """
        self._transport(hop).send(data, hop)

    def ready(self, hop: Hop) -> bool:
        """Whether `local_towards` knows what a message to `hop` will leave from."""
        transport = self._transports.get(hop.transport)
        if not isinstance(transport, StreamTransport) or transport.listens:
            return True
        connection = self.pool.find(hop)
        return connection is not None and connection.state is ConnectionState.OPEN

    async def connect(self, hop: Hop) -> None:
        """Have an open connection to `hop`; nothing to do for datagrams.

        Raises:
            TransportError: It cannot be opened.
        """
        transport = self._transport(hop)
        if isinstance(transport, StreamTransport):
            await self.pool.opened(transport.connection(hop))

    def alive(self, hop: Hop) -> bool:
        """Whether the connection that `hop` names is still open."""
        connection = self.pool.get(hop.connection)
        return connection is not None and connection.state is ConnectionState.OPEN

    def local_towards(self, hop: Hop) -> tuple[str, int]:
        """Own address and port as `hop` sees them, when nothing translates addresses.

        Raises:
            ConnectionFailed: There is no route, no such transport is open, or nothing is
                connected yet on a transport that does not listen.
        """
        transport = self._transport(hop)
        host, port = transport.local
        if isinstance(transport, StreamTransport) and not transport.listens:
            connection = self.pool.find(hop)
            if connection is None or connection.state is not ConnectionState.OPEN:
                raise ConnectionFailed(f"{hop} is not connected", destination=str(hop))
            return connection.local
        if ipaddress.ip_address(host).is_unspecified:
            host = self._own_address(hop)
        return host, port

    def _own_address(self, hop: Hop) -> str:
        now = self._loop.time()
        known = self._routes.get(hop.host)
        if known is not None and now < known[0]:
            return known[1]
        address = local_address_towards(hop.host, hop.port)
        if len(self._routes) >= ROUTES:
            self._routes.clear()
        self._routes[hop.host] = (now + ROUTE_S, address)
        return address

    def listening(self, name: str = "UDP") -> tuple[str, int]:
        """Address and port a transport is bound to."""
        return self._transports[name].local

    def _transport(self, hop: Hop) -> SipTransport:
        transport = self._transports.get(hop.transport)
        if transport is None:
            raise ConnectionFailed(f"no {hop.transport} transport is open", destination=str(hop))
        return transport

    # where a URI leads

    def numeric_hop(self, uri: SipUri, transport: Transport) -> Hop | None:
        """The hop of a URI whose host is an IP address, without asking anybody; else None."""
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(uri.host)
            return Hop(transport.name, str(address), uri.port or transport.default_port)
        return None

    async def resolve(self, uri: SipUri, transport: Transport) -> list[Hop]:
        """The hops a request to `uri` may take, in order of preference.

        Raises:
            ResolutionFailed: The name has no address.
            ConnectionFailed: No such transport is open.
        """
        hop = self.numeric_hop(uri, transport)
        if hop is not None:
            return [hop]
        port = uri.port or transport.default_port
        own = self._transport(Hop(transport.name, uri.host, port)).local[0]
        try:
            found = await self._loop.getaddrinfo(
                uri.host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
            )
        except (OSError, UnicodeError) as error:
            # UnicodeError: a label that no DNS name has, which a peer may well send.
            reason = getattr(error, "strerror", None) or str(error)
            raise ResolutionFailed(
                f"no address for {uri.host}: {reason}",
                destination=f"{transport.name} {uri.host}",
                attempts=(f"A/AAAA {uri.host}: {reason}",),
            ) from error
        hops = [
            Hop(transport.name, str(address[0]), port)
            for _, _, _, _, address in found
            if (":" in str(address[0])) == (":" in own)
        ]
        if not hops:
            raise ResolutionFailed(
                f"no address for {uri.host} in the family of {own}",
                destination=f"{transport.name} {uri.host}",
                attempts=(f"A/AAAA {uri.host}: {len(found)} of the other family",),
            )
        return list(dict.fromkeys(hops))[:MAX_TARGETS]


def _no_layers(hop: Hop) -> tuple[()]:
    del hop
    return ()


def _none() -> tuple[()]:
    return ()
