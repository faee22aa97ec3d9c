"""Accounting of received RTP streams: sequence, loss, jitter and spacing in numpy columns.

One row per synchronisation source, rules of RFC 3550 appendices A.1, A.3 and A.8. A batch of
packets is gathered, judged and scattered at once; what is not simply the next packet of its
stream takes the path of one packet at a time. A stream in order touches few columns: its counters
are brought up to date ("settled") when something odd happens, or when somebody reads them.
"""

from __future__ import annotations

import math
from math import isnan
from typing import TYPE_CHECKING, ClassVar, Final, cast

import numpy as np

from callmeter.rtp.columns import ColumnTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Octets = NDArray[np.uint64]
    Floats = NDArray[np.float64]

__all__ = ["JUMP_THRESHOLD", "MAX_DROPOUT", "MAX_MISORDER", "MIN_SEQUENTIAL", "StreamTable"]

MAX_DROPOUT: Final = 3000
"""A leap below this is a gap; beyond it the sender may have restarted (RFC 3550 A.1)."""
MAX_MISORDER: Final = 100
"""A packet this far behind is late; beyond it the sender may have restarted."""
MIN_SEQUENTIAL: Final = 2
"""Packets in sequence that make an unknown source valid."""
JUMP_THRESHOLD: Final = 300
"""More missing numbers than this in one leap are a jump, not loss."""

_SEQUENCES: Final = 1 << 16
_NO_SEQUENCE: Final = _SEQUENCES + 1
_NOT_RESUMED: Final = -2
_TIMESTAMPS: Final = float(1 << 32)
_WINDOW: Final = (1 << 128) - 1
_WINDOW_HALF: Final = (1 << 64) - 1
_BATCH_PAYS: Final = 16
"""Below this many packets plain Python is faster than numpy."""
_NOT_RUNNING: Final = -1.0
_MAX_GAPS: Final = 1024
_WINDOW_NUMBERS: Final = 128


