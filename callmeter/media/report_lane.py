"""RTCP of many streams at once: usual reports in and out, as columns.

A report of one stream is some hundred Python objects that no cache has any more when its time
comes. What is usual (`rtp.report_columns`) of streams between two parties is therefore read and
written for many streams together; all else goes to the stream's own `StreamRtcp`, which does the
same one by one.
"""

from __future__ import annotations

from collections import deque
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from callmeter.media.arena import MAX_DATAGRAM, Arena
from callmeter.media.datagrams.backend import head_number
from callmeter.media.events import ReportReceived
from callmeter.media.reports import SENDER_FOR_S
from callmeter.rtp.report_columns import LONGEST_USUAL, ReportColumns
from callmeter.rtp.report_table import NOBODY
from callmeter.rtp.rtcp import ntp_timestamp
from callmeter.srtp import libsrtp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import numpy.typing as npt

    from callmeter.media.datagrams import Backend
    from callmeter.media.lanes import LaneTable
    from callmeter.media.rtp_stream import RtpStream
    from callmeter.media.samples import SampleTable
    from callmeter.rtp.report_columns import UsualReports
    from callmeter.rtp.report_table import ReportTable
    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

    Integers = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["ReportLane"]

SLOTS: Final = 128
BATCH_PAYS: Final = 4
"""Below this many reports the scalar path is cheaper."""
SHORTEST: Final = 40
"""A sender report and a source description; header and trailer of SRTCP are shorter."""
MAX_WAITING: Final = 4096
MAX_OF_A_STREAM: Final = 32
"""Who sends more in the meantime does not keep others waiting; it is read at once."""


class _Waiting(NamedTuple):
    stream: RtpStream
    row: int
    datagram: bytes
    source: Hashable
    arrival: float


