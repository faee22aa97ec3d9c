"""Changes of a session other than by INVITE: UPDATE (RFC 3311), PRACK, and the session timer.

All three are about the description that both ends hold and how long it holds: they share the
state of the offer/answer exchange with the INVITEs of `InviteSession`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import ACCEPT
from callmeter.sip.dialog_usage import DialogUsage, Role, SessionState
from callmeter.sip.offer_exchange import Pending, describes_session
from callmeter.sip.reliable import is_reliable
from callmeter.sip.session_events import (
    PrackAnswered,
    Provisional,
    RefreshDue,
    SessionExpired,
    SessionRefreshed,
    UpdateAnswered,
    UpdateFailed,
    UpdateReceived,
)
from callmeter.sip.session_timer import INTERVAL_TOO_SMALL, SessionTimer

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.dialog import Dialog
    from callmeter.sip.extension_headers import RAck
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect, Event
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["MAX_GLARES", "REQUEST_PENDING", "Offer", "SessionModification"]

OWNER_RETRY = (2.1, 4.0)
OTHER_RETRY = (0.0, 2.0)
"""When to try again after a 491: the end that chose the Call-ID waits longer (section 14.1)."""

MAX_GLARES = 10
"""A re-INVITE or UPDATE that met so many others in a row is given up."""

REQUEST_PENDING = 491

NOT_SERVED = frozenset({405, 501})

REFRESH_RETRY = 1.0
"""A refresh that is due while another change is under way looks again after so long."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a re-INVITE or UPDATE carries, kept for a repetition after 491."""

    body: bytes = field(repr=False)
    content_type: str
    headers: tuple[tuple[str, str], ...]
    glares: int = 0


@dataclass(slots=True)
class Update:
    """An UPDATE of ours: under way, or waiting to be sent again when `sent` is None."""

    dialog: Dialog
    offer: Offer
    sent: ClientRequest | None = None
    refresh: bool = False


@dataclass(frozen=True, slots=True)
class ServedUpdate:
    """An UPDATE of the peer whose offer has no answer."""

    key: Key
    request: Request
    dialog: Dialog