class StreamTable(ColumnTable):
    """One row per received SSRC.

    Only the columns named here are for reading; `reception` makes statistics of them.

    Attributes:
        ssrc: Synchronisation source.
        extended_max: Highest sequence number with its cycles; -1 before the first packet.
        base: Sequence number the loss accounting starts at.
        octets: Payload octets.
        jitter: RFC 3550 A.8, in timestamp units.
        clock_rate: Timestamp units a second.
        first_arrival, last_arrival: Seconds; NaN before the first valid packet.
        rejected: Packets refused by A.1: in probation, or with a wild sequence number.
        duplicates: Packets seen before, in a window of 128.
        out_of_order: Packets behind the highest one, not seen before.
        resets: Sudden returns to low sequence numbers; a wrap is none.
        jumps: Leaps forward by more than `JUMP_THRESHOLD`.
        timestamp_jumps: Timestamps that moved by more than a second away from real time.
        ssrc_switches: Changes of the SSRC within the row.
        gaps_wanted: Each gap of the stream is put into `gaps`.
        gaps: Row, first missing number with its cycles, and how many, of the gaps since the owner
            last emptied the list; at most 1024.
        gap, gap_previous, gap_max: Longest run of missing numbers since the last `roll`, in the
            second before that, and before all that.
    """

    ssrc: Integers
    extended_max: Integers
    base: Integers
    octets: Integers
    bad_sequence: Integers
    probation: Integers
    settled_at: Integers
    settled: Integers
    surplus: Integers
    leapt: Integers
    window_low: Octets
    window_high: Octets
    expected_prior: Integers
    received_prior: Integers
    resumed_at: Integers
    earlier_received: Integers
    earlier_lost: Integers
    rejected: Integers
    duplicates: Integers
    out_of_order: Integers
    resets: Integers
    jumps: Integers
    timestamp_jumps: Integers
    ssrc_switches: Integers
    gap: Integers
    gap_previous: Integers
    gap_max: Integers
    gaps_wanted: NDArray[np.bool_]
    clock_rate: Floats
    wild: Floats
    jitter: Floats
    transit: Floats
    first_arrival: Floats
    last_arrival: Floats
    spacing_min: Floats
    spacing_max: Floats
    spacing_min_previous: Floats
    spacing_max_previous: Floats
    spacing_min_ever: Floats
    spacing_max_ever: Floats
    mark_arrival: Floats
    mark_packets: Integers
    mark_arrival_previous: Floats
    mark_packets_previous: Integers

    WINDOW: ClassVar[int] = _WINDOW_NUMBERS
    """How many numbers back duplicates are known, and what is missing."""

    COLUMNS: ClassVar[Mapping[str, tuple[str, int | float]]] = {
        "ssrc": ("i8", -1),
        "extended_max": ("i8", -1),
        "base": ("i8", 0),
        "octets": ("i8", 0),
        "bad_sequence": ("i8", _NO_SEQUENCE),
        "probation": ("i8", 0),
        "settled_at": ("i8", -1),
        "settled": ("i8", 0),
        "surplus": ("i8", 0),
        "leapt": ("i8", 0),
        "window_low": ("u8", 0),
        "window_high": ("u8", 0),
        "expected_prior": ("i8", 0),
        "received_prior": ("i8", 0),
        "resumed_at": ("i8", _NOT_RESUMED),
        "earlier_received": ("i8", 0),
        "earlier_lost": ("i8", 0),
        "rejected": ("i8", 0),
        "duplicates": ("i8", 0),
        "out_of_order": ("i8", 0),
        "resets": ("i8", 0),
        "jumps": ("i8", 0),
        "timestamp_jumps": ("i8", 0),
        "ssrc_switches": ("i8", 0),
        "gap": ("i8", 0),
        "gap_previous": ("i8", 0),
        "gap_max": ("i8", 0),
        "gaps_wanted": ("?", 0),
        "clock_rate": ("f8", 8000.0),
        "wild": ("f8", _NOT_RUNNING),
        "jitter": ("f8", 0.0),
        "transit": ("f8", math.nan),
        "first_arrival": ("f8", math.nan),
        "last_arrival": ("f8", math.nan),
        "spacing_min": ("f8", math.inf),
        "spacing_max": ("f8", -math.inf),
        "spacing_min_previous": ("f8", math.inf),
        "spacing_max_previous": ("f8", -math.inf),
        "spacing_min_ever": ("f8", math.inf),
        "spacing_max_ever": ("f8", -math.inf),
        "mark_arrival": ("f8", math.nan),
        "mark_packets": ("i8", 0),
        "mark_arrival_previous": ("f8", math.nan),
        "mark_packets_previous": ("i8", 0),
    }

    def __init__(self, rows: int = 64, limit: int = 65_536) -> None:
        self.gaps: list[tuple[int, int, int]] = []
        super().__init__(rows, limit)

    def _bind(self) -> None:
        # Reading one element through a memoryview gives a plain number, five times as fast.
        self._one: dict[str, memoryview] = {
            name: memoryview(getattr(self, name)) for name in self.COLUMNS
        }
        one = self._one
        self._order = one["extended_max"], one["wild"], one["octets"]
        floats = cast("dict[str, memoryview[float]]", one)
        self._timing = (
            floats["clock_rate"],
            floats["transit"],
            floats["jitter"],
            floats["last_arrival"],
            floats["spacing_min"],
            floats["spacing_max"],
        )

    def allocate(
        self, ssrc: int, clock_rate: int = 8000, *, probation: int = MIN_SEQUENTIAL
    ) -> int | None:
        """Take a row for a new source.

        Args:
            ssrc: Synchronisation source.
            clock_rate: Timestamp units a second.
            probation: Packets in sequence before the source counts (RFC 3550 A.1). Zero for a
                source that is known otherwise: authenticated, or signalled.

        Returns:
            The row, or None when the table is full.
        """
        row = self._take_row()
        if row is not None:
            self.ssrc[row] = ssrc
            self.clock_rate[row] = clock_rate
            self.probation[row] = probation
        return row

    def update(
        self,
        rows: NDArray[np.integer],
        sequences: NDArray[np.integer],
        timestamps: NDArray[np.integer],
        arrivals: Floats,
        octets: NDArray[np.integer],
        untimed: NDArray[np.bool_] | None = None,
        *,
        distinct: bool = False,
    ) -> None:
        """Account for a batch of packets, in order of arrival; a row may occur several times.

        Args:
            rows: Row of each packet, shape (n,).
            sequences: Sequence numbers, 16 bits.
            timestamps: RTP timestamps, 32 bits.
            arrivals: Seconds, any clock that does not step.
            octets: Payload octets.
            untimed: True for packets whose timestamp is not their sampling instant, such as
                telephone events: they leave the jitter alone.
            distinct: No row occurs twice, as the caller knows.
        """
        count = len(rows)
        if count < _BATCH_PAYS:
            self._update_one_by_one(rows, sequences, timestamps, arrivals, octets, untimed)
            return
        if distinct or self.are_distinct(rows):
            self._update_distinct(rows, sequences, timestamps, arrivals, octets, untimed)
            return
        # A row that occurs several times: first occurrences in one pass, second in the next.
        by_row = np.argsort(rows, kind="stable")
        ordered = rows[by_row]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        lengths = np.diff(starts, append=count)
        rank = np.arange(count) - np.repeat(starts, lengths)
        for level in range(int(lengths.max())):
            chosen = by_row[rank == level]
            self.update(
                rows[chosen],
                sequences[chosen],
                timestamps[chosen],
                arrivals[chosen],
                octets[chosen],
                None if untimed is None else untimed[chosen],
            )

    def _update_one_by_one(
        self,
        rows: NDArray[np.integer],
        sequences: NDArray[np.integer],
        timestamps: NDArray[np.integer],
        arrivals: Floats,
        octets: NDArray[np.integer],
        untimed: NDArray[np.bool_] | None,
    ) -> None:
        timed = [True] * len(rows) if untimed is None else (~untimed).tolist()
        for packet in zip(
            rows.tolist(),
            sequences.tolist(),
            timestamps.tolist(),
            arrivals.tolist(),
            octets.tolist(),
            timed,
            strict=True,
        ):
            self.update_one(*packet)

    def _update_distinct(
        self,
        rows: NDArray[np.integer],
        sequences: NDArray[np.integer],
        timestamps: NDArray[np.integer],
        arrivals: Floats,
        octets: NDArray[np.integer],
        untimed: NDArray[np.bool_] | None,
    ) -> None:
        highest = self.extended_max[rows] + 1
        transit = arrivals * self.clock_rate[rows]
        transit -= timestamps
        deviation = np.abs(transit - self.transit[rows])
        # `wild` is negative for a row that is not running, so its packets are never plain.
        plain = ((highest & 0xFFFF) == sequences) & (deviation <= self.wild[rows])
        if untimed is not None:
            plain &= ~untimed
        if not plain.all():
            odd = ~plain
            self._update_one_by_one(
                rows[odd],
                sequences[odd],
                timestamps[odd],
                arrivals[odd],
                octets[odd],
                None if untimed is None else untimed[odd],
            )
            rows = rows[plain]
            highest = highest[plain]
            transit = transit[plain]
            deviation = deviation[plain]
            arrivals = arrivals[plain]
            octets = octets[plain]
        self.extended_max[rows] = highest
        self.octets[rows] += octets
        self.transit[rows] = transit
        jitter = self.jitter[rows]
        deviation -= jitter
        deviation *= 0.0625
        jitter += deviation
        self.jitter[rows] = jitter
        spacing = arrivals - self.last_arrival[rows]
        self.last_arrival[rows] = arrivals
        self.spacing_min[rows] = np.minimum(self.spacing_min[rows], spacing)
        self.spacing_max[rows] = np.maximum(self.spacing_max[rows], spacing)

    def update_one(
        self,
        row: int,
        sequence: int,
        timestamp: int,
        arrival: float,
        octets: int,
        timed: bool = True,  # noqa: FBT001, FBT002  the batch form passes by position
    ) -> None:
        """Account for one packet; the same rules as `update`."""
        highest, wild, octet_column = self._order
        octet_column[row] += octets
        before = highest[row]
        if wild[row] >= 0.0 and (before + 1) & 0xFFFF == sequence:
            highest[row] = before + 1
        elif not self._sequence_is_valid(row, sequence, before):
            self._one["rejected"][row] += 1
            return
        clock_rate, transits, jitters, last_arrival, spacing_min, spacing_max = self._timing
        previous = last_arrival[row]
        last_arrival[row] = arrival
        spacing = arrival - previous
        if isnan(spacing):  # the first valid packet of the stream
            self.first_arrival[row] = arrival
            self.mark_arrival[row] = self.mark_arrival_previous[row] = arrival
            self.mark_packets[row] = self.mark_packets_previous[row] = 1
        else:
            spacing_min[row] = min(spacing_min[row], spacing)
            spacing_max[row] = max(spacing_max[row], spacing)
        if not timed:
            return
        rate = clock_rate[row]
        transit = arrival * rate - timestamp
        deviation = transit - transits[row]
        transits[row] = transit
        if isnan(deviation):  # nothing to compare with yet
            return
        deviation -= _TIMESTAMPS * round(deviation / _TIMESTAMPS)
        if abs(deviation) > rate and abs(spacing * rate - deviation) > rate:
            self._one["timestamp_jumps"][row] += 1
            return
        jitter = jitters[row]
        jitters[row] = jitter + (abs(deviation) - jitter) * 0.0625

    def _sequence_is_valid(self, row: int, sequence: int, before: int) -> bool:
        """RFC 3550 A.1 for all but the next packet of a running stream."""
        one = self._one
        ahead = (sequence - before) & 0xFFFF
        if one["wild"][row] < 0.0:
            required = one["probation"][row] if before < 0 or ahead == 1 else MIN_SEQUENTIAL
            if required > 1:
                one["probation"][row] = required - 1
                one["extended_max"][row] = one["settled_at"][row] = sequence
                return False
            self._start(row, sequence)
            return True
        if 0 < ahead < MAX_DROPOUT:
            self._settle(row)
            self._leap(row, before, ahead)
            return True
        behind = -ahead & 0xFFFF
        if behind < MAX_MISORDER:
            self._settle(row)
            self._fall_behind(row, before - behind, 1 << behind)
            return True
        if sequence == one["bad_sequence"][row]:
            # Two in sequence: the sender restarted without a word. In the 16 bits of the wire a
            # wrap would have been a small step ahead, so a lower number is a real return.
            one["resets" if sequence < before & 0xFFFF else "jumps"][row] += 1
            self._set_aside(row)
            self._start(row, sequence)
            return True
        one["bad_sequence"][row] = (sequence + 1) & 0xFFFF
        return False

    def _start(self, row: int, sequence: int) -> None:
        one = self._one
        one["extended_max"][row] = one["base"][row] = one["settled_at"][row] = sequence
        one["settled"][row] = 1
        one["bad_sequence"][row] = _NO_SEQUENCE
        one["resumed_at"][row] = _NOT_RESUMED
        one["window_low"][row] = 1
        one["window_high"][row] = 0
        for name in ("surplus", "leapt", "expected_prior", "received_prior"):
            one[name][row] = 0
        one["wild"][row] = one["clock_rate"][row]

    def _set_aside(self, row: int) -> None:
        """Keep what was counted so far, before the sequence numbers start anew."""
        one = self._one
        one["earlier_lost"][row] += self.lost(row)
        one["earlier_received"][row] += self._counted(row)

    def _settle(self, row: int) -> None:
        """Bring counters and window up to date with the packets that came in order."""
        one = self._one
        highest = one["extended_max"][row]
        run = highest - one["settled_at"][row]
        if run:
            one["settled"][row] += run
            one["settled_at"][row] = highest
            self._shift_window(row, run, (1 << min(run, 128)) - 1)

    def _shift_window(self, row: int, by: int, seen: int) -> None:
        low, high = self._one["window_low"], self._one["window_high"]
        window = ((high[row] << 64 | low[row]) << min(by, 128) | seen) & _WINDOW
        low[row] = window & _WINDOW_HALF
        high[row] = window >> 64

    def _leap(self, row: int, before: int, ahead: int) -> None:
        one = self._one
        missing = ahead - 1
        if before == one["resumed_at"][row]:
            one["leapt"][row] += missing
        elif missing > JUMP_THRESHOLD:
            one["jumps"][row] += 1
            one["leapt"][row] += missing
        else:
            one["gap"][row] = max(one["gap"][row], missing)
            if missing and one["gaps_wanted"][row] and len(self.gaps) < _MAX_GAPS:
                self.gaps.append((row, before + 1, missing))
        one["extended_max"][row] = one["settled_at"][row] = before + ahead
        one["settled"][row] += 1
        self._shift_window(row, ahead, 1)

    def _fall_behind(self, row: int, number: int, bit: int) -> None:
        one = self._one
        one["settled"][row] += 1
        low, high = one["window_low"], one["window_high"]
        window = high[row] << 64 | low[row]
        if window & bit:
            one["duplicates"][row] += 1
            one["surplus"][row] += 1
            return
        one["out_of_order"][row] += 1
        if number < one["base"][row]:
            one["surplus"][row] += 1
        window |= bit
        low[row] = window & _WINDOW_HALF
        high[row] = window >> 64

    def still_missing(self, row: int, first: int, count: int) -> tuple[int, ...]:
        """Which of these numbers have not come since; only those in the window of 128.

        Args:
            row: Of the stream.
            first: Number with its cycles.
            count: How many from there.

        Returns:
            Sequence numbers as on the wire.
        """
        self._settle(row)
        one = self._one
        highest = one["extended_max"][row]
        window = one["window_high"][row] << 64 | one["window_low"][row]
        oldest = highest - _WINDOW_NUMBERS + 1
        return tuple(
            number & 0xFFFF
            for number in range(max(first, oldest), min(first + count, highest))
            if not window >> (highest - number) & 1
        )

    def switch_ssrc(self, row: int, ssrc: int, *, probation: int = 0) -> None:
        """The stream goes on under another SSRC: new sequence numbers, new jitter, one switch."""
        if self.wild[row] >= 0.0:
            self._set_aside(row)
        self.ssrc[row] = ssrc
        self.ssrc_switches[row] += 1
        self.wild[row] = _NOT_RUNNING
        self.probation[row] = probation
        self.extended_max[row] = self.settled_at[row] = -1
        for column in (self.base, self.settled, self.surplus, self.leapt):
            column[row] = 0
        self.expected_prior[row] = self.received_prior[row] = 0
        self.jitter[row] = 0.0
        self.transit[row] = math.nan

    def resume(self, row: int) -> None:
        """Receive again after a hold: what was sent meanwhile and not counted is no loss."""
        self.resumed_at[row] = self.extended_max[row]
        self.restart_timing(row)

    def restart_timing(self, row: int) -> None:
        """Forget the last transit time: after a pause the next packet starts the jitter anew."""
        self.transit[row] = math.nan

    def change_clock(self, row: int, clock_rate: int) -> None:
        """Another codec follows, with another clock: what was measured is kept, in its units."""
        self.jitter[row] *= clock_rate / self.clock_rate[row]
        self.clock_rate[row] = clock_rate
        if self.wild[row] >= 0:
            self.wild[row] = clock_rate
        self.restart_timing(row)

    def roll(self) -> None:
        """Begin a new second: spacing and gap windows keep this second and the one before."""
        np.maximum(self.gap_max, self.gap, out=self.gap_max)
        self.gap_previous[:] = self.gap
        self.gap[:] = 0
        np.minimum(self.spacing_min_ever, self.spacing_min, out=self.spacing_min_ever)
        np.maximum(self.spacing_max_ever, self.spacing_max, out=self.spacing_max_ever)
        self.spacing_min_previous[:] = self.spacing_min
        self.spacing_max_previous[:] = self.spacing_max
        self.spacing_min[:] = math.inf
        self.spacing_max[:] = -math.inf
        self.mark_arrival_previous[:] = self.mark_arrival
        self.mark_packets_previous[:] = self.mark_packets
        self.mark_arrival[:] = self.last_arrival
        self.mark_packets[:] = (
            self.earlier_received + self.settled + self.extended_max - self.settled_at
        )

    def _counted(self, row: int) -> int:
        if self._one["wild"][row] < 0.0:
            return 0
        one = self._one
        run: int = one["extended_max"][row] - one["settled_at"][row]
        settled: int = one["settled"][row]
        return settled + run

    def expected(self, row: int) -> int:
        """Packets the sequence numbers promise since the (re)start (RFC 3550 A.3)."""
        if self._one["wild"][row] < 0.0:
            return 0
        highest: int = self._one["extended_max"][row]
        base: int = self._one["base"][row]
        return highest - base + 1

    def received(self, row: int) -> int:
        """Packets A.1 accepted since the (re)start, duplicates included (RFC 3550 A.3)."""
        return self._counted(row)

    def lost(self, row: int) -> int:
        """Numbers that never came since the (re)start: duplicates and jumps do not count."""
        surplus: int = self._one["surplus"][row]
        leapt: int = self._one["leapt"][row]
        return self.expected(row) - (self._counted(row) - surplus) - leapt

    def valid_packets(self, row: int) -> int:
        """Packets accepted in the life of the row, across restarts and SSRC switches."""
        earlier: int = self._one["earlier_received"][row]
        return earlier + self._counted(row)

    def take_report_interval(self, row: int) -> tuple[int, int]:
        """Fraction and cumulative number of packets lost for a report block (RFC 3550 A.3).

        Returns:
            Fraction lost since the last call, in 1/256; packets lost since the (re)start,
            negative when there were duplicates, clamped to 24 bits.
        """
        expected, received = self.expected(row), self.received(row)
        expected_now = expected - self._one["expected_prior"][row]
        lost_now = expected_now - (received - self._one["received_prior"][row])
        self._one["expected_prior"][row] = expected
        self._one["received_prior"][row] = received
        fraction = 0
        if expected_now > 0 and lost_now > 0:
            fraction = min((lost_now << 8) // expected_now, 255)
        return fraction, max(-0x80_0000, min(expected - received, 0x7F_FFFF))
