"""A subscription of ours to the state of somebody else (RFC 6665 section 4.1).

The bodies of NOTIFYs are opaque here: message-summary, dialog, presence and sipfrag alike.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError, SipSyntaxError
from callmeter.sip.client_requests import retry_after
from callmeter.sip.dialog import Dialog
from callmeter.sip.extension_headers import EventType, SubscriptionState
from callmeter.sip.headers import CSeq, NameAddr, parse_delta_seconds
from callmeter.sip.session_events import (
    Notified,
    Respond,
    SubscriptionAccepted,
    SubscriptionEnded,
)
from callmeter.sip.usage import Usage

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.uri import SipUri
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["Subscriber", "SubscriptionPhase", "event_of", "is_for"]

REFRESH_FROM, REFRESH_TO = 0.8, 0.9
"""Share of the granted time after which a subscription is refreshed."""

SHORTEST_REFRESH = 1.0

MAX_INTERVAL_CHANGES = 3
"""How often in a row a 423 is obeyed."""

INTERVAL_TOO_BRIEF = 423
TERMINATING = frozenset({404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to a refresh that end the subscription (section 4.1.2.2); others let it run out."""


class SubscriptionPhase(Enum):
    """How far a subscription is."""

    SUBSCRIBING = "subscribing"
    PENDING = "pending"
    ACTIVE = "active"
    LEAVING = "leaving"
    TERMINATED = "terminated"


def event_of(request: Request) -> EventType | None:
    """The Event of a request; None when absent or malformed."""
    value = request.headers.get_raw("Event")
    if value is None:
        return None
    try:
        return EventType.parse(value)
    except SipSyntaxError:
        return None


def is_for(mine: EventType, theirs: EventType) -> bool:
    """Whether an Event is of this subscription (section 8.2.1)."""
    return mine.package.lower() == theirs.package.lower() and mine.id == theirs.id


