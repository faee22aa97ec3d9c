"""Samples of all streams, one a second: read from the columns at once, kept until they stop.

A row keeps what happened between one sample and the next, so two samples make one of twice the
time. When a row is full its pairs are merged, and from then on it is sampled half as often: a
call of any length has a whole course in the same space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.media.levels import SILENCE_DBOV
from callmeter.metrics.quality import mos_of, r_factor_of
from callmeter.metrics.series import StreamSeries
from callmeter.rtp.reception import reception_totals

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.media.lanes import LaneTable
    from callmeter.metrics.quality import Speech
    from callmeter.rtp.rtcp import ReportBlock
    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

    Flags = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["MAX_SAMPLES", "SampleTable"]

MAX_SAMPLES: Final = 300
"""Of a stream: up to five minutes, second by second."""
_STAGGER: Final = 64
"""Calls that began together fill their rows at so many different times: merging takes time."""

(
    _SECONDS,
    _SENT,
    _SENT_OCTETS,
    _RECEIVED,
    _OCTETS,
    _LOST,
    _EXPECTED,
    _FAILED,
    _REPLAYED,
    _LEVEL_POWER,
    _LEVEL_PACKETS,
) = range(11)
_SUMS: Final = 11
"""What adds up."""
_JITTER, _RTT, _REPORTED_JITTER, _REPORTED_LOSS = range(_SUMS, 15)
_LATEST: Final = slice(_JITTER, 15)
"""Of what the later sample counts."""
_SPACING: Final = 15
"""Of what the greater one counts."""
_FIELDS: Final = 16
_COUNT, _SINCE, _EXCESS, _LAST, _AT = range(5)
_SOURCE: Final = 8
_CLOCK_FIELDS: Final = 9
"""Of the regression: how many readings, the first one, the last, and four sums."""
LEAST_READINGS: Final = 10
_FRESH_S: Final = 0.5
"""A reading of an older packet is none of this second."""
_CLOCK_SET_S: Final = 0.25
"""A transit time that changes by more is a new clock, or a new path."""
_TIMESTAMPS: Final = float(1 << 32)
_SHORTEST_S: Final = 0.05
"""Less than this, after a pause of the loop or at the end of a call, is no sample."""


class SampleTable:
    """Rows in step with those of the packet tables.

    Args:
        reception: Received streams.
        sending: Sent streams.
        lanes: What SRTP refused and how loud it was.
    """

    def __init__(self, reception: StreamTable, sending: SendTable, lanes: LaneTable) -> None:
        self._reception = reception
        self._sending = sending
        self._lanes = lanes
        rows = reception.capacity
        self._samples = np.zeros((rows, MAX_SAMPLES, _FIELDS), np.float32)
        self._before = np.zeros((rows, _SUMS))
        self._peak = np.full(rows, -np.inf)
        self._count = np.zeros(rows, np.int64)
        self._stride = np.ones(rows, np.int64)
        self._waited = np.zeros(rows, np.int64)
        self._reported = np.full((rows, 3), np.nan)
        self._clock = np.zeros((rows, _CLOCK_FIELDS))
        self._active = np.zeros(rows, np.bool_)
        self._speech: dict[int, Speech] = {}

    def begin(self, row: int, now: float, speech: Speech | None = None) -> None:
        """Sample a row from now on; one that is sampled already goes on.

        Args:
            row: The stream.
            now: Loop time.
            speech: What it carries, for the E-model; None has no MOS.
        """
        if len(self._active) < self._reception.capacity:
            self._grow(self._reception.capacity)
        if speech is None:
            self._speech.pop(row, None)
        else:
            self._speech[row] = speech
        if self._is_active(row):
            return
        self._reported[row] = np.nan
        self._clock[row] = 0
        self._count[row], self._stride[row], self._waited[row] = 0, 1, 0
        self._peak[row] = -np.inf
        self._active[row] = True
        rows = np.array([row])
        self._before[rows] = self._totals(rows, now)

    def note_report(self, row: int, rtt_s: float | None, block: ReportBlock | None) -> None:
        """What the peer's latest report says of the packets sent; None leaves it as it was."""
        if not self._is_active(row):
            return
        if rtt_s is not None:
            self._reported[row, 0] = rtt_s * 1e3
        if block is not None:
            clock_rate = self._sending.clock_rate[row]
            self._reported[row, 1:] = block.jitter / clock_rate * 1e3, block.fraction_lost / 2.56

    def note_reports(
        self, rows: Integers, about: Flags, trips: Floats, fractions: Floats, jitters: Floats
    ) -> None:
        """As `note_report`, of many rows.

        Args:
            rows: They, each once.
            about: Which reports speak of the packets sent.
            trips: Round trips in seconds, NaN where there is none.
            fractions: Shares of packets lost.
            jitters: In seconds.
        """
        active = rows < len(self._active)
        active[active] = self._active[rows[active]]
        timed = active & np.isfinite(trips)
        self._reported[rows[timed], 0] = trips[timed] * 1e3
        told = active & about
        self._reported[rows[told], 1] = jitters[told] * 1e3
        self._reported[rows[told], 2] = fractions[told] * 100

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
        self._note_clock(rows, now)
        self._waited[rows] += 1
        self._take(rows[self._waited[rows] >= self._stride[rows]], now)

    def series(self, row: int) -> StreamSeries:
        """The course of a row so far; nothing when it is not sampled."""
        if not self._is_active(row):
            return StreamSeries()
        samples = self._samples[row, : self._count[row]].astype(np.float64)
        return _series(samples, self._speech.get(row))

    def skew_ppm(self, row: int) -> float | None:
        """How much the peer's media clock is faster than the clock here; None as yet."""
        if not self._is_active(row):
            return None
        count, _, _, _, at, excess, at_at, at_excess, _ = self._clock[row].tolist()
        if count < LEAST_READINGS:
            return None
        # Packets of a clock that is fast seem to travel less and less.
        return float(-(count * at_excess - at * excess) / (count * at_at - at * at) * 1e6)

    def mean_jitter_ms(self, row: int) -> float | None:
        """Mean of the jitter of all seconds; None before the first second."""
        if not self._is_active(row):
            return None
        samples = self._samples[row, : self._count[row]]
        seconds, jitter = samples[:, _SECONDS], samples[:, _JITTER]
        heard = np.isfinite(jitter)
        if not heard.any():
            return None
        return float(np.average(jitter[heard], weights=seconds[heard]))

    def _note_clock(self, rows: Integers, now: float) -> None:
        """Add a reading of the transit time of each row to its regression over time."""
        table = self._reception
        arrival, transit, rate = table.last_arrival[rows], table.transit[rows], table.clock_rate
        fresh = (now - arrival < _FRESH_S) & np.isfinite(transit)
        rows, arrival = rows[fresh], arrival[fresh]
        rate = rate[rows]
        clock = self._clock[rows]
        wrap = _TIMESTAMPS / rate
        excess = transit[fresh] / rate - clock[:, _EXCESS]
        excess -= wrap * np.round((excess - clock[:, _LAST]) / wrap)
        source = table.ssrc[rows]
        anew = (clock[:, _COUNT] == 0) | (source != clock[:, _SOURCE])
        anew |= np.abs(excess - clock[:, _LAST]) > _CLOCK_SET_S
        clock[anew] = 0
        clock[anew, _SINCE] = arrival[anew]
        clock[anew, _EXCESS] = transit[fresh][anew] / rate[anew]
        clock[anew, _SOURCE] = source[anew]
        excess[anew] = 0
        at = arrival - clock[:, _SINCE]
        clock[:, _LAST] = excess
        clock[:, _COUNT] += 1
        for field, value in zip(
            range(_AT, _AT + 4), (at, excess, at * at, at * excess), strict=True
        ):
            clock[:, field] += value
        self._clock[rows] = clock

    def _is_active(self, row: int) -> bool:
        return row < len(self._active) and bool(self._active[row])

    def _totals(self, rows: Integers, now: float) -> Floats:
        totals = np.empty((len(rows), _SUMS))
        sending, reception, lanes = self._sending, self._reception, self._lanes
        received, lost, expected = reception_totals(reception, rows)
        totals[:, _SECONDS] = now
        totals[:, _SENT] = sending.packets[rows]
        totals[:, _SENT_OCTETS] = sending.octets[rows]
        totals[:, _RECEIVED] = received
        totals[:, _OCTETS] = reception.octets[rows]
        totals[:, _LOST] = lost
        totals[:, _EXPECTED] = expected
        totals[:, _FAILED] = lanes.srtp_failures[rows]
        totals[:, _REPLAYED] = lanes.srtp_replays[rows]
        totals[:, _LEVEL_POWER] = lanes.level_power[rows]
        totals[:, _LEVEL_PACKETS] = lanes.level_packets[rows]
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
        self._samples[rows, places, _RTT : _REPORTED_LOSS + 1] = self._reported[rows]
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
        latest = second[:, _LATEST].copy()
        samples[:half, :_SUMS] = sums
        samples[:half, _LATEST] = latest
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
        self._reported = np.concatenate([self._reported, np.full((rows - before, 3), np.nan)])
        self._clock = np.concatenate([self._clock, np.zeros((rows - before, _CLOCK_FIELDS))])
        self._peak = np.concatenate([self._peak, np.full(rows - before, -np.inf)])
        for name, fresh in (("_count", 0), ("_stride", 1), ("_waited", 0), ("_active", 0)):
            column = getattr(self, name)
            more = np.full(rows - before, fresh, column.dtype)
            setattr(self, name, np.concatenate([column, more]))


