"""Endpoint: one user agent that registers, calls and answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from callmeter.answered_call import AnsweredCall
from callmeter.call import Call
from callmeter.call_trace import write_trace
from callmeter.config import EndpointConfig, StackConfig, TlsConfig, TransferPolicy, Transport
from callmeter.endpoint_requests import EndpointRequests
from callmeter.errors import (
    CallmeterError,
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    LocalProtocolError,
    TlsError,
    TransportError,
)
from callmeter.incoming_call import IncomingCall
from callmeter.media_session import MediaSessions, check_media
from callmeter.registration import Registration
from callmeter.sip.capabilities import Capabilities
from callmeter.sip.headers import NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.message import Headers
from callmeter.sip.next_hop import transport_of
from callmeter.sip.session_events import (
    Cancelled,
    Ended,
    Failed,
    IncomingInvite,
    ReferReceived,
    Registered,
    RegistrationFailed,
    Unregistered,
)
from callmeter.sip.uri import SipUri
from callmeter.sip.user_agent import UserAgentCore
from callmeter.stack import Stack
from callmeter.standalone_requests import StandaloneRequests, check_call_id, header_lines
from callmeter.trace.message_log import MessageLog
from callmeter.transport.layer import Route
from callmeter.uri_settings import proxy_uri, setting_uri, target_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from callmeter.config import MediaConfig
    from callmeter.media.engine import MediaEngine
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.register import RegisterUsage
    from callmeter.sip.server_location import Location
    from callmeter.sip.server_session import ServerInviteSession
    from callmeter.sip.transaction.effects import Hop

__all__ = ["Endpoint"]

SECURE = frozenset({Transport.TLS, Transport.WSS, Transport.AUTO})
UNSPECIFIED = "0.0.0.0"  # noqa: S104  stands in a report, nothing is bound to it
NOT_ENTERED = "enter the endpoint first: async with Endpoint(config)"
INCOMING_QUEUE = 1_000
"""Calls that wait for `incoming()`; one more is refused with 486."""


class Invitation(NamedTuple):
    """What the INVITE of a call was made of, should it be sent again."""

    target: SipUri
    headers: dict[str, str] | None
    offer: bool
    call_id: str | None


class Endpoint(EndpointRequests):
    """One user agent: `async with Endpoint(config) as alice`.

    Leaving the block hangs up every call, removes every binding and frees every socket.

    Args:
        config: Who this is, how it reaches its server, what media it wants.
        stack: A running `Stack` to share; None makes an own one.

    Raises:
        ConfigurationError: A setting that cannot work.
        ConnectionFailed: On entry, when no port can be bound.

    Attributes:
        messages: Every SIP message of this endpoint, secrets removed.
        core: The user agent core (sans-IO); lower stability.
    """

    def __init__(self, config: EndpointConfig, stack: Stack | None = None) -> None:
        if not isinstance(config, EndpointConfig):
            # Not shown: there may be a password in it.
            raise ConfigurationError(
                "an Endpoint takes an EndpointConfig, "
                "for example EndpointConfig('sip:alice@example.com'), "
                f"not {type(config).__name__}"
            )
        aor = setting_uri("aor", config.aor)
        check_media(config.media)
        self.config = config
        self.aor = config.aor
        self.transport = config.transport
        self.aor_user = aor.user_text or ""
        self.contact_user = self.aor_user
        self.messages = MessageLog()
        self._aor_uri = aor
        self._given_stack = stack
        self._stack: Stack | None = None
        self._exit: AsyncExitStack | None = None
        self._incoming: asyncio.Queue[IncomingCall | None] = asyncio.Queue()
        self._calls: dict[InviteSession | None, Call] = {}
        self._invited: dict[Call, Invitation] = {}
        self.registrations: dict[RegisterUsage, Registration] = {}
        self._service_route: tuple[SipUri, ...] = ()
        self._gruu: SipUri | None = None
        self.tls: int | None = None
        self._media = MediaSessions()
        self._face: tuple[tuple[str, int], str, bool] | None = None
        self._home: tuple[tuple[str, int], str, bool] | None = None
        self._routes = (proxy_uri(config.outbound_proxy),) if config.outbound_proxy else ()
        self.core = UserAgentCore(
            self._identity("0.0.0.0", 5060),  # noqa: S104  replaced on entry, before any message
            (stack.config if stack else StackConfig()).timers,
            secrets.token_bytes,
            capabilities=_capabilities(config),
        )
        self.standalone = StandaloneRequests(self)

    # life

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise LocalProtocolError("this endpoint is already running")
        async with AsyncExitStack() as entered:
            stack = self._given_stack
            if stack is None:
                stack = await entered.enter_async_context(Stack())
            self._stack = stack
            self.contact_user = stack.contact_user_for(self.aor_user or "callmeter")
            stack.attach(self)
            entered.callback(stack.detach, self)
            self.core.dialog_limit = stack.config.limits.dialogs
            self._incoming = asyncio.Queue()
            self.standalone = StandaloneRequests(self)
            if self.transport in SECURE or config_has_tls(self.config):
                self.tls = stack.transport.tls_number(self.config.tls)
            # Who listens by TLS and calls by it is called by it, too.
            wished = self.transport.name if self.transport is Transport.TLS else ""
            self.face(
                stack.transport.reachable_at(self._aor_uri.host, wished),
                stack.transport.first_listening(wished),
            )
            self._home = self._face
            entered.push_async_callback(self._hang_up_all)
            self._exit = entered.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._exit is not None:
            leaving, self._exit = self._exit, None
            self._incoming.put_nowait(None)
            self.standalone.close()
            await leaving.__aexit__(kind, error, traceback)
            self._stack = None

    def __repr__(self) -> str:
        state = f"at {self.contact}, calls: {len(self._calls)}" if self.running else "not running"
        return f"<{type(self).__name__} {self.aor} {state}>"

    def _itself(self) -> Endpoint:
        return self

    @property
    def running(self) -> bool:
        """Whether the endpoint has been entered and not left."""
        return self._exit is not None

    @property
    def stack(self) -> Stack:
        """The running stack.

        Raises:
            LocalProtocolError: The endpoint has not been entered.
        """
        if self._stack is None:
            raise LocalProtocolError(NOT_ENTERED)
        return self._stack

    @property
    def media_engine(self) -> MediaEngine:
        """What opens the streams of its calls; lower stability."""
        return self.stack.media

    @property
    def contact(self) -> SipUri:
        """Where this endpoint is reached just now.

        Raises:
            LocalProtocolError: The endpoint has not been entered.
        """
        if self._home is None:
            raise LocalProtocolError(NOT_ENTERED)
        return self.core.identity.contact

    @property
    def calls(self) -> list[Call]:
        """The calls that have not ended."""
        return list(self._calls.values())

    async def _hang_up_all(self) -> None:
        calls = self.calls
        if calls:
            await asyncio.gather(*(call.bye() for call in calls), return_exceptions=True)

    # verbs

    def registered(self, expires: int | None = None) -> Registration:
        """A binding at the registrar for the length of an `async with` block.

        Args:
            expires: Seconds to ask for; None takes the setting.
        """
        return Registration(self, self._registrar(), expires or self.config.expires)

    def call(
        self,
        target: str | SipUri,
        *,
        media: MediaConfig | None = None,
        ring_timeout: float | None = None,
        headers: dict[str, str] | None = None,
        offer: bool = True,
        call_id: str | None = None,
    ) -> AnsweredCall:
        """An answered call for the length of an `async with` block, which hangs up on exit.

        Cancelling while it rings sends CANCEL and waits for the 487.

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            media: Settings of this call; None takes the endpoint's.
            ring_timeout: Seconds until CANCEL; None takes the timer setting.
            headers: More header fields for the INVITE.
            offer: Whether the INVITE holds the offer; otherwise the callee makes it.
            call_id: Its Call-ID; None makes one that nobody can guess.

        Raises:
            ConfigurationError: A header field or Call-ID that would break the message.
            CallRejected: The callee or a server refused.
            CallTimedOut: Nobody answered in time.
            NegotiationError: The answer has nothing in common with the offer.
            AuthenticationFailed: The credentials were refused.
        """
        inviting = self.invite(target, media=media, headers=headers, offer=offer, call_id=call_id)
        return AnsweredCall(inviting, ring_timeout)

    async def invite(
        self,
        target: str | SipUri,
        *,
        media: MediaConfig | None = None,
        headers: dict[str, str] | None = None,
        offer: bool = True,
        call_id: str | None = None,
    ) -> Call:
        """Send an INVITE and return the ringing call at once: `call = await alice.invite(...)`.

        Then `async with call:` hangs up at its end, as `bye` does.

        Args:
            target: SIP URI, or a user name at the domain of the own address of record.
            media: Settings of this call; None takes the endpoint's.
            headers: More header fields for the INVITE.
            offer: Whether the INVITE holds the offer; otherwise the callee makes it.
            call_id: Its Call-ID; None makes one that nobody can guess.

        Raises:
            ConfigurationError: A header field or Call-ID that would break the message.
            TransportError: The target cannot be reached.
        """
        stack = self.stack
        self._check_call_id(call_id)
        header_lines(headers)
        uri = self.target(target)
        settings = media or self.config.media
        check_media(settings)
        try:
            hop = await self.face_target(uri)
            address = stack.transport.address_towards(hop)
        except TransportError as error:
            call = Call(
                self, self._media.open(self.media_engine, settings, UNSPECIFIED), remote=str(uri)
            )
            call.abandon(error, stack.now)
            raise
        # Another call may have taken it while the way was looked for.
        self._check_call_id(call_id)
        media_session = self._media.open(self.media_engine, settings, address)
        try:
            call = Call(self, media_session, remote=str(uri))
            self._start(call, Invitation(uri, headers, offer, call_id))
        except BaseException:
            media_session.close()
            raise
        return call

    def _check_call_id(self, call_id: str | None) -> None:
        if call_id is not None:
            check_call_id(call_id, {call.call_id for call in self.calls})

    def _start(self, call: Call, invitation: Invitation) -> None:
        stack = self.stack
        # Checked before there is a session that could be left behind.
        lines = Headers((invitation.headers or {}).items())
        offer = call.media.create_offer() if invitation.offer else b""
        session, effects = self.core.invite(
            invitation.target, stack.now, body=offer, headers=lines, call_id=invitation.call_id
        )
        self._calls[session] = call
        self._invited[call] = invitation
        call.begin(session, stack.now)
        stack.run(self, effects)

    def invite_again(self, call: Call) -> None:
        """Send the INVITE of a refused call once more, with its new offer, as a new session."""
        # The refused session is not forgotten yet, and the two are told apart by their Call-ID.
        self._start(call, self._invited[call]._replace(call_id=None))

    async def incoming(self) -> AsyncIterator[IncomingCall]:
        """Calls as they arrive, until the endpoint is left.

        Raises:
            LocalProtocolError: The endpoint has not been entered.
        """
        if self._home is None:
            raise LocalProtocolError(NOT_ENTERED)
        while True:
            incoming = await self._incoming.get()
            if incoming is None:
                self._incoming.put_nowait(None)
                return
            if not incoming.over:
                yield incoming

    async def next_call(self, timeout: float | None = None) -> IncomingCall:  # noqa: ASYNC109
        """Wait for one incoming call.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            CallTimedOut: No call came in time.
            LocalProtocolError: The endpoint has not been entered, or was left.
        """
        try:
            async with asyncio.timeout(timeout):
                async for incoming in self.incoming():
                    return incoming
        except TimeoutError:
            raise CallTimedOut(f"no call came within {timeout} s", timer="wait") from None
        raise LocalProtocolError("the endpoint was left")

    def trace(self, path: str | Path, *calls: Call) -> None:
        """Write all messages of the endpoint, as `Call.trace` does those of a call.

        Args:
            path: `"trace.pcapng"` gets packets, any other name text.
            calls: Their media goes along.

        Raises:
            OSError: The file cannot be written.
        """
        captures = [capture for call in calls for capture in call.media.captures]
        write_trace(path, tuple(self.messages), captures)

    # what the stack tells

    def on_event(self, event: object, now: float) -> None:
        """One event of the user agent core."""
        match event:
            case IncomingInvite(session):
                self._on_invite(session, now)
            case Registered(usage) | Unregistered(usage) | RegistrationFailed(usage):
                registration = self.registrations.get(usage)
                if registration is not None:
                    registration.on_event(event)
            case ReferReceived(usage):
                self._calls[usage.session].on_event(event, now)
            case _ if self.standalone.on_event(event):
                pass
            case _:
                call = self._calls.get(getattr(event, "session", None))
                if call is not None:
                    call.on_event(event, now)
                elif isinstance(event, Ended | Failed | Cancelled):
                    self.stack.forget_dialog(event.session.call_id)

    def write(self, message: Request | Response) -> bytes:
        """A message of this endpoint as it goes on the wire; lower stability."""
        return message.to_bytes()

    def _on_invite(self, session: ServerInviteSession, now: float) -> None:
        stack = self.stack
        if self._exit is None or self._incoming.qsize() >= INCOMING_QUEUE:
            status = 486 if self._exit is not None else 480
            stack.run(self, session.reject(status, now))
            return
        stack.follow_dialog(session.request)
        media = self._media.open(
            self.media_engine, self.config.media, self._address_towards_source()
        )
        call = IncomingCall(self, media, remote=str(session.remote.uri))
        self._calls[session] = call
        call.begin(session, now)
        if session.replaces is not None and self.config.transfers is TransferPolicy.FOLLOW:
            stack.start_task(_take_over(call))
        else:
            self._incoming.put_nowait(call)

    def call_of(self, session: InviteSession) -> Call | None:
        """The call whose session this is, None after its end."""
        return self._calls.get(session)

    def _address_towards_source(self) -> str:
        source = self.stack.source
        if source is None:
            return self.contact.host
        try:
            return self.stack.transport.address_towards(source)
        except TransportError:
            return self.contact.host

    def forget(self, session: InviteSession) -> None:
        """The session is over, and its call with it unless it was sent again."""
        self.release(session)
        if self._stack is not None:
            self._stack.forget_dialog(session.call_id)

    def release(self, session: InviteSession) -> None:
        """The call is over; its session ends when the peer has spoken, or time is up."""
        call = self._calls.pop(session, None)
        if call is not None and call.session is session:
            self._invited.pop(call, None)

    def on_located(self, call_id: str, location: Location) -> None:
        """Where the DNS sent the request of this Call-ID."""
        for call in self._calls.values():
            if call.call_id == call_id:
                call.note_location(location)

    def face(self, local: tuple[str, int], transport: str, *, secure: bool = False) -> None:
        """Messages now leave from `local` by `transport`: the Contact follows.

        Args:
            local: Own host and port; port 0 writes none.
            transport: `"UDP"`, `"TLS"` ...
            secure: The request goes to a sips URI, so the Contact is one (RFC 3261 8.1.1.8).
        """
        face = (local, transport.upper(), secure)
        if face != self._face:
            self._face = face
            self.core.identity = self._identity(*local, transport, secure=secure)

    def face_home(self) -> None:
        """Take the Contact that is registered: refreshes have to name the same one."""
        if self._home is not None:
            local, transport, secure = self._home
            self.face(local, transport, secure=secure)

    def network_error(self, text: str) -> TransportError:
        """The error of the network in these words.

        TLS 1.3 lets a server refuse our certificate after the handshake (RFC 8446 section 4.4.2):
        then a request is under way already, and only the words come back with it.
        """
        last = self.stack.transport.pool.last_tls_error
        if last is None or str(last) != text:
            return ConnectionFailed(text)
        return TlsError(text, kind=last.kind, destination=last.destination)

    def move_home(self, local: tuple[str, int], transport: str) -> None:
        """A REGISTER now binds this Contact: a new connection has a port of its own."""
        secure = self._home is not None and self._home[2]
        self.face(local, transport, secure=secure)
        self._home = self._face

    async def face_registrar(self, registrar: SipUri) -> None:
        """Take the own address that reaches the registrar or the outbound proxy.

        Raises:
            TransportError: Neither can be reached: `TlsError`, `ResolutionFailed` ...
        """
        await self.face_target(registrar, self._routes)
        self._home = self._face

    async def face_target(self, uri: SipUri, routes: tuple[SipUri, ...] | None = None) -> Hop:
        """Have a connection towards `uri`, and the Contact that is right for it.

        Args:
            uri: Where a request will go.
            routes: The proxies it goes by; None for all that requests go by.

        Raises:
            TransportError: There is no way.
        """
        stack = self.stack
        if routes is None:
            routes = self.core.identity.route_set
        target = routes[0] if routes else uri
        route = Route(target, transport_of(target, self.transport), self.tls)
        found = stack.transport.known(route) or await stack.transport.locate(route)
        hop = await stack.transport.first_open(found.hops)
        self.face(stack.transport.local_towards(hop), hop.transport, secure=uri.scheme == "sips")
        return hop

    # who this is

    def _identity(
        self, host: str, port: int, transport: str = "UDP", *, secure: bool = False
    ) -> Identity:
        config = self.config
        # RFC 7118 section 5.5: `ws` stands for WebSocket, secure or not.
        word = "ws" if transport.upper() == "WSS" else transport.lower()
        params = () if word == "udp" else (("transport", word),)
        scheme = "sips" if secure or self._aor_uri.scheme == "sips" else "sip"
        hosts = {self._aor_uri.host.lower(), self._registrar().host.lower()}
        hosts.update(route.host.lower() for route in (*self._routes, *self._service_route))
        return Identity(
            aor=NameAddr(self._aor_uri, config.display_name),
            contact=SipUri(scheme, host, port or None, self.contact_user or None, params=params),
            credentials=config.credentials,
            trusted_realm_hosts=frozenset(hosts),
            routes=self._routes,
            user_agent=config.user_agent,
            service_route=self._service_route,
            gruu=self._gruu if config.gruu else None,
        )

    def note_routes(self, service_route: tuple[SipUri, ...], gruu: SipUri | None) -> None:
        """What the registrar says about the way out and the way in (RFC 3608, RFC 5627)."""
        if (service_route, gruu) != (self._service_route, self._gruu):
            self._service_route, self._gruu = service_route, gruu
            if self._face is not None:
                (local, transport, secure), self._face = self._face, None
                self.face(local, transport, secure=secure)

    def target(self, given: str | SipUri) -> SipUri:
        """Whom a user means: a SIP URI, or a user name at the own domain."""
        return target_uri(given, self._aor_uri)

    def _registrar(self) -> SipUri:
        if self.config.registrar is None:
            return SipUri(self._aor_uri.scheme, self._aor_uri.host, self._aor_uri.port)
        return setting_uri("registrar", self.config.registrar)


async def _take_over(call: IncomingCall) -> None:
    """Answer a call that replaces one of ours."""
    with contextlib.suppress(CallmeterError):
        await call.answer()


def _capabilities(config: EndpointConfig) -> Capabilities:
    """What an endpoint serves beyond RFC 3261."""
    return Capabilities(
        reliable=config.reliable_provisionals,
        session_timer=config.session_timer,
        update=True,
        refer=config.transfers is not TransferPolicy.REFUSE,
        subscriptions=True,
        redirects=config.redirects,
    )


def config_has_tls(config: EndpointConfig) -> bool:
    """Whether TLS settings were given."""
    return config.tls != TlsConfig()
