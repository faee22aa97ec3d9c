"""Which sequence numbers are missing, when to ask for them, and when to give them up."""

from __future__ import annotations

from typing import Final

__all__ = ["LostPackets"]

REORDERED_S: Final = 0.01
"""A packet overtaken by another is not asked for at once."""
PATIENCE_S: Final = 0.1
"""How long is waited for what nobody asks for."""
LONGEST_PATIENCE_S: Final = 1.0
LEAST_SPACING_S: Final = 0.02
MOST_TIMES: Final = 4
MOST_AT_ONCE: Final = 128

_SEQUENCES: Final = 1 << 16


class _Lost:
    """A number that is missing."""

    __slots__ = ("asked", "asked_at", "noticed")

    def __init__(self, noticed: float) -> None:
        self.noticed = noticed
        self.asked = 0
        self.asked_at = float("-inf")


class LostPackets:
    """The gaps of a stream, by sequence numbers that go on over 16 bits.

    Args:
        ask: Whether the peer can be asked to send again.
        rtt_s: Round-trip time to begin with.

    Attributes:
        ask: As given; it may change at any time.
        rtt_s: Round-trip time: an answer takes that long.
        recovered: Packets that came after they had been asked for.
    """

    __slots__ = ("_lost", "ask", "recovered", "rtt_s")

    def __init__(self, *, ask: bool, rtt_s: float) -> None:
        self.rtt_s = rtt_s
        self.recovered = 0
        self.ask = ask
        self._lost: dict[int, _Lost] = {}

    def __bool__(self) -> bool:
        return bool(self._lost)

    def __contains__(self, number: int) -> bool:
        return number in self._lost

    def note(self, first: int, end: int, now: float) -> None:
        """The numbers from `first` to before `end` did not come; all are higher than before."""
        for number in range(first, end):
            self._lost[number] = _Lost(now)

    def found(self, number: int) -> None:
        """One of them came after all."""
        entry = self._lost.pop(number, None)
        if entry is not None and entry.asked:
            self.recovered += 1

    def forget(self, first: int, end: int) -> None:
        """These are given up."""
        for number in range(first, end):
            self._lost.pop(number, None)

    def given_up(self, number: int, now: float) -> bool:
        """Whether there is no use in waiting for this one any longer."""
        entry = self._lost[number]
        waited = now - entry.noticed
        if not self.ask:
            return waited >= PATIENCE_S
        if waited >= LONGEST_PATIENCE_S:
            return True
        return entry.asked >= MOST_TIMES and now - entry.asked_at >= self._spacing

    def due(self, now: float) -> list[int]:
        """The sequence numbers to ask for now, at most 128; they count as asked for."""
        if not self.ask or not self._lost:
            return []
        due = []
        for number, entry in self._lost.items():
            if (
                entry.asked < MOST_TIMES
                and now - entry.noticed >= REORDERED_S
                and now - entry.asked_at >= self._spacing
            ):
                entry.asked += 1
                entry.asked_at = now
                due.append(number % _SEQUENCES)
                if len(due) == MOST_AT_ONCE:
                    break
        return due

    @property
    def _spacing(self) -> float:
        return max(self.rtt_s, LEAST_SPACING_S)
