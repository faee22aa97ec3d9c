"""The RTCP of one stream: reports out on schedule, the peer's reports in (RFC 3550 section 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from callmeter.errors import RtcpSyntaxError
from callmeter.media.events import FeedbackReceived, PeerLeft, ReportReceived
from callmeter.media.extended_reports import ExtendedReports
from callmeter.media.stream_feedback import StreamFeedback
from callmeter.rtp.feedback import Feedback, GenericNack, concerns
from callmeter.rtp.reception import report_block
from callmeter.rtp.report_schedule import ReportSchedule, round_trip_time
from callmeter.rtp.report_table import ReportTable
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    SenderReport,
    SourceDescription,
    build_compound,
    ntp_timestamp,
    parse_rtcp,
)
from callmeter.rtp.xr import ExtendedReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callmeter.media.events import MediaEvent
    from callmeter.media.statistics import StreamStatistics
    from callmeter.rtp.rtcp import ReportBlock, RtcpPacket
    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

__all__ = ["RtcpReporter"]

FIRST_REPORT_S: Final = 0.75
"""Mean time to the first report: a call is between two parties, and what its RTCP has to say, or
that it cannot be read, is worth knowing at once (RFC 3550 section 6.2 allows no delay at all)."""
AUDIO_BANDWIDTH: Final = 80_000.0
"""Bit/s of a G.711 call."""
SENDER_FOR_S: Final = 10.0
"""Two report intervals: who sent within them is a sender (RFC 3550 section 6.4)."""


class RtcpReporter:
    """Builds and takes compound packets; knows nothing of sockets and keys.

    Args:
        row: The stream's row in both tables.
        cname: Canonical name of the SDES item.
        reception: Received streams.
        table: Sent streams.
        now: Loop time.
        entropy: Random octets, for the schedule.
        bandwidth: Of the session in kbit/s, for reports at the reduced minimum interval (RFC 3550
            section 6.2); None keeps to five seconds.
        reports: Timers and counters; None is a table of its own.

    Attributes:
        schedule: When to send, and what the peer reported.
        extended: Extended reports.
        feedback: What is said about single packets.
        usual: Whether the last packet received had the form that batches read.
    """

    __slots__ = (
        "_clock_rate",
        "_description",
        "_reception",
        "_reports",
        "_row",
        "_table",
        "extended",
        "feedback",
        "schedule",
        "usual",
    )

    def __init__(
        self,
        row: int,
        cname: str,
        reception: StreamTable,
        table: SendTable,
        now: float,
        entropy: Callable[[int], bytes],
        *,
        bandwidth: int | None = None,
        reports: ReportTable | None = None,
    ) -> None:
        self._row = row
        self._reception = reception
        self._table = table
        self._reports = ReportTable(reception.capacity) if reports is None else reports
        ssrc = int(table.ssrc[row])
        self._description = SourceDescription.cname(ssrc, cname)
        self._reports.describe(row, build_compound([self._description]))
        self.schedule = ReportSchedule(
            ssrc,
            now,
            entropy,
            bandwidth=AUDIO_BANDWIDTH if bandwidth is None else bandwidth * 1000.0,
            reduced_minimum=bandwidth is not None,
            initial_minimum=FIRST_REPORT_S,
            table=self._reports,
            row=row,
        )
        self.feedback = StreamFeedback(row, reception, entropy)
        self.extended = ExtendedReports()
        self.usual = True
        self._clock_rate = float(reception.clock_rate[row])

    @property
    def sent(self) -> int:
        """Compound packets sent."""
        return int(self._reports.sent[self._row])

    @property
    def received(self) -> int:
        """Compound packets received."""
        return int(self._reports.received[self._row])

    @property
    def report_after(self) -> float | None:
        """Seconds from the first packet sent to the last report; None before."""
        after = float(self._reports.report_after[self._row])
        return None if math.isnan(after) else after

    @property
    def drift_ppm(self) -> float | None:
        """The peer's media clock against its wall clock; None before three reports."""
        return self._reports.drift_ppm(self._row, self._clock_rate)

    def due(self, now: float) -> bool:
        """Whether a report is to be sent now."""
        self.schedule.we_sent = self._is_sender(now)
        return self.schedule.on_deadline(now)

    def compound(
        self,
        now: float,
        wall: float,
        *,
        goodbye: bool = False,
        feedback: Sequence[Feedback] = (),
        statistics: StreamStatistics | None = None,
    ) -> bytes:
        """Report, CNAME, feedback, and a BYE at the end of the session.

        Args:
            now: Loop time.
            wall: The same moment in seconds since 1970.
            goodbye: The last packet of the session.
            feedback: Messages that go along.
            statistics: What extended reports are made of.
        """
        row, table = self._row, self._table
        ssrc = int(table.ssrc[row])
        blocks = self._blocks(now)
        report: RtcpPacket
        if self._is_sender(now):
            report = SenderReport(
                ssrc,
                ntp_timestamp(wall),
                table.media_time(row, now),
                int(table.packets[row]),
                int(table.octets[row]),
                blocks,
            )
        else:
            report = ReceiverReport(ssrc, blocks)
        packets: list[RtcpPacket] = [report, self._description, *feedback]
        answer = self.schedule.take_references(now)
        extended = () if answer is None else answer.blocks
        extended += self.extended.blocks(ntp_timestamp(wall), statistics)
        if extended:
            packets.append(ExtendedReport(ssrc, extended))
        if goodbye:
            packets.append(Goodbye((ssrc,)))
            self.schedule.stop()
        return build_compound(packets)

    def on_sent(self, octets: int) -> None:
        """A compound packet of this size has left."""
        self._reports.sent[self._row] += 1
        self.schedule.on_sent(octets)

    def on_compound(
        self, data: bytes, arrival: float, wall: float, *, reduced_size: bool = False
    ) -> list[MediaEvent] | None:
        """Take in a decrypted compound packet.

        Args:
            data: As it came.
            arrival: Loop time.
            wall: The same moment in seconds since 1970.
            reduced_size: Whether it need not begin with a report.

        Returns:
            What it means, or None when it is malformed.
        """
        try:
            packets = parse_rtcp(data, reduced_size=reduced_size)
        except RtcpSyntaxError:
            return None
        self._reports.received[self._row] += 1
        kinds = SenderReport, SourceDescription
        self.usual = len(packets) == len(kinds) and all(map(isinstance, packets, kinds))
        ntp = ntp_timestamp(wall)
        self.schedule.on_received(packets, len(data), arrival, ntp)
        own, known = int(self._table.ssrc[self._row]), int(self._reception.ssrc[self._row])
        events: list[MediaEvent] = []
        for packet in packets:
            if isinstance(packet, SenderReport | ReceiverReport):
                begun = self._table.first_sent[self._row]
                self._reports.report_after[self._row] = arrival - begun
                events.append(self._report_event(packet, own, arrival, ntp))
                if isinstance(packet, SenderReport):
                    self._reports.note_clock(
                        self._row, packet.ssrc, packet.ntp, packet.rtp_timestamp
                    )
            elif isinstance(packet, ExtendedReport):
                self.extended.on_received(packet, own, ntp)
            elif isinstance(packet, Goodbye):
                if known in packet.ssrcs:
                    events.append(PeerLeft(at=arrival, ssrc=known))
            elif isinstance(packet, Feedback) and concerns(packet, own):
                events.append(self._feedback_event(packet, own, arrival))
        return events

    def _feedback_event(self, message: Feedback, own: int, arrival: float) -> FeedbackReceived:
        kind = self.feedback.received.note(message)
        lost = message.lost if isinstance(message, GenericNack) else ()
        repeated = self.feedback.repeats(message, own)
        return FeedbackReceived(at=arrival, kind=kind, lost=lost, repeated=repeated)

    def _report_event(
        self, report: SenderReport | ReceiverReport, ssrc: int, arrival: float, ntp: int
    ) -> ReportReceived:
        for block in report.blocks:
            if block.ssrc == ssrc:
                return ReportReceived(
                    at=arrival,
                    rtt_s=round_trip_time(block, ntp),
                    fraction_lost=block.fraction_lost / 256,
                    jitter_s=block.jitter / float(self._table.clock_rate[self._row]),
                )
        return ReportReceived(at=arrival, rtt_s=None, fraction_lost=None, jitter_s=None)

    def _is_sender(self, now: float) -> bool:
        row = self._row
        return bool(self._table.packets[row]) and now - self._table.last_sent[row] < SENDER_FOR_S

    def _blocks(self, now: float) -> tuple[ReportBlock, ...]:
        row = self._row
        if not self._reception.valid_packets(row):
            return ()
        last_sr, delay = self.schedule.last_sr(int(self._reception.ssrc[row]), now)
        return (report_block(self._reception, row, last_sr=last_sr, delay_since_last_sr=delay),)
