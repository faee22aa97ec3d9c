"""Samples of all streams, one a second: read from the columns at once, kept until they stop.

A row keeps what happened between one sample and the next, so two samples make one of twice the
time. When a row is full its pairs are merged, and from then on it is sampled half as often: a
call of any length has a whole course in the same space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.metrics.series import StreamSeries
from callmeter.rtp.reception import reception_totals

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["MAX_SAMPLES", "SampleTable"]

MAX_SAMPLES: Final = 300
"""Of a stream: up to five minutes, second by second."""
_STAGGER: Final = 64
"""Calls that began together fill their rows at so many different times: merging takes time."""

_SECONDS, _SENT, _SENT_OCTETS, _RECEIVED, _OCTETS, _LOST, _EXPECTED = range(7)
_SUMS: Final = 7
"""What adds up; behind it the two that do not."""
_JITTER: Final = 7
_SPACING: Final = 8
_FIELDS: Final = 9
_SHORTEST_S: Final = 0.05
"""Less than this, after a pause of the loop or at the end of a call, is no sample."""


class SampleTable:
    """Rows in step with those of the packet tables.

    Args:
        reception: Received streams.
        sending: Sent streams.
    """

    def __init__(self, reception: StreamTable, sending: SendTable) -> None:
        self._reception = reception
        self._sending = sending
        rows = reception.capacity
        self._samples = np.zeros((rows, MAX_SAMPLES, _FIELDS), np.float32)
        self._before = np.zeros((rows, _SUMS))
        self._peak = np.full(rows, -np.inf)
        self._count = np.zeros(rows, np.int64)
        self._stride = np.ones(rows, np.int64)
        self._waited = np.zeros(rows, np.int64)
        self._active = np.zeros(rows, np.bool_)

    def begin(self, row: int, now: float) -> None:
        """Sample a row from now on; one that is sampled already goes on."""
        if len(self._active) < self._reception.capacity:
            self._grow(self._reception.capacity)
        if self._is_active(row):
            return
        self._count[row], self._stride[row], self._waited[row] = 0, 1, 0
        self._peak[row] = -np.inf
        self._active[row] = True
        rows = np.array([row])
        self._before[rows] = self._totals(rows, now)

    def end(self, row: int, now: float) -> StreamSeries:
        """Sample a row no more; returns its course."""
        if self._is_active(row):
            self._take(np.array([row]), now)
        course = self.series(row)
        self._active[row : row + 1] = False
        return course

    def on_second(self, now: float) -> None:
        """Take the samples that are due."""
        rows = np.flatnonzero(self._active)
        if not len(rows):
            return
        self._note_spacing(rows)
        self._waited[rows] += 1
        self._take(rows[self._waited[rows] >= self._stride[rows]], now)

    def series(self, row: int) -> StreamSeries:
        """The course of a row so far; nothing when it is not sampled."""
        if not self._is_active(row):
            return StreamSeries()
        return _series(self._samples[row, : self._count[row]].astype(np.float64))

    def _is_active(self, row: int) -> bool:
        return row < len(self._active) and bool(self._active[row])

    def _totals(self, rows: Integers, now: float) -> Floats:
        totals = np.empty((len(rows), _SUMS))
        sending, reception = self._sending, self._reception
        received, lost, expected = reception_totals(reception, rows)
        totals[:, _SECONDS] = now
        totals[:, _SENT] = sending.packets[rows]
        totals[:, _SENT_OCTETS] = sending.octets[rows]
        totals[:, _RECEIVED] = received
        totals[:, _OCTETS] = reception.octets[rows]
        totals[:, _LOST] = lost
        totals[:, _EXPECTED] = expected
        return totals

    def _note_spacing(self, rows: Integers) -> None:
        table = self._reception
        recent = np.maximum(table.spacing_max[rows], table.spacing_max_previous[rows])
        self._peak[rows] = np.maximum(self._peak[rows], recent)

    def _take(self, rows: Integers, now: float) -> None:
        rows = rows[now - self._before[rows, _SECONDS] >= _SHORTEST_S]
        self._note_spacing(rows)
        totals = self._totals(rows, now)
        places = self._count[rows]
        self._samples[rows, places, :_SUMS] = totals - self._before[rows]
        table = self._reception
        heard = totals[:, _RECEIVED] > 0
        jitter = table.jitter[rows] / table.clock_rate[rows] * 1e3
        self._samples[rows, places, _JITTER] = np.where(heard, jitter, np.nan)
        self._samples[rows, places, _SPACING] = self._peak[rows] * 1e3
        self._before[rows] = totals
        self._peak[rows] = -np.inf
        self._count[rows] += 1
        self._waited[rows] = 0
        full = rows[self._count[rows] >= MAX_SAMPLES - 2 * (rows % _STAGGER)]
        for row in full.tolist():
            self._halve(row)

    def _halve(self, row: int) -> None:
        """Merge the samples of a full row in pairs."""
        half = int(self._count[row]) // 2
        samples = self._samples[row]
        first, second = samples[0 : 2 * half : 2], samples[1 : 2 * half : 2]
        sums = first[:, :_SUMS] + second[:, :_SUMS]
        peaks = np.maximum(first[:, _SPACING], second[:, _SPACING])
        jitter = second[:, _JITTER].copy()
        samples[:half, :_SUMS] = sums
        samples[:half, _JITTER] = jitter
        samples[:half, _SPACING] = peaks
        self._count[row] = half
        self._stride[row] *= 2

    def _grow(self, rows: int) -> None:
        before = len(self._active)
        used = int(self._count.max())
        samples = np.zeros((rows, MAX_SAMPLES, _FIELDS), np.float32)
        samples[:before, :used] = self._samples[:, :used]
        self._samples = samples
        self._before = np.concatenate([self._before, np.zeros((rows - before, _SUMS))])
        self._peak = np.concatenate([self._peak, np.full(rows - before, -np.inf)])
        for name, fresh in (("_count", 0), ("_stride", 1), ("_waited", 0), ("_active", 0)):
            column = getattr(self, name)
            more = np.full(rows - before, fresh, column.dtype)
            setattr(self, name, np.concatenate([column, more]))


def _series(samples: Floats) -> StreamSeries:
    seconds = samples[:, _SECONDS]
    lost, expected = np.maximum(samples[:, _LOST], 0), samples[:, _EXPECTED]
    share = np.where(expected > 0, lost / np.maximum(expected, 1) * 100, np.nan)
    return StreamSeries(
        at_ms=_values(np.cumsum(seconds) * 1e3),
        send={
            "packets_sent_rate_ps": _values(samples[:, _SENT] / seconds),
            "bytes_sent_rate_bps": _values(samples[:, _SENT_OCTETS] * 8 / seconds),
        },
        receive={
            "packets_recv_rate_ps": _values(samples[:, _RECEIVED] / seconds),
            "bytes_recv_rate_bps": _values(samples[:, _OCTETS] * 8 / seconds),
            "fraction_lost": _values(share),
            "jitter_ms": _values(samples[:, _JITTER]),
            "max_packet_spacing": _values(samples[:, _SPACING]),
        },
    )


def _values(column: Floats) -> tuple[float | None, ...]:
    usable = np.isfinite(column).tolist()
    return tuple(
        value if good else None for value, good in zip(column.tolist(), usable, strict=True)
    )
