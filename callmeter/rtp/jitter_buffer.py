"""What a jitter buffer would have made of received packets, without playing any.

One row per stream, in numpy columns. A packet is decided when it arrives: it waits for its moment
("pushed"), comes after it ("late"), or so long before it that the buffer has no room ("early").
A number that is not there at its moment is lost.

The moment of a packet is its timestamp plus the offset of the stream. A fixed buffer sets the
offset by the first packet and keeps it. An adaptive one aims at the mean transit time plus four
times its mean deviation (Ramjee et al., 1994): it rises at once, and falls no faster than speech
can be shortened without being heard.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Final, cast

import numpy as np

from callmeter.jitter_buffer_config import JitterBufferSettings
from callmeter.rtp.columns import ColumnTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Integers = NDArray[np.integer]
    Floats = NDArray[np.float64]

__all__ = ["JitterBufferSettings", "JitterBufferStatistics", "JitterBufferTable"]

MAX_DROPOUT: Final = 3000
"""A leap from this on is a new beginning (RFC 3550 A.1)."""
MAX_MISORDER: Final = 100
"""A packet this far behind is a new beginning too."""
RESYNC_S: Final = 2.0
"""Timestamps that leave the arrivals by more are a new beginning."""
MAX_GAPS: Final = 64
"""Open gaps of a stream; of more, the oldest is given up."""

_SEQUENCES: Final = 1 << 16
_TIMESTAMPS: Final = 1 << 32
_HALF: Final = 1 << 31
_GAIN: Final = 1 / 16
_DEVIATIONS: Final = 4.0
_BATCH_PAYS: Final = 24
"""Below this many packets plain Python is faster than numpy."""
_SHRINK: Final = 0.1
"""How much of the time an adaptive buffer may leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterBufferStatistics:
    """One stream at one moment; None: nothing came yet.

    What came is pushed, late, early or duplicate, and nothing twice.

    Attributes:
        target_delay_ms: What the buffer aims at.
        current_delay_ms: How long the last pushed packet waits.
        average_jitter_ms: Moving mean of the difference in transit time of successive pushed
            packets.
        pushed: Packets that were there at their moment.
        lost: Numbers that were not, those that came late among them.
        late: Packets that came after their moment.
        early: Packets there was no room for.
        duplicates: Packets that were waiting already.
        restarts: New beginnings: another source, a jump of the numbers or of the timestamps.
        rtx_requests, rtx_success: Retransmissions; 0, there are none.
    """

    target_delay_ms: float | None
    current_delay_ms: float | None
    average_jitter_ms: float | None
    pushed: int
    lost: int
    late: int
    early: int
    duplicates: int
    restarts: int
    rtx_requests: int = 0
    rtx_success: int = 0

    def metrics(self) -> dict[str, int | float | None]:
        """The values by catalogue key, ready for a report."""
        return {f"jitter_buffer_{key}": value for key, value in asdict(self).items()}


@dataclass(slots=True)
class _Gap:
    """Missing numbers that may still come.

    Attributes:
        missing: Numbers with cycles.
        offset: Of the stream when they were missed.
        closes: When the last one's moment is over.
    """

    missing: set[int]
    offset: float
    closes: float


