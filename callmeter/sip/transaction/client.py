"""The non-INVITE client transaction (RFC 3261 section 17.1.2, figure 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from callmeter.sip.timers import NEVER, backoff
from callmeter.sip.transaction.effects import Deliver, Effect, Send, TimedOut, TransportFailed
from callmeter.sip.transaction.machine import FINAL, Machine, MachineState

if TYPE_CHECKING:
    from callmeter.sip.message import Response

__all__ = ["TRANSITIONS", "ClientTransaction", "State"]


class State(MachineState):
    """The states of the figure."""

    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    TERMINATED = "Terminated"


TRANSITIONS = frozenset(
    {
        (State.TRYING, State.PROCEEDING),  # 1xx
        (State.TRYING, State.COMPLETED),  # 200 to 699
        (State.TRYING, State.TERMINATED),  # timer F, transport error
        (State.PROCEEDING, State.COMPLETED),  # 200 to 699
        (State.PROCEEDING, State.TERMINATED),  # timer F, transport error
        (State.COMPLETED, State.TERMINATED),  # timer K
    }
)


_COMPLETED = State.COMPLETED


class ClientTransaction(Machine[State]):
    """Sends one request other than INVITE or ACK until its final response."""

    __slots__ = ()

    transitions: ClassVar = TRANSITIONS
    first: ClassVar = State.TRYING
    last: ClassVar = State.TERMINATED

    def start(self, now: float) -> list[Effect]:
        """17.1.2.2: send, with timer E over datagrams and timer F always."""
        self.begin(now)
        return [Send(self.key, self.request, self.hop)]

    def begin(self, now: float) -> float:
        """As `start`, for who sends the request; when the first timer fires."""
        timers = self.timers
        self._interval = timers.e
        self._ends_at = now + timers.f
        self._resend_at = resend_at = now + timers.e
        return min(resend_at, self._ends_at)

    def hear(self, status: int, now: float) -> float | None:
        """As `on_response`, of the final response by datagram, which its user gets.

        Returns:
            When timer K fires; None where it is another response. Nothing has changed then.
        """
        if status < FINAL or self.state is _COMPLETED:
            return None
        self.state = _COMPLETED
        self._resend_at = NEVER
        self._ends_at = ends_at = now + self.timers.k
        return ends_at

    def on_response(self, response: Response, now: float) -> list[Effect]:
        """A response with this transaction's branch has come."""
        if self.state is State.COMPLETED:
            return []  # 17.1.2.2: absorbed until timer K
        if response.status >= FINAL:
            effects: list[Effect] = [Deliver(self.key, response)]
            return effects + self._linger(State.COMPLETED, self.timers.k, now)
        if self.state is State.TRYING:
            # Unlike an INVITE it goes on sending: E and F run on in Proceeding.
            resend_at, ends_at = self._resend_at, self._ends_at
            self._enter(State.PROCEEDING)
            self._resend_at, self._ends_at = resend_at, ends_at
        return [Deliver(self.key, response)]

    def on_deadline(self, now: float) -> list[Effect]:
        """Timer E sends again, F gives up, K ends the wait."""
        if now >= self._ends_at:
            if self.state is State.COMPLETED:
                return self._terminate()
            return [TimedOut(self.key, "F"), *self._terminate()]
        if now >= self._resend_at:
            # 17.1.2.2: once a 1xx has shown that the request arrived, T2 is often enough.
            trying = self.state is State.TRYING
            self._interval = backoff(self._interval, self.timers.t2) if trying else self.timers.t2
            self._resend_at = now + self._interval
            return [Send(self.key, self.request, self.hop)]
        return []

    def on_transport_error(self, error: str, now: float) -> list[Effect]:
        """17.1.4: tell the TU, unless it has its answer already."""
        del now
        if self.state is State.COMPLETED:
            return []
        return [TransportFailed(self.key, error), *self._terminate()]
