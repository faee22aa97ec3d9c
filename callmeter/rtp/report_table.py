"""What RTCP knows of every stream, by row: the report timer, the peer, what it reported.

`ReportSchedule` reads and writes one row. What is here does the same to many rows at once, for
calls between two parties; who has more members or owes an answer is `crowded` and left to that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from callmeter.rtp.clock_drift import REPORTS, ClockDrift
from callmeter.rtp.columns import ColumnTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from callmeter.rtp.columns import Kind
    from callmeter.rtp.report_columns import UsualReports

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = [
    "CHANCES",
    "COMPENSATION",
    "DESCRIPTION_OCTETS",
    "LATEST_DELAY",
    "LOWER_LAYERS",
    "NEVER",
    "NOBODY",
    "SENDER_SHARE",
    "SILENT_INTERVALS",
    "SMOOTHING",
    "UNITS",
    "ReportTable",
]

NEVER: Final = math.inf
NOBODY: Final = -1
SENDER_SHARE: Final = 0.25
COMPENSATION: Final = 2.718_281_828 - 1.5
"""What timer reconsideration shortens the mean interval by (RFC 3550 A.7)."""
SILENT_INTERVALS: Final = 5
LOWER_LAYERS: Final = 28
"""Octets of the IP and UDP headers."""
SMOOTHING: Final = 1 / 16
UNITS: Final = 65_536
DESCRIPTION_OCTETS: Final = 28
"""A source description with a random CNAME of 96 bits (RFC 7022 section 4.2)."""
_FIRST_REPORT: Final = 128.0
"""Probable size of the first report in octets, IP and UDP headers included."""
LATEST_DELAY: Final = 0xFFFF_FFFF
CHANCES: Final = 1 << 32


class ReportTable(ColumnTable):
    """One row per RTP session.

    Attributes:
        deadline: Loop time of the next report.
        previous: Of the last one.
        octet_rate: What RTCP may take, octets a second.
        minimum, initial_minimum: Least mean interval, and that before the first report, seconds.
        initial: Nothing was sent yet.
        average_size: Of compound packets, with the headers below.
        members_before: Members when the interval was last computed (RFC 3550 section 6.3).
        we_sent: Media was sent in the last two intervals.
        peer: SSRC of the first other member, `NOBODY` while there is none.
        heard_at: When its last report came.
        sr_middle, sr_at: Middle 32 bits of the NTP time of its last sender report, and when that
            came; NaN before the first.
        crowded: There are members besides the peer, or an answer is owed: `ReportSchedule` knows.
        reported_at, report_interval: When a report came last, and after how long; NaN before.
        rtt: Round trip in seconds; NaN before the first.
        has_block: There was a report block about the own stream.
        block_loss, block_highest, block_jitter, block_last_sr, block_delay: Its words.
        sent, received: Compound packets.
        report_after: From the first packet sent to the last report, seconds.
        description: The source description that goes along, as `describe` was given it.
        described: Whether it has the usual length.
        readings: Sender reports of whose clocks there are readings.
        clock_source, clock_ntp, clock_timestamp: The last of these, in turn.
        one: The columns for one element at a time.
    """

    deadline: Floats
    previous: Floats
    octet_rate: Floats
    minimum: Floats
    initial_minimum: Floats
    initial: Flags
    average_size: Floats
    members_before: Integers
    we_sent: Flags
    peer: Integers
    heard_at: Floats
    sr_middle: Integers
    sr_at: Floats
    crowded: Flags
    reported_at: Floats
    report_interval: Floats
    rtt: Floats
    has_block: Flags
    block_loss: Integers
    block_highest: Integers
    block_jitter: Integers
    block_last_sr: Integers
    block_delay: Integers
    sent: Integers
    received: Integers
    report_after: Floats
    description: NDArray[np.uint8]
    described: Flags
    readings: Integers
    clock_source: Integers
    clock_ntp: NDArray[np.uint64]
    clock_timestamp: Integers

    COLUMNS: ClassVar[Mapping[str, tuple[Kind, int | float]]] = {
        "deadline": ("f8", NEVER),
        "previous": ("f8", 0.0),
        "octet_rate": ("f8", 1.0),
        "minimum": ("f8", 5.0),
        "initial_minimum": ("f8", 2.5),
        "initial": ("?", 1),
        "average_size": ("f8", _FIRST_REPORT),
        "members_before": ("i8", 1),
        "we_sent": ("?", 0),
        "peer": ("i8", NOBODY),
        "heard_at": ("f8", math.nan),
        "sr_middle": ("i8", 0),
        "sr_at": ("f8", math.nan),
        "crowded": ("?", 0),
        "reported_at": ("f8", math.nan),
        "report_interval": ("f8", math.nan),
        "rtt": ("f8", math.nan),
        "has_block": ("?", 0),
        "block_loss": ("i8", 0),
        "block_highest": ("i8", 0),
        "block_jitter": ("i8", 0),
        "block_last_sr": ("i8", 0),
        "block_delay": ("i8", 0),
        "sent": ("i8", 0),
        "received": ("i8", 0),
        "report_after": ("f8", math.nan),
        "description": (np.dtype(("u1", DESCRIPTION_OCTETS)), 0),
        "described": ("?", 0),
        "readings": ("i8", 0),
        "clock_source": (np.dtype(("i8", REPORTS)), 0),
        "clock_ntp": (np.dtype(("u8", REPORTS)), 0),
        "clock_timestamp": (np.dtype(("i8", REPORTS)), 0),
    }

    def _bind(self) -> None:
        # Reading one element through a memoryview gives a plain number, five times as fast.
        self.one: dict[str, Any] = {
            name: memoryview(getattr(self, name))
            for name, (kind, _) in self.COLUMNS.items()
            if isinstance(kind, str)
        }

    def allocate(self) -> int | None:
        """Take a row, or None when the table is full."""
        return self._take_row()

    def describe(self, row: int, packet: bytes) -> None:
        """Take the source description of a stream; batches use that of the usual length."""
        self.described[row] = len(packet) == DESCRIPTION_OCTETS
        if self.described[row]:
            self.description[row] = np.frombuffer(packet, np.uint8)

    # --- the timer ----------------------------------------------------------------------------

    def due(
        self, rows: Integers, now: float, we_sent: Flags, entropy: Callable[[int], bytes]
    ) -> Flags:
        """Which of these streams are to send a report now (RFC 3550 section 6.3.6).

        Args:
            rows: Streams whose deadline has come, none of them crowded.
            now: Seconds.
            we_sent: Which of them are senders.
            entropy: Gives random octets.
        """
        self.we_sent[rows] = we_sent
        self._forget_silent(rows, now)
        chances = np.frombuffer(entropy(8 * len(rows)), ">u4").reshape(2, -1) / CHANCES + 0.5
        due = self.previous[rows] + self._intervals(rows, chances[0])
        sending = due <= now
        going = rows[sending]
        self.initial[going] = False
        self.previous[going] = now
        due[sending] = now + self._intervals(going, chances[1][sending])
        self.deadline[rows] = due
        self.members_before[rows] = self._members(rows)
        return sending

    def _members(self, rows: Integers) -> Integers:
        members: Integers = 1 + (self.peer[rows] != NOBODY)
        return members

    def _mean_intervals(self, rows: Integers, minimum: Floats) -> Floats:
        rates = self.octet_rate[rows]
        # Of one or two members each sender is more than a quarter.
        listening = np.isnan(self.sr_at[rows]) & ~self.we_sent[rows]
        rates = np.where(listening, rates * (1 - SENDER_SHARE), rates)
        intervals: Floats = np.maximum(
            self.average_size[rows] * self._members(rows) / rates, minimum
        )
        return intervals

    def _intervals(self, rows: Integers, chances: Floats) -> Floats:
        minimum = np.where(self.initial[rows], self.initial_minimum[rows], self.minimum[rows])
        return self._mean_intervals(rows, minimum) * chances / COMPENSATION

    def _forget_silent(self, rows: Integers, now: float) -> None:
        oldest = now - SILENT_INTERVALS * self._mean_intervals(rows, self.minimum[rows])
        gone = rows[self.heard_at[rows] < oldest]
        if len(gone):
            self.forget_peer(gone)

    def forget_peer(self, rows: Integers | int) -> None:
        """The first other member has left, or is silent."""
        self.peer[rows] = NOBODY
        self.heard_at[rows] = self.sr_at[rows] = math.nan

    def note_sent(self, rows: Integers, octets: NDArray[np.integer]) -> None:
        """A compound packet of this size has left each of them."""
        self.sent[rows] += 1
        self._learn_sizes(rows, octets)

    def _learn_sizes(self, rows: Integers, octets: NDArray[np.integer]) -> None:
        average = self.average_size[rows]
        self.average_size[rows] = average + (octets + LOWER_LAYERS - average) * SMOOTHING

    def last_srs(self, rows: Integers, sources: Integers, now: float) -> tuple[Integers, Integers]:
        """The fields LSR and DLSR of report blocks about these sources (section 6.4.1)."""
        at = self.sr_at[rows]
        known = (self.peer[rows] == sources) & ~np.isnan(at)
        delays = np.clip((now - np.where(known, at, now)) * UNITS, 0, LATEST_DELAY)
        return np.where(known, self.sr_middle[rows], 0), delays.astype(np.int64)

    # --- what has come ------------------------------------------------------------------------

    def note_received(
        self, rows: Integers, found: UsualReports, arrivals: Floats, begun: Floats
    ) -> Floats:
        """Take in a compound packet of the peer of each of them.

        Args:
            rows: None of them crowded, each with the sender as its peer or with none so far,
                each once.
            found: The packets.
            arrivals: When each came.
            begun: When each stream sent its first packet; NaN before.

        Returns:
            Round trip by each packet in seconds; NaN where it does not tell.
        """
        self.received[rows] += 1
        self._learn_sizes(rows, found.octets)
        before = self.reported_at[rows]
        # What was overtaken tells no interval.
        late = arrivals < before
        self.report_interval[rows] = np.where(late, self.report_interval[rows], arrivals - before)
        self.reported_at[rows] = np.where(late, before, arrivals)
        self.peer[rows] = found.ssrc
        self.heard_at[rows] = self.sr_at[rows] = arrivals
        self.sr_middle[rows] = found.sr_middle
        self.report_after[rows] = arrivals - begun
        self._note_clocks(rows, found)
        told = found.about
        if not told.all():
            rows = rows[told]
        self.has_block[rows] = True
        for name, words in found.block.items():
            getattr(self, name)[rows] = words[told]
        trips = np.where(told & (found.block["block_last_sr"] != 0), found.trips, math.nan)
        known = ~np.isnan(trips[told])
        self.rtt[rows[known]] = trips[told][known]
        return trips

    def _note_clocks(self, rows: Integers, found: UsualReports) -> None:
        places = self.readings[rows] % REPORTS
        self.clock_source[rows, places] = found.ssrc
        self.clock_ntp[rows, places] = found.ntp
        self.clock_timestamp[rows, places] = found.timestamp
        self.readings[rows] += 1

    def note_clock(self, row: int, ssrc: int, ntp: int, timestamp: int) -> None:
        """Keep the clocks of one sender report."""
        place = int(self.readings[row]) % REPORTS
        self.clock_source[row, place] = ssrc
        self.clock_ntp[row, place] = ntp
        self.clock_timestamp[row, place] = timestamp
        self.readings[row] += 1

    def drift_ppm(self, row: int, clock_rate: float) -> float | None:
        """The peer's media clock against its wall clock, by its last sender reports.

        Args:
            row: The stream.
            clock_rate: Timestamp units a second.
        """
        drift, readings = ClockDrift(clock_rate), int(self.readings[row])
        for number in range(max(0, readings - REPORTS), readings):
            place = number % REPORTS
            drift.add(
                int(self.clock_source[row, place]),
                int(self.clock_ntp[row, place]),
                int(self.clock_timestamp[row, place]),
            )
        return drift.ppm
