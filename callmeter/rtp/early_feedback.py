"""When a feedback message may leave before the next regular report (RFC 4585 section 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EarlyFeedback"]

_POINT_TO_POINT: Final = 2
_DITHER: Final = 0.5
"""Share of the report interval over which the members of a group spread their messages."""


class EarlyFeedback:
    """The rule for early RTCP packets.

    Between two parties a message leaves at once; in a group it waits for a random time, so that
    not everybody asks for the same. After an early packet there is none for two report intervals:
    the bandwidth of RTCP stays what it was.

    Args:
        entropy: Gives random octets.

    Attributes:
        allowed_from: When the next early packet may be sent.
    """

    __slots__ = ("_entropy", "allowed_from")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.allowed_from = float("-inf")

    def due_at(
        self, now: float, *, interval: float, members: int, next_report: float
    ) -> float | None:
        """When a message about something that was noticed now is to leave.

        Args:
            now: Seconds.
            interval: Mean seconds between reports that the bandwidth allows.
            members: Of the session, the own side included.
            next_report: When the next regular report is due.

        Returns:
            Seconds; None when it has to go with the next regular report.
        """
        at = now
        if members > _POINT_TO_POINT:
            chance = int.from_bytes(self._entropy(4), "big") / (1 << 32)
            at += _DITHER * interval * chance
        if at < self.allowed_from or at >= next_report:
            return None
        return at

    def on_regular(self) -> None:
        """A regular report was sent: the next message may be early again."""
        self.allowed_from = float("-inf")

    def on_early(self, now: float, interval: float) -> None:
        """An early packet was sent."""
        self.allowed_from = now + 2 * interval
