"""Who takes part in the dispatch of a request: its endpoint, the stack, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Coroutine, Iterable
    from typing import Any

    from callmeter.config import Transport
    from callmeter.sip.message import Request, Response
    from callmeter.sip.server_location import Location
    from callmeter.sip.transaction.effects import Hop
    from callmeter.sip.transaction.key import Key
    from callmeter.sip.transaction.layer import TransactionLayer
    from callmeter.sip.user_agent import UserAgentCore
    from callmeter.trace.message_log import MessageLog
    from callmeter.transport.layer import TransportLayer

__all__ = ["Attempt", "DispatchShell", "Owner", "StackUser"]


class StackUser(Protocol):
    """An endpoint as its stack sees it."""

    core: UserAgentCore
    messages: MessageLog
    contact_user: str
    aor_user: str
    transport: Transport
    tls: int | None

    def on_located(self, call_id: str, location: Location) -> None:
        """Where the DNS sent the request of this Call-ID."""

    def face(self, local: tuple[str, int], transport: str) -> None:
        """Messages of this endpoint now leave from `local` by `transport`."""

    def move_home(self, local: tuple[str, int], transport: str) -> None:
        """A REGISTER now binds this Contact."""

    def face_home(self) -> None:
        """Messages that nobody asked for, such as refreshes, are about to leave."""

    def on_event(self, event: object, now: float) -> None:
        """One event of the user agent core."""

    def write(self, message: Request | Response) -> bytes:
        """A message of this endpoint as it goes on the wire, each time it does."""


class DispatchShell(Protocol):
    """What the dispatch needs of its stack."""

    transport: TransportLayer
    transactions: TransactionLayer

    @property
    def now(self) -> float:
        """The loop clock."""
        ...

    def serves(self, user: StackUser) -> bool:
        """Whether this endpoint has not left."""
        ...

    def push(self, user: StackUser | None, effects: Iterable[object]) -> None:
        """Queue effects of a core, or of the transaction layer (None)."""

    def settle(self) -> None:
        """Carry out what is queued."""

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the stack's task group."""

    def transmit(
        self, user: StackUser | None, key: Key | None, message: Request | Response, hop: Hop
    ) -> None:
        """Put a message on the wire."""


@dataclass(slots=True)
class Attempt:
    """A request on its way through its targets (RFC 3263 section 4.3).

    Attributes:
        user: Whose request.
        token: What its core calls it.
        request: As the core made it.
        hops: The targets that are left.
        newest: Number of the newest connection when it began: later ones are its own.
        for_size: Hops that stand in for datagrams which cannot hold the request.
        answered: Somebody has answered more than 100: no other target is asked.
    """

    user: StackUser
    token: int
    request: Request
    hops: deque[Hop]
    newest: int
    for_size: frozenset[Hop] = frozenset()
    answered: bool = False


@dataclass(slots=True)
class Owner:
    """Whose transaction a key names.

    Attributes:
        user: The endpoint.
        attempt: None for server transactions and CANCELs.
        hop: Where the request goes, or came from.
        ways: What its loss means the loss of: targets without, connections with a number.
        lost: The connection it was lost with last.
        repeats: How often it has gone out again, each time by another connection.
        back: Where a CANCEL goes whose connection the peer opened and is lost, or None.
    """

    user: StackUser
    attempt: Attempt | None = None
    hop: Hop | None = None
    ways: set[Hop] = field(default_factory=set)
    lost: Hop | None = None
    repeats: int = 0
    back: Hop | None = None
