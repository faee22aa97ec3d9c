"""A user agent: sessions, a registration and plain requests of one endpoint (RFC 3261 8 to 15).

```text
commands and inputs  ->  effects for the shell, events for the application, in one list
```

The shell owns the `TransactionLayer`. It starts a client transaction for each `SendRequest` and
reports by its token, and gives the requests that the layer delivers to `on_request`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.capabilities import ACCEPT, Capabilities
from callmeter.sip.client_requests import PlainRequestUser, retry_after
from callmeter.sip.client_session import ClientInviteSession
from callmeter.sip.event_requests import EventRequests
from callmeter.sip.extension_headers import EventType
from callmeter.sip.headers import CSeq, NameAddr
from callmeter.sip.identity import Identity
from callmeter.sip.invite_session import InviteSession, Role, SessionState
from callmeter.sip.refer import ReferSubscriber, replaces_of
from callmeter.sip.register import RegisterUsage, RegistrationState
from callmeter.sip.server_session import ServerInviteSession
from callmeter.sip.session_events import MessageReceived, RequestReceived, Respond
from callmeter.sip.session_timer import SessionTimer
from callmeter.sip.subscriber import Subscriber
from callmeter.sip.uri import SipUri
from callmeter.sip.usage import Agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from callmeter.config import TimerConfig
    from callmeter.sip.extension_headers import Replaces
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import HeaderLines

__all__ = [
    "Capabilities",
    "ClientInviteSession",
    "Identity",
    "InviteSession",
    "RegisterUsage",
    "RegistrationState",
    "Role",
    "ServerInviteSession",
    "SessionState",
    "UserAgentCore",
    "retry_after",
]


class UserAgentCore:
    """One endpoint, without sockets and clock.

    Args:
        identity: Who it is; may be replaced at any time.
        timers: RFC 3261 timer values.
        entropy: `entropy(n)` gives n octets nobody can guess.
        dialog_limit: Live sessions; an INVITE beyond gets a 503.
        capabilities: Methods and extensions that are served; those of RFC 3261 by default.
    """

    __slots__ = ("_agent", "_events", "_plain", "dialog_limit")

    def __init__(
        self,
        identity: Identity,
        timers: TimerConfig,
        entropy: Callable[[int], bytes],
        *,
        dialog_limit: int = 5000,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._agent = Agent(identity, timers, entropy, capabilities or Capabilities())
        self._plain = PlainRequestUser()
        self._events = EventRequests(self._agent, dialog_limit)
        self.dialog_limit = dialog_limit

    def __len__(self) -> int:
        """Live sessions, subscriptions and requests: 0 when nothing is left of what was done."""
        agent = self._agent
        subscriptions = sum(map(len, agent.subscriptions.values()))
        return len(agent.sessions) + len(agent.requests) + subscriptions

    @property
    def identity(self) -> Identity:
        """Who the endpoint is."""
        return self._agent.identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self._agent.requests.identity = identity

    @property
    def capabilities(self) -> Capabilities:
        """Methods and extensions that are served; may be replaced between calls."""
        return self._agent.capabilities

    @capabilities.setter
    def capabilities(self, capabilities: Capabilities) -> None:
        self._agent.capabilities = capabilities

    @property
    def sessions(self) -> list[InviteSession]:
        """The live sessions."""
        return list(self._agent.sessions.values())

    # -- Commands ----------------------------------------------------------------------------

    def invite(
        self,
        target: SipUri,
        now: float,
        *,
        body: bytes = b"",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
        manual_prack: bool = False,
        call_id: str | None = None,
    ) -> tuple[ClientInviteSession, list[Effect]]:
        """Call somebody; without a body the callee makes the offer.

        Args:
            target: Whom.
            now: Loop time.
            body: The offer, or empty.
            content_type: Of the body.
            headers: Further header lines of the INVITE.
            manual_prack: The application acknowledges reliable provisional responses itself,
                by `session.prack`, and may offer again there.
            call_id: Its Call-ID; None makes one that nobody can guess.

        Raises:
            LocalProtocolError: There are as many sessions as may be.
        """
        del now
        if len(self._agent.sessions) >= self.dialog_limit:
            raise LocalProtocolError(f"{self.dialog_limit} sessions are as many as may be")
        session = ClientInviteSession(self._agent, target, call_id)
        return session, session.start(body, content_type, headers, manual_prack=manual_prack)

    def register(
        self,
        registrar: SipUri,
        expires: int,
        now: float,
        *,
        instance: str = "",
        headers: HeaderLines = (),
    ) -> tuple[RegisterUsage, list[Effect]]:
        """Bind our Contact to our address of record, until `unregister`.

        Args:
            registrar: Where to register.
            expires: Seconds to ask for.
            now: Loop time.
            instance: URN of this user agent; it asks for an outbound flow (RFC 5626) and a
                GRUU (RFC 5627).
            headers: Further lines of each REGISTER.
        """
        usage = RegisterUsage(self._agent, registrar, expires, instance, headers)
        return usage, usage.refresh(now)

    def options(
        self, target: SipUri, now: float, *, headers: HeaderLines = ()
    ) -> tuple[int, list[Effect]]:
        """Ask what a peer can do (section 11)."""
        return self.request("OPTIONS", target, now, headers=[("Accept", ACCEPT), *headers])

    def request(
        self,
        method: str,
        target: SipUri,
        now: float,
        *,
        body: bytes = b"",
        content_type: str = "",
        headers: HeaderLines = (),
    ) -> tuple[int, list[Effect]]:
        """Send a request outside a dialog; `RequestAnswered` or `RequestFailed` follows.

        Raises:
            LocalProtocolError: The method has a command of its own, or none may send it.
        """
        del now
        if method in {"INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "SUBSCRIBE", "REFER"}:
            raise LocalProtocolError(f"{method} is no request by itself")
        agent = self._agent
        cseqs = iter(range(1, 2**31))
        request = agent.create_request(
            method,
            target,
            NameAddr(target.aor()),
            CSeq(next(cseqs), method),
            agent.new_call_id(),
            agent.new_tag(),
        )
        agent.complete(request, headers, body, content_type, contact=method == "OPTIONS")
        sent, effects = agent.requests.send(request, self._plain, cseqs.__next__)
        return sent.handle, effects

    def subscribe(
        self,
        target: SipUri,
        package: str,
        expires: int,
        now: float,
        *,
        headers: HeaderLines = (),
    ) -> tuple[Subscriber, list[Effect]]:
        """Subscribe to somebody's state (RFC 6665); `unsubscribe` ends it.

        Args:
            target: Whose state.
            package: The event package: message-summary, dialog, presence ...
            expires: Seconds to ask for; 0 asks for the state once.
            now: Loop time.
            headers: Further lines of each SUBSCRIBE, such as Accept.
        """
        usage = Subscriber(self._agent, target, EventType(package), expires, headers)
        return usage, usage.start(now)

    def refer(
        self,
        refer_to: NameAddr,
        now: float,
        *,
        session: InviteSession | None = None,
        target: SipUri | None = None,
        headers: HeaderLines = (),
    ) -> tuple[ReferSubscriber, list[Effect]]:
        """Ask a peer to call somebody (RFC 3515); `Notified` tells how it goes.

        `refer_to_replacing(other.dialog)` as `refer_to` makes it an attended transfer. A line
        `Refer-Sub: false` in `headers` asks not to be told (RFC 4488).

        Args:
            refer_to: Whom to call.
            now: Loop time.
            session: The session whose peer is asked.
            target: Who is asked, where it is nobody we talk to.
            headers: Further header lines; Referred-By is ourselves by default.

        Raises:
            LocalProtocolError: Neither an answered session nor a target is given.
        """
        running = session is not None and session.answered and not session.over
        dialog = session.dialog if session is not None and running else None
        if dialog is not None and isinstance(dialog.remote_target, SipUri):
            target = dialog.remote_target
        if target is None or (session is not None and dialog is None):
            raise LocalProtocolError("REFER needs an answered session, or a target")
        usage = ReferSubscriber(self._agent, target, refer_to, headers, dialog)
        return usage, usage.start(now)

    def reply(
        self,
        key: Key,
        request: Request,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Answer the request of a `MessageReceived` or `RequestReceived` without a session."""
        del now
        return [self._reply(key, request, status, headers, reason)]

    # -- Inputs ------------------------------------------------------------------------------

    def owns(self, request: Request, invite_key: Key | None = None) -> bool:
        """Whether a request belongs to a session of ours.

        Args:
            request: Any request.
            invite_key: For a CANCEL: `TransactionLayer.invite_key_of(request)`.
        """
        if request.method == "CANCEL":
            return invite_key in self._agent.served
        name = (request.call_id, request.to_tag or "")
        return name in self._agent.sessions or name in self._agent.subscriptions

    def on_request(
        self,
        key: Key,
        request: Request,
        now: float,
        *,
        merged: bool = False,
        invite_key: Key | None = None,
    ) -> list[Effect]:
        """A request the transaction layer delivered.

        Args:
            key: Its server transaction.
            request: Any but an ACK.
            now: Loop time.
            merged: `TransactionLayer.is_merged(request, key)`.
            invite_key: For a CANCEL: `TransactionLayer.invite_key_of(request)`.
        """
        if request.method == "CANCEL":
            return self._on_cancel(key, request, invite_key, now)
        if merged:
            return [self._reply(key, request, 482)]
        refusal = self._agent.capabilities.inspect(request)
        if refusal is not None:
            status, headers, reason = refusal
            return [self._reply(key, request, status, headers, reason)]
        if request.method in {"SUBSCRIBE", "NOTIFY", "REFER"}:
            return self._events.on_request(key, request, self._session_of(request), now)
        if request.to_tag is not None:
            session = self._session_of(request)
            if session is None:
                return [self._reply(key, request, 481)]
            return session.on_request(key, request, now)
        match request.method:
            case "INVITE":
                return self._on_invite(key, request, now)
            case "OPTIONS":
                return [self._reply(key, request, 200, self._agent.capabilities.lines)]
            case "MESSAGE":
                return [MessageReceived(None, key, request)]
            case method if method in self._agent.capabilities.further:
                return [RequestReceived(None, key, request)]
            case _:
                return [self._reply(key, request, 481)]

    def on_ack(self, request: Request, now: float) -> list[Effect]:
        """The ACK of a 2xx: `Deliver(None, request)` of the transaction layer."""
        session = self._session_of(request)
        return [] if session is None else session.on_ack(request, now)

    def on_response(self, token: int, response: Response, now: float) -> list[Effect]:
        """A response in the client transaction of `token`."""
        return self._agent.requests.on_response(token, response, now)

    def on_timeout(self, token: int, timer: str, now: float) -> list[Effect]:
        """The layer's `TimedOut` for the client transaction of `token`: B, F or CANCEL."""
        del timer
        return self._agent.requests.on_failure(token, 408, "timeout", now)

    def on_transport_error(self, token: int, error: str, now: float) -> list[Effect]:
        """No way to send the request of `token`, now that every target was tried."""
        return self._agent.requests.on_failure(token, 503, "transport", now, error=error)

    def on_server_timeout(self, key: Key, timer: str, now: float) -> list[Effect]:
        """The layer's `TimedOut` for a server transaction: no ACK came."""
        del timer
        return self._on_server_failure(key, "ack-timeout", now)

    def on_server_transport_error(self, key: Key, error: str, now: float) -> list[Effect]:
        """The layer's `TransportFailed` for a server transaction: a response did not go out."""
        del error
        return self._on_server_failure(key, "transport", now)

    def on_deadline(self, now: float) -> list[Effect]:
        """Do what is due by `now`."""
        effects: list[Effect] = []
        while (usage := self._agent.deadlines.pop_due(now)) is not None:
            effects += usage.on_deadline(now)
        return effects

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None for not at all."""
        return self._agent.deadlines.next_deadline()

    def _session_of(self, request: Request) -> InviteSession | None:
        return self._agent.sessions.get((request.call_id, request.to_tag or ""))

    def _on_invite(self, key: Key, request: Request, now: float) -> list[Effect]:
        if len(self._agent.sessions) >= self.dialog_limit:
            wait = str(int(self._agent.uniform(5, 31)))
            return [self._reply(key, request, 503, [("Retry-After", wait)])]
        timers = self._agent.capabilities.session_timer
        short = SessionTimer(timers).inspect(request) if timers.mode.offered else None
        if short is not None:
            return [self._reply(key, request, *short)]
        try:
            wanted = replaces_of(request)
        except SipSyntaxError as error:
            return [self._reply(key, request, 400, reason=f"Bad Replaces: {error}")]
        replaced = None
        if wanted is not None:
            replaced = self._agent.sessions.get((wanted.call_id, wanted.to_tag))
            status = self._inspect_replaces(wanted, replaced)
            if status is not None:
                return [self._reply(key, request, status)]
        return ServerInviteSession(self._agent, key, request, replaced).start(now)

    def _inspect_replaces(self, wanted: Replaces, session: InviteSession | None) -> int | None:
        """The status for a Replaces that matches nothing, or what may not be replaced."""
        # RFC 3891 section 3: all three fields count, and of calls that ring only our own.
        if (
            not self._agent.capabilities.refer
            or session is None
            or not session.has_dialog(wanted.from_tag)
            or not (session.answered or session.role is Role.UAC)
        ):
            return 481
        if session.over:
            return 603
        return 486 if wanted.early_only and session.answered else None

    def _on_cancel(
        self, key: Key, request: Request, invite_key: Key | None, now: float
    ) -> list[Effect]:
        # Section 9.2: a CANCEL is answered for itself, whatever becomes of the INVITE.
        if invite_key is None:
            return [self._reply(key, request, 481)]
        session = self._agent.served.get(invite_key)
        if session is None:
            return [self._reply(key, request, 200)]
        response = self._agent.respond(request, 200, tag=session.local_tag)
        return [Respond(key, response), *session.on_cancel(invite_key, now)]

    def _on_server_failure(self, key: Key, cause: str, now: float) -> list[Effect]:
        session = self._agent.served.get(key)
        return [] if session is None else session.on_server_failure(key, cause, now)

    def _reply(
        self,
        key: Key,
        request: Request,
        status: int,
        headers: HeaderLines = (),
        reason: str | None = None,
    ) -> Respond:
        return Respond(key, self._agent.respond(request, status, reason=reason, headers=headers))
