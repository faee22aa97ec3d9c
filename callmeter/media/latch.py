"""Where media may come from: the source latch.

Plain RTP cannot tell the peer from an attacker who knows the port (RTP bleed, ES2017-04), so
the signalled address is the rule. Only a symmetric stream learns another one, and only from the
very first packets: one source, one SSRC, one payload type, rising sequence numbers, paced like
media, decided within 250 ms and out of five packets kept. Until these 250 ms are over a packet
from the signalled address wins; after that the latch is locked until the session is negotiated
anew. SRTP needs no guess: an authenticated packet proves its sender, and only such a packet
moves the latch.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Latch", "Verdict"]

LEARN_PACKETS: Final = 5
LEARN_SECONDS: Final = 0.25
AGREEING_PACKETS: Final = 3
PLAUSIBLE_STEP: Final = 16
PACED_SECONDS: Final = 0.015
"""Three packets of 10 ms media take longer than this, three that are fired off do not."""
SHORTEST_SPACING: Final = 0.005
BURST: Final = 4
"""Packets that may arrive at once and still be media with a packet every 5 ms: a flood is not."""


class Verdict(Enum):
    """What to do with a packet."""

    ACCEPT = "accept"
    HOLD = "hold"
    """Keep it: a later packet may prove its source; until then it counts for nothing."""
    DROP = "drop"


class _Candidate:
    __slots__ = ("agreeing", "payload_type", "sequence", "since", "ssrc")

    def __init__(self, ssrc: int, payload_type: int, sequence: int, since: float) -> None:
        self.since = since
        self.ssrc = ssrc
        self.payload_type = payload_type
        self.sequence = sequence
        self.agreeing = 1

    def is_paced(self, now: float) -> bool:
        """Whether its packets come like media: not all at once, and not in a flood."""
        elapsed = now - self.since
        most = BURST + elapsed / SHORTEST_SPACING
        return elapsed >= PACED_SECONDS and AGREEING_PACKETS <= self.agreeing <= most


class Latch:
    """The source of one received stream.

    Args:
        signalled: Address of the session description, in the back-end's own form.
        symmetric: Whether another source may be learned at the start.
    """

    __slots__ = ("_candidates", "_closes", "_held", "_signalled", "locked", "source", "symmetric")

    def __init__(self, signalled: Hashable, *, symmetric: bool) -> None:
        self.source = signalled
        self.symmetric = symmetric
        self.locked = not symmetric
        self._signalled = signalled
        self._candidates: dict[Hashable, _Candidate] = {}
        self._held = 0
        self._closes = float("-inf")

    def on_plain(
        self, source: Hashable, ssrc: int, payload_type: int, sequence: int, now: float
    ) -> Verdict:
        """Judge a packet that proves nothing about its sender; may lock the latch."""
        if source == self.source:
            self._lock(source)
            return Verdict.ACCEPT
        if source == self._signalled and now <= self._closes:
            self._lock(source)
            return Verdict.ACCEPT
        if self.locked:
            return Verdict.DROP
        if not self._held:
            self._closes = now + LEARN_SECONDS
        elif now > self._closes:
            self._lock(self.source)
            return Verdict.DROP
        candidate = self._candidates.get(source)
        if candidate is None:
            if self._held == LEARN_PACKETS:
                return Verdict.DROP
            self._candidates[source] = _Candidate(ssrc, payload_type, sequence, now)
            self._held += 1
            return Verdict.HOLD
        step = (sequence - candidate.sequence) & 0xFFFF
        if (
            ssrc != candidate.ssrc
            or payload_type != candidate.payload_type
            or not 0 < step <= PLAUSIBLE_STEP
        ):
            return Verdict.DROP
        candidate.sequence = sequence
        candidate.agreeing += 1
        if candidate.is_paced(now):
            self._lock(source)
            return Verdict.ACCEPT
        if self._held == LEARN_PACKETS:
            return Verdict.DROP
        self._held += 1
        return Verdict.HOLD

    def on_authenticated(self, source: Hashable, *, newest: bool) -> bool:
        """Take note of an authenticated packet; True when it moved the latch.

        Args:
            source: Where it came from.
            newest: Whether it continues the stream. A late packet does not move the latch:
                it may be an old one that somebody held back and sent from elsewhere.
        """
        if source == self.source:
            self.locked = True
            return False
        if not newest:
            return False
        self._lock(source)
        return True

    def _lock(self, source: Hashable) -> None:
        self.source = source
        self.locked = True
        self._candidates.clear()
