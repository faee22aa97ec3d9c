"""An embedded registrar and stateless proxy for tests and the demo: `async with Registrar(...)`.

It challenges with digest authentication, keeps bindings, and forwards requests between the
accounts it knows (`RegistrarCore`). It serves test harnesses on a trusted network, not the public.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Self

from callmeter.errors import CallmeterError, LocalProtocolError, SipSyntaxError
from callmeter.sip.message import Request, Response
from callmeter.sip.parser import is_keepalive, parse_message
from callmeter.sip.uri import SipUri
from callmeter.testing.registrar_core import RegistrarCore
from callmeter.transport.udp import UdpTransport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from callmeter.sip.transaction.effects import Hop

__all__ = ["Registrar"]


class Registrar:
    """The registrar on a UDP socket: `async with Registrar({"alice": "secret"}) as registrar`.

    Args:
        accounts: Passwords by user name.
        host: Address to bind; also the domain of every address of record.
        port: Port to bind; 0 takes a free one.
        realm: Digest realm; None takes `host`.
        algorithms: Digest algorithms offered, the preferred first.
        min_expires: A shorter registration is refused with 423.
        authenticate_calls: Ask for credentials of an INVITE too, with 407.
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        realm: str | None = None,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        min_expires: int = 10,
        authenticate_calls: bool = False,
    ) -> None:
        self._accounts = dict(accounts)
        self._host, self._port = host, port
        self._realm = realm or host
        self._algorithms = algorithms
        self._min_expires = min_expires
        self._authenticate_calls = authenticate_calls
        self._transport: UdpTransport | None = None
        self.dropped = 0

    async def __aenter__(self) -> Self:
        if self._transport is not None:
            raise LocalProtocolError("this registrar is already running")
        self._loop = asyncio.get_running_loop()
        self._transport = UdpTransport(self._loop, self, self._host, self._port)
        self.core = RegistrarCore(
            self._accounts,
            self._transport.local,
            self._realm,
            secrets.token_bytes,
            algorithms=self._algorithms,
            min_expires=self._min_expires,
            authenticate_calls=self._authenticate_calls,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that listen.

        Raises:
            LocalProtocolError: The registrar does not run.
        """
        if self._transport is None:
            raise LocalProtocolError("enter the registrar first: async with Registrar(...)")
        return self._transport.local

    def aor(self, user: str) -> str:
        """The address of record of an account: `"sip:alice@127.0.0.1:5070"`."""
        host, port = self.address
        return str(SipUri("sip", host, port, user))

    def contacts(self, user: str) -> list[str]:
        """Where an account is bound now.

        Raises:
            LocalProtocolError: The registrar does not run.
        """
        if self._transport is None:
            raise LocalProtocolError("enter the registrar first: async with Registrar(...)")
        return [str(item.contact) for item in self.core.bound(user, self._loop.time())]

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from the transport."""
        if is_keepalive(data):
            return
        try:
            message = parse_message(data)
            outgoing = self.core.on_message(message, source, self._loop.time())
        except SipSyntaxError as error:
            self.dropped += 1
            request = error.partial
            if isinstance(request, Request) and request.method != "ACK":
                self._send(request.create_response(error.status), source)
            return
        for answer, hop in outgoing:
            self._send(answer, hop)

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """An ICMP error: a stateless proxy leaves it to the retransmissions of the ends."""
        del destination, error
        self.dropped += 1

    def _send(self, message: Request | Response, hop: Hop) -> None:
        if self._transport is None:
            return
        try:
            self._transport.send(message.to_bytes(), hop)
        except CallmeterError:
            self.dropped += 1
