"""A subscription of somebody else to our state (RFC 6665 section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError
from callmeter.sip.dialog import Dialog
from callmeter.sip.extension_headers import SubscriptionState
from callmeter.sip.session_events import Respond, SubscriptionEnded
from callmeter.sip.subscriber import SubscriptionPhase
from callmeter.sip.usage import Usage, check_content

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.extension_headers import EventType
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["Notifier"]

DEFAULT_EXPIRES = 3600
"""Seconds of a subscription that names none."""

LOST = frozenset({404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""Answers to a NOTIFY that end the subscription (section 4.2.2)."""


class Notifier(Usage):
    """One subscription: `accept` or `reject` it, then `notify`.

    Args:
        agent: What it shares with the other usages.
        key: Server transaction of the request.
        request: The SUBSCRIBE.
        event: Which state.
        dialog: That of a session, if the SUBSCRIBE came within it.

    Attributes:
        event: Which state.
        request: The request that began it.
        dialog: Its dialog.
        phase: How far it is.
        expires_at: When it ends unless it is refreshed; None before it was accepted.
    """

    __slots__ = (
        "_body",
        "_content_type",
        "_key",
        "_lines",
        "_sent",
        "_waiting",
        "dialog",
        "event",
        "expires_at",
        "phase",
        "request",
    )

    def __init__(
        self,
        agent: Agent,
        key: Key,
        request: Request,
        event: EventType,
        dialog: Dialog | None = None,
    ) -> None:
        tag = agent.new_tag() if dialog is None else dialog.local_tag
        super().__init__(agent, request.call_id, tag)
        self.event = event
        self.request = request
        self.dialog = dialog or Dialog.from_request(request, tag)
        self.expires_at: float | None = None
        self.phase = SubscriptionPhase.SUBSCRIBING
        self._key = key
        self._body = b""
        self._content_type = ""
        self._lines: tuple[tuple[str, str], ...] = ()
        self._sent: ClientRequest | None = None
        self._waiting = False
        agent.add_subscription(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event} {self.phase.value}>"

    @property
    def asked(self) -> int:
        """Seconds that the subscriber asked for."""
        expires = self.request.expires
        return DEFAULT_EXPIRES if expires is None else expires

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
        """Agree, and send the present state at once (section 4.2.1.2).

        Args:
            now: Loop time.
            expires: Seconds to grant, at most what was asked for; None for all of it.
            pending: The subscription waits for somebody's consent; `notify` makes it active.
            body: The state.
            content_type: Its type.
            headers: Further lines of the 200.

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was answered already.
        """
        self._check_unanswered()
        check_content(body, content_type)
        granted = min(self.asked, self.asked if expires is None else expires)
        reply = self._reply(self._key, self.request, 200, [("Expires", str(granted)), *headers])
        self._body, self._content_type = body, content_type
        self.phase = SubscriptionPhase.PENDING if pending else SubscriptionPhase.ACTIVE
        if not granted:
            return [reply, *self._end("timeout", "expired")]
        self.expires_at = now + granted
        self._arm("expiry", self.expires_at)
        return [reply, *self._notify(now)]

    def reject(
        self, status: int, now: float, *, reason: str | None = None, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Refuse.

        Raises:
            LocalProtocolError: It was answered already.
        """
        del now
        self._check_unanswered()
        response = self._agent.respond(
            self.request, status, tag=self.local_tag, reason=reason, headers=headers
        )
        return [Respond(self._key, response), *self._finish("rejected", status)]

    def notify(
        self, body: bytes, content_type: str, now: float, *, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Tell the state; while a NOTIFY is under way, the newest state waits for its end.

        Args:
            body: The state.
            content_type: Its type.
            now: Loop time.
            headers: Further lines of this NOTIFY and of those that repeat it.

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was not accepted, or is over.
        """
        self._check_running()
        check_content(body, content_type, headers)
        self._body, self._content_type, self._lines = body, content_type, tuple(headers)
        self.phase = SubscriptionPhase.ACTIVE
        return self._notify(now)

    def terminate(
        self,
        now: float,
        *,
        reason: str = "noresource",
        body: bytes = b"",
        content_type: str = "",
        retry_after: int | None = None,
    ) -> list[Effect]:
        """End the subscription by a last NOTIFY (section 4.2.2).

        Raises:
            ConfigurationError: A body of no type.
            LocalProtocolError: It was not accepted, or is over.
        """
        del now
        self._check_running()
        check_content(body, content_type)
        self._body, self._content_type = body, content_type
        return self._end(reason, "terminated", retry_after)

    def on_subscribe(self, key: Key, request: Request, now: float) -> list[Effect]:
        """A SUBSCRIBE in the dialog: a refresh, or the end."""
        if self.phase is SubscriptionPhase.SUBSCRIBING:
            return [self._reply(key, request, 500, [("Retry-After", "5")])]
        self.request = request
        self.dialog.refresh_target(request)
        reply = self._reply(key, request, 200, [("Expires", str(self.asked))])
        if not self.asked:
            return [reply, *self._end("timeout", "unsubscribed")]
        self.expires_at = now + self.asked
        self._arm("expiry", self.expires_at)
        return [reply, *self._notify(now)]

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """The answer to a NOTIFY."""
        if response.status < 200 or sent is not self._sent:  # noqa: PLR2004  the first final status
            return []
        self._sent = None
        if response.status in LOST:
            return self._finish("rejected", response.status)
        return self._notify(now) if self._waiting else []

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """No answer to a NOTIFY: nobody listens any more."""
        del now
        if sent is not self._sent:
            return []
        self._sent = None
        return self._finish(cause, status)

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        del name, now
        return self._end("timeout", "expired")

    def _notify(self, now: float) -> list[Effect]:
        self._waiting = self._sent is not None
        if self._waiting:
            return []
        left = max(0, round((self.expires_at or now) - now))
        state = SubscriptionState(self.phase.value, expires=left)
        self._sent, effects = self._send(state)
        return effects

    def _end(self, reason: str, cause: str, wait: int | None = None) -> list[Effect]:
        # It does not wait for a NOTIFY under way: CSeq tells the peer which one is later.
        _, effects = self._send(SubscriptionState("terminated", reason, retry_after=wait))
        return [*effects, *self._finish(cause)]

    def _send(self, state: SubscriptionState) -> tuple[ClientRequest, list[Effect]]:
        request = self.dialog.create_request("NOTIFY")
        own = [("Event", str(self.event)), ("Subscription-State", str(state))]
        lines = [*own, *self._lines]
        agent = self._agent
        agent.complete(request, lines, self._body, self._content_type, contact=True)
        return agent.requests.send(request, self, self.dialog.next_cseq)

    def _reply(self, key: Key, request: Request, status: int, headers: HeaderLines) -> Respond:
        lines = [("Record-Route", line) for line in request.headers.get_all("Record-Route")]
        response = self._agent.respond(
            request, status, tag=self.local_tag, headers=[*lines, *headers], contact=True
        )
        return Respond(key, response)

    def _check_unanswered(self) -> None:
        if self.phase is not SubscriptionPhase.SUBSCRIBING:
            raise LocalProtocolError(f"the subscription was answered: it is {self.phase.value}")

    def _check_running(self) -> None:
        if self.phase not in {SubscriptionPhase.PENDING, SubscriptionPhase.ACTIVE}:
            raise LocalProtocolError(f"the subscription does not run: it is {self.phase.value}")

    def _finish(self, cause: str, status: int = 0) -> list[Effect]:
        self.phase = SubscriptionPhase.TERMINATED
        self._sent = None
        self._disarm("expiry")
        self._agent.remove_subscription(self)
        return [SubscriptionEnded(self, cause, status, None, None)]
