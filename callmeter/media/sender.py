"""The sending side of one stream: what plays, which digits, under which key."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.media.codecs import silent_payload
from callmeter.media.lanes import FOREVER
from callmeter.media.parameters import PHASE_MS
from callmeter.media.sources import AudioSource, Frames, LiveSource, PcmSource, Silence
from callmeter.rtp.comfort_noise import ComfortNoise
from callmeter.rtp.header import pack_header
from callmeter.rtp.telephone_event import EventSender

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from callmeter.media.codecs import AudioCodec
    from callmeter.media.lanes import LaneTable
    from callmeter.media.parameters import StreamParameters
    from callmeter.media.sources import LiveLine
    from callmeter.rtp.send_table import SendTable
    from callmeter.srtp.context import SrtpContext

__all__ = ["StreamSender", "end_play", "succeed"]

NEARLY_SPENT: Final = 1 << 20
"""A key with fewer packets left is spent packet by packet, to stop at the right one."""
HALF_TIMESTAMPS: Final = 1 << 31
NOISE: Final = ComfortNoise(-65).to_bytes()
"""Comfort noise of a quiet room."""


def _coding(parameters: StreamParameters) -> tuple[AudioCodec, int]:
    return parameters.encoding, parameters.ptime_ms


def succeed(before: SrtpContext | None, after: SrtpContext | None, ssrc: int) -> None:
    """Close the key in use when another takes its place; the rollover counter may go on."""
    if before is None or before is after:
        return
    if after is not None and after.continues:
        after.set_roc(ssrc, before.roc(ssrc) or 0)
    before.close()


def end_play(playing: asyncio.Future[None] | None, error: Exception | None = None) -> None:
    """Tell who waits for the end of a source that it is there, or what the source raised."""
    if playing is None or playing.done():
        return
    if error is None:
        playing.set_result(None)
        return
    if isinstance(error, StopIteration):
        # No future and no coroutine may raise it (PEP 479).
        stopped, error = error, RuntimeError("a source raised StopIteration")
        error.__cause__ = stopped
    playing.set_exception(error)
    # Nobody has to wait: `source_error` tells it, too, so that there is nothing to complain of.
    playing.exception()


class _Digits:
    __slots__ = ("digits", "duration_ms", "future", "gap_ms", "sender")

    def __init__(
        self, digits: str, duration_ms: int, gap_ms: int, future: asyncio.Future[None]
    ) -> None:
        self.digits = digits
        self.duration_ms = duration_ms
        self.gap_ms = gap_ms
        self.future = future
        self.sender: EventSender | None = None


class StreamSender:
    """State of one sent stream; the columns of its row do the sending.

    Args:
        row: Its row in all tables.
        lanes: The columns.
        table: Sequence numbers and counters.
        future: Makes futures, usually `loop.create_future`.

    Attributes:
        context: The key everything is protected with; None on a plain stream.
        digits: Digits sent.
        protect_failures: Packets of the scalar path that could not be protected.
        line: The live source that plays, or None.
        source_error: What a source raised; it ended with that.
    """

    def __init__(
        self,
        row: int,
        lanes: LaneTable,
        table: SendTable,
        future: Callable[[], asyncio.Future[None]],
    ) -> None:
        self._row = row
        self._lanes = lanes
        self._table = table
        self._future = future
        self.context: SrtpContext | None = None
        self.digits = 0
        self.protect_failures = 0
        self.line: LiveLine | None = None
        self.source_error: Exception | None = None
        self._parameters: StreamParameters | None = None
        self._source: AudioSource | None = None
        self._frames_wanted: float | None = None
        self._payloads: tuple[bytes, ...] = ()
        self._uneven: Iterator[bytes] | None = None
        self._playing: asyncio.Future[None] | None = None
        self._queue: deque[_Digits] = deque()
        self._spent = 0

    # --- set-up -------------------------------------------------------------------------------

    def start(self, parameters: StreamParameters, phase: int, now: float) -> None:
        """Take what was negotiated, for the first time or again.

        Args:
            parameters: What was agreed.
            phase: The engine phase the first packet is due in.
            now: Loop time.

        Raises:
            LocalProtocolError: A secure stream would become plain.
        """
        lanes, row, context = self._lanes, self._row, parameters.srtp_send
        if context is None and self.context is not None:
            raise LocalProtocolError("a secure stream stays secure until it is stopped")
        before = self._parameters
        self._parameters = parameters
        # Nothing may leave between the old state and the new one.
        sending = bool(lanes.sending[row])
        lanes.sending[row] = False
        if context is not self.context:
            lanes.send_handles[row] = None if context is None else context.handle
            succeed(self.context, context, int(self._table.ssrc[row]))
            self.context = context
            self._spent = int(self._table.packets[row])
        lanes.secure_out[row] = context is not None
        lanes.period[row] = parameters.ptime_ms // PHASE_MS
        if before is None or _coding(before) != _coding(parameters):
            lanes.samples[row] = parameters.units_per_frame
            try:
                self._load()
            except Exception as error:  # noqa: BLE001  foreign code may not break an agreement
                self._fail(error)
        self._update()
        self._table.clock_rate[row] = parameters.clock_rate
        wanted = parameters.send and bool(parameters.remote[1])
        if wanted and not sending:
            self._catch_up(now)
            lanes.marker[row] = True
            lanes.due[row] = phase
        if parameters.telephone_event is None:
            self._cancel_digits()
        self._mark_special()
        lanes.sending[row] = wanted

    def _catch_up(self, now: float) -> None:
        """The media clock ran on while nothing was sent."""
        row, table = self._row, self._table
        target = table.media_time(row, now)
        if 0 < (target - int(table.timestamp[row])) & 0xFFFF_FFFF < HALF_TIMESTAMPS:
            table.timestamp[row] = target

    def stop(self) -> None:
        """Send no more; whoever waits for the end of something has it."""
        self._lanes.sending[self._row] = False
        self._lanes.send_handles[self._row] = None
        self._finish_playing()
        self._cancel_digits()
        if self.context is not None:
            self.context.close()

    # --- audio --------------------------------------------------------------------------------

    def play(
        self, source: AudioSource | LiveSource | None, seconds: float | None
    ) -> asyncio.Future[None]:
        """Play a source in place of what plays now; None is silence.

        Returns:
            Done when the source is exhausted or replaced; it raises what the source raises.

        Raises:
            ConfigurationError: This is no source.
        """
        if source is not None and not isinstance(source, (AudioSource, LiveSource)):
            raise ConfigurationError(
                f"{source!r} cannot be played: give a Tone, a WavFile or another source"
            )
        self._finish_playing()
        if isinstance(source, LiveSource):
            self.line = source.line()
        else:
            self._source = source
        self._playing = self._future()
        self._frames_wanted = None if seconds is None else seconds
        if self._parameters is not None:
            self._load()
        return self._playing

    def _finish_playing(self, error: Exception | None = None) -> None:
        playing, self._playing = self._playing, None
        self._source = self.line = None
        self._uneven = None
        self._lanes.live[self._row] = False
        end_play(playing, error)

    def _fail(self, error: Exception) -> None:
        """A source ends with what it raised, and silence follows."""
        self.source_error = error
        self._frames_wanted = None
        self._finish_playing(error)
        self._load()

    def _load(self) -> None:
        """Put the frames of the source into the row."""
        lanes, row, parameters = self._lanes, self._row, self._parameters
        if parameters is None:
            return
        remaining = FOREVER
        frames = self._frames(parameters)
        payloads = tuple(frames.payloads)
        if not frames.loop:
            remaining = len(payloads)
        if self._frames_wanted is not None:
            wanted = round(self._frames_wanted * 1000 / parameters.ptime_ms)
            remaining = min(remaining, wanted)
        lanes.remaining[row] = remaining
        self._payloads = payloads
        self._lay_out()
        self._update()

    def _frames(self, parameters: StreamParameters) -> Frames:
        """What plays, encoded."""
        source, samples, encoding = self._source, parameters.samples_per_frame, parameters.encoding
        if source is None:
            return Frames((silent_payload(encoding, samples),), loop=True)
        if isinstance(source, PcmSource):
            return source.encoded(encoding, samples)
        frames = source.frames(parameters.codec, samples)
        if not frames.payloads or any(
            encoding.samples_of(payload) != samples for payload in frames.payloads
        ):
            raise ConfigurationError(f"{source!r} gives frames of a wrong length")
        return frames

    def _update(self) -> None:
        """Begin to leave out silence, or end it, when it is time to."""
        lanes, row, parameters = self._lanes, self._row, self._parameters
        if parameters is None:
            return
        silent = self.line is None and (self._source is None or isinstance(self._source, Silence))
        rests = parameters.rests and silent and not self._queue
        if rests != bool(lanes.rest[row]):
            lanes.rest[row] = int(rests)
            # A talk spurt begins with the marker (RFC 3551 section 4.1).
            lanes.marker[row] = not rests
            self._lay_out()
        number = parameters.comfort_noise if rests else None
        lanes.send_type[row] = parameters.payload_type if number is None else number

    def _lay_out(self) -> None:
        """Put what plays into the row, or comfort noise in its place (RFC 3389)."""
        lanes, row, parameters = self._lanes, self._row, self._parameters
        noisy = parameters is not None and parameters.comfort_noise is not None
        payloads = (NOISE,) if noisy and lanes.rest[row] else self._payloads
        self._uneven = None
        if len(set(map(len, payloads))) > 1:
            self._uneven = itertools.cycle(payloads)
            payloads = payloads[:1]
        lanes.play(row, payloads)
        lanes.octets[row] = len(payloads[0])
        lanes.cursor[row] = 0
        lanes.count[row] = len(payloads)
        lanes.live[row] = self.line is not None or self._uneven is not None

    def on_exhausted(self) -> None:
        """The last frame was sent a packet time ago."""
        self._frames_wanted = None
        self._finish_playing()
        self._load()

    def on_live_frame(self) -> None:
        """Ask the live source for the frame that is due."""
        line, parameters = self.line, self._parameters
        if self._uneven is not None:
            self._lay(next(self._uneven))
            return
        if line is None or parameters is None:
            return
        samples = parameters.samples_per_frame
        try:
            frame = line.next_frame(parameters.codec, samples)
        except Exception as error:  # noqa: BLE001  foreign code may not stop the tick
            self.source_error = error
            if self.line is line:
                self._fail(error)
            return
        if self.line is not line:
            # It was replaced, or the stream stopped, while it made the frame.
            return
        if frame is None:
            self.on_exhausted()
            return
        encoding = parameters.encoding
        if encoding.samples_of(frame) != samples:
            silence = silent_payload(encoding, samples)
            cut = encoding.octet_rate is not None
            frame = (frame + silence)[: len(silence)] if cut else silence
        self._lay(frame)

    def _lay(self, payload: bytes) -> None:
        self._lanes.play(self._row, (payload,))
        self._lanes.octets[self._row] = len(payload)

    # --- digits -------------------------------------------------------------------------------

    def send_digits(self, digits: str, duration_ms: int, gap_ms: int) -> asyncio.Future[None]:
        """Queue digits.

        Returns:
            Done when the last one and its gap were sent; cancelled when the stream stops first,
            or the peer turns out not to take telephone events.

        Raises:
            ConfigurationError: A character that is no digit, or a length that cannot be sent.
            LocalProtocolError: The peer does not take telephone events.
        """
        if self._parameters is not None and self._parameters.telephone_event is None:
            raise LocalProtocolError("the peer did not agree to telephone events (RFC 4733)")
        EventSender(digits, duration_ms=duration_ms, gap_ms=gap_ms)
        entry = _Digits(digits, duration_ms, gap_ms, self._future())
        self._queue.append(entry)
        self._mark_special()
        return entry.future

    def _cancel_digits(self) -> None:
        for entry in self._queue:
            entry.future.cancel()
        self._queue.clear()

    def _mark_special(self) -> None:
        context = self.context
        one_by_one = context is not None and (
            context.handle is None
            or (context.packets_left is not None and context.packets_left < NEARLY_SPENT)
        )
        self._lanes.special[self._row] = one_by_one or bool(self._queue)
        self._update()

    def on_second(self) -> None:
        """Charge the key for what the batches sent with it (RFC 4568 section 6.1, lifetime)."""
        context = self.context
        if context is None or context.packets_left is None or self._lanes.special[self._row]:
            return
        sent = int(self._table.packets[self._row])
        context.spend(sent - self._spent)
        self._spent = sent
        self._mark_special()

    def special(self, now: float) -> bytes | None:
        """Build the packet that is due outside the batches; None when nothing may be sent."""
        parameters, table, row = self._parameters, self._table, self._row
        if parameters is None:
            return None
        step = parameters.units_per_frame
        event = self._next_event(parameters, int(table.timestamp[row]))
        ssrc = int(table.ssrc[row])
        if event is not None and parameters.telephone_event is not None:
            sequence, timestamp = table.advance_one(
                row, step, len(event.payload), now, timestamp=event.timestamp
            )
            header = pack_header(
                parameters.telephone_event, sequence, timestamp, ssrc, marker=event.marker
            )
            packet = header + event.payload
        else:
            payload = self._next_payload()
            sequence, timestamp = table.advance_one(row, step, len(payload), now)
            marker = bool(self._lanes.marker[row])
            number = int(self._lanes.send_type[row])
            header = pack_header(number, sequence, timestamp, ssrc, marker=marker)
            packet = header + payload
        self._lanes.marker[row] = False
        return self._protected(packet)

    def _protected(self, packet: bytes) -> bytes | None:
        context = self.context
        if context is None:
            return packet
        protected = context.protect(packet)
        self._spent = int(self._table.packets[self._row])
        if protected is None:
            self.protect_failures += 1
        return protected

    def _next_payload(self) -> bytes:
        lanes, row = self._lanes, self._row
        cursor = int(lanes.cursor[row])
        payload = lanes.payloads[row][cursor]
        lanes.cursor[row] = (cursor + 1) % int(lanes.count[row])
        lanes.remaining[row] -= 1
        return payload

    def _next_event(self, parameters: StreamParameters, timestamp: int) -> Any:
        rate = parameters.telephone_event_rate or parameters.clock_rate
        while self._queue:
            entry = self._queue[0]
            if entry.sender is None:
                entry.sender = EventSender(
                    entry.digits,
                    clock_rate=rate,
                    step=rate * parameters.ptime_ms // 1000,
                    duration_ms=entry.duration_ms,
                    gap_ms=entry.gap_ms,
                )
            before = entry.sender.sent
            event = entry.sender.tick(timestamp)
            self.digits += entry.sender.sent - before
            if not entry.sender.finished:
                return event
            self._queue.popleft()
            if not entry.future.done():
                entry.future.set_result(None)
        self._mark_special()
        return None
