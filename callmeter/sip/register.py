"""A registration: one binding kept alive at a registrar (RFC 3261 section 10.2)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.client_requests import CHALLENGES, retry_after
from callmeter.sip.headers import CSeq, NameAddr, parse_delta_seconds
from callmeter.sip.message import REASON_PHRASES
from callmeter.sip.session_events import Registered, RegistrationFailed, Unregistered
from callmeter.sip.uri import SipUri, parse_uri
from callmeter.sip.usage import Usage

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.message import Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.uri import Uri
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["RecoveryPace", "RegisterUsage", "RegistrationState"]

REFRESH_FROM, REFRESH_TO = 0.8, 0.9
"""Share of the granted time after which a binding is refreshed: spread, so that the phones of a
registrar that was restarted do not come back all at once."""

SHORTEST_REFRESH = 1.0
"""A registrar that grants no time at all must not make us send without pause."""

RETRY_BASE, RETRY_LIMIT = 30.0, 1800.0
"""Waits after failed refreshes and lost flows (RFC 5626 section 4.5)."""

RECOVERIES_A_SECOND = 500
"""Lost flows that one stack replaces: what a registrar that has just started can serve."""

MAX_DOUBLINGS = 10

MAX_INTERVAL_CHANGES = 3
"""How often in a row a 423 is obeyed."""

MAX_ROUTES = 16
"""A registrar that lists more proxies is not followed through all of them."""

INTERVAL_TOO_BRIEF = 423
NO_OUTBOUND = 439
HOPELESS = frozenset({403, 404, 501}) | CHALLENGES
"""Refusals that the same request would meet again."""


class RegistrationState(Enum):
    """How far the registration is."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"
    UNREGISTERING = "unregistering"
    UNREGISTERED = "unregistered"


class RecoveryPace:
    """Keeps many registrations of one stack from being made anew in one moment.

    RFC 5626 has the first try follow a loss at once, and spreads only those after it. Where a
    registrar is started again before the first tries come, they would all come together.
    """

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def pause(self, now: float) -> float:
        """Seconds for which one more flow waits that was lost: none if it is the only one."""
        turn = max(now, self._next)
        self._next = turn + 1 / RECOVERIES_A_SECOND
        return turn - now


