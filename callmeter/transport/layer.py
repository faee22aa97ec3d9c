"""The transport layer: which socket carries a message, and where a URI leads (RFC 3261 18)."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from callmeter.config import StackConfig, TlsConfig, TlsVerify, Transport
from callmeter.errors import ConnectionFailed, TransportError
from callmeter.metrics.report import TlsReport
from callmeter.sip.parser import ParserLimits
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.base import DatagramUser, StreamUser
from callmeter.transport.connection import ConnectionState
from callmeter.transport.connection_pool import ConnectionPool
from callmeter.transport.resolver import Resolver
from callmeter.transport.stream import StreamTransport
from callmeter.transport.tls import TlsLayer
from callmeter.transport.tls_settings import TlsSettings
from callmeter.transport.udp import UdpTransport, local_address_towards, nothing
from callmeter.transport.websocket import client_layers, invalid_contact_host, server_layers
from callmeter.udp_segmentation import can_cut

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from callmeter.sip.server_location import Location
    from callmeter.sip.uri import SipUri
    from callmeter.transport.base import ByteLayer, SipTransport

__all__ = ["Located", "Route", "TransportLayer", "TransportUser"]

SAME_PORT_ATTEMPTS: Final = 32
ROUTE_S: Final = 5.0
"""How long the routing table's word is taken for granted."""
ROUTES: Final = 1_024
SOMEWHERE: Final = {"0.0.0.0": ("192.0.2.1", "127.0.0.1"), "::": ("2001:db8::1", "::1")}  # noqa: S104
"""By the address that means all of them: one outside, and the loopback address."""
UNSPECIFIED: Final = SOMEWHERE.keys()
DISCARD: Final = 9


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request is to go.

    Attributes:
        uri: Its next hop.
        transport: How; `AUTO` asks the DNS.
        tls: Number of the TLS settings to use.
        name: Whom a certificate has to name; None takes the host of `uri`.
        strict: The URI is a peer's: its port counts under AUTO too.
    """

    uri: SipUri
    transport: Transport
    tls: int | None = None
    name: str | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Located:
    """What the DNS said of a route, and the hops it gives, best first."""

    location: Location
    hops: tuple[Hop, ...]


class TransportUser(DatagramUser, StreamUser, Protocol):
    """Who takes what arrives on any transport."""


class TransportLayer:
    """All SIP transports of one stack.

    Args:
        loop: The running event loop.
        user: Who takes what arrives.
        config: Addresses and transports.
        tasks: Where DNS queries run.

    Attributes:
        pool: The connections.
        resolver: Where URIs lead.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        user: TransportUser,
        config: StackConfig,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._loop = loop
        self._user = user
        self._config = config
        self._transports: dict[str, SipTransport] = {}
        self._tls: list[TlsSettings] = []
        self._tls_numbers: dict[TlsConfig, int] = {}
        self._families = ("AAAA",) if ":" in config.bind else ("A",)
        self._invalid_host = invalid_contact_host(secrets.token_bytes)
        self.resolver = Resolver(
            tasks, name_servers=config.name_servers, entropy=secrets.token_bytes
        )
        self._routes: dict[str, tuple[float, str]] = {}
        self.pool = ConnectionPool(
            loop,
            user,
            config.connections,
            ParserLimits(message=config.limits.message),
            secrets.token_bytes,
            self._trust_alike,
        )

    def start(self) -> None:
        """Open the transports that listen.

        Raises:
            ConnectionFailed: An address or port cannot be bound.
            ConfigurationError: TLS or WSS is to listen and has no certificate.
        """
        attempts = 1 if self._config.port else SAME_PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                self._listen(self._config.port)
            except ConnectionFailed:
                self._close_transports()
                if attempt == attempts:
                    raise
            else:
                return

    def _listen(self, port: int) -> None:
        """Open UDP and TCP on one port (RFC 3261 section 18.2.1 asks for both), then the rest."""
        wanted, config = set(self._config.transports), self._config
        if Transport.UDP in wanted:
            cuts = config.segmentation and can_cut()
            udp = UdpTransport(self._loop, self._user, config.bind, port, cuts=cuts)
            self._transports["UDP"] = udp
            port = udp.local[1]
        own_tls = None
        if not wanted.isdisjoint({Transport.TLS, Transport.WSS}):
            # Fails now, in words, and not in the first handshake.
            _ = self._own_tls().server
            own_tls = self.tls_number(config.tls)
        for transport, own_port, client, server in (
            (Transport.TCP, port, _no_layers, _none),
            (Transport.TLS, config.tls_port, self._tls_client, self._tls_server),
            (Transport.WSS, config.wss_port, self._wss_client, self._wss_server),
        ):
            listening = transport in wanted
            self._transports[transport.name] = StreamTransport(
                self._loop,
                self.pool,
                transport.name,
                client_layers=client,
                server_layers=server if listening else None,
                bind=config.bind,
                port=own_port if listening else 0,
                tls=None if transport is Transport.TCP else own_tls,
            )

    def _close_transports(self) -> None:
        while self._transports:
            self._transports.popitem()[1].close()

    def close(self) -> None:
        """Close every transport and connection; a second call does nothing."""
        self.resolver.close()
        self._close_transports()
        self.pool.close()

    def after_reading(self, do: Callable[[], None]) -> None:
        """Have this done each time that all datagrams that have come were given to the user."""
        udp = self._transports.get("UDP")
        if isinstance(udp, UdpTransport):
            udp.drained = do

    def pace_reading(self, seconds: float) -> None:
        """While many datagrams come, read them at these intervals and not as they come."""
        udp = self._transports.get("UDP")
        if isinstance(udp, UdpTransport):
            udp.pace_reading(seconds)

    def read_by_hand(self) -> AbstractContextManager[Callable[[], object]]:
        """Datagrams wait until what this gives is called: the loop does not wake up for each."""
        udp = self._transports.get("UDP")
        return (
            udp.read_by_hand() if isinstance(udp, UdpTransport) else contextlib.nullcontext(nothing)
        )

    # sending

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message towards `hop`.

        Raises:
            TransportError: The network refused, no such transport is open, or the message does
                not fit.
        """
        self._transport(hop).send(data, hop)

    def datagram_sender(self) -> Callable[[bytes, Hop], object]:
        """What `send` comes to where all hops are by UDP, for who sends many."""
        udp = self._transports.get("UDP")
        return self.send if udp is None else udp.send

    def send_alike(self, datagrams: list[bytes], hop: Hop) -> int:
        """Send datagrams of one length in large pieces, which the kernel cuts (UDP GSO).

        Returns:
            How many of them were sent, the first ones; the others are for `send`.
        """
        udp = self._transports.get("UDP")
        return udp.send_alike(datagrams, hop) if isinstance(udp, UdpTransport) else 0

    def ready(self, hop: Hop) -> bool:
        """Whether `local_towards` knows what a message to `hop` will leave from."""
        transport = self._transports.get(hop.transport)
        if not isinstance(transport, StreamTransport) or transport.listens:
            return True
        return transport.name in {"WS", "WSS"} or self.connected(hop)

    def connected(self, hop: Hop) -> bool:
        """Whether there is an open connection to `hop`, or none is needed."""
        if not hop.reliable:
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
            if transport.name in {"WS", "WSS"}:
                return self._invalid_host, 0  # RFC 7118 section 5: it has no address to call
            connection = self.pool.find(hop)
            if connection is None or connection.state is not ConnectionState.OPEN:
                raise ConnectionFailed(f"{hop} is not connected", destination=str(hop))
            return connection.local
        if host in UNSPECIFIED:
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

    def address_towards(self, hop: Hop) -> str:
        """Own IP address as `hop` sees it: where media for its side of the world is received.

        Raises:
            ConnectionFailed: There is no route.
        """
        connection = self.pool.find(hop)
        if connection is not None and connection.local[0]:
            return connection.local[0]
        host = self._config.bind
        return self._own_address(hop) if ipaddress.ip_address(host).is_unspecified else host

    def listening_anywhere(self) -> tuple[str, int]:
        """Address and port of the first transport that listens; port 0 when none does."""
        for transport in self._transports.values():
            if transport.local[1]:
                return transport.local
        return self._config.bind, 0

    def first_listening(self, wished: str = "") -> str:
        """Name of that transport, or of the one `wished` if it listens; `"UDP"` when none does."""
        listening = [name for name, each in self._transports.items() if each.local[1]]
        return wished if wished in listening else next(iter(listening), "UDP")

    def reachable_at(self, host: str, wished: str = "") -> tuple[str, int]:
        """What to name before anything was sent, for those who ask where to call.

        A socket bound to all addresses is found under the one that leads to `host` when that is
        an address, else under that of the default route, else under the loopback address.

        Args:
            host: Of the own address of record.
            wished: The transport to name if it listens.
        """
        name = self.first_listening(wished)
        known = self._transports.get(name)
        local, port = self.listening_anywhere() if known is None else known.local
        if local not in UNSPECIFIED:
            return local, port
        outside, loopback = SOMEWHERE[local]
        for towards in (host.strip("[]"), outside):
            # A name raises ValueError: it is not looked up for this.
            with contextlib.suppress(ConnectionFailed, ValueError):
                hop = Hop("UDP", str(ipaddress.ip_address(towards)), DISCARD)
                return self._own_address(hop), port
        return loopback, port

    def listening(self, name: str = "UDP") -> tuple[str, int]:
        """Address and port a transport is bound to."""
        return self._transports[name].local

    def _transport(self, hop: Hop) -> SipTransport:
        transport = self._transports.get(hop.transport)
        if transport is None:
            raise ConnectionFailed(f"no {hop.transport} transport is open", destination=str(hop))
        return transport

    # where a URI leads

    def known(self, route: Route) -> Located | None:
        """Where a route leads, from memory and at once; None when the DNS has to be asked."""
        location = self.resolver.known(
            route.uri, route.transport, families=self._families, strict=route.strict
        )
        return None if location is None else self._located(route, location)

    async def locate(self, route: Route) -> Located:
        """Where a route leads (RFC 3263).

        Raises:
            ResolutionFailed: Nowhere; `.attempts` says what was asked and answered.
        """
        location = await self.resolver.locate(
            route.uri, route.transport, families=self._families, strict=route.strict
        )
        return self._located(route, location)

    def _located(self, route: Route, location: Location) -> Located:
        hops = []
        for target in location.targets:
            secure = target.transport in {Transport.TLS, Transport.WSS}
            name = (route.name or target.name) if secure else None
            tls = route.tls if secure else None
            hops.append(Hop(target.transport.name, target.address, target.port, name=name, tls=tls))
        return Located(location, tuple(hops))

    async def first_open(self, hops: Sequence[Hop]) -> Hop:
        """The first hop a connection to which can be had; a datagram hop always can.

        Raises:
            TransportError: That of the last one, when none can.
        """
        for hop in hops[:-1]:
            try:
                await self.connect(hop)
            except TransportError:
                self.resolver.mark_failed((hop.transport, hop.host, hop.port))
            else:
                return hop
        await self.connect(hops[-1])
        return hops[-1]

    def tls_number(self, config: TlsConfig) -> int:
        """The number by which hops name these TLS settings; equal ones share it.

        Raises:
            ConfigurationError: They cannot be used.
        """
        number = self._tls_numbers.get(config)
        if number is None:
            self._tls.append(TlsSettings.of(config))
            number = self._tls_numbers[config] = len(self._tls) - 1
        return number

    def tls_of(self, hop: Hop) -> TlsReport | None:
        """Version, cipher and verification of the connection to `hop`; None without TLS."""
        connection = self.pool.find(hop)
        layer = None if connection is None else connection.layer(TlsLayer)
        if layer is None or layer.version is None:
            return None
        return TlsReport(
            version=layer.version,
            cipher=layer.cipher or "",
            verified=layer.verified,
            certificate=layer.peer_certificate is not None,
        )

    def certificate_of(self, hop: Hop) -> bytes | None:
        """The certificate of the other end of the connection to `hop`, in DER."""
        connection = self.pool.find(hop)
        layer = None if connection is None else connection.layer(TlsLayer)
        return None if layer is None else layer.peer_certificate

    # layers

    def _trust_alike(self, ours: int | None, theirs: int | None) -> bool:
        """Whether a peer that showed its certificate to a listener would pass as a server, too."""
        if ours == theirs:
            return True
        if ours is None or theirs is None:
            return False
        config = self._tls[ours].config
        return config.verify is TlsVerify.CUSTOM and config.ca == self._tls[theirs].config.ca

    def _settings(self, hop: Hop) -> TlsSettings:
        if hop.tls is None:
            return self._tls[self.tls_number(TlsConfig())]
        return self._tls[hop.tls]

    def _tls_client(self, hop: Hop) -> tuple[ByteLayer, ...]:
        name = hop.name or hop.host
        return (TlsLayer.client(self._settings(hop), name, destination=str(hop)),)

    def _wss_client(self, hop: Hop) -> tuple[ByteLayer, ...]:
        return client_layers(hop, self._settings(hop))

    def _tls_server(self) -> tuple[ByteLayer, ...]:
        return (TlsLayer.server(self._own_tls()),)

    def _wss_server(self) -> tuple[ByteLayer, ...]:
        return server_layers(self._own_tls())

    def _own_tls(self) -> TlsSettings:
        return self._tls[self.tls_number(self._config.tls)]


def _no_layers(hop: Hop) -> tuple[()]:
    del hop
    return ()


def _none() -> tuple[()]:
    return ()
