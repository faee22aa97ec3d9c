"""DTLS datagrams that wait for their turn.

A step of a handshake is half a millisecond of cryptography. Hundreds of calls that begin at once
must not hold up the media of those that talk.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HandshakeQueue"]

STEPS_PER_TURN: Final = 8
MAX_WAITING: Final = 4096
"""What comes on top is lost, like a datagram on its way: flights are sent again."""


class HandshakeQueue:
    """Takes a few steps in each turn of the event loop, in their order.

    Args:
        call_soon: Runs something in the next turn.

    Attributes:
        lost: Steps that found the queue full.
    """

    __slots__ = ("_call_soon", "_left", "_scheduled", "_waiting", "lost")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: deque[Callable[[], None]] = deque()
        self._left = STEPS_PER_TURN
        self._scheduled = False
        self.lost = 0

    def __len__(self) -> int:
        """Steps that wait."""
        return len(self._waiting)

    def add(self, step: Callable[[], None]) -> None:
        """Take a step: at once while this turn has room, since media may be right behind it."""
        if self._left and not self._waiting:
            self._left -= 1
            self._schedule()
            step()
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(step)
        else:
            self.lost += 1

    def clear(self) -> None:
        """Forget what waits: its streams are gone."""
        self._waiting.clear()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._scheduled = False
        self._left = STEPS_PER_TURN
        try:
            while self._waiting and self._left:
                self._left -= 1
                self._waiting.popleft()()
        finally:
            if self._left < STEPS_PER_TURN:
                self._schedule()
