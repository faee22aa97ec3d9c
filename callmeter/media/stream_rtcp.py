"""RTCP of one stream on the network: which socket, which key, which peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callmeter.errors import LocalProtocolError, RtcpSyntaxError
from callmeter.media.datagrams.backend import head_number
from callmeter.media.extended_reports import VOIP_METRICS
from callmeter.media.reports import RtcpReporter
from callmeter.rtp.rtcp import build_compound, parse_rtcp
from callmeter.srtp.trial import has_short_rtcp_tag, is_encrypted_otherwise

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from callmeter.media.engine import MediaEngine
    from callmeter.media.events import MediaEvent
    from callmeter.media.parameters import RtpParameters
    from callmeter.media.receiver import StreamReceiver
    from callmeter.media.rtp_stream import PacketSender
    from callmeter.media.statistics import StreamStatistics
    from callmeter.srtp.context import SrtpContext

__all__ = ["StreamRtcp"]

MAX_TRIALS = 100


class StreamRtcp:
    """Sends the reports of a stream and takes those of its peer.

    Args:
        engine: Clocks, tables and back-end.
        row: The stream's row.
        cname: Its canonical name.
        receiver: Knows the peer's source and the key of what arrives.
        sender: Knows the key of what leaves.
        emit: Takes the events.

    Attributes:
        describe: Gives the figures of the stream, for extended reports.
        reporter: What was sent and received; None before `start`.
    """

    __slots__ = (
        "_cname",
        "_destination",
        "_emit",
        "_engine",
        "_outlet",
        "_parameters",
        "_receiver",
        "_row",
        "_sender",
        "_usual",
        "describe",
        "reporter",
    )

    def __init__(
        self,
        engine: MediaEngine,
        row: int,
        cname: str,
        receiver: StreamReceiver,
        sender: PacketSender,
        emit: Callable[[MediaEvent], None],
    ) -> None:
        self._engine = engine
        self._row = row
        self._cname = cname
        self._receiver = receiver
        self._sender = sender
        self._emit = emit
        self._outlet: Any = None
        self._parameters: RtpParameters | None = None
        self.describe: Callable[[], StreamStatistics | None] = lambda: None
        self.reporter: RtcpReporter | None = None
        self._destination: Any = None
        self._usual = False

    def start(
        self, parameters: RtpParameters, destination: Hashable, outlet: Any, descriptor: int
    ) -> None:
        """Take what was negotiated; a peer that did not move keeps where it was found.

        Args:
            parameters: What was negotiated.
            destination: Where reports go, in the back-end's form.
            outlet: What the back-end sends them with.
            descriptor: The same socket.
        """
        engine, before = self._engine, self._parameters
        if before is None or (before.remote, before.rtcp_destination) != (
            parameters.remote,
            parameters.rtcp_destination,
        ):
            self._aim(destination)
        self._close_keys(parameters)
        self._parameters = parameters
        self._outlet = outlet
        if self.reporter is None:
            now = engine.now()
            self.reporter = RtcpReporter(
                self._row,
                self._cname,
                engine.reception,
                engine.send_table,
                now,
                engine.entropy,
                bandwidth=parameters.bandwidth,
                reports=engine.reports,
            )
        self.reporter.feedback.start(parameters.feedback)
        self.reporter.extended.wanted = parameters.extended_reports
        lanes, row = engine.lanes, self._row
        lanes.report_descriptor[row] = descriptor
        lanes.report_secure[row] = self._sender.context is not None
        self._usual = self._is_usual(parameters)
        lanes.report_in[row] = self._usual
        lanes.report_out[row] = self._usual and bool(engine.reports.described[row])

    def _is_usual(self, parameters: RtpParameters) -> bool:
        """Whether batches may take its reports: nothing to add, and a key that they have too."""
        lanes, row = self._engine.lanes, self._row
        if parameters.srtp_rtcp or parameters.feedback or parameters.extended_reports:
            return False
        own, peers = self._sender.context, self._receiver.context
        secure = own is not None, peers is not None
        if secure != (bool(lanes.secure_out[row]), bool(lanes.secure_in[row])):
            # Not every kind of stream lends its keys to batches.
            return False
        if own is None or peers is None:
            return own is peers and bool(parameters.rtcp_destination[1])
        # A key that may be used up is counted packet by packet.
        counted = own.packets_left is not None
        known = lanes.send_handles[row] is not None and lanes.receive_handles[row] is not None
        return known and not counted and bool(parameters.rtcp_destination[1])

    def _aim(self, destination: Any) -> None:
        self._destination = destination
        self._engine.lanes.report_head[self._row] = head_number(destination)

    def _close_keys(self, after: RtpParameters | None) -> None:
        """Close keys that RTCP had to itself and has no longer."""
        before = None if self._parameters is None else self._parameters.srtp_rtcp
        if before is not None and (after is None or after.srtp_rtcp != before):
            for context in before:
                context.close()

    def stop(self) -> None:
        """Nothing is sent or received any more."""
        self._close_keys(None)
        self._parameters = None

    def on_due(self, now: float) -> None:
        """The report timer may have run out."""
        if self.reporter is not None and self.reporter.due(now):
            self.send(now)

    def send(self, now: float, *, goodbye: bool = False, early: bool = False) -> None:
        """Send a report, with a BYE at the end; protected whenever the stream is.

        Args:
            now: Loop time.
            goodbye: The last packet of the session.
            early: Only because feedback is due: there is none without it.
        """
        reporter, parameters, engine = self.reporter, self._parameters, self._engine
        if reporter is None or parameters is None or not parameters.rtcp_destination[1]:
            return
        feedback = reporter.feedback.take(int(engine.send_table.ssrc[self._row]), now)
        if early and not feedback:
            return
        data: bytes | None
        if early and parameters.reduced_size:
            data = build_compound(feedback)
        else:
            statistics = self.describe() if VOIP_METRICS in reporter.extended.wanted else None
            data = reporter.compound(
                now, engine.wall(), goodbye=goodbye, feedback=feedback, statistics=statistics
            )
        own = parameters.srtp_rtcp
        context = self._sender.context if own is None else own[0]
        if context is not None:
            data = context.protect_rtcp(data)
        if data is not None and engine.backend.send_one(self._outlet, data, self._destination):
            reporter.on_sent(len(data))
            reporter.feedback.on_sent(feedback, now, reporter.schedule, early=early)

    def next_deadline(self) -> float | None:
        """When feedback is due before the next report."""
        return None if self.reporter is None else self.reporter.feedback.due

    def on_deadline(self, now: float) -> None:
        """Send the feedback that is due."""
        due = self.next_deadline()
        if due is not None and due <= now:
            self.send(now, early=True)

    def on_gap(self, first: int, count: int, now: float) -> None:
        """Packets are missing, from this number (with its cycles) on."""
        reporter = self.reporter
        if reporter is not None:
            reporter.feedback.on_gap(first, count, now, reporter.schedule)

    def request(self, kind: str, lost: tuple[int, ...]) -> None:
        """Send a feedback message as soon as the rules allow.

        Raises:
            LocalProtocolError: It was not agreed on, or the stream does not run.
        """
        reporter, engine = self.reporter, self._engine
        if reporter is None or self._parameters is None:
            raise LocalProtocolError("feedback needs a running stream")
        own = int(engine.send_table.ssrc[self._row])
        reporter.feedback.request(kind, own, engine.now(), reporter.schedule, lost)

    def on_datagram(self, datagram: bytes, source: Hashable, arrival: float) -> None:
        """Take a compound packet of the peer."""
        receiver, reporter, parameters = self._receiver, self.reporter, self._parameters
        if reporter is None or parameters is None:
            receiver.drop("inactive")
            return
        own = parameters.srtp_rtcp
        context = receiver.context if own is None else own[1]
        if context is not None:
            mismatches = context.encryption_mismatches
            plain = (
                receiver.keys.unprotect_rtcp(datagram)
                if own is None
                else context.unprotect_rtcp(datagram)
            )
            if plain is None:
                receiver.drop("rtcp_authentication")
                self._look_into(datagram, context, context.encryption_mismatches > mismatches)
                return
            datagram = plain
        elif source != self._destination and not self._is_peer(source):
            receiver.drop("rtcp_source")
            return
        self.on_compound(datagram, source, arrival)

    def on_compound(self, datagram: bytes, source: Hashable, arrival: float) -> None:
        """Take a compound packet that is the peer's, decrypted."""
        receiver, reporter, parameters = self._receiver, self.reporter, self._parameters
        if reporter is None or parameters is None:
            return
        events = reporter.on_compound(
            datagram,
            arrival,
            arrival - self._engine.clock_offset,
            reduced_size=parameters.reduced_size,
        )
        if events is None:
            receiver.drop("rtcp_malformed")
            return
        # Whoever sends the usual form again is read in batches again.
        self._engine.lanes.report_in[self._row] = self._usual and reporter.usual
        schedule = reporter.schedule
        self._engine.samples.note_report(self._row, schedule.rtt, schedule.remote_block)
        if parameters.symmetric:
            self._aim(source)
        for event in events:
            self._emit(event)

    def _look_into(self, datagram: bytes, context: SrtpContext, other_e_bit: bool) -> None:  # noqa: FBT001
        """Find out why a packet was refused."""
        receiver = self._receiver
        if _is_rtcp(datagram):
            receiver.rtcp_in_clear += 1
        elif self._has_short_tag(datagram, context):
            receiver.rtcp_short_tags += 1
        elif other_e_bit:
            receiver.rtcp_mismatches += self._has_other_e_bit(datagram, context)

    def _has_short_tag(self, datagram: bytes, context: SrtpContext) -> bool:
        tried = self._receiver.dropped["rtcp_authentication"]
        return tried <= MAX_TRIALS and has_short_rtcp_tag(datagram, context)

    def _has_other_e_bit(self, datagram: bytes, context: SrtpContext) -> bool:
        """Whether the peer made it; the first proof will do, and a forger gets few trials."""
        receiver = self._receiver
        if receiver.rtcp_mismatches:
            return True
        tried = receiver.dropped["rtcp_authentication"]
        return tried <= MAX_TRIALS and is_encrypted_otherwise(datagram, context)

    def _is_peer(self, source: Hashable) -> bool:
        """Whether plain RTCP comes from the host that media was found to come from."""
        latch, backend = self._receiver.latch, self._engine.backend
        return (
            latch is not None
            and latch.locked
            and latch.symmetric
            and backend.to_host_port(source)[0] == backend.to_host_port(latch.source)[0]
        )

    def on_media_moved(self, source: Hashable) -> None:
        """Media comes from elsewhere; under mux reports go there too."""
        if self._parameters is not None and self._parameters.rtcp_mux:
            self._aim(source)


def _is_rtcp(datagram: bytes) -> bool:
    """Whether it can be read without a key."""
    try:
        parse_rtcp(datagram)
    except RtcpSyntaxError:
        return False
    return True