def _series(samples: Floats, speech: Speech | None) -> StreamSeries:
    seconds = samples[:, _SECONDS]
    lost, expected = np.maximum(samples[:, _LOST], 0), samples[:, _EXPECTED]
    share = np.where(expected > 0, lost / np.maximum(expected, 1) * 100, np.nan)
    rtt = samples[:, _RTT]
    reported = samples[:, _REPORTED_LOSS], samples[:, _REPORTED_JITTER]
    return StreamSeries(
        at_ms=_values(np.cumsum(seconds) * 1e3),
        send={
            "packets_sent_rate_ps": _values(samples[:, _SENT] / seconds),
            "bytes_sent_rate_bps": _values(samples[:, _SENT_OCTETS] * 8 / seconds),
            "fraction_lost": _values(reported[0]),
            "jitter_ms": _values(reported[1]),
            "rtt_ms": _values(rtt),
            **_quality(speech, *reported, rtt),
        },
        receive={
            "packets_recv_rate_ps": _values(samples[:, _RECEIVED] / seconds),
            "bytes_recv_rate_bps": _values(samples[:, _OCTETS] * 8 / seconds),
            "fraction_lost": _values(share),
            "jitter_ms": _values(samples[:, _JITTER]),
            "max_packet_spacing": _values(samples[:, _SPACING]),
            "rtt_ms": _values(rtt),
            **_quality(speech, share, samples[:, _JITTER], rtt),
            "srtp_decrypt_failures": _values(samples[:, _FAILED]),
            "srtp_replayed": _values(samples[:, _REPLAYED]),
            "audio_level_rms": _values(_levels(samples)),
        },
    )


