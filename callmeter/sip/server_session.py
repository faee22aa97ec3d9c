"""The callee's side of an invite session, up to the answer (RFC 3261 section 13.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.sip.capabilities import ACCEPT
from callmeter.sip.dialog import Dialog, DialogState
from callmeter.sip.dialog_usage import Role, SessionState
from callmeter.sip.invite_session import InviteSession, Served
from callmeter.sip.offer_exchange import Pending, describes_session
from callmeter.sip.reliable import ReliableSender, rack_of
from callmeter.sip.session_events import (
    Cancelled,
    Ended,
    IncomingInvite,
    PrackReceived,
    Respond,
)
from callmeter.sip.timers import backoff

if TYPE_CHECKING:
    from callmeter.sip.message import Request, Response
    from callmeter.sip.session_events import Effect
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.usage import Agent, HeaderLines, TimerName

__all__ = ["ServerInviteSession"]

REPEAT_PROVISIONAL = 60.0
"""Proxies give a silent INVITE up after three minutes (section 13.3.1.1)."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A 200 that waits until the caller has our answer (RFC 3262 section 5)."""

    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...]


class ServerInviteSession(InviteSession):
    """A call we get.

    Attributes:
        replaces: The session whose place it takes when it is accepted, or None (RFC 3891).
    """

    __slots__ = (
        "_acceptance",
        "_offered_prack",
        "_provisional",
        "_provisional_interval",
        "_reliable",
        "replaces",
    )

    role: ClassVar[Role] = Role.UAS

    def __init__(
        self, agent: Agent, key: Key, request: Request, replaces: InviteSession | None = None
    ) -> None:
        local_tag = agent.new_tag()
        dialog = Dialog.from_request(request, local_tag)
        super().__init__(agent, request, local_tag, SessionState.INCOMING, dialog)
        self.replaces = replaces
        self._acceptance: Acceptance | None = None
        self._offered_prack: tuple[Key, Request] | None = None
        self._provisional: list[Effect] = []
        self._provisional_interval = 0.0
        # Section 3: the first RSeq is anywhere in the lower half.
        self._reliable = ReliableSender(int.from_bytes(agent.entropy(4), "big") >> 2)
        self._serve(Served(key, request, []))

    @property
    def peer_takes_reliable(self) -> bool:
        """Whether both ends can do reliable provisional responses."""
        return self._agent.capabilities.reliable.offered and (
            self._reliability_required or "100rel" in self.request.supported
        )

    @property
    def _reliability_required(self) -> bool:
        return "100rel" in {tag.lower() for tag in self.request.require}

    def start(self, now: float) -> list[Effect]:
        """Tell of the call, and note how long the caller will wait (section 13.3.1)."""
        expires = self.request.expires
        if expires is not None:
            self._arm("expires", now + expires)
        return [IncomingInvite(self)]

    def progress(
        self,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        body: bytes = b"",
        content_type: str = ACCEPT,
        headers: HeaderLines = (),
        reliable: bool | None = None,
    ) -> list[Effect]:
        """Send a provisional response, and again each minute until the final one.

        A reliable one is repeated until its PRACK comes, and followed by `PrackReceived`; one
        that is sent before then waits for its turn (RFC 3262 section 3).

        Args:
            status: 101 to 199.
            now: Loop time.
            reason: Reason phrase, or None for the usual one.
            body: An answer, early; or an offer, reliably, if the INVITE had none.
            content_type: Of the body.
            headers: Further header lines.
            reliable: Whether to send it reliably; None for where both ends can.

        Raises:
            LocalProtocolError: The INVITE has its final response; the caller cannot do
                what `reliable` asks; or too many responses wait.
            ConfigurationError: The status is none of 101 to 199.
        """
        _, served = self._unanswered()
        if not 101 <= status <= 199:  # noqa: PLR2004  100 is the transaction's own
            raise ConfigurationError(f"a provisional status is 101 to 199, not {status}")
        if self._acceptance is not None:
            raise LocalProtocolError("the call is accepted already")
        if reliable is None or self._reliability_required:
            reliable = self.peer_takes_reliable
        elif reliable and not self.peer_takes_reliable:
            raise LocalProtocolError("the caller takes no reliable provisional responses")
        if self._reliable.full:
            raise LocalProtocolError("too many provisional responses wait for their PRACK")
        self.state = SessionState.EARLY
        response = self._agent.respond(
            served.request,
            status,
            tag=self.local_tag,
            reason=reason,
            headers=[*self._record_routes(), *headers],
            body=body,
            content_type=content_type,
            contact=True,
        )
        if reliable:
            self._reliable.add(response)
            return self._advance(now)
        self.last_response = response
        self._provisional = [Respond(served.key, response)]
        self._arm("progress", now + REPEAT_PROVISIONAL)
        return list(self._provisional)

    def accept(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Answer the call; `Established` follows when the ACK comes.

        The body is left out where a reliable provisional response has brought it. Until that
        is acknowledged the 200 waits (RFC 3262 section 3).

        Raises:
            LocalProtocolError: The INVITE has its final response.
        """
        self._unanswered()
        if self._acceptance is not None:
            raise LocalProtocolError("the call is accepted already")
        self._acceptance = Acceptance(body, content_type, tuple(headers))
        return self._advance(now)

    def answer_prack(
        self, body: bytes, now: float, *, content_type: str = ACCEPT, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Answer the offer in a PRACK (RFC 3262 section 5).

        Raises:
            LocalProtocolError: None waits.
        """
        waiting, self._offered_prack = self._offered_prack, None
        if waiting is None or self.dialog is None:
            raise LocalProtocolError("no PRACK waits for an answer")
        self.dialog.exchange.on_sent()
        reply = self._reply(*waiting, 200, headers=headers, body=body, content_type=content_type)
        return [reply, *self._advance(now)]

    def reject(
        self, status: int, now: float, *, reason: str | None = None, headers: HeaderLines = ()
    ) -> list[Effect]:
        """Refuse or redirect the call by a status from 300 to 699.

        Raises:
            LocalProtocolError: The INVITE has its final response.
            ConfigurationError: The status is none of 300 to 699.
        """
        del now
        _, served = self._unanswered()
        if not 300 <= status <= 699:  # noqa: PLR2004  the classes of refusal
            raise ConfigurationError(f"a refusal has a status from 300 to 699, not {status}")
        order = self._refuse(served, status, reason, headers)
        self.last_response = order.response
        return [order, *self._finish(Ended(self, "rejected"))]

    def _on_timer(self, name: TimerName, now: float) -> list[Effect]:
        match name:
            case "progress":
                return self._repeat_progress(now)
            case "expires":
                return self._finish(Cancelled(self))
            case "prack":
                self._provisional_interval = backoff(self._provisional_interval)
                self._arm("prack", now + self._provisional_interval)
                return list(self._provisional)
            case "prack-give-up":
                # Section 3: who cannot be told that it rings, cannot be told more.
                _, served = self._unanswered()
                return [self._refuse(served, 504), *self._finish(Ended(self, "prack-timeout"))]
            case _:
                return super()._on_timer(name, now)

    def _repeat_progress(self, now: float) -> list[Effect]:
        last = self.last_response
        self._arm("progress", now + REPEAT_PROVISIONAL)
        if last is None or "RSeq" not in last.headers:
            return list(self._provisional)
        if self._acceptance is not None or not self._reliable.idle:
            # The 200 follows as soon as the offer in the PRACK has its answer; what has no PRACK
            # yet is sent again often enough.
            return []
        # A reliable one cannot be sent again once it was acknowledged: its number is used up.
        return self.progress(last.status, now, reason=last.reason)

    def _advance(self, now: float) -> list[Effect]:
        """Send what waited for a PRACK: the next provisional response, or the 200."""
        if self._offered_prack is not None:
            return []
        response = self._reliable.outstanding
        waiting = self._acceptance
        if waiting is not None and (response is None or not describes_session(response)):
            self._acceptance = None
            self._reliable.stop()
            return self._accept(waiting, now)
        response = self._reliable.next()
        return [] if response is None else self._send_reliable(response, now)

    def _send_reliable(self, response: Response, now: float) -> list[Effect]:
        dialog, served = self._unanswered()
        if describes_session(response) and not dialog.exchange.complete:
            dialog.exchange.on_sent()
        self.last_response = response
        self._provisional = [Respond(served.key, response)]
        self._provisional_interval = self._agent.timers.t1
        self._arm("prack", now + self._provisional_interval)
        self._arm("prack-give-up", now + self._agent.patience)
        self._arm("progress", now + REPEAT_PROVISIONAL)
        return list(self._provisional)

    def _accept(self, waiting: Acceptance, now: float) -> list[Effect]:
        dialog, served = self._unanswered()
        self._disarm("progress", "expires", "prack", "prack-give-up")
        self.state = SessionState.ANSWERED
        dialog.state = DialogState.CONFIRMED
        body = b"" if dialog.exchange.complete else waiting.body
        if body:
            dialog.exchange.on_sent()
        elif dialog.exchange.pending is Pending.REMOTE:
            dialog.exchange.withdraw()
        lines = [*self._record_routes(), *waiting.headers]
        effects = self._send_success(served, body, waiting.content_type, lines, now)
        return effects if self.replaces is None else [*effects, *self.replaces.give_way(now)]

    def _on_method(self, key: Key, request: Request, now: float) -> list[Effect]:
        if request.method == "PRACK":
            return self._on_prack(key, request, now)
        return super()._on_method(key, request, now)

    def _on_prack(self, key: Key, request: Request, now: float) -> list[Effect]:
        rack, dialog = rack_of(request), self.dialog
        if rack is None or dialog is None:
            return [self._reply(key, request, 400, reason="Malformed RAck")]
        if not self._reliable.on_prack(rack):
            return [self._reply(key, request, 481)]
        self._disarm("prack", "prack-give-up")
        described = describes_session(request)
        if dialog.exchange.pending is Pending.LOCAL:
            # It has to hold the answer; without one there is no session to speak of.
            if described:
                dialog.exchange.on_received()
            else:
                dialog.exchange.withdraw()
        elif described and self._collision(dialog, offered=True) is None and not self.answered:
            dialog.exchange.on_received()
            self._offered_prack = key, request
            return [PrackReceived(self, key, request)]
        elif described:
            return [self._reply(key, request, 488), *self._advance(now)]
        reply = self._reply(key, request, 200)
        return [reply, PrackReceived(self, None, request), *self._advance(now)]

    def _unanswered(self) -> tuple[Dialog, Served]:
        dialog, served = self.dialog, self._served
        if dialog is None or served is None or dialog.state is not DialogState.EARLY:
            raise LocalProtocolError(f"the call has its final response: it is {self.state.value}")
        return dialog, served

    def _withdraw(self) -> list[Effect]:
        waiting, self._offered_prack = self._offered_prack, None
        self._acceptance = None
        self._reliable.stop()
        effects = super()._withdraw()
        return effects if waiting is None else [*effects, self._reply(*waiting, 487)]

    def _record_routes(self) -> list[tuple[str, str]]:
        """What a response that creates a dialog repeats (section 12.1.1)."""
        return [("Record-Route", line) for line in self.request.headers.get_all("Record-Route")]