class ReportLane:
    """Sends and takes the reports of all streams of an engine.

    Args:
        lanes: What is known of each stream.
        reports: Their report timers and what their peers reported.
        sending: What they sent.
        reception: What they received.
        samples: Wants to know what was reported.
        backend: Where reports go.
        entropy: Gives random octets.

    Attributes:
        backend: Where reports go; may be replaced between two runs.
    """

    def __init__(
        self,
        lanes: LaneTable,
        reports: ReportTable,
        sending: SendTable,
        reception: StreamTable,
        samples: SampleTable,
        backend: Backend,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._lanes = lanes
        self._reports = reports
        self._sending = sending
        self._reception = reception
        self._samples = samples
        self.backend = backend
        self._entropy = entropy
        self._arena = Arena(SLOTS)
        self._columns = ReportColumns(self._arena.octets)
        self._usual: list[_Waiting] = []
        self._alone: deque[_Waiting] = deque()

    # --- reports that have come ---------------------------------------------------------------

    def keep(
        self, stream: RtpStream, row: int, datagram: bytes, source: Hashable, arrival: float
    ) -> bool:
        """Let a report wait for `read`; False when too many do, of all streams or of this one.

        Args:
            stream: Whom it is for.
            row: Its row, the complement of it when it came to a socket for RTCP alone.
            datagram: As it came.
            source: Where it came from, in the back-end's form.
            arrival: Loop time.
        """
        # Either socket of a stream may have it: this is RTCP.
        row = max(row, ~row)
        lanes = self._lanes
        kept = int(lanes.reports_kept[row])
        if kept >= MAX_OF_A_STREAM or len(self._usual) + len(self._alone) >= MAX_WAITING:
            return False
        lanes.reports_kept[row] = kept + 1
        waiting = _Waiting(stream, row, datagram, source, arrival)
        # It does not overtake what came before it.
        follows = kept > int(lanes.reports_alone[row])
        if follows or (lanes.report_in[row] and self.backend.by_heads):
            self._usual.append(waiting)
        else:
            self._let_alone(waiting)
        return True

    def _let_alone(self, waiting: _Waiting) -> None:
        self._lanes.reports_alone[waiting.row] += 1
        self._alone.append(waiting)

    def read(self, most: int, offset: float) -> bool:
        """Read what has waited; that of streams which stopped since has come too late.

        Args:
            most: Packets that are read one by one.
            offset: What turns wall-clock stamps into loop time.

        Returns:
            Whether there is more.
        """
        if self._usual:
            self._read_usual(offset)
        lanes = self._lanes
        for _ in range(min(most, len(self._alone))):
            waiting = self._alone.popleft()
            if lanes.streams[waiting.row] is waiting.stream:
                lanes.reports_alone[waiting.row] -= 1
                lanes.reports_kept[waiting.row] -= 1
                waiting.stream.on_datagram(
                    waiting.datagram,
                    waiting.source,
                    waiting.arrival,
                    rtcp_only=True,
                    oversize=len(waiting.datagram) > MAX_DATAGRAM,
                )
        return bool(self._usual or self._alone)

    def _read_usual(self, offset: float) -> None:
        """Take a batch of those that should have the usual form, one of each stream.

        What is not expected is read alone, and so is what comes behind it of the same stream.
        """
        batch: list[_Waiting] = []
        behind: list[_Waiting] = []
        rows: set[int] = set()
        streams = self._lanes.streams
        for waiting in self._usual[:SLOTS]:
            if streams[waiting.row] is not waiting.stream:
                continue
            (behind if waiting.row in rows else batch).append(waiting)
            rows.add(waiting.row)
        del self._usual[:SLOTS]
        chosen = self._expected(batch)
        if int(chosen.sum()) < BATCH_PAYS:
            chosen[:] = False
        taken = [waiting for waiting, usual in zip(batch, chosen.tolist(), strict=True) if usual]
        for waiting, usual in zip(batch, chosen.tolist(), strict=True):
            if not usual:
                self._let_alone(waiting)
        if taken:
            self._take(taken, offset)
        for waiting in behind:
            if streams[waiting.row] is waiting.stream:
                self._let_alone(waiting)

    def _expected(self, batch: Sequence[_Waiting]) -> Flags:
        """Whether each is for a batch as far as its key and its place of origin go."""
        lanes, reports = self._lanes, self._reports
        rows = np.array([waiting.row for waiting in batch], np.int64)
        heads = np.array([head_number(waiting.source) for waiting in batch], np.uint64)
        sources = np.array(
            [int.from_bytes(waiting.datagram[4:8], "big") for waiting in batch], np.int64
        )
        lengths = np.array([len(waiting.datagram) for waiting in batch], np.int64)
        expected: Flags = lanes.report_in[rows] & ~reports.crowded[rows]
        # With another key, or one in question, the stream knows what to try.
        expected &= lanes.steady[rows] | ~lanes.report_secure[rows]
        expected &= lanes.secure_in[rows] == lanes.report_secure[rows]
        expected &= lanes.reports_alone[rows] == 0
        expected &= heads == lanes.report_head[rows]
        # The session knows this source, by reports or by media.
        peers = reports.peer[rows]
        peers = np.where(peers == NOBODY, self._reception.ssrc[rows], peers)
        expected &= sources == peers
        expected &= (lengths >= SHORTEST) & (lengths <= LONGEST_USUAL)
        return expected

    def _take(self, taken: Sequence[_Waiting], offset: float) -> None:
        arena, lanes, count = self._arena, self._lanes, len(taken)
        rows = np.array([waiting.row for waiting in taken], np.int64)
        width = max(len(waiting.datagram) for waiting in taken)
        joined = b"".join(waiting.datagram.ljust(width, b"\0") for waiting in taken)
        arena.octets[:count, :width] = np.frombuffer(joined, np.uint8).reshape(count, width)
        arena.lengths[:count] = [len(waiting.datagram) for waiting in taken]
        secure = lanes.report_secure[rows]
        good = np.ones(count, np.bool_)
        if secure.any():
            good[secure] = self._crypt(libsrtp.unprotect_rtcp, lanes.receive_handles, rows, secure)
        lanes.reports_kept[rows[good]] -= 1
        slots = np.arange(count)
        sizes = arena.lengths[:count].astype(np.int64)
        usual = good & self._columns.are_usual(slots, sizes)
        if not usual.all():
            self._take_unusual(taken, good, usual)
        slots, rows = slots[usual], rows[usual]
        arrivals = np.array([waiting.arrival for waiting in taken])[usual]
        own = self._sending.ssrc[rows]
        found = self._columns.read(slots, sizes[usual], own, arrivals - offset)
        trips = self._reports.note_received(rows, found, arrivals, self._sending.first_sent[rows])
        self._tell(rows, found, arrivals, trips)

    def _take_unusual(self, taken: Sequence[_Waiting], good: Flags, usual: Flags) -> None:
        """Those that are refused are looked into, and those of another form read, one by one."""
        for slot in np.flatnonzero(~usual).tolist():
            waiting = taken[slot]
            if good[slot]:
                data = self._arena.packet(slot)
                waiting.stream.on_report(data, waiting.source, waiting.arrival)
            else:
                self._let_alone(waiting)

    def _tell(self, rows: Integers, found: UsualReports, arrivals: Floats, trips: Floats) -> None:
        fractions = (found.block["block_loss"] >> 24) / 256
        jitters = found.block["block_jitter"] / self._sending.clock_rate[rows]
        self._samples.note_reports(rows, found.about, trips, fractions, jitters)
        for row, at, about, trip, fraction, jitter in zip(
            rows.tolist(),
            arrivals.tolist(),
            found.about.tolist(),
            trips.tolist(),
            fractions.tolist(),
            jitters.tolist(),
            strict=True,
        ):
            stream = self._lanes.streams[row]
            if stream is not None:
                stream.tell(
                    ReportReceived(
                        at=at,
                        rtt_s=None if isnan(trip) else trip,
                        fraction_lost=fraction if about else None,
                        jitter_s=jitter if about else None,
                    )
                )

    # --- reports that are due -----------------------------------------------------------------

    def send(self, most: int, now: float, wall: float) -> bool:
        """Send what is due.

        Args:
            most: Reports that are sent one by one.
            now: Loop time.
            wall: The same moment in seconds since 1970.

        Returns:
            Whether there is more.
        """
        due = np.flatnonzero(self._reports.deadline <= now)
        if not len(due):
            return False
        usual = self._are_usual(due, now)
        count = int(usual.sum())
        alone = due
        if count >= BATCH_PAYS:
            alone = due[~usual]
            self._send_usual(due[usual][:SLOTS], now, wall)
        for row in alone[:most].tolist():
            stream = self._lanes.streams[row]
            if stream is not None:
                stream.on_report_due(now)
        return len(alone) > most or (len(alone) < len(due) and count > SLOTS)

    def _are_usual(self, rows: Integers, now: float) -> Flags:
        lanes, sending = self._lanes, self._sending
        usual: Flags = lanes.report_out[rows] & ~self._reports.crowded[rows]
        usual &= lanes.secure_out[rows] == lanes.report_secure[rows]
        usual &= (sending.packets[rows] > 0) & (now - sending.last_sent[rows] < SENDER_FOR_S)
        return usual & self.backend.by_heads

    def _send_usual(self, rows: Integers, now: float, wall: float) -> None:
        lanes, arena, reports = self._lanes, self._arena, self._reports
        rows = rows[reports.due(rows, now, np.ones(len(rows), np.bool_), self._entropy)]
        count = len(rows)
        if not count:
            return
        ntp = ntp_timestamp(wall)
        arena.lengths[:count] = self._columns.write(
            rows, self._sending, self._reception, reports, now, ntp
        )
        rows = self._protect(rows)
        count = len(rows)
        if not count:
            return
        octets = arena.lengths[:count].astype(np.int64)
        refused = self.backend.send_to_heads(
            arena, count, lanes.report_descriptor[rows], lanes.report_head[rows]
        )
        if refused:
            sent = np.ones(count, np.bool_)
            sent[refused] = False
            rows, octets = rows[sent], octets[sent]
        reports.note_sent(rows, octets)

    def _protect(self, rows: Integers) -> Integers:
        """Encrypt in place; what cannot be protected does not leave."""
        arena, lanes = self._arena, self._lanes
        secure = lanes.report_secure[rows]
        if not secure.any():
            return rows
        good = np.ones(len(rows), np.bool_)
        good[secure] = self._crypt(libsrtp.protect_rtcp, lanes.send_handles, rows, secure)
        if good.all():
            return rows
        kept = np.flatnonzero(good)
        arena.octets[: len(kept)] = arena.octets[kept]
        arena.lengths[: len(kept)] = arena.lengths[kept]
        return rows[kept]

    def _crypt(
        self,
        call: Callable[[Any, Any, Any], int],
        handles: Sequence[Any],
        rows: Integers,
        secure: Flags,
    ) -> list[bool]:
        """Protect or unprotect the slots of secure streams in place; which went well."""
        slots = np.flatnonzero(secure).tolist()
        return [
            not status
            for status in map(
                call,
                map(handles.__getitem__, rows[secure].tolist()),
                map(self._arena.pointers.__getitem__, slots),
                map(self._arena.length_pointers.__getitem__, slots),
            )
        ]