class JitterBufferTable(ColumnTable):
    """One row per stream.

    Attributes:
        highest: Highest sequence number with its cycles; -1 before the first packet.
        clock_rate: Timestamp units a second.
        pushed, lost, late, early, duplicates, restarts: As in `JitterBufferStatistics`.
    """

    highest: NDArray[np.int64]
    stamp: NDArray[np.int64]
    pushed: NDArray[np.int64]
    lost: NDArray[np.int64]
    late: NDArray[np.int64]
    early: NDArray[np.int64]
    duplicates: NDArray[np.int64]
    restarts: NDArray[np.int64]
    played: NDArray[np.int64]
    adaptive: NDArray[np.bool_]
    clock_rate: Floats
    least: Floats
    most: Floats
    room: Floats
    delay: Floats
    media: Floats
    origin: Floats
    arrival: Floats
    offset: Floats
    mean: Floats
    deviation: Floats
    transit: Floats
    jitter: Floats
    waits: Floats

    COLUMNS: ClassVar[Mapping[str, tuple[str, int | float]]] = {
        "highest": ("i8", -1),
        "stamp": ("i8", 0),
        "pushed": ("i8", 0),
        "lost": ("i8", 0),
        "late": ("i8", 0),
        "early": ("i8", 0),
        "duplicates": ("i8", 0),
        "restarts": ("i8", 0),
        "played": ("i8", -1),
        "adaptive": ("?", 0),
        "clock_rate": ("f8", 8000.0),
        "least": ("f8", 0.0),
        "most": ("f8", 0.0),
        "room": ("f8", 0.0),
        "delay": ("f8", 0.0),
        "media": ("f8", 0.0),
        "origin": ("f8", 0.0),
        "arrival": ("f8", 0.0),
        "offset": ("f8", 0.0),
        "mean": ("f8", 0.0),
        "deviation": ("f8", 0.0),
        "transit": ("f8", math.nan),
        "jitter": ("f8", 0.0),
        "waits": ("f8", math.nan),
    }

    def __init__(self, rows: int = 64, limit: int = 65_536) -> None:
        self._gaps: dict[int, list[_Gap]] = {}
        super().__init__(rows, limit)

    def _bind(self) -> None:
        # Reading one element through a memoryview gives a plain number, five times as fast.
        self._one = cast(
            "dict[str, memoryview[float]]",
            {name: memoryview(getattr(self, name)) for name in self.COLUMNS},
        )
        self._whole = cast("dict[str, memoryview[int]]", self._one)

    def allocate(self, settings: JitterBufferSettings, clock_rate: int = 8000) -> int | None:
        """Take a row; None when the table is full."""
        row = self._take_row()
        if row is not None:
            self.adaptive[row] = settings.adaptive
            self.clock_rate[row] = clock_rate
            self.delay[row], self.room[row] = settings.delay, settings.room
            self.least[row], self.most[row] = settings.least, settings.most
        return row

    def release(self, row: int) -> None:
        """Give a row back; its counters are gone.

        Raises:
            LocalProtocolError: The row is not in use.
        """
        super().release(row)
        self._gaps.pop(row, None)

    def update(
        self,
        rows: Integers,
        sequences: Integers,
        timestamps: Integers,
        arrivals: Floats,
        *,
        distinct: bool = False,
    ) -> None:
        """Decide a batch of packets, in order of arrival; a row may occur several times.

        Args:
            rows: Row of each packet.
            sequences: Sequence numbers, 16 bits.
            timestamps: RTP timestamps, 32 bits.
            arrivals: Seconds, any clock that does not step.
            distinct: No row occurs twice, as the caller knows.
        """
        if len(rows) < _BATCH_PAYS:
            for packet in zip(
                rows.tolist(),
                sequences.tolist(),
                timestamps.tolist(),
                arrivals.tolist(),
                strict=True,
            ):
                self.update_one(*packet)
            return
        if distinct or self.are_distinct(rows):
            self._update_distinct(rows, sequences, timestamps, arrivals)
            return
        ranks = _occurrence(rows)
        for rank in range(int(ranks.max(initial=-1)) + 1):
            chosen = np.flatnonzero(ranks == rank)
            self._update_distinct(
                rows[chosen], sequences[chosen], timestamps[chosen], arrivals[chosen]
            )

    def _update_distinct(
        self, rows: Integers, sequences: Integers, timestamps: Integers, arrivals: Floats
    ) -> None:
        before = self.highest[rows]
        media = self.media[rows] + _signed(timestamps - self.stamp[rows]) / self.clock_rate[rows]
        transit = arrivals - self.origin[rows] - media
        mean = self.mean[rows]
        next_one = ((before + 1) & (_SEQUENCES - 1)) == sequences
        next_one &= np.abs(transit - mean) <= RESYNC_S
        next_one &= before >= 0
        if not next_one.all():
            odd = ~next_one
            for packet in zip(
                rows[odd].tolist(),
                sequences[odd].tolist(),
                timestamps[odd].tolist(),
                arrivals[odd].tolist(),
                strict=True,
            ):
                self.update_one(*packet)
            rows, media, transit = rows[next_one], media[next_one], transit[next_one]
            timestamps, arrivals = timestamps[next_one], arrivals[next_one]
            before, mean = before[next_one], mean[next_one]
        self.highest[rows] = before + 1
        self.stamp[rows] = timestamps
        self.media[rows] = media
        offset = self.offset[rows]
        self._decide(rows, offset - transit, transit)
        self._learn(rows, transit, mean, offset, arrivals)

    def _decide(self, rows: Integers, waits: Floats, transit: Floats) -> None:
        """Which packets, each ahead of all before it, are there at their moment."""
        late, early = waits < 0, waits > self.room[rows]
        missed = late | early
        if missed.any():
            self.late[rows] += late
            self.lost[rows] += late
            self.early[rows] += early
            pushed = ~missed
            rows, waits, transit = rows[pushed], waits[pushed], transit[pushed]
        self.pushed[rows] += 1
        jitter = self.jitter[rows]
        jitter += (np.abs(transit - self.transit[rows]) - jitter) * _GAIN
        self.jitter[rows] = jitter
        self.transit[rows] = transit
        self.waits[rows] = waits

    def _learn(
        self, rows: Integers, transit: Floats, mean: Floats, offset: Floats, arrivals: Floats
    ) -> None:
        """Follow the transit times, and with an adaptive buffer the offset."""
        mean += (transit - mean) * _GAIN
        deviation = self.deviation[rows]
        deviation += (np.abs(transit - mean) - deviation) * _GAIN
        self.mean[rows], self.deviation[rows] = mean, deviation
        passed = np.maximum(arrivals - self.arrival[rows], 0)
        self.arrival[rows] = arrivals
        adaptive = self.adaptive[rows]
        if not adaptive.any():
            return
        delay = np.clip(_DEVIATIONS * deviation, self.least[rows], self.most[rows])
        moved = np.maximum(mean + delay, offset - _SHRINK * passed)
        if not adaptive.all():
            rows, delay, moved = rows[adaptive], delay[adaptive], moved[adaptive]
        self.delay[rows] = delay
        self.offset[rows] = moved

    def update_one(self, row: int, sequence: int, timestamp: int, arrival: float) -> None:
        """Decide one packet; the same rules as `update`."""
        one, whole = self._one, self._whole
        before, rate = whole["highest"][row], one["clock_rate"][row]
        units = (timestamp - whole["stamp"][row] + _HALF) % _TIMESTAMPS - _HALF
        media = one["media"][row] + units / rate
        transit = arrival - one["origin"][row] - media
        ahead = (sequence - before) % _SEQUENCES
        near = before >= 0 and abs(transit - one["mean"][row]) <= RESYNC_S
        if near and ahead == 1:
            self._advance_one(row, before + 1, timestamp, media, arrival, transit)
            return
        self._close_gaps(row, arrival)
        if not near or MAX_DROPOUT <= ahead < _SEQUENCES - MAX_MISORDER:
            self._begin(row, sequence, timestamp, arrival)
        elif 0 < ahead < MAX_DROPOUT:
            self._open_gap(row, before, ahead, media)
            self._advance_one(row, before + ahead, timestamp, media, arrival, transit)
        else:
            self._fill(row, before - -ahead % _SEQUENCES, transit)

    def _advance_one(
        self,
        row: int,
        highest: int,
        timestamp: int,
        media: float,
        arrival: float,
        transit: float,
    ) -> None:
        """A packet ahead of all before it; `_decide` and `_learn` in plain numbers."""
        one, whole = self._one, self._whole
        whole["highest"][row], whole["stamp"][row], one["media"][row] = highest, timestamp, media
        offset = one["offset"][row]
        waits = offset - transit
        if waits < 0:
            whole["late"][row] += 1
            whole["lost"][row] += 1
        elif waits > one["room"][row]:
            whole["early"][row] += 1
        else:
            whole["pushed"][row] += 1
            jitter = one["jitter"][row]
            step = abs(transit - one["transit"][row])
            one["jitter"][row] = jitter + (step - jitter) * _GAIN
            one["transit"][row], one["waits"][row] = transit, waits
        mean, deviation = one["mean"][row], one["deviation"][row]
        mean += (transit - mean) * _GAIN
        deviation += (abs(transit - mean) - deviation) * _GAIN
        one["mean"][row], one["deviation"][row] = mean, deviation
        passed = max(arrival - one["arrival"][row], 0.0)
        one["arrival"][row] = arrival
        if one["adaptive"][row]:
            delay = min(max(_DEVIATIONS * deviation, one["least"][row]), one["most"][row])
            one["delay"][row] = delay
            one["offset"][row] = max(mean + delay, offset - _SHRINK * passed)

    def pass_by(self, row: int, sequence: int, arrival: float) -> None:
        """A packet came that no buffer keeps, such as a telephone event: it is not missing."""
        before = int(self.highest[row])
        ahead = (sequence - before) % _SEQUENCES
        if before < 0:
            return
        self._close_gaps(row, arrival)
        if 0 < ahead < MAX_DROPOUT:
            self._open_gap(row, before, ahead, float(self.media[row]))
            self.highest[row] = before + ahead
            return
        for gap in self._gaps.get(row, ()):
            gap.missing.discard(before - -ahead % _SEQUENCES)

    def restart(self, row: int) -> None:
        """Another source follows, whose first packet is a new beginning."""
        if self.highest[row] >= 0:
            self.restarts[row] += 1
            self._close_gaps(row, math.inf)
            self.highest[row] = -1

    def _begin(self, row: int, sequence: int, timestamp: int, arrival: float) -> None:
        self.restart(row)
        self.highest[row], self.stamp[row] = sequence, timestamp
        self.origin[row] = self.arrival[row] = arrival
        self.media[row] = self.mean[row] = self.transit[row] = 0.0
        self.deviation[row] = self.delay[row] / _DEVIATIONS
        self.offset[row] = self.waits[row] = self.delay[row]
        self.played[row] = -1
        self.pushed[row] += 1

    def _open_gap(self, row: int, before: int, ahead: int, media: float) -> None:
        offset, since = float(self.offset[row]), float(self.media[row])
        last = since + (media - since) * (ahead - 1) / ahead
        gap = _Gap(
            set(range(before + 1, before + ahead)), offset, float(self.origin[row]) + last + offset
        )
        gaps = self._gaps.setdefault(row, [])
        gaps.append(gap)
        if len(gaps) > MAX_GAPS:
            self._give_up(row, gaps.pop(0))

    def _close_gaps(self, row: int, now: float) -> None:
        """Count what did not come in time."""
        gaps = self._gaps.get(row)
        if not gaps:
            return
        self._gaps[row] = [gap for gap in gaps if gap.closes >= now]
        for gap in gaps:
            if gap.closes < now:
                self._give_up(row, gap)

    def _give_up(self, row: int, gap: _Gap) -> None:
        self.lost[row] += len(gap.missing)
        self.played[row] = max(int(self.played[row]), *gap.missing, -1)

    def _fill(self, row: int, number: int, transit: float) -> None:
        """A packet that is not ahead of all others."""
        for gap in self._gaps.get(row, ()):
            if number in gap.missing:
                gap.missing.discard(number)
                waits = gap.offset - transit
                break
        else:
            waited = transit <= self.offset[row] and number > self.played[row]
            self._one_more("duplicates" if waited else "late", row)
            return
        if waits < 0:
            self._one_more("late", row)
            self._one_more("lost", row)
        elif waits > self.room[row]:
            self._one_more("early", row)
        else:
            self._one_more("pushed", row)

    def _one_more(self, column: str, row: int) -> None:
        getattr(self, column)[row] += 1

    def statistics(self, row: int, now: float) -> JitterBufferStatistics:
        """Read a row; what did not come by `now` is lost.

        Args:
            row: One in use.
            now: Seconds, on the clock of the arrivals.
        """
        self._close_gaps(row, now)
        begun = not math.isnan(self.waits[row])
        return JitterBufferStatistics(
            target_delay_ms=float(self.delay[row]) * 1e3 if begun else None,
            current_delay_ms=float(self.waits[row]) * 1e3 if begun else None,
            average_jitter_ms=float(self.jitter[row]) * 1e3 if begun else None,
            pushed=int(self.pushed[row]),
            lost=int(self.lost[row]),
            late=int(self.late[row]),
            early=int(self.early[row]),
            duplicates=int(self.duplicates[row]),
            restarts=int(self.restarts[row]),
        )


def _signed(units: Integers) -> Integers:
    """Differences of 32-bit timestamps as steps forward or backward."""
    signed: Integers = ((units + _HALF) & (_TIMESTAMPS - 1)) - _HALF
    return signed


def _occurrence(rows: Integers) -> Integers:
    """For each packet, how many of its row come before it in the batch."""
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return ranks
