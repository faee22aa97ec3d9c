"""An embedded registrar and stateless proxy for tests and the demo: `async with Registrar(...)`.

It challenges with digest authentication, keeps bindings, and forwards requests between the
accounts it knows (`RegistrarCore`). It serves test harnesses on a trusted network, not the public.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

from callmeter.config import StackConfig, TlsConfig, Transport
from callmeter.errors import CallmeterError, LocalProtocolError, SipSyntaxError
from callmeter.sip.message import Request, Response
from callmeter.sip.next_hop import host_port
from callmeter.sip.parser import is_keepalive, parse_message
from callmeter.sip.uri import SipUri
from callmeter.testing.impaired_network import REGISTRAR
from callmeter.testing.registrar_core import RegistrarCore
from callmeter.transport.layer import TransportLayer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from callmeter.sip.transaction.effects import Hop
    from callmeter.testing.impaired_network import ImpairedNetwork

__all__ = ["Registrar"]

NOT_RUNNING: Final = "enter the registrar first: async with Registrar(...)"


class Registrar:
    """The registrar on sockets: `async with Registrar({"alice": "secret"}) as registrar`.

    Args:
        accounts: Passwords by user name.
        host: Address to bind; also the domain of every address of record.
        port: Port to bind; 0 takes a free one.
        realm: Digest realm; None takes `host`.
        algorithms: Digest algorithms offered, the preferred first.
        min_expires: A shorter registration is refused with 423.
        authenticate_calls: Ask for credentials of an INVITE too, with 407.
        transports: Transports that listen; calls go from any to any.
        tls: Certificate of TLS and WSS.

    Attributes:
        dropped: Messages that could not be read or sent.
        network: The way to it and between those who call by it; None is the plain network.
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
        transports: tuple[Transport, ...] = (Transport.UDP,),
        tls: TlsConfig | None = None,
    ) -> None:
        self._accounts = dict(accounts)
        self._realm = realm or host
        self._algorithms = algorithms
        self._min_expires = min_expires
        self._authenticate_calls = authenticate_calls
        self._config = StackConfig(
            bind=host, port=port, transports=transports, tls=tls or TlsConfig()
        )
        self._transport: TransportLayer | None = None
        self._exit = AsyncExitStack()
        self.dropped = 0
        self.network: ImpairedNetwork | None = None

    def __repr__(self) -> str:
        where = "not running" if self._transport is None else host_port(self.address)
        return f"<Registrar {where}>"

    async def __aenter__(self) -> Self:
        if self._transport is not None:
            raise LocalProtocolError("this registrar is already running")
        self._loop = asyncio.get_running_loop()
        entered = AsyncExitStack()
        try:
            tasks = await entered.enter_async_context(asyncio.TaskGroup())
            transport = TransportLayer(self._loop, self, self._config, tasks)
            entered.callback(transport.close)
            transport.start()
        except BaseException:
            # Told to the task group, the error would come out in an exception group.
            await entered.aclose()
            raise
        self._exit, self._transport = entered, transport
        listening = {each.name: transport.listening(each.name) for each in self._config.transports}
        self.core = RegistrarCore(
            self._accounts,
            next(iter(listening.values())),
            self._realm,
            secrets.token_bytes,
            algorithms=self._algorithms,
            min_expires=self._min_expires,
            authenticate_calls=self._authenticate_calls,
            listening=listening,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport = None
        await self._exit.aclose()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that listen, of the first transport.

        Raises:
            LocalProtocolError: The registrar does not run.
        """
        if self._transport is None:
            raise LocalProtocolError(NOT_RUNNING)
        return self.core.address

    def uri(self, transport: Transport = Transport.UDP) -> str:
        """Where it listens by this transport: `"sip:127.0.0.1:5071;transport=tls"`.

        Raises:
            LocalProtocolError: It does not run, or not by this transport.
        """
        if self._transport is None:
            raise LocalProtocolError(NOT_RUNNING)
        if transport not in self._config.transports:
            raise LocalProtocolError(f"the registrar does not listen by {transport.name}")
        host, port = self._transport.listening(transport.name)
        word = "ws" if transport is Transport.WSS else transport.value
        return str(SipUri("sip", host, port, params=(("transport", word),)))

    def listens_at(self, address: str) -> bool:
        """Whether this host and port, `"127.0.0.1:5060"`, is its own."""
        own = () if self._transport is None else self.core.listening.values()
        return address in {host_port(each) for each in own}

    def add_account(self, user: str, password: str) -> None:
        """Serve another account from now on, or give one another password."""
        self._accounts[user] = password

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
            raise LocalProtocolError(NOT_RUNNING)
        return [str(item.contact) for item in self.core.bound(user, self._loop.time())]

    def on_datagram(self, data: bytes, source: Hop) -> None:
        """One datagram from the transport."""
        if is_keepalive(data):
            return
        try:
            message = parse_message(data)
        except SipSyntaxError as error:
            self.on_syntax_error(error, source)
        else:
            self.on_message(message, data, source)

    def on_message(self, message: Request | Response, data: bytes, source: Hop) -> None:
        """One message, from a datagram or a connection."""
        network = self.network
        if network is None:
            self._take(message, source)
            return
        sender = _user(message, sender=True)

        def arrive(arriving: bytes) -> None:
            try:
                self._take(parse_message(arriving), source)
            except SipSyntaxError as error:
                self.on_syntax_error(error, source)

        network.carry_signaling(data, sender, REGISTRAR, arrive, reliable=source.reliable)

    def _take(self, message: Request | Response, source: Hop) -> None:
        try:
            outgoing = self.core.on_message(message, source, self._loop.time())
        except SipSyntaxError as error:
            self.on_syntax_error(error, source)
            return
        for answer, hop in outgoing:
            self._send(answer, hop)

    def on_syntax_error(self, error: SipSyntaxError, source: Hop) -> None:
        """A message that cannot be understood is refused where that is possible."""
        self.dropped += 1
        request = error.partial
        if isinstance(request, Request) and request.method != "ACK":
            self._send(request.create_response(error.status), source)

    def on_flow_lost(self, flow: Hop, error: str) -> None:
        """A connection has ended; the bindings behind it lead nowhere until they are refreshed."""

    def on_unreachable(self, destination: Hop, error: str) -> None:
        """An ICMP error: a stateless proxy leaves it to the retransmissions of the ends."""
        del destination, error
        self.dropped += 1

    def _send(self, message: Request | Response, hop: Hop) -> None:
        network = self.network
        if network is None or self._transport is None:
            self._transmit(message, hop)
            return
        source, destination = _user(message, sender=True), _user(message, sender=False)
        network.relay_media(message, source, destination)
        network.carry_signaling(
            message.to_bytes(),
            REGISTRAR,
            destination,
            lambda data: self._transmit(data, hop),
            reliable=hop.reliable,
        )

    def _transmit(self, message: Request | Response | bytes, hop: Hop) -> None:
        if self._transport is None:
            return
        data = message if isinstance(message, bytes) else message.to_bytes()
        try:
            self._transport.send(data, hop)
        except CallmeterError:
            self.dropped += 1


def _user(message: Request | Response, *, sender: bool) -> str:
    """The user that sends a message, or gets it; empty where it does not say."""
    try:
        end = message.from_ if isinstance(message, Request) is sender else message.to
    except SipSyntaxError:
        return ""
    return end.uri.user_text or "" if isinstance(end.uri, SipUri) else ""