def _quality(
    speech: Speech | None, loss: Floats, jitter: Floats, rtt: Floats
) -> dict[str, tuple[float | None, ...]]:
    """The E-model over the samples; None where there was neither loss nor jitter to measure."""
    if speech is None:
        return {}
    measured = zip(_values(loss), _values(jitter), _values(rtt), strict=True)
    ratings = [
        None
        if loss_percent is None or jitter_ms is None
        else r_factor_of(speech, loss_percent=loss_percent, jitter_ms=jitter_ms, rtt_ms=rtt_ms)
        for loss_percent, jitter_ms, rtt_ms in measured
    ]
    return {
        "mos": tuple(None if rating is None else mos_of(rating) for rating in ratings),
        "r_factor": tuple(ratings),
    }


def _levels(samples: Floats) -> Floats:
    """Mean level of each sample in dBov, NaN where nothing was measured."""
    packets = samples[:, _LEVEL_PACKETS]
    power = samples[:, _LEVEL_POWER] / np.maximum(packets, 1)
    silence = 10 ** (SILENCE_DBOV / 10)
    return np.where(packets > 0, 10 * np.log10(np.maximum(power, silence)), np.nan)


def _values(column: Floats) -> tuple[float | None, ...]:
    usable = np.isfinite(column).tolist()
    return tuple(
        value if good else None for value, good in zip(column.tolist(), usable, strict=True)
    )
