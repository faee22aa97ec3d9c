"""One RTP stream of any kind: a port, a peer, keys, RTCP, statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from callmeter.errors import ConfigurationError, LocalProtocolError, TransportError
from callmeter.media import buffering
from callmeter.media.events import EventLog, Silent
from callmeter.media.extended_reports import NO_REPORTS
from callmeter.media.levels import level_statistics
from callmeter.media.losses import LossRecord
from callmeter.media.measures import Measures
from callmeter.media.ports import mark
from callmeter.media.receiver import StreamReceiver
from callmeter.media.statistics import StreamStatistics
from callmeter.media.stream_rtcp import StreamRtcp
from callmeter.metrics.metric import Direction
from callmeter.rtp.demux import PacketKind, classify
from callmeter.rtp.feedback import FeedbackCounts
from callmeter.rtp.reception import reception_statistics, sender_statistics

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Hashable

    from callmeter.jitter_buffer_config import JitterBufferSettings
    from callmeter.media.capture import MediaCapture
    from callmeter.media.engine import MediaEngine
    from callmeter.media.events import MediaEvent
    from callmeter.media.parameters import RtpParameters
    from callmeter.metrics.quality import Speech
    from callmeter.metrics.series import StreamSeries
    from callmeter.srtp.context import SrtpContext

    Control = Callable[[PacketKind, bytes, tuple[str, int]], None]

__all__ = ["RtpStream"]

EARLY_S: Final = 1.0
"""What arrived longer before `start` is dropped: nobody could tell what it was."""
CONTROL_KINDS: Final = frozenset({PacketKind.STUN, PacketKind.DTLS, PacketKind.TURN_CHANNEL})


class PacketSender(Protocol):
    """The sending half of a stream."""

    @property
    def context(self) -> SrtpContext | None:
        """The key everything is protected with; None on a plain stream."""

    @property
    def digits(self) -> int:
        """DTMF digits sent."""

    @property
    def protect_failures(self) -> int:
        """Packets that could not be protected."""

    @property
    def source_error(self) -> Exception | None:
        """What a source raised; it ended with that."""

    def start(self, parameters: Any, phase: int, now: float) -> None:
        """Take what was negotiated, for the first time or again."""

    def on_second(self) -> None:
        """Charge the key for what was sent."""

    def stop(self) -> None:
        """Send no more."""


class StreamOccasions:
    """What a kind of stream may do at certain times, and need not."""

    def _on_start(self, parameters: Any) -> None:
        """What its kind has to do when it is started."""

    def _on_stop(self) -> None:
        """What its kind has to do before it is stopped."""

    def hear(self, sequence: int, timestamp: int, arrival: float, payload: bytes) -> None:
        """A payload of a steady batch."""

    def on_exhausted(self) -> None:
        """The source that plays has no more frames."""

    def on_live_frame(self) -> None:
        """A live source is due."""

    def send_special(self, now: float) -> bool:
        """Send the packet that is due outside the batches."""
        del now
        return False


class RtpStream(StreamOccasions, ABC):
    """What audio and video have in common; `MediaEngine` makes them.

    Attributes:
        address: Local IP address.
        port: Local RTP port.
        rtcp_port: Local RTCP port; the same one under mux.
        ssrc: Own synchronisation source.
        measures: Where others add figures of the stream.
        cname: Own canonical name (RFC 7022: random, for this stream alone).
        patient: Its RTCP may be read a moment later: nothing in it asks for something at once.
    """

    patient: ClassVar[bool] = True

    def __init__(
        self,
        engine: MediaEngine,
        row: int,
        sockets: tuple[socket.socket, socket.socket | None],
        address: str,
        cname: str,
    ) -> None:
        self._engine = engine
        self._row = row
        self._rtp, self._rtcp = sockets
        self.address = address
        self.port = int(self._rtp.getsockname()[1])
        self.rtcp_port = self.port if self._rtcp is None else int(self._rtcp.getsockname()[1])
        self.ssrc = int(engine.send_table.ssrc[row])
        self.cname = cname
        self._log: EventLog[MediaEvent] = EventLog(engine.future)
        self._receiver = self._new_receiver()
        self._receiver.moved = self._on_source_moved
        self._sender: PacketSender = self._new_sender()
        self._reports = StreamRtcp(engine, row, cname, self._receiver, self._sender, self.tell)
        self._reports.describe = self.statistics
        self._parameters: RtpParameters | None = None
        self._control: Control | None = None
        self._rtcp_control: Control | None = None
        self._listened_from = float("-inf")
        self._listening: set[int] = set()
        self._stopping = False
        self._final: StreamStatistics | None = None
        self._course: StreamSeries | None = None
        self._late_before = engine.late_ticks
        self._capture: MediaCapture | None = None
        self._losses = LossRecord(row, engine.reception)
        self._speech: Speech | None = None
        self._sent_speech: Speech | None = None
        self._buffered: JitterBufferSettings | None = None
        self.measures = Measures()

    def _new_receiver(self) -> StreamReceiver:
        engine = self._engine
        return StreamReceiver(self._row, engine.lanes, engine.reception, engine.backend, self.tell)

    @abstractmethod
    def _new_sender(self) -> PacketSender:
        """What sends."""

    def __repr__(self) -> str:
        state = "stopped" if self._final else "started" if self._parameters else "open"
        return f"<{type(self).__name__} {self.address}:{self.port} ssrc={self.ssrc:#010x} {state}>"

    # --- the owner's side ---------------------------------------------------------------------

    def start(self, parameters: RtpParameters) -> None:
        """Send and receive as negotiated; called again, change to what a re-INVITE negotiated.

        Raises:
            ConfigurationError: The remote address is no IP address of this socket's family.
            LocalProtocolError: The stream is stopped, or a secure stream would become plain.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        engine, row, now = self._engine, self._row, self._engine.now()
        remote = self._native(parameters.remote)
        rtcp_remote = self._native(parameters.rtcp_destination)
        before = self._parameters
        self._receiver.start(parameters, remote, now)
        if before is None or before.remote != parameters.remote:
            engine.lanes.aim(row, remote)
        if before is None:
            self._listened_from = now - EARLY_S
        self._parameters = parameters
        self._note_keys()
        if parameters.rtcp_mux and self._rtcp is not None:
            self._release(self._rtcp)
            self._rtcp, self.rtcp_port = None, self.port
        engine.lanes.outlets[row] = engine.backend.outlet(self._rtp)
        engine.lanes.descriptor[row] = self._rtp.fileno()
        self._sender.start(parameters, engine.first_phase(row), now)
        bound = self._rtcp or self._rtp
        self._reports.start(parameters, rtcp_remote, engine.backend.outlet(bound), bound.fileno())
        self._listen()
        self._on_start(parameters)
        engine.samples.begin(row, now, self._speech)
        engine.on_started(self, metered=self._is_metered())
        self._watch()

    @property
    def shared(self) -> bool:
        """Whether other streams use the port too."""
        return self._row in self._engine.lanes.ports and self._final is None

    def expect_peer(self, address: tuple[str, int], ssrc: int | None) -> None:
        """Tell a shared port who the peer is before `start` can: a handshake comes first.

        Args:
            address: Where its media will come from.
            ssrc: What it announced it sends with, or None.

        Raises:
            ConfigurationError: The address is no IP address of this socket's family.
        """
        port = self._engine.lanes.ports.get(self._row)
        if port is not None and self._final is None:
            port.expect(self._row, self._native(address), ssrc)

    @property
    def capture(self) -> MediaCapture | None:
        """What `capture_to` was given."""
        return self._capture

    def capture_to(self, capture: MediaCapture) -> None:
        """Copy whatever goes over the ports into a capture, until the stream is stopped.

        Raises:
            LocalProtocolError: The stream is stopped, or captured already.
        """
        if self._final is not None or self._capture is not None:
            raise LocalProtocolError("the stream is stopped, or captured already")
        if self.shared:
            raise LocalProtocolError("a stream on a shared port cannot be captured alone")
        self._capture = capture
        capture.begin(self._engine.backend.to_host_port)
        for bound in self._sockets():
            self._engine.tap(bound, capture)
        self._note_keys()

    def _note_keys(self) -> None:
        if self._capture is not None and self._parameters is not None:
            peer = int(self._engine.reception.ssrc[self._row]) & 0xFFFF_FFFF
            self._capture.note_keys(self._parameters, self.ssrc, peer)

    def _is_metered(self) -> bool:
        context = self._sender.context
        return context is not None and context.packets_left is not None

    def mark(self, dscp: int | None) -> None:
        """Let what is sent from now on have this code point; None sets none.

        Raises:
            TransportError: The system does not allow it.
        """
        try:
            for bound in self._sockets() if self._final is None else ():
                mark(bound, dscp)
        except OSError as error:
            raise TransportError(f"the code point {dscp} cannot be set: {error}") from error

    def send_feedback(self, kind: str, *, lost: tuple[int, ...] = ()) -> None:
        """Send an RTCP feedback message (RFC 4585) as soon as the rules for early packets allow.

        Args:
            kind: `"nack"`, `"nack pli"`, `"nack sli"` or `"ccm fir"`: the words of a=rtcp-fb.
            lost: Sequence numbers that a `"nack"` names.

        Raises:
            LocalProtocolError: It was not agreed on, or the stream does not run.
        """
        self._reports.request(kind, lost)
        self._watch()

    @property
    def sink_error(self) -> Exception | None:
        """What the last sink that failed raised; it was detached for it."""
        return self._receiver.sink_error

    @property
    def source_error(self) -> Exception | None:
        """What the last source that failed raised; it ended with that."""
        return self._sender.source_error

    def events(self, *, unmoved_by: tuple[type[MediaEvent], ...] = ()) -> AsyncIterator[MediaEvent]:
        """All events so far (the last 256), then each new one, until the stream is stopped.

        Args:
            unmoved_by: Events that need not come at once; they come with the next other one.
        """
        return self._log.read(unmoved_by=unmoved_by)

    def tell(self, event: MediaEvent) -> None:
        """Add an event of the control lane to the stream's own."""
        self._log.append(event)

    def expect_key(self, seconds: float | None) -> None:
        """A new key was offered, and the peer's first packets under its own may overtake it.

        What cannot be read is kept, to be tried again when `start` brings a key.

        Args:
            seconds: How long; None when no new key will come.
        """
        if self._final is None and self._parameters is not None:
            self._receiver.expect_key(None if seconds is None else self._engine.now() + seconds)
            self._watch()

    def set_control(self, control: Control | None, *, rtcp: bool = False) -> None:
        """Pass STUN, DTLS and TURN datagrams to a callback, from now on and before `start`.

        Args:
            control: Called with the kind, the datagram and its source.
            rtcp: Those of the RTCP port, as long as there is one.
        """
        if rtcp:
            self._rtcp_control = control
        else:
            self._control = control
        if control is not None and self._final is None:
            self._listen()

    def send_datagram(
        self, datagram: bytes, destination: tuple[str, int], *, rtcp: bool = False
    ) -> bool:
        """Send a STUN or DTLS datagram; False when the kernel refused it.

        Args:
            datagram: What to send.
            destination: Where to.
            rtcp: From the RTCP port instead of the media port.

        Raises:
            LocalProtocolError: The stream is stopped, or this is no such datagram: RTP and RTCP
                leave by their own way, which knows the keys.
        """
        if self._final is not None or classify(datagram) not in CONTROL_KINDS:
            raise LocalProtocolError("only STUN, DTLS and TURN leave an open stream this way")
        backend = self._engine.backend
        bound = self._rtcp if rtcp and self._rtcp is not None else self._rtp
        return backend.send_one(backend.outlet(bound), datagram, self._native(destination))

    def statistics(self, earlier: StreamStatistics | None = None) -> StreamStatistics:
        """What the stream did so far; once it is stopped, what it did in all.

        Args:
            earlier: The last snapshot, when rates and losses are to speak of the time since.
        """
        if self._final is not None:
            return self._final
        engine, row, now = self._engine, self._row, self._engine.now()
        receiver, sender, reporter = self._receiver, self._sender, self._reports.reporter
        schedule = None if reporter is None else reporter.schedule
        block = None if schedule is None else schedule.remote_block
        feedback = None if reporter is None else reporter.feedback
        dropped = dict(receiver.dropped)
        rate = float(engine.send_table.clock_rate[row])
        latch = receiver.latch
        received = reception_statistics(
            engine.reception, row, now, None if earlier is None else earlier.receive
        )
        return StreamStatistics(
            sampled_at=now,
            send=sender_statistics(
                engine.send_table, row, now, None if earlier is None else earlier.send
            ),
            receive=received,
            ssrc=self.ssrc,
            remote_ssrc=(
                None if receiver.first_packet_at is None else int(engine.reception.ssrc[row])
            ),
            source=None if latch is None else engine.backend.to_host_port(latch.source),
            source_locked=latch is not None and latch.locked,
            first_packet_at=receiver.first_packet_at,
            srtp_decrypt_failures=dropped.get("authentication", 0) + dropped.get("srtp", 0),
            srtp_replayed=dropped.get("replay", 0),
            srtp_old_key_packets=receiver.keys.old_key_packets,
            srtp_unfollowed=receiver.keys.unfollowed,
            srtp_early_packets=receiver.keys.early_packets,
            srtp_roc_kept=receiver.keys.roc_kept,
            srtp_roc_resets=receiver.keys.roc_resets,
            srtp_failure=receiver.failure,
            srtp_protect_failures=sender.protect_failures,
            payload_octets=receiver.payload_octets,
            levels=level_statistics(engine.lanes, row),
            comfort_noise_packets=receiver.comfort_noise,
            speech=self._speech,
            sent_speech=self._sent_speech,
            bursts=self._losses.burst_gap(received.packets_expected),
            burst_ratio=self._losses.burst_ratio(received.packets_expected),
            mean_jitter_ms=engine.samples.mean_jitter_ms(row),
            clock_drift_ppm=None if reporter is None else reporter.drift_ppm,
            clock_skew_ppm=engine.samples.skew_ppm(row),
            rtt_ms=None if schedule is None else _milliseconds(schedule.rtt),
            rtcp_sr_rr_interval_ms=(
                None if schedule is None else _milliseconds(schedule.report_interval)
            ),
            reported_fraction_lost=None if block is None else block.fraction_lost / 2.56,
            reported_packets_lost=None if block is None else block.cumulative_lost,
            reported_jitter_ms=None if block is None else _milliseconds(block.jitter / rate),
            rtcp_packets_sent=0 if reporter is None else reporter.sent,
            rtcp_packets_received=0 if reporter is None else reporter.received,
            feedback_sent=FeedbackCounts() if feedback is None else replace(feedback.sent),
            feedback_received=FeedbackCounts() if feedback is None else replace(feedback.received),
            rtcp_in_clear=receiver.rtcp_in_clear,
            rtcp_encryption_mismatches=receiver.rtcp_mismatches,
            rtcp_short_tags=receiver.rtcp_short_tags,
            dtmf_digits_sent=sender.digits,
            dtmf_digits_received=receiver.digits,
            decoding=receiver.decoding,
            jitter_buffer=buffering.statistics(engine.lanes, row, now),
            jitter_buffer_settings=self._buffered,
            xr=NO_REPORTS if reporter is None else reporter.extended.statistics(),
            dropped=dropped,
            socket_overflows=sum(
                engine.backend.overflows.of(bound.fileno()) for bound in self._sockets()
            ),
            report_after_s=None if reporter is None else reporter.report_after,
            late_ticks=max(0, engine.late_ticks - self._late_before),
            send_measures=self.measures.of(Direction.SEND),
            receive_measures=self.measures.of(Direction.RECEIVE),
        )

    def series(self) -> StreamSeries:
        """The course of the stream, one sample a second; once it is stopped, all of it."""
        return self._course or self._engine.samples.series(self._row)

    def stop(self) -> None:
        """Say goodbye by RTCP, close sinks, keys and sockets. Twice is harmless."""
        if self._stopping:
            return  # A sink that is closed for it may call it again.
        self._stopping = True
        engine = self._engine
        self._on_stop()
        if self._parameters is not None:
            self._reports.send(engine.now(), goodbye=True)
        self._receiver.end_holding()
        # What sinks decode at last is to be counted.
        self._receiver.close_sinks()
        self._losses.settle()
        self._final = self.statistics()
        self._course = engine.samples.end(self._row, engine.now())
        self._reports.stop()
        self._sender.stop()
        self._receiver.stop()
        for bound in self._sockets():
            self._release(bound)
        engine.on_stopped(self, self._row)
        self._log.close()

    # --- sockets and addresses ----------------------------------------------------------------

    def _sockets(self) -> tuple[socket.socket, ...]:
        return (self._rtp,) if self._rtcp is None else (self._rtp, self._rtcp)

    def _native(self, address: tuple[str, int]) -> Hashable:
        host, port = address
        try:
            return self._engine.backend.to_native(self._rtp, host, port)
        except OSError as error:
            raise ConfigurationError(f"{host} is no address for {self.address}") from error

    def _listen(self) -> None:
        for bound in self._sockets():
            if bound.fileno() not in self._listening:
                self._listening.add(bound.fileno())
                self._engine.sockets.listen(bound, self._row, rtcp_only=bound is self._rtcp)

    def _release(self, bound: socket.socket) -> None:
        if bound.fileno() in self._listening:
            self._listening.discard(bound.fileno())
            self._engine.sockets.unlisten(bound, self._row)
        if self._capture is not None:
            self._engine.untap(bound)
        self._engine.sockets.close(bound, self._row)

    # --- the engine's side --------------------------------------------------------------------

    def on_datagram(
        self, datagram: bytes, source: Hashable, arrival: float, *, rtcp_only: bool, oversize: bool
    ) -> None:
        """Take one datagram that no batch takes."""
        receiver = self._receiver
        kind = classify(datagram)
        control = self._rtcp_control if rtcp_only else self._control
        if oversize:
            receiver.drop("oversize")
        elif kind in CONTROL_KINDS and control is not None:
            place = self._engine.backend.to_host_port(source)
            if kind is PacketKind.DTLS:
                self._engine.handshakes.add(partial(control, kind, datagram, place))
            else:
                control(kind, datagram, place)
        elif kind is PacketKind.RTP and not rtcp_only:
            if arrival < self._listened_from:
                receiver.drop("early")
                return
            receiver.on_rtp(datagram, source, arrival)
            self._watch()
        elif kind is PacketKind.RTCP:
            self._reports.on_datagram(datagram, source, arrival)
        else:
            receiver.drop("unrecognised" if kind is PacketKind.DROP else kind.name.lower())

    def _watch(self) -> None:
        if self._final is None and self.next_deadline() is not None:
            self._engine.watch(self)

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do."""
        deadlines = (
            self._receiver.next_deadline(),
            self._reports.next_deadline(),
            self._losses.due,
        )
        return min((at for at in deadlines if at is not None), default=None)

    def on_deadline(self, now: float) -> None:
        """End what waited too long."""
        self._receiver.on_deadline(now)
        if self._final is None:
            self._reports.on_deadline(now)
            self._losses.on_deadline(now)

    def on_gap(self, first: int, count: int, now: float) -> None:
        """Packets are missing, and the peer may want to know."""
        self._losses.on_gap(first, count, now)
        self._reports.on_gap(first, count, now)
        self._watch()

    def on_second(self) -> None:
        """Charge the key for what was sent."""
        self._sender.on_second()

    @property
    def is_open(self) -> bool:
        """Whether it was not stopped yet."""
        return self._final is None

    @property
    def secure(self) -> bool:
        """Whether nothing is accepted that a key does not open."""
        return self._receiver.context is not None

    @property
    def seeks_source(self) -> bool:
        """Whether its peer was not heard yet and may be somewhere else than it said."""
        return self._receiver.seeks_source

    def opens(self, datagram: bytes) -> bool:
        """Whether its key would open an RTP packet."""
        return self._receiver.opens(datagram)

    def on_unprotect_failure(self, status: int) -> None:
        """A packet of a batch failed under SRTP."""
        self._receiver.on_batch_failure(status)

    def on_report(self, datagram: bytes, source: Hashable, arrival: float) -> None:
        """Take a compound packet that is the peer's, decrypted."""
        if self._final is None:
            self._reports.on_compound(datagram, source, arrival)

    def on_report_due(self, now: float) -> None:
        """The report timer may have run out."""
        self._reports.on_due(now)

    def on_silence(self, at: float, seconds: float) -> None:
        """Nothing came for so long."""
        self._log.append(Silent(at=at, seconds=seconds))

    def _on_source_moved(self, source: Any) -> None:
        parameters = self._parameters
        if parameters is not None and parameters.symmetric:
            self._engine.lanes.aim(self._row, source)
            self._reports.on_media_moved(source)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
