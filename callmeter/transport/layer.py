"""The transport layer: which socket carries a message, and where a URI leads (RFC 3261 18)."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from callmeter.config import StackConfig, Transport
from callmeter.errors import ConfigurationError, ConnectionFailed, ResolutionFailed
from callmeter.sip.transaction.effects import Hop
from callmeter.transport.udp import UdpTransport, local_address_towards

if TYPE_CHECKING:
    import asyncio

    from callmeter.sip.uri import SipUri
    from callmeter.transport.base import DatagramUser, SipTransport

__all__ = ["TransportLayer"]

MAX_TARGETS = 32
"""A request is tried at no more addresses than this (RFC 3263 section 4.3, bounded)."""


class TransportLayer:
    """All SIP transports of one stack.

    Args:
        loop: The running event loop.
        user: Who takes what arrives.
        config: Addresses and transports.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, user: DatagramUser, config: StackConfig
    ) -> None:
        self._loop = loop
        self._user = user
        self._config = config
        self._transports: dict[str, SipTransport] = {}

    def start(self) -> None:
        """Open the transports that listen.

        Raises:
            ConnectionFailed: An address or port cannot be bound.
            ConfigurationError: A transport that this version does not have.
        """
        for transport in self._config.transports:
            if transport is not Transport.UDP:
                raise ConfigurationError(f"this version of callmeter has no SIP over {transport}")
            self._transports["UDP"] = UdpTransport(
                self._loop, self._user, self._config.bind, self._config.port
            )

    def close(self) -> None:
        """Close every transport; a second call does nothing."""
        while self._transports:
            self._transports.popitem()[1].close()

    def send(self, data: bytes, hop: Hop) -> None:
        """Send one message towards `hop`.

        Raises:
            ConnectionFailed: The network refused, or no such transport is open.
            MessageTooLarge: More octets than a datagram holds.
        """
        transport = self._transports.get(hop.transport)
        if transport is None:
            raise ConnectionFailed(f"no {hop.transport} transport is open", destination=str(hop))
        transport.send(data, hop)

    def local_towards(self, hop: Hop) -> tuple[str, int]:
        """Own address and port as `hop` sees them, when nothing translates addresses.

        Raises:
            ConnectionFailed: There is no route, or no such transport is open.
        """
        transport = self._transports.get(hop.transport)
        if transport is None:
            raise ConnectionFailed(f"no {hop.transport} transport is open", destination=str(hop))
        host, port = transport.local
        if ipaddress.ip_address(host).is_unspecified:
            host = local_address_towards(hop.host, hop.port)
        return host, port

    def listening(self, name: str = "UDP") -> tuple[str, int]:
        """Address and port a transport is bound to."""
        return self._transports[name].local

    def numeric_hop(self, uri: SipUri, transport: Transport) -> Hop | None:
        """The hop of a URI whose host is an IP address, without asking anybody; else None."""
        try:
            address = ipaddress.ip_address(uri.host)
        except ValueError:
            return None
        return Hop(transport.name, str(address), uri.port or transport.default_port)

    async def resolve(self, uri: SipUri, transport: Transport) -> list[Hop]:
        """The hops a request to `uri` may take, in order of preference.

        Raises:
            ResolutionFailed: The name has no address.
        """
        hop = self.numeric_hop(uri, transport)
        if hop is not None:
            return [hop]
        port = uri.port or transport.default_port
        try:
            found = await self._loop.getaddrinfo(
                uri.host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP
            )
        except OSError as error:
            raise ResolutionFailed(
                f"no address for {uri.host}: {error.strerror or error}",
                destination=f"{transport.name} {uri.host}",
                attempts=(f"A/AAAA {uri.host}: {error.strerror or error}",),
            ) from error
        own = self._transports[transport.name].local[0]
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
