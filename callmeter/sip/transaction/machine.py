"""What the four state machines share: a state, two running timers, one way to change the state."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from callmeter.errors import LocalProtocolError
from callmeter.sip.message import Request
from callmeter.sip.timers import NEVER
from callmeter.sip.transaction.effects import Effect, Hop, Key, Send, Terminated

if TYPE_CHECKING:
    from callmeter.sip.message import Response
    from callmeter.sip.timers import TimerValues

__all__ = ["FAILURE", "FINAL", "OUTLINES", "Machine", "MachineState", "ServerMachine"]

FINAL = 200
"""The first status that ends a transaction."""
FAILURE = 300
"""The first status that an INVITE transaction acknowledges itself."""

S = TypeVar("S", bound=Enum)


OUTLINES: Final = {
    method: Request(method, "sip:invalid") for method in ("INVITE", "BYE", "REGISTER", "OPTIONS")
}
"""What stays of a request that is not needed any more, by its method."""


class MachineState(Enum):
    """A state; there is one of each, so it is hashed by identity, which takes no Python code."""

    __hash__ = object.__hash__


class Machine(Generic[S]):
    """A transaction: at most one retransmission timer, and one timer that ends a state.

    Attributes:
        key: What the layer knows it by.
        request: The request that created it; only its method once nothing else will be needed.
        hop: Where it sends to.
        state: As named in the RFC's figure.
        terminated: Whether it has come to its end and is to be dropped.
    """

    __slots__ = (
        "_ends_at",
        "_interval",
        "_resend_at",
        "hop",
        "key",
        "request",
        "slot",
        "state",
        "terminated",
        "timers",
    )

    transitions: ClassVar[frozenset[tuple[Enum, Enum]]]
    """The arrows of the figure that lead to another state."""
    first: ClassVar[Enum]
    """The state it begins in."""
    last: ClassVar[Enum]
    """The state after which nothing comes."""

    def __init__(self, key: Key, request: Request, hop: Hop, timers: TimerValues) -> None:
        self.key = key
        self.request = request
        self.hop = hop
        self.timers = timers
        self.state: S = self.first  # type: ignore[assignment]  # S's own first state
        self.terminated = False
        self.slot: int | None = None
        self._interval = NEVER
        self._resend_at = NEVER
        self._ends_at = NEVER

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} {self.request.method} {self.hop}>"

    def next_deadline(self) -> float:
        """When `on_deadline` is due; `NEVER` if no timer runs."""
        return min(self._resend_at, self._ends_at)

    def _enter(self, state: S) -> None:
        """Change the state; the timers of the old one stop."""
        if (self.state, state) not in self.transitions:
            raise LocalProtocolError(
                f"{type(self).__name__} does not go from {self.state.name} to {state.name}"
            )
        self.state = state
        self.terminated = state is self.last
        self._resend_at = self._ends_at = NEVER

    def _let_go(self) -> None:
        """Forget the request: this transaction waits for half a minute, with many like it."""
        self.request = OUTLINES.get(self.request.method, self.request)

    def _linger(self, state: S, duration: float, now: float) -> list[Effect]:
        """Enter a state that only waits for stragglers: not at all where none can come."""
        self._enter(state)
        if duration == 0:
            return self._terminate()
        self._ends_at = now + duration
        return []

    def _terminate(self) -> list[Effect]:
        self._enter(self.last)  # type: ignore[arg-type]  # S's own last state
        return [Terminated(self.key)]


class ServerMachine(Machine[S]):
    """A transaction that answers.

    Attributes:
        response: The last response sent, or None.
        fallback: Where to send once more if the connection of the request is gone
            (RFC 3261 section 18.2.2), or None.
        merge: What copies of the request have in common (8.2.2.2), or None inside a dialog.
    """

    __slots__ = ("fallback", "merge", "response")

    def __init__(
        self,
        key: Key,
        request: Request,
        hop: Hop,
        timers: TimerValues,
        fallback: Hop | None = None,
    ) -> None:
        super().__init__(key, request, hop, timers)
        self.response: Response | None = None
        self.fallback = fallback
        self.merge: Key | None = None

    def _repeat(self) -> list[Effect]:
        """The last response again, if there was one."""
        return [] if self.response is None else [Send(self.key, self.response, self.hop)]

    def _fall_back(self) -> list[Effect]:
        """The last response to the other address, once; nothing if there is none."""
        if self.fallback is None or self.response is None:
            return []
        self.hop, self.fallback = self.fallback, None
        return self._repeat()
