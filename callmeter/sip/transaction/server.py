"""The non-INVITE server transaction (RFC 3261 section 17.2.2, figure 8; RFC 4320)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from callmeter.sip.transaction.effects import Deliver, Effect, Send, TransportFailed
from callmeter.sip.transaction.machine import FINAL, MachineState, ServerMachine

if TYPE_CHECKING:
    from callmeter.sip.message import Response

__all__ = ["TRANSITIONS", "ServerTransaction", "State"]

REQUEST_TIMEOUT = 408


class State(MachineState):
    """The states of the figure."""

    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    TERMINATED = "Terminated"


TRANSITIONS = frozenset(
    {
        (State.TRYING, State.PROCEEDING),  # 1xx from the TU
        (State.TRYING, State.COMPLETED),  # 200 to 699 from the TU (erratum 1470)
        (State.TRYING, State.TERMINATED),  # transport error, 408 or nothing from the TU
        (State.PROCEEDING, State.COMPLETED),  # 200 to 699 from the TU
        (State.PROCEEDING, State.TERMINATED),  # transport error, 408 or nothing from the TU
        (State.COMPLETED, State.TERMINATED),  # timer J, transport error
    }
)


_COMPLETED: Final = State.COMPLETED


class ServerTransaction(ServerMachine[State]):
    """Answers one request other than INVITE or ACK, and repeats the answer when asked again."""

    __slots__ = ()

    transitions: ClassVar = TRANSITIONS
    first: ClassVar = State.TRYING
    last: ClassVar = State.TERMINATED

    def start(self, now: float) -> list[Effect]:
        """17.2.2: pass the request up; the TU has as long as the client waits.

        An answer after that is worth nothing (RFC 4320 section 4.2), so nothing is kept for it.
        """
        self._ends_at = now + self.timers.f
        return [Deliver(self.key, self.request)]

    def complete(self, response: Response, now: float) -> float:
        """As `start` and a final response from the TU at once; when timer J fires."""
        self.response = response
        self.state = _COMPLETED
        self._ends_at = ends_at = now + self.timers.j
        return ends_at

    def on_request(self, now: float) -> list[Effect]:
        """The request again: repeat the last response, if there was one."""
        del now
        return self._repeat()

    def respond(self, response: Response, now: float) -> list[Effect]:
        """The TU answers; only the first final response counts."""
        if self.state is State.COMPLETED:
            return []
        if response.status == REQUEST_TIMEOUT:
            # RFC 4320 section 4.2: it would always arrive after the client has given up.
            return self._terminate()
        self.response = response
        effects: list[Effect] = [Send(self.key, response, self.hop)]
        if response.status >= FINAL:
            self._let_go()
            return effects + self._linger(State.COMPLETED, self.timers.j, now)
        if self.state is State.TRYING:
            ends_at = self._ends_at
            self._enter(State.PROCEEDING)
            self._ends_at = ends_at
        return effects

    def on_deadline(self, now: float) -> list[Effect]:
        """Timer J ends the wait for retransmitted requests; the client has given up before."""
        return self._terminate() if now >= self._ends_at else []

    def on_transport_error(self, error: str, now: float) -> list[Effect]:
        """17.2.4: try the other address once; then tell the TU and end."""
        del now
        return self._fall_back() or [TransportFailed(self.key, error), *self._terminate()]
