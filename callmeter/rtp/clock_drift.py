"""How a clock runs against another, by linear regression over pairs of readings."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["REPORTS", "ClockDrift"]

REPORTS: Final = 20
"""Sender reports that are looked at."""
LEAST: Final = 3
"""Two always lie on a line."""
RESET_S: Final = 1.0
"""A media clock that leaves the wall clock by so much between two reports was set anew."""

_TIMESTAMPS: Final = 1 << 32
_HALF: Final = 1 << 31
_NTP: Final = 1 << 32


class ClockDrift:
    """The media clock of a sender against its wall clock, by its sender reports.

    Both readings are the sender's own (RFC 3550 section 6.4.1), so that the network has no part
    in it.

    Args:
        clock_rate: Timestamp units a second.
    """

    __slots__ = ("_clock_rate", "_readings", "_ssrc")

    def __init__(self, clock_rate: float) -> None:
        self._clock_rate = clock_rate
        self._ssrc: int | None = None
        self._readings: deque[tuple[int, int]] = deque(maxlen=REPORTS)

    def add(self, ssrc: int, ntp: int, timestamp: int) -> None:
        """Take a sender report.

        Args:
            ssrc: Its sender; another one begins anew.
            ntp: 64-bit NTP time.
            timestamp: RTP timestamp of the same moment, 32 bits.
        """
        if ssrc != self._ssrc:
            self._ssrc = ssrc
            self._readings.clear()
        if self._readings:
            ntp_before, before = self._readings[-1]
            units = (timestamp - before + _HALF) % _TIMESTAMPS - _HALF
            timestamp = before + units
            passed = (ntp - ntp_before) / _NTP
            if passed <= 0 or abs(units / self._clock_rate - passed) > RESET_S:
                self._readings.clear()
        self._readings.append((ntp, timestamp))

    @property
    def ppm(self) -> float | None:
        """Parts in a million by which the media clock is faster; None below three reports."""
        count = len(self._readings)
        if count < LEAST:
            return None
        ntp_first, first = self._readings[0]
        wall = [(ntp - ntp_first) / _NTP for ntp, _ in self._readings]
        # What is left of the media time when the wall time is taken away is small and exact.
        excess = [
            (timestamp - first) / self._clock_rate - at
            for at, (_, timestamp) in zip(wall, self._readings, strict=True)
        ]
        mean_at, mean_excess = sum(wall) / count, sum(excess) / count
        spread = sum((at - mean_at) ** 2 for at in wall)
        slope = sum(
            (at - mean_at) * (value - mean_excess) for at, value in zip(wall, excess, strict=True)
        )
        return slope / spread * 1e6
