"""LoopDelay: how late the event loop is, which is when a stack has more to do than it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "LoopDelay"]

TICK_S: Final = 0.05
LATE_TICKS: Final = 20
"""Stalls, and moments of many at once, are no overload: so many ticks in a row have to be late."""
QUIET_TICKS: Final = 40
"""Ticks without a message after which nobody looks any more."""


class Timer(Protocol):
    """What `Clock.call_at` gives."""

    def cancel(self) -> object:
        """Do not call after all."""


class Clock(Protocol):
    """The part of an event loop that is needed."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call at that time, or later where there is no time."""


class LoopDelay:
    """Watches the delay of a loop while messages come.

    Args:
        loop: The event loop.
        limit: Seconds by which its timers may be late.
        on_change: Called with whether the limit is exceeded, when that changes.
    """

    __slots__ = ("_due", "_late", "_limit", "_loop", "_on_change", "_quiet", "_timer", "exceeded")

    def __init__(self, loop: Clock, limit: float, on_change: Callable[[bool], None]) -> None:
        self._loop = loop
        self._limit = limit
        self._on_change = on_change
        self._timer: Timer | None = None
        self._due = 0.0
        self._late = self._quiet = 0
        self.exceeded = False

    def watch(self) -> None:
        """A message has come: look at the clock until there has been none for two seconds."""
        self._quiet = 0
        if self._timer is None:
            self._tick_later()

    def close(self) -> None:
        """Look no more; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick_later(self) -> None:
        self._due = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        late = self._loop.time() - self._due > self._limit
        self._late = self._late + 1 if late else 0
        self._quiet += 1
        if self._quiet < QUIET_TICKS:
            self._tick_later()
        else:
            self._late = 0
        exceeded = self._late >= LATE_TICKS
        if exceeded is not self.exceeded:
            self.exceeded = exceeded
            self._on_change(exceeded)
