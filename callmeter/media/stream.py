"""One audio stream: what is played, heard, dialled and measured on top of `RtpStream`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from callmeter.errors import LocalProtocolError
from callmeter.media import buffering
from callmeter.media.levels import add_decoded
from callmeter.media.rtp_stream import RtpStream
from callmeter.media.sender import StreamSender
from callmeter.media.sinks import DecodingSink
from callmeter.metrics.metric import Direction
from callmeter.metrics.quality import Speech

if TYPE_CHECKING:
    import asyncio

    from callmeter.jitter_buffer_config import JitterBufferSettings
    from callmeter.media.parameters import StreamParameters
    from callmeter.media.sinks import AudioSink
    from callmeter.media.sources import AudioSource, LiveSource

__all__ = ["MediaStream"]


class MediaStream(RtpStream):
    """Audio both ways, and digits. Made by `MediaEngine.open_stream`."""

    _sender: StreamSender

    def _new_sender(self) -> StreamSender:
        engine = self._engine
        return StreamSender(self._row, engine.lanes, engine.send_table, engine.future)

    def _on_start(self, parameters: StreamParameters) -> None:
        received_ms = parameters.receive_ptime_ms or parameters.ptime_ms
        self._losses.ptime_ms = float(received_ms)
        self._speech = Speech.of(parameters.codec, received_ms)
        self._sent_speech = Speech.of(parameters.codec, parameters.ptime_ms)

    def _on_stop(self) -> None:
        self._detach_line()

    def play(
        self, source: AudioSource | LiveSource | None, *, seconds: float | None = None
    ) -> asyncio.Future[None]:
        """Play a source in place of what plays now; None is silence.

        Args:
            source: What to play; an `Echo` also hears the stream from now on.
            seconds: Play no longer than this.

        Returns:
            Done when the source is exhausted or replaced, or the stream is stopped; it raises what
            the source raises.

        Raises:
            ConfigurationError: This is no source.
            LocalProtocolError: The stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        self._detach_line()
        playing = self._sender.play(source, seconds)
        if self._sender.line is not None:
            self.attach(self._sender.line)
        return playing

    def _detach_line(self) -> None:
        if self._sender.line is not None:
            self.detach(self._sender.line)

    def send_digits(
        self, digits: str, *, duration_ms: int = 160, gap_ms: int = 80
    ) -> asyncio.Future[None]:
        """Send DTMF digits (RFC 4733) in place of the audio, after those still queued.

        Returns:
            Done when the last one and its gap were sent; cancelled when the stream stops first.

        Raises:
            ConfigurationError: A character that is no digit, or a length that cannot be sent.
            LocalProtocolError: The peer does not take telephone events, or the stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        return self._sender.send_digits(digits, duration_ms, gap_ms)

    def attach(self, sink: AudioSink) -> None:
        """Let a sink hear what is received.

        Raises:
            LocalProtocolError: The stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        sink.open(self._engine.call_soon)
        if isinstance(sink, DecodingSink):
            # Who decodes knows more of the audio than its packets tell.
            sink.on_power = partial(add_decoded, self._engine.lanes, self._row)
            self.measures.add(Direction.RECEIVE, sink.metrics)
        self._receiver.attach(sink)

    def detach(self, sink: AudioSink) -> None:
        """Close a sink that was attached; one that was not is left alone."""
        self._receiver.detach(sink)

    def buffer(self, settings: JitterBufferSettings) -> None:
        """Measure from now on what a jitter buffer would make of what is received.

        Raises:
            LocalProtocolError: The stream is stopped.
        """
        if self._final is not None:
            raise LocalProtocolError("the stream is stopped")
        rate = int(self._engine.reception.clock_rate[self._row])
        buffering.begin(self._engine.lanes, self._row, settings, rate)
        self._buffered = settings

    # --- the engine's side --------------------------------------------------------------------

    def hear(self, sequence: int, timestamp: int, arrival: float, payload: bytes) -> None:
        """A payload of a steady batch."""
        self._receiver.hear(sequence, timestamp, arrival, payload)

    def on_exhausted(self) -> None:
        """The source that plays has no more frames."""
        self._sender.on_exhausted()

    def on_live_frame(self) -> None:
        """A live source is due."""
        line = self._sender.line
        self._sender.on_live_frame()
        if line is not None and self._sender.line is None:
            self.detach(line)

    def send_special(self, now: float) -> bool:
        """Send the packet that is due outside the batches."""
        packet = self._sender.special(now)
        lanes, row = self._engine.lanes, self._row
        return packet is not None and self._engine.backend.send_one(
            lanes.outlets[row], packet, lanes.destinations[row]
        )