class Subscriber(Usage):
    """One subscription.

    Args:
        agent: What it shares with the other usages.
        target: Whose state.
        event: Which state.
        expires: Seconds to ask for; 0 asks for the state once.
        headers: Further lines of each SUBSCRIBE, such as Accept.

    Attributes:
        event: Which state.
        target: Whose state.
        dialog: The dialog, None before the first answer.
        phase: How far it is.
        granted: Seconds that were granted last.
    """

    __slots__ = (
        "_changes",
        "_cseq",
        "_headers",
        "_sent",
        "dialog",
        "event",
        "expires",
        "granted",
        "phase",
        "target",
    )

    def __init__(
        self,
        agent: Agent,
        target: SipUri,
        event: EventType,
        expires: int,
        headers: HeaderLines = (),
        dialog: Dialog | None = None,
    ) -> None:
        call_id = agent.new_call_id() if dialog is None else dialog.call_id
        tag = agent.new_tag() if dialog is None else dialog.local_tag
        super().__init__(agent, call_id, tag)
        self.target = target
        self.event = event
        self.expires = expires
        self.dialog = dialog
        self.granted = 0
        self.phase = SubscriptionPhase.SUBSCRIBING
        self._changes = 0
        self._cseq = 0
        self._headers = tuple(headers)
        self._sent: ClientRequest | None = None
        agent.add_subscription(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event} {self.phase.value}>"

    def start(self, now: float) -> list[Effect]:
        """Send the first request."""
        return self._subscribe(self.expires, now)

    def refresh(self, now: float) -> list[Effect]:
        """Subscribe for the whole time again; nothing while a request is under way.

        Raises:
            LocalProtocolError: The subscription is ending or over.
        """
        if self.phase in {SubscriptionPhase.LEAVING, SubscriptionPhase.TERMINATED}:
            raise LocalProtocolError(f"the subscription is {self.phase.value}: subscribe anew")
        return [] if self._sent is not None else self._subscribe(self.expires, now)

    def unsubscribe(self, now: float) -> list[Effect]:
        """End the subscription; `SubscriptionEnded` follows the last NOTIFY."""
        if self.phase in {SubscriptionPhase.LEAVING, SubscriptionPhase.TERMINATED}:
            return []
        self.phase = SubscriptionPhase.LEAVING
        # While a request is under way there may be no dialog: its answer comes first.
        return [] if self._sent is not None else self._subscribe(0, now)

    def on_notify(self, key: Key, request: Request, now: float) -> list[Effect]:
        """A NOTIFY for this subscription (section 4.1.3)."""
        value = request.headers.get_raw("Subscription-State")
        try:
            state = None if value is None else SubscriptionState.parse(value)
        except SipSyntaxError:
            state = None
        if state is None:
            return [self._reply(key, request, 400, "Bad Subscription-State")]
        dialog = self.dialog
        if dialog is None:
            # It may overtake the 2xx, and then it is what creates the dialog.
            dialog = self.dialog = Dialog.from_request(request, self.local_tag)
            dialog.local_cseq = self._cseq
        elif dialog.remote_tag != (request.from_tag or ""):
            return [self._reply(key, request, 481)]
        elif not dialog.in_order(request):
            return [self._reply(key, request, 500, "CSeq Out Of Order")]
        dialog.refresh_target(request)
        effects: list[Effect] = [
            self._reply(key, request, 200),
            Notified(self, request, state),
        ]
        self._disarm("notify")
        if state.state == "terminated":
            cause = "unsubscribed" if self.phase is SubscriptionPhase.LEAVING else "terminated"
            return [*effects, *self._finish(cause, reason=state.reason, wait=state.retry_after)]
        if self.phase is not SubscriptionPhase.LEAVING:
            pending = state.state == "pending"
            self.phase = SubscriptionPhase.PENDING if pending else SubscriptionPhase.ACTIVE
            if state.expires is not None:
                self._grant(state.expires, now)
        return effects

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """A response to our SUBSCRIBE."""
        if response.status < 200 or sent is not self._sent:  # noqa: PLR2004  the first final status
            return []
        self._sent = None
        if response.status < 300:  # noqa: PLR2004  a success
            return self._on_success(sent, response, now)
        if response.status == INTERVAL_TOO_BRIEF and self._lengthen(response):
            return self._subscribe(self.expires, now)
        if (
            self.dialog is not None
            and response.status not in TERMINATING
            and self.phase in {SubscriptionPhase.PENDING, SubscriptionPhase.ACTIVE}
        ):
            return []  # what was granted runs out, at the latest
        return self._finish(
            "rejected", response.status, reason=response.reason, wait=retry_after(response)
        )

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """No response came to our SUBSCRIBE."""
        del now
        if sent is not self._sent:
            return []
        self._sent = None
        return self._finish(cause, status)

    def _on_success(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        if self.dialog is None:
            self.dialog = Dialog.from_response(sent.request, response)
        self.dialog.refresh_target(response)
        self._changes = 0
        if self.phase is SubscriptionPhase.LEAVING:
            if sent.request.expires != 0:
                return self._subscribe(0, now)
            return []
        expires = self.expires if response.expires is None else response.expires
        self._grant(expires, now)
        return [SubscriptionAccepted(self, expires, response)]

    def _grant(self, seconds: int, now: float) -> None:
        self.granted = seconds
        share = self._agent.uniform(REFRESH_FROM, REFRESH_TO)
        self._arm("expiry", now + seconds + self._agent.patience)
        if self.expires:
            self._arm("refresh", now + max(seconds * share, SHORTEST_REFRESH))

    def _lengthen(self, response: Response) -> bool:
        value = response.headers.get("Min-Expires")
        seconds = None if value is None else parse_delta_seconds(value)
        self._changes += 1
        leaving = self.phase is SubscriptionPhase.LEAVING
        if seconds is None or seconds <= self.expires or self._changes > MAX_INTERVAL_CHANGES:
            return False
        self.expires = seconds
        return not leaving

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        match name:
            case "refresh":
                return self.refresh(now)
            case "notify":
                # Section 4.1.2.4, timer N: who accepts has to notify.
                leaving = self.phase is SubscriptionPhase.LEAVING
                return self._finish("unsubscribed" if leaving else "no-notify")
            case _:
                return self._finish("expired")

    def _subscribe(self, expires: int, now: float) -> list[Effect]:
        self._disarm("refresh")
        if not expires or self.phase is SubscriptionPhase.SUBSCRIBING:
            self._arm("notify", now + self._agent.patience)
        lines = [("Event", str(self.event)), ("Expires", str(expires)), *self._headers]
        return self._send("SUBSCRIBE", lines)

    def _send(self, method: str, lines: HeaderLines) -> list[Effect]:
        agent = self._agent
        if self.dialog is not None:
            request = self.dialog.create_request(method)
        else:
            request = agent.create_request(
                method,
                self.target,
                NameAddr(self.target.aor()),
                CSeq(self._next_cseq(), method),
                self.call_id,
                self.local_tag,
            )
        agent.complete(request, lines, contact=True)
        self._sent, effects = agent.requests.send(request, self, self._next_cseq)
        return effects

    def _next_cseq(self) -> int:
        if self.dialog is not None:
            return self.dialog.next_cseq()
        self._cseq += 1
        return self._cseq

    def _reply(self, key: Key, request: Request, status: int, reason: str | None = None) -> Respond:
        contact = status == 200  # noqa: PLR2004  a success
        response = self._agent.respond(
            request, status, tag=self.local_tag, reason=reason, contact=contact
        )
        return Respond(key, response)

    def _finish(
        self, cause: str, status: int = 0, *, reason: str | None = None, wait: int | None = None
    ) -> list[Effect]:
        self.phase = SubscriptionPhase.TERMINATED
        self._sent = None
        self._disarm(*list(self._timers))
        self._agent.remove_subscription(self)
        return [SubscriptionEnded(self, cause, status, reason, wait)]