class RegisterUsage(Usage):
    """The binding of our Contact to our address of record.

    It refreshes itself at 80 to 90 % of the granted time. A refresh that fails is tried again
    later, a first registration that fails is not.

    Args:
        agent: What it shares with the other usages.
        registrar: Where to register.
        expires: Seconds to ask for.
        instance: URN of this user agent (RFC 5626 section 4.1); empty asks for no outbound
            flow and no GRUU.
        headers: Further lines of each REGISTER.

    Attributes:
        registrar: Request-URI of the REGISTER: a domain, without a user.
        expires: Seconds that are asked for; a 423 raises it.
        granted: Seconds that the registrar granted last, 0 before.
        expires_at: When the binding ends, None without one.
        retry_at: When a failed refresh is tried again, None if it is not.
        state: How far it is.
        path: Proxies on the way to us, as the registrar knows them (RFC 3327).
        service_route: Proxies that our requests shall go by (RFC 3608).
        public_gruu: A URI that reaches this very user agent (RFC 5627), None without one.
        temporary_gruu: One that does not tell whose it is.
    """

    __slots__ = (
        "_asked",
        "_cseq",
        "_failures",
        "_headers",
        "_instance",
        "_interval_changes",
        "_leaving",
        "_losses",
        "_registered_at",
        "_sent",
        "expires",
        "expires_at",
        "granted",
        "path",
        "public_gruu",
        "registrar",
        "retry_at",
        "service_route",
        "state",
        "temporary_gruu",
    )

    def __init__(
        self,
        agent: Agent,
        registrar: SipUri,
        expires: int,
        instance: str = "",
        headers: HeaderLines = (),
    ) -> None:
        super().__init__(agent, agent.new_call_id(), agent.new_tag())
        self.registrar = registrar
        self.expires = expires
        self.granted = 0
        self.expires_at: float | None = None
        self.retry_at: float | None = None
        self.state = RegistrationState.REGISTERING
        self._asked = expires
        self._cseq = 0
        self._failures = 0
        self._headers = tuple(headers)
        self._instance = instance
        self._interval_changes = 0
        self._leaving = False
        self._losses = 0
        self._registered_at = 0.0
        self._sent: ClientRequest | None = None
        self._note_routes(None)

    def __repr__(self) -> str:
        return f"<RegisterUsage {self.registrar} {self.state.value}>"

    def refresh(self, now: float) -> list[Effect]:
        """Register, first or again; nothing while a REGISTER is under way (section 10.2).

        Raises:
            LocalProtocolError: The binding was removed.
        """
        del now
        if self.state in {RegistrationState.UNREGISTERING, RegistrationState.UNREGISTERED}:
            raise LocalProtocolError("the registration was removed: register anew")
        if self._sent is not None:
            return []
        if self.state is not RegistrationState.REGISTERED:
            self.state = RegistrationState.REGISTERING
        return self._send(self.expires)

    def unregister(self, now: float) -> list[Effect]:
        """Remove the binding, after the REGISTER that is under way; nothing if it was asked for.

        `Unregistered` follows, or `RegistrationFailed`: then the binding ends by itself.
        """
        del now
        if self._leaving:
            return []
        self._leaving = True
        return [] if self._sent is not None else self._leave()

    def on_flow_lost(self, now: float, pause: float = 0.0) -> list[Effect]:
        """The connection that the binding was made by has ended (RFC 5626 section 4.5).

        A new one is tried at once, unless the last did not live long either: then after a wait
        that doubles each time.

        Args:
            now: Loop time.
            pause: Seconds the first try is put off, since others have lost their flows as well;
                see `RecoveryPace`.
        """
        if self.state is not RegistrationState.REGISTERED or self._sent is not None:
            return []
        if now - self._registered_at >= RETRY_BASE:
            self._losses = 0
        losses, self._losses = self._losses, self._losses + 1
        if not losses and not pause:
            return self.refresh(now)
        self._arm("refresh", now + (self._back_off(losses - 1) if losses else pause))
        return []

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """A response of the registrar."""
        del sent
        if response.status < 200:  # noqa: PLR2004  the first final status
            return []
        self._sent = None
        if response.status < 300:  # noqa: PLR2004  a success
            return self._on_success(response, now)
        if response.status == INTERVAL_TOO_BRIEF and self._lengthen(response):
            return self._send(self.expires)
        if response.status == NO_OUTBOUND and self._instance:
            # RFC 5626 section 11.6: the first hop cannot keep a flow; then an old-style binding.
            self._instance = ""
            return self._send(self._asked)
        cause = "authentication" if response.status in CHALLENGES else "rejected"
        wait = retry_after(response)
        return self._on_refusal(response.status, response.reason, cause, wait, now)

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """The registrar stayed silent."""
        self._sent = None
        reason = sent.error or REASON_PHRASES[status]
        return self._on_refusal(status, reason, cause, None, now)

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        del name
        self.retry_at = None
        return self.refresh(now)

    def _send(self, expires: int) -> list[Effect]:
        aor = self._agent.identity.aor
        self._asked = expires
        request = self._agent.create_request(
            "REGISTER",
            self.registrar,
            NameAddr(aor.uri, aor.display),
            CSeq(self._next_cseq(), "REGISTER"),
            self.call_id,
            self.local_tag,
        )
        extensions = "outbound, path, gruu" if self._instance else "path"
        lines = [("Expires", str(expires)), ("Supported", extensions), *self._headers]
        self._agent.complete(request, lines, contact=True)
        params = (("+sip.instance", f'"<{self._instance}>"'), ("reg-id", "1"))
        contact = self._agent.identity.contact
        request.headers.set("Contact", NameAddr(contact, None, params if self._instance else ()))
        self._disarm("refresh")
        self._sent, effects = self._agent.requests.send(request, self, self._next_cseq)
        return effects

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _leave(self) -> list[Effect]:
        if not self.granted:
            return self._left()
        self.state = RegistrationState.UNREGISTERING
        self.retry_at = None
        return self._send(0)

    def _left(self) -> list[Effect]:
        self.state = RegistrationState.UNREGISTERED
        self.granted = 0
        self.expires_at = self.retry_at = None
        self._note_routes(None)
        self._disarm("refresh")
        return [Unregistered(self)]

    def _note_routes(self, response: Response | None) -> None:
        """Take over what the registrar says about the ways to it and to us, or nothing."""
        found = _uris(response, "Service-Route"), _uris(response, "Path")
        self.service_route, self.path = found
        contact = self._own_contact(response)
        self.public_gruu = _gruu(contact, "pub-gruu")
        self.temporary_gruu = _gruu(contact, "temp-gruu")

    def _own_contact(self, response: Response | None) -> NameAddr | None:
        contacts = () if response is None else response.contacts
        for contact in contacts if isinstance(contacts, list) else ():
            if self._is_ours(contact.uri):
                return contact
        return None

    def _on_success(self, response: Response, now: float) -> list[Effect]:
        if self.state is RegistrationState.UNREGISTERING:
            return self._left()
        self.state = RegistrationState.REGISTERED
        self._failures = self._interval_changes = 0
        self._registered_at = now
        self.granted = self._granted(response)
        self._note_routes(response)
        self.expires_at = now + self.granted
        wait = self.granted * self._agent.uniform(REFRESH_FROM, REFRESH_TO)
        self._arm("refresh", now + max(wait, SHORTEST_REFRESH))
        effects: list[Effect] = [Registered(self, self.granted, response)]
        return effects + self._leave() if self._leaving else effects

    def _granted(self, response: Response) -> int:
        """Seconds of our own binding: the response lists those of others, too."""
        contacts = response.contacts
        for contact in contacts if isinstance(contacts, list) else ():
            text = contact.param("expires")
            if text is not None and self._is_ours(contact.uri):
                seconds = parse_delta_seconds(text)
                if seconds is not None:
                    return seconds
        return self._asked if response.expires is None else response.expires

    def _is_ours(self, uri: Uri) -> bool:
        # Behind NAT a registrar may write another host and port, but not another user.
        own = self._agent.identity.contact
        return isinstance(uri, SipUri) and (
            uri.equivalent(own) or (own.user is not None and uri.user == own.user)
        )

    def _lengthen(self, response: Response) -> bool:
        """Obey a 423 (section 10.2.8); False if it asks for no more than we did."""
        value = response.headers.get("Min-Expires")
        seconds = None if value is None else parse_delta_seconds(value)
        self._interval_changes += 1
        if (
            seconds is None
            or seconds <= self._asked
            or self._interval_changes > MAX_INTERVAL_CHANGES
            or self._leaving
        ):
            return False
        self.expires = seconds
        return True

    def _on_refusal(
        self, status: int, reason: str, cause: str, wait: int | None, now: float
    ) -> list[Effect]:
        failed = RegistrationFailed(self, status, reason, cause)
        if self.state is RegistrationState.UNREGISTERING:
            self._left()
            return [failed]
        self.state = RegistrationState.FAILED
        self._interval_changes = 0
        if self._leaving:
            return [failed, *self._leave()]
        if self.granted and status not in HOPELESS:
            backed_off = self._back_off(self._failures)
            self.retry_at = now + (backed_off if wait is None else max(wait, SHORTEST_REFRESH))
            self._failures += 1
            self._arm("refresh", self.retry_at)
        return [failed]

    def _back_off(self, failures: int) -> float:
        longest = min(RETRY_LIMIT, RETRY_BASE * 2.0 ** min(failures, MAX_DOUBLINGS))
        return longest * self._agent.uniform(0.5, 1)


def _uris(response: Response | None, name: str) -> tuple[SipUri, ...]:
    """The SIP URIs of a route header, in order; none where it is malformed."""
    values = [] if response is None else response.headers.values(name)
    try:
        uris = [NameAddr.parse(value).uri for value in values[:MAX_ROUTES]]
    except SipSyntaxError:
        return ()
    return tuple(uri for uri in uris if isinstance(uri, SipUri))


def _gruu(contact: NameAddr | None, name: str) -> SipUri | None:
    text = None if contact is None else contact.param(name)
    try:
        uri = parse_uri(text or "")
    except SipSyntaxError:
        return None
    return uri if isinstance(uri, SipUri) else None
