"""A clock that only moves when it is told to: hours of protocol in milliseconds of test."""

from __future__ import annotations

__all__ = ["VirtualClock"]


class VirtualClock:
    """Virtual time in seconds.

    Attributes:
        now: The present.
    """

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def advance_to(self, when: float) -> None:
        """Move to `when`.

        Raises:
            ValueError: That is in the past.
        """
        if when < self.now:
            raise ValueError(f"time does not go back from {self.now} to {when}")
        self.now = when

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`."""
        self.advance_to(self.now + seconds)
