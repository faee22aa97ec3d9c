"""Which packets of a received stream were lost: its bursts and gaps while it runs.

A packet that is missing may only be late. So a gap is looked at again a moment later, and what has
not come by then is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.metrics.burst_gap import LossCounter
from callmeter.rtp.reception import reception_totals

if TYPE_CHECKING:
    from callmeter.metrics.burst_gap import BurstGap
    from callmeter.rtp.stream_table import StreamTable

__all__ = ["LossRecord"]

LATE_S: Final = 0.25
"""What comes this much later is lost."""
MAX_GAPS: Final = 64
"""Gaps that wait; of more, all are judged at once."""


class LossRecord:
    """The losses of one stream.

    Args:
        row: The stream's row.
        reception: Received streams; it notes gaps of this one from now on.

    Attributes:
        ptime_ms: Packet time.
        due: When `on_deadline` is to be called, or None.
    """

    __slots__ = ("_counter", "_gaps", "_reception", "_row", "due", "ptime_ms")

    def __init__(self, row: int, reception: StreamTable) -> None:
        self._row = row
        self._reception = reception
        self._counter = LossCounter()
        self._gaps: list[tuple[int, int, int]] = []
        self.due: float | None = None
        self.ptime_ms = 0.0
        reception.gaps_wanted[row] = True

    def on_gap(self, first: int, count: int, now: float) -> None:
        """Packets are missing, from this number (with its cycles) on."""
        if len(self._gaps) >= MAX_GAPS:
            self.settle()
        self._gaps.append((first, count, int(self._reception.ssrc[self._row])))
        if self.due is None:
            self.due = now + LATE_S

    def on_deadline(self, now: float) -> None:
        """Judge what has been missing for long enough."""
        if self.due is not None and self.due <= now:
            self.settle()

    def settle(self) -> None:
        """Judge all that is missing now."""
        gaps, self._gaps, self.due = self._gaps, [], None
        reception, row = self._reception, self._row
        ssrc = int(reception.ssrc[row])
        expected = int(reception_totals(reception, np.array([row]))[2][0])
        highest = int(reception.extended_max[row])
        for first, count, source in gaps:
            # The numbers of another source, or before a restart, are not those of now.
            if source != ssrc or first + count > highest:
                continue
            missing = set(reception.still_missing(row, first, count))
            seen_from = highest - reception.WINDOW + 1
            for number in range(first, first + count):
                if number < seen_from or number & 0xFFFF in missing:
                    self._counter.add(expected - (highest + 1 - number))

    def burst_gap(self, packets: int) -> BurstGap:
        """Bursts and gaps so far, of so many packets that were expected."""
        return self._counter.burst_gap(packets, self.ptime_ms)

    def burst_ratio(self, packets: int) -> float:
        """BurstR of ITU-T G.107 so far."""
        return self._counter.burst_ratio(packets)
