"""State of sent RTP streams: next sequence number and timestamp, counters; a row per stream."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from callmeter.rtp.columns import ColumnTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["SendTable"]


class SendTable(ColumnTable):
    """One row per sent SSRC.

    Attributes:
        ssrc: Synchronisation source.
        sequence: Number of the next packet, 16 bits.
        timestamp: Timestamp of the next packet, 32 bits.
        packets: Packets sent.
        octets: Payload octets sent.
        clock_rate: Timestamp units a second.
        last_timestamp: Timestamp of the last packet.
        first_sent, last_sent: Seconds; NaN before the first packet.
    """

    ssrc: NDArray[np.int64]
    sequence: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    packets: NDArray[np.int64]
    octets: NDArray[np.int64]
    clock_rate: NDArray[np.float64]
    last_timestamp: NDArray[np.int64]
    first_sent: NDArray[np.float64]
    last_sent: NDArray[np.float64]

    COLUMNS: ClassVar[Mapping[str, tuple[str, int | float]]] = {
        "ssrc": ("i8", 0),
        "sequence": ("i8", 0),
        "timestamp": ("i8", 0),
        "packets": ("i8", 0),
        "octets": ("i8", 0),
        "clock_rate": ("f8", 8000.0),
        "last_timestamp": ("i8", 0),
        "first_sent": ("f8", math.nan),
        "last_sent": ("f8", math.nan),
    }

    def allocate(
        self, ssrc: int, sequence: int, timestamp: int, clock_rate: int = 8000
    ) -> int | None:
        """Take a row for a new stream.

        Args:
            ssrc: Synchronisation source, random.
            sequence: First sequence number, random; below 2^15 under SRTP, so that the peer
                cannot miss the first wrap (RFC 3711 section 3.3.1).
            timestamp: First timestamp, random.
            clock_rate: Timestamp units a second.

        Returns:
            The row, or None when the table is full.
        """
        row = self._take_row()
        if row is not None:
            self.ssrc[row] = ssrc
            self.sequence[row] = sequence & 0xFFFF
            self.timestamp[row] = timestamp & 0xFFFF_FFFF
            self.clock_rate[row] = clock_rate
        return row

    def advance(
        self,
        rows: NDArray[np.integer] | slice,
        steps: NDArray[np.integer] | int,
        octets: NDArray[np.integer] | int,
        now: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count one packet on each of the rows.

        Args:
            rows: Row numbers, each at most once, or a slice.
            steps: Timestamp units these packets last.
            octets: Payload octets of each.
            now: Seconds.

        Returns:
            Sequence numbers and timestamps of these packets, shape (n,).
        """
        sequences, timestamps = self.sequence[rows], self.timestamp[rows]
        if isinstance(rows, slice):
            sequences, timestamps = sequences.copy(), timestamps.copy()
        self.sequence[rows] = (sequences + 1) & 0xFFFF
        self.timestamp[rows] = (timestamps + steps) & 0xFFFF_FFFF
        fresh = self.packets[rows] == 0
        if fresh.any():
            first = self.first_sent[rows]
            first[fresh] = now
            self.first_sent[rows] = first
        self.packets[rows] += 1
        self.octets[rows] += octets
        self.last_timestamp[rows] = timestamps
        self.last_sent[rows] = now
        return sequences, timestamps

    def skip(self, rows: NDArray[np.integer] | slice, steps: NDArray[np.integer] | int) -> None:
        """Let the media clock run on without a packet: silence, hold, or a packet not sent."""
        self.timestamp[rows] = (self.timestamp[rows] + steps) & 0xFFFF_FFFF

    def advance_one(
        self, row: int, step: int, octets: int, now: float, *, timestamp: int | None = None
    ) -> tuple[int, int]:
        """Count one packet.

        Args:
            row: Row number.
            step: Timestamp units the media clock moves on.
            octets: Payload octets.
            now: Seconds.
            timestamp: Given when the packet carries another timestamp than the media clock's,
                as telephone events do.

        Returns:
            Sequence number and timestamp of the packet.
        """
        sequence = int(self.sequence[row])
        clock = int(self.timestamp[row])
        self.sequence[row] = (sequence + 1) & 0xFFFF
        self.timestamp[row] = (clock + step) & 0xFFFF_FFFF
        if self.packets[row] == 0:
            self.first_sent[row] = now
        self.packets[row] += 1
        self.octets[row] += octets
        self.last_timestamp[row] = clock
        self.last_sent[row] = now
        return sequence, clock if timestamp is None else timestamp & 0xFFFF_FFFF

    def media_time(self, row: int, now: float) -> int:
        """The RTP timestamp that `now` corresponds to, for a sender report (RFC 3550 6.4.1)."""
        elapsed = now - float(self.last_sent[row])
        if math.isnan(elapsed):
            return int(self.timestamp[row])
        moved = round(elapsed * float(self.clock_rate[row]))
        return (int(self.last_timestamp[row]) + moved) & 0xFFFF_FFFF

    def media_times(self, rows: NDArray[np.integer], now: float) -> NDArray[np.int64]:
        """As `media_time`, of many streams that have sent something."""
        moved = np.rint((now - self.last_sent[rows]) * self.clock_rate[rows])
        times: NDArray[np.int64] = self.last_timestamp[rows] + moved.astype(np.int64)
        return times & 0xFFFF_FFFF
