"""REFER: to ask a peer to call somebody, and to be asked (RFC 3515, 3891, 3892, 4488)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from callmeter.errors import SipSyntaxError
from callmeter.sip.dialog import Dialog
from callmeter.sip.extension_headers import EventType, Replaces, parse_sipfrag_status
from callmeter.sip.grammar import escape
from callmeter.sip.headers import NameAddr
from callmeter.sip.notifier import Notifier
from callmeter.sip.session_events import ReferReceived, SubscriptionAccepted
from callmeter.sip.status import REASON_PHRASES
from callmeter.sip.subscriber import Subscriber, SubscriptionPhase, is_for
from callmeter.sip.uri import SipUri

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.invite_session import InviteSession
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines

__all__ = ["ReferSubscriber", "Referral", "refer_to_of", "refer_to_replacing", "replaces_of"]

REFERRAL_EXPIRES = 180
"""Seconds for which the outcome of a REFER is told; a call that rings for longer is none."""

SIPFRAG = "message/sipfrag;version=2.0"

_URI_HEADER = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()[]/?:+$"
)


def replaces_of(request: Request) -> Replaces | None:
    """The Replaces of an INVITE, None without one (RFC 3891 section 3).

    Raises:
        SipSyntaxError: It is malformed, there is more than one, or the method is none of INVITE.
    """
    if "Replaces" not in request.headers:
        return None
    values = request.headers.values("Replaces")
    if len(values) != 1 or request.method != "INVITE":
        raise SipSyntaxError("a Replaces out of place", rfc="RFC 3891 section 3")
    return Replaces.parse(values[0])


def refer_to_of(request: Request) -> NameAddr | None:
    """The Refer-To of a REFER; None unless there is exactly one (RFC 3515 section 2.1)."""
    values = request.headers.values("Refer-To")
    if len(values) != 1:
        return None
    try:
        return NameAddr.parse(values[0])
    except SipSyntaxError:
        return None


def refer_to_replacing(dialog: Dialog) -> NameAddr | None:
    """The Refer-To that lets somebody take our place in a dialog: an attended transfer.

    None where the peer's target is no SIP URI.
    """
    target = dialog.remote_target
    if not isinstance(target, SipUri):
        return None
    value = Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag)
    escaped = escape(str(value).encode(), _URI_HEADER)
    return NameAddr(replace(target, headers=(("Replaces", escaped),)))


class ReferSubscriber(Subscriber):
    """A REFER of ours, and the subscription to its outcome.

    Attributes:
        refer_to: Whom the peer is to call.
        progress: Status and reason that the last NOTIFY told, None before.
    """

    __slots__ = ("_lines", "progress", "refer_to")

    def __init__(
        self,
        agent: Agent,
        target: SipUri,
        refer_to: NameAddr,
        headers: HeaderLines = (),
        dialog: Dialog | None = None,
    ) -> None:
        super().__init__(agent, target, EventType("refer"), 0, (), dialog)
        self.refer_to = refer_to
        self.progress: tuple[int, str] | None = None
        self._lines = tuple(headers)

    def start(self, now: float) -> list[Effect]:
        """Send the REFER."""
        self._arm("notify", now + self._agent.patience)
        own = NameAddr(self._agent.identity.aor.uri)
        lines = [("Refer-To", str(self.refer_to)), *self._lines]
        if "referred-by" not in {name.lower() for name, _ in self._lines}:
            lines.append(("Referred-By", str(own)))
        effects = self._send("REFER", lines)
        self._identify()
        return effects

    def matches(self, event: EventType) -> bool:
        """Whether an Event means this REFER: the first of a dialog need not name its id."""
        self._identify()
        return is_for(self.event, event) or is_for(EventType("refer"), event)

    def _identify(self) -> None:
        """Follow the CSeq of the REFER: it tells several of a dialog apart (section 2.4.6).

        A challenge changes it.
        """
        sent = self._sent
        if sent is not None and sent.request.method == "REFER":
            self.event = EventType("refer", str(sent.request.cseq.number))

    def on_notify(self, key: Key, request: Request, now: float) -> list[Effect]:
        """How the referred call goes."""
        self.progress = parse_sipfrag_status(request.body) or self.progress
        return super().on_notify(key, request, now)

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """The answer to the REFER."""
        self._identify()
        return super().on_response(sent, response, now)

    def _on_success(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        if sent.request.method != "REFER":
            return super()._on_success(sent, response, now)
        if self.dialog is None:
            self.dialog = Dialog.from_response(sent.request, response)
        accepted = SubscriptionAccepted(self, 0, response)
        value = response.headers.get("Refer-Sub") or ""
        if value.partition(";")[0].strip().lower() == "false":
            # RFC 4488 section 4: nothing more will be told.
            return [accepted, *self._finish("no-subscription")]
        if self.phase is SubscriptionPhase.LEAVING:
            return [accepted, *self._subscribe(0, now)]
        return [accepted]


class Referral(Notifier):
    """A REFER that a peer sent us: `accept` it and `report` how the call goes, or `reject` it.

    Attributes:
        session: The session in whose dialog it came, or None.
        refer_to: Whom to call, as it came.
    """

    __slots__ = ("refer_to", "session")

    def __init__(
        self,
        agent: Agent,
        key: Key,
        request: Request,
        refer_to: NameAddr,
        session: InviteSession | None,
    ) -> None:
        event = EventType("refer", str(request.cseq.number))
        super().__init__(agent, key, request, event, None if session is None else session.dialog)
        self.refer_to = refer_to
        self.session = session

    @property
    def target(self) -> SipUri | None:
        """Whom to call, without what the URI carries; None where it is no SIP URI."""
        uri = self.refer_to.uri
        if not isinstance(uri, SipUri):
            return None
        return replace(uri, headers=()).without_params("method")

    @property
    def method(self) -> str:
        """What to send there; `INVITE` unless the URI says otherwise."""
        uri = self.refer_to.uri
        return (uri.method if isinstance(uri, SipUri) else None) or "INVITE"

    @property
    def wanted(self) -> bool:
        """Whether the peer wants to be told of the outcome (RFC 4488)."""
        value = self.request.headers.get("Refer-Sub") or ""
        return value.partition(";")[0].strip().lower() != "false"

    @property
    def invite_headers(self) -> tuple[tuple[str, str], ...]:
        """What the INVITE to `target` says: Replaces and Referred-By (RFC 3891, 3892)."""
        uri = self.refer_to.uri
        replaces = uri.header("Replaces") if isinstance(uri, SipUri) else None
        lines = [] if replaces is None else [("Replaces", replaces), ("Require", "replaces")]
        referred_by = self.request.headers.get("Referred-By")
        return (*lines, *([] if referred_by is None else [("Referred-By", referred_by)]))

    def start(self) -> list[Effect]:
        """Tell of it."""
        return [ReferReceived(self)]

    def accept(
        self,
        now: float,
        *,
        expires: int | None = None,
        pending: bool = False,
        body: bytes = b"",
        content_type: str = "",
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Agree by 202, and tell that the call is being tried.

        Args:
            now: Loop time.
            expires: Seconds for which the outcome is told, three minutes by default.
            pending: As for other subscriptions.
            body: In place of "100 Trying".
            content_type: Its type.
            headers: Further lines of the 202.

        Raises:
            LocalProtocolError: It was answered already.
        """
        self._check_unanswered()
        if not self.wanted:
            lines = [("Refer-Sub", "false"), *headers]
            reply = self._reply(self._key, self.request, 202, lines)
            return [reply, *self._finish("no-subscription")]
        reply = self._reply(self._key, self.request, 202, headers)
        self._body = body or _sipfrag(100)
        self._content_type = content_type or SIPFRAG
        self.phase = SubscriptionPhase.PENDING if pending else SubscriptionPhase.ACTIVE
        self.expires_at = now + (REFERRAL_EXPIRES if expires is None else expires)
        self._arm("expiry", self.expires_at)
        return [reply, *self._notify(now)]

    def report(self, status: int, now: float, *, reason: str | None = None) -> list[Effect]:
        """Tell the status that the call has; a final one ends the subscription.

        Nothing where the peer did not want to know, or the time is over.
        """
        if self.phase not in {SubscriptionPhase.PENDING, SubscriptionPhase.ACTIVE}:
            return []
        body = _sipfrag(status, reason)
        if status < 200:  # noqa: PLR2004  the first final status
            return self.notify(body, SIPFRAG, now)
        return self.terminate(now, body=body, content_type=SIPFRAG)


def _sipfrag(status: int, reason: str | None = None) -> bytes:
    phrase = REASON_PHRASES.get(status, "") if reason is None else reason
    return f"SIP/2.0 {status} {phrase}\r\n".encode("utf-8", "replace")
