"""The receiving side of one stream, one packet at a time.

This is the scalar half of the packet lane: it decides what is unusual, and once a stream is
steady lets the batches of `receive` do the rest. Bad packets move counters and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import LocalProtocolError
from callmeter.media import buffering, levels
from callmeter.media.events import (
    AuthenticationFailing,
    DigitReceived,
    FirstPacket,
    SourceChanged,
    SsrcChanged,
)
from callmeter.media.latch import Latch, Verdict
from callmeter.media.receive_keys import ReceiveKeys
from callmeter.media.sinks import DecodingSink, NoiseSink
from callmeter.rtp.header import header_length, parse_header, payload_bounds
from callmeter.rtp.telephone_event import EventReceiver
from callmeter.srtp.stream_policy import Status
from callmeter.srtp.trial import FailureCause, explain_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from callmeter.media.datagrams import Backend
    from callmeter.media.decoding import DecodingStatistics
    from callmeter.media.events import MediaEvent
    from callmeter.media.lanes import LaneTable
    from callmeter.media.parameters import RtpParameters
    from callmeter.media.receive_keys import Held as HeldSecure
    from callmeter.media.sinks import AudioSink
    from callmeter.rtp import telephone_event
    from callmeter.rtp.header import RtpHeader
    from callmeter.rtp.stream_table import StreamTable
    from callmeter.srtp.context import SrtpContext

__all__ = ["StreamReceiver"]

FAILURES_IN_A_ROW: Final = 100
TRIAL_AFTER: Final = 10
TRIAL_SECONDS: Final = 0.15
"""A run of failures that is that long is looked into; forged packets between good ones are not."""
MAX_EDGES: Final = 128
"""Source and SSRC changes that become events; the counters go on."""
SHORTEST_FRAMES: Final = 200
"""Packets a second of the shortest packet time, 5 ms."""
HALF_SEQUENCES: Final = 1 << 15
LIKE_RTCP: Final = range(64, 96)
"""With the marker they are RTCP by their second octet (RFC 5761 section 4): no batch tells."""
AUTHENTICATION: Final = "authentication"
REPLAY: Final = "replay"
OTHER_SRTP: Final = "srtp"
REPLAYED: Final = frozenset({Status.REPLAY_FAIL, Status.REPLAY_OLD})

Held = tuple["Hashable", bytes, "RtpHeader", float]


class StreamReceiver:
    """State and rules of one received stream.

    Args:
        row: Its row in all tables.
        lanes: Where the batches read what is steady.
        reception: The accounting.
        backend: Knows the form of addresses.
        emit: Takes the events.

    Attributes:
        dropped: Datagrams not accepted, by reason.
        latch: Where media may come from; None before `start`.
        moved: Called with the new source when it changed.
        sinks: Who hears the stream.
        sink_error: What a sink raised; it was detached for it.
        first_packet_at: Loop time of the first accepted packet.
        digits: Digits heard.
        comfort_noise: Packets of comfort noise.
        keys: What opens the packets.
        failure: Why SRTP refuses what arrives, None while it does not.
        payload_octets: Length of the last audio payload that was judged alone.
        rtcp_in_clear: Plain RTCP packets where SRTCP was agreed.
        rtcp_mismatches: SRTCP packets whose E bit is not what was agreed.
        rtcp_short_tags: SRTCP packets with the tag length of RTP.
    """

    def __init__(
        self,
        row: int,
        lanes: LaneTable,
        reception: StreamTable,
        backend: Backend,
        emit: Callable[[MediaEvent], None],
    ) -> None:
        self._row = row
        self._lanes = lanes
        self._reception = reception
        self._backend = backend
        self._emit = emit
        self.dropped: dict[str, int] = {}
        self.latch: Latch | None = None
        self.moved: Callable[[Any], None] = lambda _: None
        self.sinks: tuple[AudioSink, ...] = ()
        self.sink_error: Exception | None = None
        self.first_packet_at: float | None = None
        self.digits = 0
        self.comfort_noise = 0
        self.keys = ReceiveKeys()
        self.failure: FailureCause | None = None
        self.payload_octets = 0
        self.rtcp_in_clear = 0
        self.rtcp_mismatches = 0
        self.rtcp_short_tags = 0
        self._failing_since: float | None = None
        self._parameters: RtpParameters | None = None
        self._codecs: dict[int, str] = {}
        self._clocks: dict[int, int] = {}
        self._decoded: DecodingStatistics | None = None
        self._steady_codec = ""
        self._events: dict[int, EventReceiver] = {}
        self._noise: frozenset[int] = frozenset()
        self._held: list[Held] = []
        self._edges = 0
        self._run_reported = False

    @property
    def context(self) -> SrtpContext | None:
        """The key in use; None on a plain stream."""
        return self.keys.context

    @property
    def seeks_source(self) -> bool:
        """Whether the peer was not heard yet and may be somewhere else than it said."""
        return self.latch is not None and self.latch.symmetric and not self.latch.locked

    def opens(self, datagram: bytes) -> bool:
        """Whether the key in use would open an RTP packet; changes nothing."""
        context = self.context
        return context is not None and context.authentic_under(datagram, 0)

    @property
    def decoding(self) -> DecodingStatistics | None:
        """What decoding had to cope with, by the first sink that decodes, or the last one."""
        for sink in self.sinks:
            if isinstance(sink, DecodingSink):
                return sink.statistics
        return self._decoded

    def drop(self, reason: str) -> None:
        """Count a datagram that was not accepted."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    # --- set-up -------------------------------------------------------------------------------

    def start(self, parameters: RtpParameters, source: Hashable, now: float) -> None:
        """Take what was negotiated, for the first time or again.

        Raises:
            LocalProtocolError: A secure stream would become plain.
        """
        lanes, row, context = self._lanes, self._row, parameters.srtp_receive
        if context is None and self.context is not None:
            raise LocalProtocolError("a secure stream stays secure until it is stopped")
        before = self._parameters
        lanes.unsettle(row)
        self._end_failures()
        self.keys.change(context, int(self._reception.ssrc[row]), now)
        lanes.receive_handles[row] = None if context is None else context.handle
        lanes.secure_in[row] = context is not None
        if self.latch is not None and before is not None and before.remote == parameters.remote:
            # Whoever sends now goes on; a new place may be learned only while nobody does.
            source = self.latch.source
        self.latch = Latch(source, symmetric=parameters.symmetric)
        lanes.expect(row, source)
        self.end_holding()
        self._parameters = parameters
        # The peer sends what was agreed before until it has our answer (RFC 3264 section 8.3.2).
        self._codecs = ({} if before is None else before.accepted) | parameters.accepted
        self._noise = parameters.accepted_noise
        before_it = self._events
        self._events = {
            number: before_it.get(number) or EventReceiver(rate)
            for number, rate in parameters.accepted_events.items()
        }
        if parameters.receive and not lanes.receiving[row]:
            lanes.awaited_since[row] = now
        lanes.receiving[row] = parameters.receive
        lanes.silent[row] = False
        self._clocks = {
            number: parameters.clock_rate_of(codec) for number, codec in self._codecs.items()
        }
        self._follow_clock(parameters.clock_rate)
        if before is None or before.receive != parameters.receive:
            self._reception.resume(row)
        self._judge_again(self.keys.release())

    def expect_key(self, until: float | None) -> None:
        """A new key is on its way, and its packets may overtake it; None when it is no more.

        Args:
            until: Loop time until which they are kept.
        """
        if until is None:
            self._judge_again(self.keys.release())
        else:
            self._lanes.unsettle(self._row)
            self.keys.expect(until)

    def _judge_again(self, held: list[HeldSecure]) -> None:
        for datagram, source, arrival in held:
            failed = self.dropped.get(AUTHENTICATION, 0)
            self.on_rtp(datagram, source, arrival)
            self.keys.early_packets += self.dropped.get(AUTHENTICATION, 0) == failed

    def stop(self) -> None:
        """Let the sinks finish and close the keys; the row may be another stream's from now on."""
        self.latch = None
        self._lanes.unsettle(self._row)
        self._lanes.receive_handles[self._row] = None
        self.keys.close()
        self.close_sinks()

    def attach(self, sink: AudioSink) -> None:
        """Let a sink hear the stream; it is open already."""
        self.sinks = (*self.sinks, sink)
        self._lanes.listening[self._row] = True

    def detach(self, sink: AudioSink) -> bool:
        """The sink hears no more; False when it did not."""
        if not self._is_attached(sink):
            return False
        self.sinks = tuple(attached for attached in self.sinks if attached is not sink)
        self._lanes.listening[self._row] = bool(self.sinks)
        self.close_sink(sink)
        return True

    def close_sinks(self) -> None:
        """Let all sinks finish."""
        for sink in self.sinks:
            self.detach(sink)

    def close_sink(self, sink: AudioSink) -> None:
        """Close a sink; what it raises is kept, never passed on."""
        try:
            sink.close()
        except Exception as error:  # noqa: BLE001  a sink is foreign code: it may not end a call
            self.sink_error = error
        if isinstance(sink, DecodingSink):
            self._decoded = sink.statistics
            sink.on_power = None

    # --- time ---------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do."""
        digits = (events.next_deadline() for events in self._events.values())
        deadlines = (self.keys.next_deadline(), *digits)
        return min((at for at in deadlines if at is not None), default=None)

    def on_deadline(self, now: float) -> None:
        """End a digit whose end was lost, the life of an old key, the wait for a new one."""
        self._judge_again(self.keys.on_deadline(now))
        for events in self._events.values():
            self._heard_digits(events.on_deadline(now), now)

    # --- packets ------------------------------------------------------------------------------

    def on_rtp(self, datagram: bytes, source: Hashable, arrival: float) -> None:
        """Judge one RTP datagram and account for it."""
        latch = self.latch
        if latch is None or self._parameters is None or not self._parameters.receive:
            self.drop("inactive")
            return
        header = parse_header(datagram)
        if header is None or header_length(datagram) is None:
            self.drop("header")
            return
        if self.context is not None:
            self._on_secure(datagram, header, source, arrival)
            return
        if not self._is_expected(header.payload_type):
            self.drop("payload_type")
            return
        before = latch.source
        verdict = latch.on_plain(source, header.ssrc, header.payload_type, header.sequence, arrival)
        if verdict is Verdict.ACCEPT:
            if latch.source != before:
                self._on_moved(before, arrival)
            self.end_holding(source)
            self._account(datagram, header, arrival)
        elif verdict is Verdict.HOLD:
            self._held.append((source, datagram, header, arrival))
        else:
            if latch.locked:
                self.end_holding()
            self.drop("source")

    def end_holding(self, source: Hashable | None = None) -> None:
        """Account for what was kept: packets of the source that proved right, and the others."""
        held, self._held = self._held, []
        for place, datagram, header, arrival in held:
            if self.latch is None:
                return  # A sink has stopped the stream.
            if place == source:
                self._account(datagram, header, arrival)
            else:
                self.drop("source")

    def _is_expected(self, payload_type: int) -> bool:
        return (
            payload_type in self._codecs
            or payload_type in self._noise
            or payload_type in self._events
        )

    def _on_secure(
        self, datagram: bytes, header: RtpHeader, source: Hashable, arrival: float
    ) -> None:
        packet = self._unprotect(datagram, source, arrival)
        latch = self.latch
        if packet is None or latch is None:
            return
        self._end_failures()
        before = latch.source
        highest = int(self._reception.extended_max[self._row])
        newest = (
            highest < 0
            or header.ssrc != int(self._reception.ssrc[self._row])
            or 0 < (header.sequence - highest) & 0xFFFF < HALF_SEQUENCES
        )
        if latch.on_authenticated(source, newest=newest):
            self._on_moved(before, arrival)
        if not self._is_expected(header.payload_type):
            self.drop("payload_type")
            return
        self._account(packet, header, arrival)

    def _unprotect(self, datagram: bytes, source: Hashable, arrival: float) -> bytes | None:
        packet = self._unprotect_alone(datagram, source, arrival)
        context = self.context
        if context is not None and context.restarted:
            # Its session is another one, and the one that batches would use is freed.
            context.restarted = False
            self._lanes.receive_handles[self._row] = context.handle
        return packet

    def _unprotect_alone(self, datagram: bytes, source: Hashable, arrival: float) -> bytes | None:
        keys = self.keys
        packet = keys.unprotect(datagram)
        if packet is not None:
            return packet
        if keys.status is Status.AUTH_FAIL and keys.keep(datagram, source, arrival):
            return None
        self.on_failure(keys.status, datagram, arrival)
        if self.failure is FailureCause.ROLLOVER:
            packet = keys.follow_rollover(datagram)
        return packet

    def on_batch_failure(self, status: int) -> None:
        """A packet of a batch failed; what comes next is judged one by one."""
        self._lanes.unsettle(self._row)
        if self.context is not None:
            self.context.record(status)
        self.on_failure(status, b"", 0.0)

    def on_failure(self, status: int, datagram: bytes, arrival: float) -> None:
        """Count a packet that SRTP refused; a long run of them becomes one event."""
        if status in REPLAYED:
            self.drop(REPLAY)
            self._lanes.srtp_replays[self._row] += 1
            return
        self.drop(AUTHENTICATION if status == Status.AUTH_FAIL else OTHER_SRTP)
        lanes, row = self._lanes, self._row
        lanes.srtp_failures[row] += 1
        lanes.failing[row] += 1
        if not datagram:
            return
        if self._failing_since is None:
            self._failing_since = arrival
        count = int(lanes.failing[row])
        lasting = count >= TRIAL_AFTER and arrival - self._failing_since >= TRIAL_SECONDS
        if self.failure is None and lasting:
            self.failure = self._explain(datagram)
        if count >= FAILURES_IN_A_ROW and not self._run_reported:
            self._run_reported = True
            cause = self.failure or self._explain(datagram)
            self._emit(AuthenticationFailing(at=arrival, count=count, cause=cause))

    def _explain(self, datagram: bytes) -> FailureCause:
        context, parameters = self.context, self._parameters
        if context is None or parameters is None:
            return FailureCause.KEY
        return explain_failure(datagram, context, plain=self._looks_plain(datagram, parameters))

    def _looks_plain(self, datagram: bytes, parameters: RtpParameters) -> bool:
        """Whether what SRTP refuses has the form of plain media."""
        bounds = payload_bounds(datagram)
        length = 0 if bounds is None else bounds[1] - bounds[0]
        # G.711 has an octet a sample; the peer may have chosen another packet time.
        step = parameters.clock_rate // SHORTEST_FRAMES
        return length > 0 and length % step == 0

    def _end_failures(self) -> None:
        self._lanes.failing[self._row] = 0
        self._run_reported = False
        self._failing_since = None
        self.failure = None

    def _account(self, packet: bytes, header: RtpHeader, arrival: float) -> None:
        bounds = payload_bounds(packet)
        if bounds is None:
            self.drop("padding")
            return
        reception, row = self._reception, self._row
        if self.first_packet_at is None:
            self.first_packet_at = arrival
            reception.ssrc[row] = header.ssrc
            source = self._backend.to_host_port(self._lanes.expected[row])
            self._emit(FirstPacket(at=arrival, source=source, ssrc=header.ssrc))
        elif header.ssrc != int(reception.ssrc[row]):
            previous = int(reception.ssrc[row])
            reception.switch_ssrc(row, header.ssrc)
            self._lanes.unsettle(row)
            buffering.restart(self._lanes, row)
            self._edge(SsrcChanged(at=arrival, previous=previous, ssrc=header.ssrc))
        start, end = bounds
        payload = packet[start:end]
        codec = self._codecs.get(header.payload_type)
        is_event = header.payload_type in self._events
        if codec is not None:
            self._follow_clock(self._clocks[header.payload_type])
        reception.update_one(
            row, header.sequence, header.timestamp, arrival, len(payload), not is_event
        )
        if is_event:
            buffering.add_event(self._lanes, row, header.sequence, arrival)
        else:
            buffering.add_packet(self._lanes, row, header.sequence, header.timestamp, arrival)
        if is_event:
            events = self._events[header.payload_type]
            self._heard_digits(events.on_packet(payload, header.timestamp, arrival), arrival)
            return
        if codec is None:
            self.comfort_noise += 1
            self._lanes.paused_at[row] = arrival
            self._hear_noise(header.sequence, header.timestamp, arrival, payload)
            return
        self.payload_octets = len(payload)
        self._take(header, arrival, payload, codec)

    def _take(self, header: RtpHeader, arrival: float, payload: bytes, codec: str) -> None:
        """A payload of an accepted packet."""
        levels.add_packet(self._lanes, self._row, header.sequence, payload, codec)
        self.hear(header.sequence, header.timestamp, arrival, payload, codec)
        self._settle(header.payload_type, codec)

    def _follow_clock(self, rate: int) -> None:
        """Go on with timestamps of this rate: codecs differ in it (RFC 7160)."""
        reception, row = self._reception, self._row
        if reception.clock_rate[row] != rate:
            reception.change_clock(row, rate)
            buffering.restart(self._lanes, row, rate)

    def _settle(self, payload_type: int, codec: str) -> None:
        """From here on batches may take the stream, if nothing unusual is pending."""
        if self.latch is None or not self.latch.locked:
            return
        lanes, row, context = self._lanes, self._row, self.context
        if context is not None and (context.handle is None or not self.keys.settled):
            return
        if payload_type in LIKE_RTCP:
            return
        lanes.level_law[row] = levels.law_of(codec)
        self._steady_codec = codec
        lanes.settle(row, int(self._reception.ssrc[row]), payload_type)

    def hear(
        self, sequence: int, timestamp: int, arrival: float, payload: bytes, codec: str = ""
    ) -> None:
        """Give a payload to the sinks; one that fails is detached."""
        attached = self.sinks
        for sink in attached:
            if self.sinks is not attached and not self._is_attached(sink):
                continue
            try:
                sink.write(codec or self._steady_codec, sequence, timestamp, arrival, payload)
            except Exception as error:  # noqa: BLE001  foreign code may not stop the tick
                self._fail(sink, error)

    def _hear_noise(self, sequence: int, timestamp: int, arrival: float, payload: bytes) -> None:
        """Tell those sinks that want to know what a pause sounds like."""
        for sink in self.sinks:
            if isinstance(sink, NoiseSink) and self._is_attached(sink):
                try:
                    sink.on_comfort_noise(sequence, timestamp, arrival, payload)
                except Exception as error:  # noqa: BLE001  foreign code may not stop the tick
                    self._fail(sink, error)

    def _is_attached(self, sink: AudioSink) -> bool:
        """Whether no sink has detached it meanwhile, or stopped the stream."""
        return any(attached is sink for attached in self.sinks)

    def _fail(self, sink: AudioSink, error: Exception) -> None:
        self.sink_error = error
        self.detach(sink)

    def _heard_digits(self, digits: list[telephone_event.DigitReceived], at: float) -> None:
        for heard in digits:
            self.digits += 1
            self._emit(DigitReceived(at=at, digit=heard.digit, duration_ms=heard.duration_ms))

    def _on_moved(self, before: Any, arrival: float) -> None:
        latch = self.latch
        if latch is not None:
            self._lanes.expect(self._row, latch.source)
            self.moved(latch.source)
            self._edge(
                SourceChanged(
                    at=arrival,
                    previous=self._backend.to_host_port(before),
                    source=self._backend.to_host_port(latch.source),
                )
            )

    def _edge(self, event: MediaEvent) -> None:
        if self._edges < MAX_EDGES:
            self._edges += 1
            self._emit(event)