class SessionModification(DialogUsage):
    """A session with its offers, and the interval after which it expires.

    Attributes:
        timer: The session interval, with the counts of its refreshes (RFC 4028).
    """

    __slots__ = ("_prack_offers", "_served_update", "_update", "timer")

    role: ClassVar[Role]

    def __init__(
        self,
        agent: Agent,
        request: Request,
        local_tag: str,
        state: SessionState,
        dialog: Dialog | None,
    ) -> None:
        super().__init__(agent, request, local_tag, state, dialog)
        self.timer = SessionTimer(agent.capabilities.session_timer)
        self._prack_offers: dict[int, Dialog] = {}
        self._served_update: ServedUpdate | None = None
        self._update: Update | None = None

    def has_dialog(self, tag: str) -> bool:
        """Whether the peer of that tag is one of this session's."""
        return tag in self._dialogs()

    # -- UPDATE ------------------------------------------------------------------------------

    def update(
        self,
        body: bytes,
        now: float,
        *,
        tag: str = "",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Offer a change by UPDATE; without a body, move our Contact (RFC 3311 section 5.1).

        It may go in an early dialog, once the first offer has its answer there.

        Args:
            body: The offer, or empty.
            now: Loop time.
            tag: The callee's tag, where several early dialogs exist.
            content_type: Of the body.
            headers: Further header lines.

        Raises:
            LocalProtocolError: There is no such dialog, the peer does not serve UPDATE, or an
                offer or another UPDATE is under way.
        """
        del now
        dialog = self._dialog_tagged(tag)
        if dialog.peer_methods is not None and not dialog.peer_serves("UPDATE"):
            raise LocalProtocolError("the peer does not serve UPDATE: use reinvite")
        if self._update is not None:
            raise LocalProtocolError("another UPDATE is under way in this session")
        if body and (not dialog.exchange.idle or not dialog.exchange.complete or self._offering()):
            raise LocalProtocolError("another offer has no answer yet (RFC 3311 section 5.1)")
        self._update = Update(dialog, Offer(body, content_type, tuple(headers)))
        return self._send_update(self._update)

    def accept_update(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Answer the offer of an `UpdateReceived`.

        Raises:
            LocalProtocolError: None waits.
        """
        served = self._take_served_update()
        served.dialog.refresh_target(served.request)
        if body:
            served.dialog.exchange.on_sent()
        else:
            served.dialog.exchange.withdraw()
        lines, events = self._timer_answer(served.request, served.dialog, now)
        reply = self._reply(
            served.key,
            served.request,
            200,
            headers=[*lines, *headers],
            body=body,
            content_type=content_type,
            contact=True,
        )
        return [reply, *events]

    def reject_update(
        self, status: int, now: float, *, reason: str | None = None, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Refuse the offer of an `UpdateReceived`; the session goes on as it was.

        Raises:
            LocalProtocolError: None waits.
        """
        del now
        served = self._take_served_update()
        served.dialog.exchange.withdraw()
        reply = self._reply(served.key, served.request, status, reason=reason, headers=headers)
        return [reply]

    def _take_served_update(self) -> ServedUpdate:
        served, self._served_update = self._served_update, None
        if served is None:
            raise LocalProtocolError("no UPDATE waits for an answer")
        return served

    def _send_update(self, update: Update) -> list[Effect]:
        offer = update.offer
        if offer.body:
            update.dialog.exchange.on_sent()
        lines = self.timer.refresh_lines() if update.dialog.confirmed else ()
        update.sent, effects = self._send(
            update.dialog, "UPDATE", [*offer.headers, *lines], offer.body, offer.content_type
        )
        return effects

    def _on_update(self, key: Key, request: Request, dialog: Dialog, now: float) -> list[Effect]:
        described = describes_session(request)
        refusal = self._collision(dialog, offered=described)
        if refusal is not None:
            return [self._refuse_collision(key, request, refusal)]
        if request.body and not described:
            return [self._reply(key, request, 415, headers=[("Accept", ACCEPT)])]
        if dialog.confirmed:
            short = self.timer.inspect(request)
            if short is not None:
                return [self._reply(key, request, short[0], headers=short[1])]
        if described:
            dialog.exchange.on_received()
            self._served_update = ServedUpdate(key, request, dialog)
            return [UpdateReceived(self._session, key, request)]
        dialog.refresh_target(request)
        lines, events = self._timer_answer(request, dialog, now)
        reply = self._reply(key, request, 200, headers=lines, contact=True)
        return [reply, UpdateReceived(self._session, None, request), *events]

    def _collision(self, dialog: Dialog, *, offered: bool) -> int | None:
        """The status for an offer of the peer that meets another one (RFC 3311 section 5.2)."""
        if self._served_update is not None:
            return 500
        if not offered:
            return None
        if dialog.exchange.pending is Pending.LOCAL or self._offering():
            return REQUEST_PENDING
        return None if dialog.exchange.idle and dialog.exchange.complete else 500

    def _refuse_collision(self, key: Key, request: Request, status: int) -> Effect:
        wait = [("Retry-After", str(int(self._agent.uniform(0, 11))))] if status == 500 else ()  # noqa: PLR2004  the other is 491
        return self._reply(key, request, status, headers=wait)

    def _on_update_response(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        update = self._update
        if response.status < 200 or update is None or update.sent is not sent:  # noqa: PLR2004  the first final status
            return []
        self._update = None
        if self.over:
            return []
        exchange = update.dialog.exchange
        if response.status < 300:  # noqa: PLR2004  a success
            update.dialog.refresh_target(response)
            if describes_session(response) and update.offer.body:
                exchange.on_received()
            elif update.offer.body:
                exchange.withdraw()
            events = self._timer_answered(response, now) if update.dialog.confirmed else []
            answered: list[Effect] = (
                [] if update.refresh else [UpdateAnswered(self._session, response)]
            )
            return [*answered, *events]
        if update.offer.body:
            exchange.withdraw()
        return self._on_update_refused(update, response, now)

    def _on_update_refused(self, update: Update, response: Response, now: float) -> list[Effect]:
        status, offer = response.status, update.offer
        if status == REQUEST_PENDING and offer.glares < MAX_GLARES:
            update.sent = None
            update.offer = replace(offer, glares=offer.glares + 1)
            self._update = update
            self._arm("update-retry", now + self._agent.uniform(*self._retry_window))
            return []
        if status == INTERVAL_TOO_SMALL and self.timer.lengthen(response):
            self._update = update
            return self._send_update(update)
        if not update.refresh:
            failed = UpdateFailed(self._session, status, response.reason, response)
            return [failed, *self._check_lost(response)]
        if status in NOT_SERVED:
            # It is allowed to say so only now; a re-INVITE will do.
            update.dialog.peer_methods = frozenset()
            return [RefreshDue(self._session)]
        self._refresh_failed(now)
        return self._check_lost(response)

    @property
    def _retry_window(self) -> tuple[float, float]:
        return OWNER_RETRY if self.role is Role.UAC else OTHER_RETRY

    def _retry_update(self, now: float) -> list[Effect]:
        update = self._update
        if update is not None and (
            not update.offer.body or (update.dialog.exchange.idle and not self._offering())
        ):
            return self._send_update(update)
        self._arm("update-retry", now + self._agent.uniform(*self._retry_window))
        return []

    # -- PRACK, as the caller ----------------------------------------------------------------

    def awaits_prack(self, tag: str = "") -> bool:
        """Whether the application has to `prack` a response in this early dialog."""
        dialog = self._dialogs().get(tag) if tag else self._only_dialog()
        return dialog is not None and dialog.unacknowledged is not None

    def prack(
        self,
        body: bytes,
        now: float,
        *,
        tag: str = "",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
    ) -> list[Effect]:
        """Acknowledge a reliable provisional response, with an answer or an offer (RFC 3262 5).

        Args:
            body: The answer, if the response held an offer; else an offer, or empty.
            now: Loop time.
            tag: The callee's tag, where several early dialogs exist.
            content_type: Of the body.
            headers: Further header lines.

        Raises:
            LocalProtocolError: No response waits for it, or the body is not what is due.
        """
        del now
        dialog = self._dialog_tagged(tag)
        rack = dialog.unacknowledged
        if rack is None:
            raise LocalProtocolError("no provisional response waits for its PRACK")
        if dialog.owes_answer and not body:
            raise LocalProtocolError("the response held an offer: PRACK has to answer it")
        if not dialog.owes_answer and body and not dialog.exchange.idle:
            raise LocalProtocolError("another offer has no answer yet")
        return self._send_prack(dialog, rack, body, content_type, headers)

    def _send_prack(
        self,
        dialog: Dialog,
        rack: RAck,
        body: bytes = b"",
        content_type: str = "",
        headers: HeaderLines = (),
    ) -> list[Effect]:
        offering = bool(body) and not dialog.owes_answer
        dialog.unacknowledged = None
        dialog.owes_answer = False
        if body:
            dialog.exchange.on_sent()
        sent, effects = self._send(
            dialog, "PRACK", [("RAck", str(rack)), *headers], body, content_type
        )
        if offering:
            self._prack_offers[sent.handle] = dialog
        return effects

    def _on_provisional_in(
        self, dialog: Dialog | None, response: Response, *, asked: bool, manual: bool = False
    ) -> list[Effect]:
        """A 1xx in a dialog: acknowledge it if it is reliable, and in order.

        Args:
            dialog: Early or, of a re-INVITE, confirmed; None without a To tag.
            response: 101 to 199.
            asked: The INVITE asked for an offer, and none has come.
            manual: The application sends the PRACK.
        """
        reliable = self._agent.capabilities.reliable.offered and is_reliable(response)
        if dialog is None or not reliable:
            return [Provisional(self._session, response, dialog)]
        rack = dialog.receiver.on_response(response)
        if rack is None:
            return []
        if describes_session(response):
            if dialog.exchange.pending is Pending.LOCAL:
                dialog.exchange.on_received()
            elif asked:
                dialog.exchange.on_received()
                dialog.owes_answer = True
        event = Provisional(self._session, response, dialog, reliable=True)
        if manual or dialog.owes_answer:
            dialog.unacknowledged = rack
            return [event]
        return [*self._send_prack(dialog, rack), event]

    def _on_prack_done(self, sent: ClientRequest, response: Response | None) -> list[Effect]:
        if response is not None and response.status < 200:  # noqa: PLR2004  the first final status
            return []
        dialog = self._prack_offers.pop(sent.handle, None)
        if dialog is None:
            return []
        if response is not None and response.status < 300 and describes_session(response):  # noqa: PLR2004  a success
            dialog.exchange.on_received()
        else:
            dialog.exchange.withdraw()
        return [] if response is None else [PrackAnswered(self._session, response)]

    # -- The session timer -------------------------------------------------------------------

    def _timer_answer(
        self, request: Request, dialog: Dialog, now: float
    ) -> tuple[list[tuple[str, str]], list[Event]]:
        """What our 2xx says of the session interval, which begins anew."""
        if not self.timer.policy.mode.offered or not dialog.confirmed:
            return [], []
        running = self.timer.interval > 0
        lines = self.timer.answer(request, now)
        self._arm_session_timer()
        if not running or not self.timer.interval:
            return lines, []
        self.timer.received += 1
        return lines, [SessionRefreshed(self._session, by_peer=True)]

    def _timer_answered(self, response: Response, now: float) -> list[Event]:
        """The peer's 2xx begins a new session interval."""
        if not self.timer.policy.mode.offered:
            return []
        running = self.timer.interval > 0
        self.timer.on_answer(response, now)
        self._arm_session_timer()
        if not running or not self.timer.interval:
            return []
        self.timer.sent += 1
        return [SessionRefreshed(self._session, by_peer=False)]

    def _arm_session_timer(self) -> None:
        for name, when in (("refresh", self.timer.refresh_at), ("expiry", self.timer.end_at)):
            if when is None:
                self._disarm(name)
            else:
                self._arm(name, when)

    def _refresh_failed(self, now: float) -> None:
        if self.timer.refreshing and "refresh" not in self._timers:
            self.timer.on_refresh_failed(now)
            self._arm_session_timer()

    def _refresh(self, now: float) -> list[Effect]:
        dialog = self._confirmed_dialog()
        if self._update is not None or self._modifying():
            self._arm("refresh", now + REFRESH_RETRY)
            return []
        if "UPDATE" not in self._agent.capabilities.methods or not dialog.peer_serves("UPDATE"):
            return [RefreshDue(self._session)]
        self._update = Update(dialog, Offer(b"", "", ()), refresh=True)
        return self._send_update(self._update)

    def _expire(self) -> list[Effect]:
        self.timer.expired += 1
        expired: list[Effect] = [SessionExpired(self._session)]
        if self.timer.policy.soft_expiry:
            self.timer.stop()
            self._arm_session_timer()
            return expired
        return expired + self._lose("session-expired")

    # -- Inputs ------------------------------------------------------------------------------

    def on_response(self, sent: ClientRequest, response: Response, now: float) -> list[Effect]:
        """A response to a request of this session."""
        match sent.request.method:
            case "UPDATE":
                return self._on_update_response(sent, response, now)
            case "PRACK":
                return self._on_prack_done(sent, response)
            case _:
                return super().on_response(sent, response, now)

    def on_failure(self, sent: ClientRequest, status: int, cause: str, now: float) -> list[Effect]:
        """No response came to a request of this session."""
        if sent.request.method == "PRACK":
            return self._on_prack_done(sent, None)
        if sent.request.method != "UPDATE":
            return super().on_failure(sent, status, cause, now)
        update = self._update
        if update is None or update.sent is not sent:
            return []
        self._update = None
        if update.offer.body:
            update.dialog.exchange.withdraw()
        effects: list[Effect] = []
        if update.refresh:
            self._refresh_failed(now)
        else:
            effects.append(UpdateFailed(self._session, status, cause))
        return effects + self._lose(cause) if cause == "timeout" and self.answered else effects

    def _on_method(self, key: Key, request: Request, now: float) -> list[Effect]:
        if request.method == "UPDATE":
            dialog = self._dialog_of(request)
            return [] if dialog is None else self._on_update(key, request, dialog, now)
        return super()._on_method(key, request, now)

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        match name:
            case "update-retry":
                return self._retry_update(now)
            case "refresh":
                return self._refresh(now)
            case _:
                return self._expire()

    def _withdraw(self) -> list[Effect]:
        served, self._served_update = self._served_update, None
        self._update = None
        self._prack_offers.clear()
        return [] if served is None else [self._reply(served.key, served.request, 487)]

    # -- What the session's INVITEs say ------------------------------------------------------

    @abstractmethod
    def _offering(self) -> bool:
        """Whether an INVITE of ours waits for the peer's offer, or its answer."""

    @abstractmethod
    def _modifying(self) -> bool:
        """Whether an INVITE is under way in either direction."""

    def _dialogs(self) -> dict[str, Dialog]:
        """The dialogs of this session by the peer's tag."""
        return {} if self.dialog is None else {self.dialog.remote_tag: self.dialog}

    def _only_dialog(self) -> Dialog | None:
        dialogs = list(self._dialogs().values())
        return dialogs[0] if len(dialogs) == 1 else None

    def _dialog_tagged(self, tag: str) -> Dialog:
        dialog = self._dialogs().get(tag) if tag else self._only_dialog()
        if dialog is None or self.over or self.state is SessionState.INCOMING:
            raise LocalProtocolError(f"no such dialog: the session is {self.state.value}")
        return dialog
