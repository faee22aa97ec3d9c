"""The sending side of one video stream: frames of a source, in packets, at their time.

A timer of its own wakes it, not the engine's tick: frames are due when their timestamp says so,
and the packets of one frame are spread over a part of the time until the next.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError, RtpSyntaxError
from callmeter.media.sender import end_play, succeed
from callmeter.rtp import h264, vp8
from callmeter.rtp.header import pack_header
from callmeter.rtp.video import CLOCK_RATE
from callmeter.rtp.video_sent import VideoSent

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from callmeter.media.engine import MediaEngine
    from callmeter.media.video import EncodedFrame, VideoSource
    from callmeter.media.video_parameters import VideoFormat, VideoParameters
    from callmeter.srtp.context import SrtpContext

    Values = dict[str, int | float | str | None]

__all__ = ["VideoSender"]

PAYLOAD_OCTETS: Final = 1200
"""Of one packet, which with all headers stays below the smallest usual MTU."""
BURST_S: Final = 0.005
"""Time from one part of a frame to the next."""
SPREAD: Final = 0.5
"""Share of the time between two frames over which the packets of one are spread."""
MAX_BEHIND_S: Final = 0.2
"""A loop that was held up longer does not send what it missed."""
PICTURES: Final = 1 << 15


class VideoSender:
    """State of one sent video stream.

    Args:
        row: Its row in all tables.
        engine: Clocks, tables and back-end.

    Attributes:
        context: The key everything is protected with; None on a plain stream.
        digits: DTMF digits sent: none.
        protect_failures: Packets that could not be protected.
        source_error: What a source raised, or why a frame of it cannot be sent; it ended with that.
        sent: What was sent, as far as it is kept to be sent again.
        unanswered_s: How long frames have gone since the peer asked for a key frame, and none
            of them was one; 0 when it was given, or nothing was sent since.
    """

    def __init__(self, row: int, engine: MediaEngine) -> None:
        self._row = row
        self._engine = engine
        self.context: SrtpContext | None = None
        self.digits = 0
        self.protect_failures = 0
        self.source_error: Exception | None = None
        self.sent = VideoSent()
        self._parameters: VideoParameters | None = None
        self._sending = False
        self._source: VideoSource | None = None
        self._format: VideoFormat | None = None
        self._playing: asyncio.Future[None] | None = None
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._origin: float | None = None
        self._epoch: tuple[float, int] | None = None
        self._frame: EncodedFrame | None = None
        self._payloads: Sequence[bytes] = ()
        self._next = self._burst = 0
        self._pictures = 0
        self._due = 0.0
        self._asked_at: float | None = None
        self.unanswered_s = 0.0

    # --- set-up -------------------------------------------------------------------------------

    def start(self, parameters: VideoParameters, phase: int, now: float) -> None:
        """Take what was negotiated, for the first time or again.

        Raises:
            LocalProtocolError: A secure stream would become plain.
        """
        del phase, now
        table, row, context = self._engine.send_table, self._row, parameters.srtp_send
        if context is None and self.context is not None:
            raise LocalProtocolError("a secure stream stays secure until it is stopped")
        self.flush()
        succeed(self.context, context, int(table.ssrc[row]))
        if context is not self.context:
            self.sent.forget()
        self.context = context
        self._parameters = parameters
        table.clock_rate[row] = parameters.clock_rate
        resumed = not self._sending
        self._sending = parameters.send and bool(parameters.remote[1])
        if self._source is not None:
            self._format = parameters.format_of(self._source.codec)
        if self._sending and resumed:
            # Who was not sent to knows nothing of the frames before.
            self.request_key_frame()
            self._frame, self._origin = None, None
            self._arm(self._engine.now())

    def stop(self) -> None:
        """Send no more; whoever waits for the end of something has it."""
        self._finish()
        if self.context is not None:
            self.context.close()

    def on_second(self) -> None:
        """Each packet is charged to the key as it is protected."""

    # --- what plays ---------------------------------------------------------------------------

    def play(self, source: VideoSource | None, seconds: float | None) -> asyncio.Future[None]:
        """Play a source in place of what plays now; None sends nothing.

        Returns:
            Done when the source is exhausted or replaced, or `seconds` have passed; it raises what
            the source raises.

        Raises:
            LocalProtocolError: Its codec was not agreed on.
        """
        chosen = None
        if source is not None and self._parameters is not None:
            chosen = self._parameters.format_of(source.codec)
            if chosen is None:
                taken = " or ".join(item.codec for item in self._parameters.formats)
                raise LocalProtocolError(f"{source.codec} cannot be sent: the peer takes {taken}")
        self._finish()
        playing = self._playing = self._engine.future()
        if source is None:
            self._finish()
            return playing
        self._source, self._format = source, chosen
        self._until = None if seconds is None else self._engine.now() + seconds
        self._arm(self._engine.now())
        return playing

    def answer_request(self, now: float) -> None:
        """The peer asks for a key frame, by PLI or FIR."""
        if self._asked_at is None:
            self._asked_at = now
        self.request_key_frame()

    def request_key_frame(self) -> None:
        """The next frame of the source is to be a key frame, as soon as it has one."""
        source = self._source
        if source is not None:
            try:
                source.request_key_frame()
            except Exception as error:  # noqa: BLE001  foreign code may not stop the tick
                self._fail(source, error)

    def _fail(self, source: VideoSource, error: Exception) -> None:
        """A source ends, for what it raised or what it gave."""
        self.source_error = error
        if self._source is source:
            self._finish(error)

    def _finish(self, error: Exception | None = None) -> None:
        self.flush()
        playing, self._playing = self._playing, None
        self._source = self._frame = self._origin = None
        self._payloads = ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        end_play(playing, error)

    # --- time ---------------------------------------------------------------------------------

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._engine.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._engine.now()
        if self._until is not None and now >= self._until:
            self._finish()
            return
        if self._next < len(self._payloads):
            self._send_burst(now)
            return
        if self._frame is None and not self._fetch(now):
            return
        frame = self._frame
        if frame is None or self._origin is None:
            return
        due = self._origin + frame.timestamp / CLOCK_RATE
        if now - due > MAX_BEHIND_S:
            self._origin += now - due
            due = now
        if now < due:
            self._arm(due if self._until is None else min(due, self._until))
            return
        self._frame = None
        if self._sending:
            self._begin(frame, due, now)
        else:
            self._arm(now)

    def _fetch(self, now: float) -> bool:
        """Ask the source for its next frame; False when there is none."""
        source = self._source
        if source is None:
            return False
        try:
            frame = source.next_frame()
        except Exception as error:  # noqa: BLE001  foreign code may not stop the loop
            self._fail(source, error)
            return False
        if self._source is not source:
            # It was replaced, or the stream stopped, while it made the frame.
            return False
        if frame is None:
            self._finish()
            return False
        self._frame = frame
        if self._origin is None:
            self._origin = now - frame.timestamp / CLOCK_RATE
        return True

    # --- packets ------------------------------------------------------------------------------

    def _begin(self, frame: EncodedFrame, due: float, now: float) -> None:
        source, chosen = self._source, self._format
        if source is None or chosen is None:
            # The peer takes its codec no more; time goes on.
            self._arm(now)
            return
        try:
            size, interval = source.size, 1 / source.frame_rate
            payloads = self._cut(frame, chosen)
        except Exception as error:  # noqa: BLE001  foreign code, and what it gave
            self._fail(source, error)
            return
        describe = h264.describe if chosen.codec == "H264" else vp8.describe
        if frame.key_frame:
            with contextlib.suppress(RtpSyntaxError):
                size = describe(payloads[0]).size or size
        table, row = self._engine.send_table, self._row
        if self._epoch is None:
            self._epoch = due, int(table.timestamp[row])
        since, first = self._epoch
        table.timestamp[row] = (first + round((due - since) * CLOCK_RATE)) & 0xFFFF_FFFF
        self.sent.on_frame(now, key_frame=frame.key_frame, size=size)
        if frame.key_frame:
            self._asked_at = None
        self.unanswered_s = 0.0 if self._asked_at is None else now - self._asked_at
        bursts = max(1, int(SPREAD * interval / BURST_S))
        self._payloads, self._due = payloads, due
        self._next, self._burst = 0, -(-len(payloads) // bursts)
        self._send_burst(now)

    def _cut(self, frame: EncodedFrame, chosen: VideoFormat) -> list[bytes]:
        """The payloads of a frame.

        Raises:
            LocalProtocolError: It cannot be sent.
        """
        if chosen.codec == "H264":
            return h264.packetize(frame.data, PAYLOAD_OCTETS, mode=chosen.packetization_mode)
        payloads = vp8.packetize(frame.data, PAYLOAD_OCTETS, self._pictures)
        self._pictures = (self._pictures + 1) % PICTURES
        return payloads

    def _send_burst(self, now: float) -> None:
        """A part of the frame, and then the rest of it or the next one."""
        payloads = self._payloads
        last = len(payloads) - 1
        end = min(self._next + self._burst, len(payloads))
        chosen = self._format
        if chosen is not None:
            for index in range(self._next, end):
                self._send(chosen.payload_type, payloads[index], marker=index == last)
        self._next = end
        if self._source is not None:
            self._arm(now + BURST_S if end < len(payloads) else now)

    def flush(self) -> None:
        """Send the rest of a frame that was begun: half of one is of no use to anybody."""
        if self._next < len(self._payloads):
            self._burst = len(self._payloads)
            self._send_burst(self._engine.now())

    def _send(self, payload_type: int, payload: bytes, *, marker: bool) -> None:
        engine, row, context = self._engine, self._row, self.context
        table, lanes = engine.send_table, engine.lanes
        # Reports are to tell the time of the picture, not that of one of its packets.
        sequence, timestamp = table.advance_one(row, 0, len(payload), self._due)
        header = pack_header(payload_type, sequence, timestamp, int(table.ssrc[row]), marker=marker)
        packet: bytes | None = header + payload
        if context is not None and packet is not None:
            packet = context.protect(packet)
        if packet is None:
            self.protect_failures += 1
            return
        self.sent.on_packet(sequence, packet)
        engine.backend.send_one(lanes.outlets[row], packet, lanes.destinations[row])

    def send_again(self, lost: Sequence[int], now: float) -> None:
        """Answer a NACK from what is kept: the very octets that went out (RFC 4585 6.2.1)."""
        if not self._sending:
            return
        engine, row = self._engine, self._row
        for sequence in lost:
            packet = self.sent.again(now, sequence)
            if packet is not None:
                engine.backend.send_one(
                    engine.lanes.outlets[row], packet, engine.lanes.destinations[row]
                )

    # --- figures ------------------------------------------------------------------------------

    def metrics(self, now: float) -> Values:
        """By catalogue key."""
        return dict(self.sent.metrics(now))
