"""The INVITE client transaction (RFC 3261 section 17.1.1, figure 5 as amended by RFC 6026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callmeter.sip.message import Headers, Request
from callmeter.sip.timers import NEVER, backoff
from callmeter.sip.transaction.effects import Deliver, Effect, Hop, Send, TimedOut, TransportFailed
from callmeter.sip.transaction.machine import FAILURE, FINAL, OUTLINES, Machine, MachineState

if TYPE_CHECKING:
    from callmeter.sip.message import Response
    from callmeter.sip.timers import TimerValues
    from callmeter.sip.transaction.client import ClientTransaction
    from callmeter.sip.transaction.effects import Key

__all__ = ["TRANSITIONS", "InviteClientTransaction", "State", "failure_ack"]

FLOW_LOST = "flow lost"
"""Ends the wait for the answer of an INVITE that rang when its connection was lost."""


class State(MachineState):
    """The states of the figure."""

    CALLING = "Calling"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


TRANSITIONS = frozenset(
    {
        (State.CALLING, State.PROCEEDING),  # 1xx
        (State.CALLING, State.ACCEPTED),  # 2xx
        (State.CALLING, State.COMPLETED),  # 300 to 699
        (State.CALLING, State.TERMINATED),  # timer B, transport error
        (State.PROCEEDING, State.ACCEPTED),  # 2xx
        (State.PROCEEDING, State.COMPLETED),  # 300 to 699
        (State.PROCEEDING, State.TERMINATED),  # CANCEL without effect (9.1), flow lost
        (State.COMPLETED, State.TERMINATED),  # timer D, transport error
        (State.ACCEPTED, State.TERMINATED),  # timer M
    }
)


_CALLING, _PROCEEDING, _ACCEPTED = State.CALLING, State.PROCEEDING, State.ACCEPTED
_OUTLINE = OUTLINES["INVITE"]


class InviteClientTransaction(Machine[State]):
    """Sends one INVITE until it is answered, and the ACK of every answer but a 2xx.

    Attributes:
        cancel_key: The key of its CANCEL, once somebody asked for one.
        waiting_cancel: A CANCEL that must not go out before a provisional response has come
            (RFC 3261 section 9.1).
    """

    __slots__ = ("_ends_by", "cancel_key", "waiting_cancel")

    transitions: ClassVar = TRANSITIONS
    first: ClassVar = State.CALLING
    last: ClassVar = State.TERMINATED

    def __init__(self, key: Key, request: Request, hop: Hop, timers: TimerValues) -> None:
        super().__init__(key, request, hop, timers)
        self.cancel_key: Key | None = None
        self.waiting_cancel: ClientTransaction | None = None
        self._ends_by = "B"

    def start(self, now: float) -> list[Effect]:
        """17.1.1.2: send, with timer A over datagrams and timer B always."""
        self.begin(now)
        return [Send(self.key, self.request, self.hop)]

    def begin(self, now: float) -> float:
        """As `start`, for who sends the request; when the first timer fires."""
        timers = self.timers
        self._interval = timers.a
        self._ends_at = now + timers.b
        self._resend_at = resend_at = now + timers.a
        return min(resend_at, self._ends_at)

    def hear(self, status: int, now: float) -> float | None:
        """As `on_response`, of the first 1xx or of the first 2xx, which its user gets.

        Returns:
            When the next timer fires; None where it is another response, or a CANCEL waits.
            Nothing has changed then.
        """
        state = self.state
        if self.waiting_cancel is not None or status >= FAILURE:
            return None
        if status < FINAL:
            if state is not _CALLING:
                return None
            self.state = _PROCEEDING
            self._resend_at = self._ends_at = NEVER
            return NEVER
        if state is not _CALLING and state is not _PROCEEDING:
            return None
        self.state = _ACCEPTED
        self.request = _OUTLINE
        self._resend_at = NEVER
        self._ends_at = ends_at = now + self.timers.m
        return ends_at

    def on_response(self, response: Response, now: float) -> list[Effect]:
        """A response with this transaction's branch has come."""
        status = response.status
        match self.state:
            case State.CALLING | State.PROCEEDING if status < FINAL:
                # 17.1.1.2: neither A nor B runs once somebody has answered at all.
                if self.state is State.CALLING:
                    self._enter(State.PROCEEDING)
                elif self._ends_by == FLOW_LOST:
                    self._ends_by, self._ends_at = "B", NEVER
                return [Deliver(self.key, response)]
            case State.CALLING | State.PROCEEDING if status < FAILURE:
                # RFC 6026 section 7.2: stay for the 2xx of other forks, until timer M.
                self._enter(State.ACCEPTED)
                self._let_go()
                self._ends_at = now + self.timers.m
                return [Deliver(self.key, response)]
            case State.CALLING | State.PROCEEDING:
                effects: list[Effect] = [self._ack(response), Deliver(self.key, response)]
                return effects + self._linger(State.COMPLETED, self.timers.d, now)
            case State.COMPLETED if status >= FAILURE:
                # 17.1.1.2: the TU has had it; the peer has not had the ACK.
                return [self._ack(response)]
            case State.ACCEPTED if FINAL <= status < FAILURE:
                return [Deliver(self.key, response)]
            case _:
                return []

    def on_deadline(self, now: float) -> list[Effect]:
        """Timer A sends again, B gives up, D and M end the wait."""
        if now >= self._ends_at:
            if self._ends_by == FLOW_LOST and self.state is State.PROCEEDING:
                error = f"{self.hop}: the connection was lost, and no answer came"
                return self.on_transport_error(error, now)
            if self.state is State.CALLING or self.state is State.PROCEEDING:
                return [TimedOut(self.key, self._ends_by), *self._terminate()]
            return self._terminate()
        if now >= self._resend_at:
            self._interval = backoff(self._interval)
            self._resend_at = now + self._interval
            return [Send(self.key, self.request, self.hop)]
        return []

    def on_cancel_sent(self, now: float) -> None:
        """9.1: without a final response in 64*T1 after the CANCEL, stop waiting for one."""
        self.waiting_cancel = None
        self._ends_by = "CANCEL"
        self._ends_at = now + self.timers.b

    def on_flow_lost(self, now: float) -> bool:
        """The connection of the request has ended; whether its answer is still to come.

        After a provisional response no timer runs (17.1.1.2). The peer may open a connection of
        its own for the answer (18.2.2), or take the one the request comes by again; when there
        is no word for 64*T1, it does neither.
        """
        if self.state is State.PROCEEDING and self._ends_at == NEVER:
            self._ends_by = FLOW_LOST
            self._ends_at = now + self.timers.b
        return self.state is State.CALLING or self.state is State.PROCEEDING

    def on_transport_error(self, error: str, now: float) -> list[Effect]:
        """17.1.4: tell the TU; a 2xx that was already delivered is not taken back."""
        del now
        if self.state is State.ACCEPTED:
            return []
        return [TransportFailed(self.key, error), *self._terminate()]

    def _ack(self, response: Response) -> Send:
        return Send(self.key, failure_ack(self.request, response), self.hop)


def failure_ack(invite: Request, response: Response) -> Request:
    """The ACK of a final response other than 2xx (RFC 3261 section 17.1.1.3).

    It goes hop by hop: the branch of the INVITE, its route, and the To the answer came with.
    """
    lines = Headers()
    lines.copy_lines(invite.headers, "Via", first=True)
    lines.add("Max-Forwards", "70")
    lines.copy_lines(invite.headers, "From")
    lines.copy_lines(response.headers, "To", first=True)
    lines.copy_lines(invite.headers, "Call-ID")
    lines.add("CSeq", f"{invite.cseq.number} ACK")
    lines.copy_lines(invite.headers, "Route")
    return Request("ACK", invite.uri, lines)
