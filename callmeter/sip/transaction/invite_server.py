"""The INVITE server transaction (RFC 3261 section 17.2.1, figure 7 as amended by RFC 6026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from callmeter.sip.timers import NEVER, TRYING_DELAY, backoff
from callmeter.sip.transaction.effects import Deliver, Effect, Send, TimedOut, TransportFailed
from callmeter.sip.transaction.machine import FAILURE, FINAL, MachineState, ServerMachine

if TYPE_CHECKING:
    from callmeter.sip.message import Request, Response

__all__ = ["TRANSITIONS", "InviteServerTransaction", "State"]


class State(MachineState):
    """The states of the figure."""

    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


TRANSITIONS = frozenset(
    {
        (State.PROCEEDING, State.ACCEPTED),  # 2xx from the TU
        (State.PROCEEDING, State.COMPLETED),  # 300 to 699 from the TU
        (State.COMPLETED, State.CONFIRMED),  # ACK
        (State.COMPLETED, State.TERMINATED),  # timer H
        (State.CONFIRMED, State.TERMINATED),  # timer I
        (State.ACCEPTED, State.TERMINATED),  # timer L
    }
)


_ACCEPTED: Final = State.ACCEPTED


class InviteServerTransaction(ServerMachine[State]):
    """Answers one INVITE, and repeats every final answer but a 2xx until its ACK."""

    __slots__ = ()

    transitions: ClassVar = TRANSITIONS
    first: ClassVar = State.PROCEEDING
    last: ClassVar = State.TERMINATED

    def start(self, now: float) -> list[Effect]:
        """17.2.1: pass the INVITE up, and give the TU 200 ms before a 100 is sent for it."""
        self._resend_at = now + TRYING_DELAY
        return [Deliver(self.key, self.request)]

    def accept(self, now: float) -> float:
        """As `start` and a 2xx from the TU at once, which it repeats itself; when timer L fires."""
        self.state = _ACCEPTED
        self._ends_at = ends_at = now + self.timers.l
        return ends_at

    def on_request(self, now: float) -> list[Effect]:
        """The INVITE again: repeat what was said; after a 2xx that is the TU's own work."""
        del now
        if self.state is State.PROCEEDING or self.state is State.COMPLETED:
            return self._repeat()
        return []

    def on_ack(self, ack: Request, now: float) -> list[Effect]:
        """An ACK that matches the INVITE."""
        match self.state:
            case State.COMPLETED:
                return self._linger(State.CONFIRMED, self.timers.i, now)
            case State.ACCEPTED:
                # A peer that reuses the branch for the ACK of a 2xx: RFC 6026 section 7.1.
                return [Deliver(None, ack)]
            case _:
                return []

    def respond(self, response: Response, now: float) -> list[Effect]:
        """The TU answers; what the state no longer allows is not sent."""
        status = response.status
        if self.state is State.PROCEEDING:
            self._answer(status, now)
        elif self.state is not State.ACCEPTED or not FINAL <= status < FAILURE:
            return []
        self.response = response
        return [Send(self.key, response, self.hop)]

    def on_deadline(self, now: float) -> list[Effect]:
        """The 100 is due, timer G sends again, H gives up, I and L end the wait."""
        if now >= self._ends_at:
            if self.state is State.COMPLETED:
                return [TimedOut(self.key, "H"), *self._terminate()]
            return self._terminate()
        if now < self._resend_at:
            return []
        if self.state is State.PROCEEDING:
            return self.respond(self.request.create_response(100), now)
        self._interval = backoff(self._interval, self.timers.t2)
        self._resend_at = now + self._interval
        return self._repeat()

    def on_transport_error(self, error: str, now: float) -> list[Effect]:
        """Try the other address once; then tell the TU, but keep the state.

        RFC 6026 section 8.2: were it dropped, a retransmitted INVITE would look like a new one.
        """
        del now
        return self._fall_back() or [TransportFailed(self.key, error)]

    def _answer(self, status: int, now: float) -> None:
        """What a first response from the TU does to state and timers."""
        if status < FINAL:
            self._resend_at = NEVER
            return
        self._let_go()
        if status < FAILURE:
            self._enter(State.ACCEPTED)
            self._ends_at = now + self.timers.l
        else:
            self._enter(State.COMPLETED)
            self._interval = self.timers.g
            self._resend_at = now + self.timers.g
            self._ends_at = now + self.timers.h
