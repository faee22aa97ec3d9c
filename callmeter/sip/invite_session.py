"""An invite session, from either end: INVITE, 2xx and ACK inside its dialog (RFC 3261 13, 14).

`ClientInviteSession` and `ServerInviteSession` add how it starts. Commands return effects for
the shell to apply; a command that the state forbids raises `LocalProtocolError`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError
from callmeter.sip.capabilities import ACCEPT
from callmeter.sip.dialog_usage import UNANSWERED, Role, SessionState
from callmeter.sip.offer_exchange import Pending, describes_session
from callmeter.sip.reliable import is_reliable
from callmeter.sip.session_events import (
    Cancelled,
    CancelRequest,
    Ended,
    Established,
    ReinviteAnswered,
    ReinviteCancelled,
    ReinviteEstablished,
    ReinviteFailed,
    ReinviteReceived,
    Respond,
    SendAck,
)
from callmeter.sip.session_modification import (
    MAX_GLARES,
    REQUEST_PENDING,
    Offer,
    SessionModification,
)
from callmeter.sip.session_timer import INTERVAL_TOO_SMALL
from callmeter.sip.timers import backoff

if TYPE_CHECKING:
    from callmeter.sip.client_requests import ClientRequest
    from callmeter.sip.dialog import Dialog
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["InviteSession", "Role", "SessionState"]

CREDENTIAL_HEADERS = ("Authorization", "Proxy-Authorization")


@dataclass(slots=True)
class Served:
    """The peer's INVITE, first or later: unanswered, or accepted and not acknowledged.

    `success` is the order that sends the 2xx, as a list that is empty until there is one.
    """

    key: Key
    request: Request
    success: list[Effect]


class InviteSession(SessionModification):
    """One session; use the subclasses."""

    __slots__ = (
        "_acks",
        "_bye_headers",
        "_interval",
        "_invite",
        "_offer",
        "_offer_taken",
        "_served",
        "_to_acknowledge",
    )

    def __init__(
        self,
        agent: Agent,
        request: Request,
        local_tag: str,
        state: SessionState,
        dialog: Dialog | None,
    ) -> None:
        super().__init__(agent, request, local_tag, state, dialog)
        agent.sessions[self.call_id, local_tag] = self
        self._acks: dict[tuple[int, str], SendAck] = {}
        self._bye_headers: tuple[tuple[str, str], ...] | None = None
        self._interval = 0.0
        self._invite: ClientRequest | None = None
        self._offer: Offer | None = None
        self._offer_taken = False
        self._served: Served | None = None
        self._to_acknowledge: ClientRequest | None = None

    @property
    def waiting_offer(self) -> bytes | None:
        """The body of a re-INVITE that met another one and will be sent again, or None."""
        if self._offer is None or self._invite is not None or self.over:
            return None
        return self._offer.body

    @property
    def awaits_ack(self) -> bool:
        """Whether our 2xx to an INVITE or re-INVITE has no ACK yet; no offer may follow before."""
        return self._served is not None and bool(self._served.success)

    def bye(self, now: float, headers: HeaderLines = ()) -> list[Effect]:
        """End the session (RFC 3261 section 15); nothing if it is over.

        A callee may not send BYE before the ACK, so there it follows the ACK.

        Raises:
            LocalProtocolError: The INVITE was not answered: cancel or reject it.
        """
        if self.over:
            return []
        dialog = self._confirmed_dialog()
        if self.state is SessionState.ANSWERED and self._served is not None:
            self._bye_headers = tuple(headers)
            return []
        effects = [] if self._to_acknowledge is None else self.ack(b"", now)
        return effects + self._send_bye(dialog, Ended(self, "bye-sent"), headers)

    def give_way(self, now: float) -> list[Effect]:
        """End the session because another one took its place (RFC 3891 section 3)."""
        return self.bye(now) if self.answered else []

    def ack(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Acknowledge a 2xx that held an offer, with the answer (section 13.2.2.4).

        Raises:
            LocalProtocolError: No such 2xx waits.
        """
        del now
        sent = self._to_acknowledge
        if sent is None:
            raise LocalProtocolError("no 2xx waits for its ACK: others are acknowledged at once")
        dialog = self._confirmed_dialog()
        self._to_acknowledge = None
        if body:
            dialog.exchange.on_sent()
        else:
            dialog.exchange.withdraw()
        if self.state is SessionState.ANSWERED:
            self.state = SessionState.ESTABLISHED
        return [self._acknowledge(sent, dialog, body, content_type, headers)]

    def reinvite(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Offer a change of the session (section 14.1); without a body, ask for an offer.

        Raises:
            LocalProtocolError: The session is not established, or another INVITE is under way.
        """
        del now
        dialog = self._confirmed_dialog()
        if self._offer is not None or self._modifying():
            raise LocalProtocolError("another INVITE is under way in this dialog (RFC 3261 14.1)")
        if not dialog.exchange.idle:
            raise LocalProtocolError("an offer in UPDATE has no answer yet (RFC 3311 section 5.1)")
        self._offer = Offer(body, content_type, tuple(headers))
        return self._send_reinvite(self._offer)

    def replace_waiting_offer(self, body: bytes | None) -> None:
        """Change, or withdraw by None, the re-INVITE of `waiting_offer`.

        Raises:
            LocalProtocolError: None waits.
        """
        if self._offer is None or self._invite is not None:
            raise LocalProtocolError("no re-INVITE waits to be sent again")
        if body is None:
            self._offer = None
            self._disarm("retry")
        else:
            self._offer = replace(self._offer, body=body)

    def accept_reinvite(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Agree to the change: 200 with the answer, or with an offer if there was none.

        Raises:
            LocalProtocolError: No re-INVITE waits.
        """
        dialog, served = self._served_reinvite()
        dialog.refresh_target(served.request)
        if body:
            dialog.exchange.on_sent()
        else:
            dialog.exchange.withdraw()
        return self._send_success(served, body, content_type, headers, now)

    def reject_reinvite(
        self, status: int, now: float, *, reason: str | None = None, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Refuse the change; the session goes on as it was.

        Raises:
            LocalProtocolError: No re-INVITE waits.
        """
        del now
        _, served = self._served_reinvite()
        return [self._refuse(served, status, reason, headers)]

    def on_ack(self, request: Request, now: float) -> list[Effect]:
        """The ACK of a 2xx of ours; one that fits none is ignored."""
        del now
        served = self._served
        if (
            served is None
            or not served.success
            or served.request.cseq.number != request.cseq.number
        ):
            return []
        return self._confirm(request)

    def on_cancel(self, key: Key, now: float) -> list[Effect]:
        """The peer withdraws the INVITE of this server transaction (section 9.2)."""
        del now
        served = self._served
        if served is None or served.key != key or served.success:
            return []
        if self.state in UNANSWERED:
            return self._finish(Cancelled(self))
        return [self._refuse(served, 487), ReinviteCancelled(self)]

    def on_server_failure(self, key: Key, cause: str, now: float) -> list[Effect]:
        """The server transaction of an INVITE came to nothing."""
        del now
        if self._served is None or self._served.key != key:
            return []
        if cause == "transport":
            # A provisional response is only news. Section 13.3.1.4: the 2xx goes out again, and
            # its caller may have come by another connection by then; the wait for the ACK ends
            # it otherwise.
            return []
        return self._lose(cause)

    @property
    def _session(self) -> InviteSession:
        return self

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        match name:
            case int():
                self._agent.requests.release(name)
                self._acks = {key: ack for key, ack in self._acks.items() if key[0] != name}
                return []
            case "resend":
                return self._resend(now)
            case "retry":
                return self._retry(now)
            case "give-up":
                return self._lose("ack-timeout")
            case _:
                return super()._on_timer(name, now)

    def _on_invite_response(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        if response.status < 200:  # noqa: PLR2004  the first final status
            return self._on_reinvite_provisional(sent, response)
        if response.status < 300:  # noqa: PLR2004  a success
            return self._on_reinvite_success(sent, response, now)
        offer, self._invite = self._offer, None
        if self.over or self.dialog is None:
            return []
        self.dialog.exchange.withdraw()
        if response.status == REQUEST_PENDING and offer is not None and offer.glares < MAX_GLARES:
            self._offer = replace(offer, glares=offer.glares + 1)
            self._arm_retry(now)
            return []
        if (
            response.status == INTERVAL_TOO_SMALL
            and offer is not None
            and self.timer.lengthen(response)
        ):
            return self._send_reinvite(offer)
        self._offer = None
        self._refresh_failed(now)
        effects: list[Effect] = [ReinviteFailed(self, response.status, response.reason, response)]
        return effects + self._check_lost(response)

    def _on_reinvite_provisional(self, sent: ClientRequest, response: Response) -> list[Effect]:
        """Acknowledge what is reliable; the others say nothing new (RFC 3261 section 14.1)."""
        if self.over or sent is not self._invite or not is_reliable(response):
            return []
        asked = not sent.request.body and not self._offer_taken
        if asked and describes_session(response):
            self._offer_taken = True
        return self._on_provisional_in(self.dialog, response, asked=asked)

    def _on_invite_failure(self, sent: ClientRequest, status: int, cause: str) -> list[Effect]:
        if sent is not self._invite:
            return []
        self._invite = self._offer = None
        if self.over or self.dialog is None:
            return []
        self.dialog.exchange.withdraw()
        effects: list[Effect] = [ReinviteFailed(self, status, cause)]
        return effects + self._lose(cause) if cause == "timeout" else effects

    def _on_reinvite_success(
        self, sent: ClientRequest, response: Response, now: float
    ) -> list[Effect]:
        repeated = self._acks.get((sent.token, response.to_tag or ""))
        if repeated is not None:
            return [repeated]
        dialog = self.dialog
        if dialog is None or sent is not self._invite:
            return []  # its ACK waits for the application's answer
        self._invite = self._offer = None
        self._await_further(sent, now)
        if self.over:
            return [self._acknowledge(sent, dialog)]
        dialog.refresh_target(response)
        events: list[Effect] = [
            ReinviteAnswered(self, response),
            *self._timer_answered(response, now),
        ]
        if self._settle_offer(sent, dialog, response, taken=self._offer_taken):
            return events
        return [self._acknowledge(sent, dialog), *events]

    def _settle_offer(
        self, sent: ClientRequest, dialog: Dialog, response: Response, *, taken: bool
    ) -> bool:
        """What a 2xx does to the offer of its INVITE; True if its ACK has to hold the answer."""
        if not sent.request.body and not taken:
            dialog.exchange.on_received()
            self._to_acknowledge = sent
            return True
        if dialog.exchange.pending is Pending.LOCAL:
            if describes_session(response):
                dialog.exchange.on_received()
            else:
                dialog.exchange.withdraw()
        return False

    def _on_reinvite(self, key: Key, request: Request, now: float) -> list[Effect]:
        del now
        served = self._served
        if served is not None and not served.success:
            return [self._refuse_collision(key, request, 500)]
        if self._invite is not None or self._to_acknowledge is not None:
            return [self._reply(key, request, REQUEST_PENDING)]
        effects: list[Effect] = []
        if served is not None:
            if not served.request.body:
                # RFC 5407 section 3.1.4: our offer has no answer before the ACK.
                return [self._reply(key, request, REQUEST_PENDING)]
            # Nobody sends a re-INVITE before it has the 2xx: the ACK is lost or late.
            effects += self._confirm(None)
            if self.over:
                return [*effects, self._reply(key, request, 481)]
        return effects + self._take_reinvite(key, request)

    def _take_reinvite(self, key: Key, request: Request) -> list[Effect]:
        dialog = self._confirmed_dialog()
        if not dialog.exchange.idle or self._served_update is not None:
            pending = dialog.exchange.pending is Pending.LOCAL
            return [self._refuse_collision(key, request, REQUEST_PENDING if pending else 500)]
        short = self.timer.inspect(request)
        if short is not None:
            return [self._reply(key, request, short[0], headers=short[1])]
        if describes_session(request):
            dialog.exchange.on_received()
        self._serve(Served(key, request, []))
        return [ReinviteReceived(self, request)]

    def _served_reinvite(self) -> tuple[Dialog, Served]:
        dialog = self._confirmed_dialog()
        if self._served is None or self._served.success:
            raise LocalProtocolError("no re-INVITE waits for an answer")
        return dialog, self._served

    def _offering(self) -> bool:
        # An INVITE without an offer asks for one: nothing may come between. One with an offer
        # is accounted for by the exchange.
        sent = self._invite or self._to_acknowledge
        return sent is not None and not sent.request.body and self.answered

    def _modifying(self) -> bool:
        return (
            self._invite is not None or self._served is not None or self._to_acknowledge is not None
        )

    def _serve(self, served: Served) -> None:
        self._served = served
        self._agent.served[served.key] = self

    def _served_done(self) -> None:
        if self._served is not None:
            self._agent.served.pop(self._served.key, None)
            self._served = None
        self._disarm("resend", "give-up")

    def _refuse(
        self, served: Served, status: int, reason: str | None = None, headers: HeaderLines = ()
    ) -> Respond:
        self._served_done()
        if served.request.body and self.dialog is not None:
            self.dialog.exchange.withdraw()
        return self._reply(served.key, served.request, status, reason=reason, headers=headers)

    def _send_success(
        self, served: Served, body: bytes, content_type: str, headers: HeaderLines, now: float
    ) -> list[Effect]:
        """Answer by 200 and repeat it until the ACK comes (section 13.3.1.4)."""
        lines, events = self._timer_answer(served.request, self._confirmed_dialog(), now)
        response = self._agent.respond(
            served.request,
            200,
            tag=self.local_tag,
            headers=[*lines, *headers],
            body=body,
            content_type=content_type,
            contact=True,
        )
        if served.request is self.request:
            self.last_response = response
        served.success = [Respond(served.key, response)]
        self._interval = self._agent.timers.t1
        self._arm("resend", now + self._interval)
        self._arm("give-up", now + self._agent.patience)
        return [*served.success, *events]

    def _resend(self, now: float) -> list[Effect]:
        self._interval = backoff(self._interval, self._agent.timers.t2)
        self._arm("resend", now + self._interval)
        return [] if self._served is None else list(self._served.success)

    def _confirm(self, ack: Request | None) -> list[Effect]:
        """The peer has our 2xx: an ACK says so, or a request that only follows one."""
        self._served_done()
        if self.over:
            return []
        dialog = self._confirmed_dialog()
        if dialog.exchange.pending is Pending.LOCAL:
            if ack is not None and describes_session(ack):
                dialog.exchange.on_received()
            else:
                dialog.exchange.withdraw()
        if self.state is not SessionState.ANSWERED:
            return [ReinviteEstablished(self, ack)]
        self.state = SessionState.ESTABLISHED
        effects: list[Effect] = [Established(self, ack)]
        if self._bye_headers is not None:
            end = Ended(self, "bye-sent")
            effects += self._send_bye(dialog, end, self._bye_headers)
        return effects

    def _send_reinvite(self, offer: Offer) -> list[Effect]:
        dialog = self._confirmed_dialog()
        if offer.body:
            dialog.exchange.on_sent()
        self._offer_taken = False
        lines = [*offer.headers, *self.timer.refresh_lines()]
        self._invite, effects = self._send(dialog, "INVITE", lines, offer.body, offer.content_type)
        return effects

    def _arm_retry(self, now: float) -> None:
        self._arm("retry", now + self._agent.uniform(*self._retry_window))

    def _retry(self, now: float) -> list[Effect]:
        if (
            self._offer is not None
            and not self._modifying()
            and self._confirmed_dialog().exchange.idle
        ):
            return self._send_reinvite(self._offer)
        self._arm_retry(now)
        return []

    def _await_further(self, sent: ClientRequest, now: float) -> None:
        """Further 2xx to this INVITE are acknowledged for 64*T1 (section 13.2.2.4)."""
        self._arm(sent.token, now + self._agent.patience)

    def _acknowledge(
        self,
        sent: ClientRequest,
        dialog: Dialog,
        body: bytes = b"",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
    ) -> SendAck:
        ack = dialog.create_ack(sent.request.cseq.number)
        # Section 22.1: nobody can challenge an ACK, so it shows the INVITE's credentials.
        credentials = [
            (name, value)
            for name in CREDENTIAL_HEADERS
            for value in sent.request.headers.get_all(name)
        ]
        self._agent.complete(ack, [*credentials, *headers], body, content_type)
        order = self._acks[sent.token, dialog.remote_tag] = SendAck(ack)
        return order

    def _withdraw(self) -> list[Effect]:
        self._offer = None
        effects = super()._withdraw()
        if self._invite is not None:
            # Its 2xx may be lost, and the peer, whose session has ended, repeats it no more.
            effects.append(CancelRequest(self._invite.token))
        served = self._served
        self._served_done()
        if served is not None and not served.success:
            effects.append(self._reply(served.key, served.request, 487))
        return effects
