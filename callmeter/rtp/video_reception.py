"""What arrives of a video stream: whole frames, lost ones, freezes, and what to ask the peer for.

Packets are taken in the order of their sequence numbers. One that is missing holds up those behind
it until it comes or is given up, as it would hold up a decoder. A frame came whole when all its
packets are there, from the one that starts it to the one with the marker. After a lost frame the
picture stands still until the next key frame, as it does in a browser.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from callmeter.errors import RtpSyntaxError
from callmeter.rtp.frame_times import FrameTimes, Freezes
from callmeter.rtp.lost_packets import LostPackets
from callmeter.rtp.video import VideoPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["VideoReception", "VideoReceptionStatistics", "WholeFrame"]

WINDOW: Final = 512
"""Packets between the first that is missing and the newest."""
MOST_HELD_OCTETS: Final = 1 << 22
"""Of payloads: of one frame, and of those that wait behind a gap."""
MOST_FRAME_PACKETS: Final = 8192
"""Of one frame, which without marker would have no end."""
MOST_KEPT_FRAMES: Final = 128
MOST_KEPT_OCTETS: Final = 1 << 23
FIRST_KEY_FRAME_S: Final = 0.3
"""How long a stream may go on without its first key frame before one is asked for."""
LEAST_BETWEEN_REQUESTS_S: Final = 0.5

HOLD_S: Final = 0.02
"""How long the first packet waits for those that it overtook."""

_BEFORE_ALL: Final = -(1 << 32)
_PADDING: Final = VideoPayload(starts_frame=False, key_frame=None)
"""What a packet without payload says: it only takes a sequence number."""
_SEQUENCES: Final = 1 << 16
_TIMESTAMPS: Final = 1 << 32


class WholeFrame(NamedTuple):
    """A frame that came whole.

    Attributes:
        timestamp: Of its packets; it goes on over 32 bits.
        key_frame: It is decoded without any other.
        payloads: In order; the codec's `frame_of` puts them together.
    """

    timestamp: int
    key_frame: bool
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoReceptionStatistics:
    """What arrived so far.

    Attributes:
        frames_received: Frames that came whole.
        keyframes_received: Of these, key frames.
        frames_lost: Frames of which a packet is missing, or all of them; those that left no packet
            at all count as one for each gap.
        frame_rate_fps: Whole frames of the last second; None in the first.
        freeze_count: Times the picture stood still (see `Freezes`).
        freeze_duration_ms: How long, in sum.
        still_ms: Time since the last picture that was shown: a freeze only counts when it ends.
        span_ms: From the first packet to the last one.
        undecodable_ms: How long packets have come, up to the last one, of which nothing can be
            decoded for want of a key frame; None while something can.
        requests_unanswered: Times a key frame was asked for in that time.
        size: Width and height, None when unknown.
        resolution_megapixels: The same as one number.
        keyframe_interval_ms: Between the last two key frames; None before the second.
        packets_malformed: Payloads that are none of this codec.
        packets_late: Packets that came twice, or after they had been given up.
        packets_recovered: Packets that came after they had been asked for.
        keyframes_requested: Times a key frame had to be asked for.
        frames_dropped: Whole frames that nobody took away in time.
    """

    frames_received: int
    keyframes_received: int
    frames_lost: int
    frame_rate_fps: float | None
    freeze_count: int
    freeze_duration_ms: float
    still_ms: float | None
    span_ms: float
    undecodable_ms: float | None
    requests_unanswered: int
    size: tuple[int, int] | None
    resolution_megapixels: float | None
    keyframe_interval_ms: float | None
    packets_malformed: int
    packets_late: int
    packets_recovered: int
    keyframes_requested: int
    frames_dropped: int


class _Packet(NamedTuple):
    """A packet, as far as its frame needs it.

    Attributes:
        timestamp: Of the RTP header.
        marker: It is the last of its frame.
        told: What its payload says; None when it is malformed.
        payload: Empty of a packet that only takes a sequence number.
    """

    timestamp: int
    marker: bool
    told: VideoPayload | None
    payload: bytes


class _Frame:
    """The frame whose packets are being taken in.

    Attributes:
        timestamp: Of its packets.
        damaged: One of them is missing or malformed.
        key_frame: Whether it is one; None as long as no packet told.
        pictured: There is more of it than parameter sets and the like.
        size: Of the picture, where a packet told.
        payloads: So far.
        octets: Of the payloads.
    """

    __slots__ = ("damaged", "key_frame", "octets", "payloads", "pictured", "size", "timestamp")

    def __init__(self, first: _Packet) -> None:
        self.timestamp = first.timestamp
        self.damaged = first.told is None or not first.told.starts_frame
        self.key_frame: bool | None = None
        self.pictured = False
        self.size: tuple[int, int] | None = None
        self.payloads: list[bytes] = []
        self.octets = 0

    def add(self, packet: _Packet) -> None:
        """Take in the next packet."""
        told = packet.told
        if told is None:
            self.damaged = True
            return
        if told.key_frame is not None:
            self.key_frame = self.key_frame or told.key_frame
        self.pictured = self.pictured or told.pictured
        if told.size is not None:
            self.size = told.size
        self.octets += len(packet.payload)
        self.payloads.append(packet.payload)
        if self.octets > MOST_HELD_OCTETS or len(self.payloads) > MOST_FRAME_PACKETS:
            self.damaged = True
            self.payloads.clear()


class VideoReception:
    """Takes the packets of one stream in.

    Args:
        describe: That of the codec, such as `callmeter.rtp.vp8.describe`.
        nack: The peer can be asked to send packets again.
        keep_frames: Whole frames are kept until they are taken away.
        rtt_s: Round-trip time to begin with.

    Attributes:
        keep_frames: As given; it may change at any time.
    """

    def __init__(
        self,
        describe: Callable[[bytes], VideoPayload],
        *,
        nack: bool = False,
        keep_frames: bool = False,
        rtt_s: float = 0.1,
    ) -> None:
        self._describe = describe
        self.keep_frames = keep_frames
        self._lost = LostPackets(ask=nack, rtt_s=rtt_s)
        self._started = False
        self._next = self._highest = 0
        self._hold_until: float | None = None
        self._restart_at: int | None = None
        self._waiting: dict[int, _Packet] = {}
        self._held = 0
        self._gap = False
        self._frame: _Frame | None = None
        self._shown: int | None = None
        self._times = FrameTimes()
        self._freezes = Freezes()
        self._decodable = False
        self._first_at = self._last_at = 0.0
        self._undecodable_since: float | None = None
        self._unanswered = 0
        self._key_due: float | None = None
        self._key_allowed = float("-inf")
        self._kept: deque[WholeFrame] = deque()
        self._kept_octets = 0
        self._frames_lost = self._malformed = self._late = self._requested = self._dropped = 0

    @property
    def rtt_s(self) -> float:
        """Round-trip time: how long the answer to a NACK or a request takes."""
        return self._lost.rtt_s

    @rtt_s.setter
    def rtt_s(self, seconds: float) -> None:
        self._lost.rtt_s = seconds

    @property
    def nack(self) -> bool:
        """Whether the peer can be asked to send packets again."""
        return self._lost.ask

    @nack.setter
    def nack(self, agreed: bool) -> None:
        self._lost.ask = agreed

    def receive(
        self,
        now: float,
        sequence: int,
        timestamp: int,
        marker: bool,  # noqa: FBT001  called for each packet
        payload: bytes,
    ) -> None:
        """Take one packet in.

        Args:
            now: Seconds, when it arrived.
            sequence: Of its header.
            timestamp: Of its header.
            marker: Of its header.
            payload: What follows the header, without padding; it may be empty.
        """
        number = self._number(now, sequence)
        self._last_at = now
        if number is None or number < self._next or number in self._waiting:
            self._late += 1
            return
        if number > self._highest:
            self._lost.note(self._highest + 1, number, now)
            self._highest = number
        else:
            self._lost.found(number)
        packet = _Packet(timestamp, marker, self._told(payload), payload)
        if number == self._next:
            self._next = number + 1
            self._take(packet, now)
            self._drain(now)
        else:
            self._waiting[number] = packet
            self._held += len(packet.payload)
            while self._is_full():
                self._skip(now)
        self._pass_time(now)

    def missing(self, now: float) -> list[int]:
        """The sequence numbers to name in a generic NACK now; they count as asked for.

        It lets time pass as well: ask every 10 to 50 ms, packets or not.
        """
        self._pass_time(now)
        return self._lost.due(now)

    def needs_key_frame(self, now: float) -> bool:
        """Whether to ask for a key frame now; True counts as asked.

        It is needed when the stream began without one, and after a frame was lost for good. It is
        asked for again until it comes, after two round-trip times, half a second at the soonest.
        """
        self._pass_time(now)
        if self._key_due is None or now < self._key_due:
            return False
        self._requested += 1
        self._unanswered += 1
        self._key_due = self._key_allowed = now + max(LEAST_BETWEEN_REQUESTS_S, 2 * self.rtt_s)
        return True

    def pause(self) -> None:
        """The peer stops sending, because it is held for example: the picture does not freeze."""
        self._freezes.pause()

    def whole_frames(self) -> list[WholeFrame]:
        """Take away the frames that came whole since, in order."""
        frames = list(self._kept)
        self._kept.clear()
        self._kept_octets = 0
        return frames

    def statistics(self, now: float) -> VideoReceptionStatistics:
        """What arrived so far."""
        times, freezes = self._times, self._freezes
        still = freezes.still(now)
        return VideoReceptionStatistics(
            frames_received=times.frames,
            keyframes_received=times.key_frames,
            frames_lost=self._frames_lost,
            frame_rate_fps=times.rate(now),
            freeze_count=freezes.count,
            freeze_duration_ms=freezes.duration_s * 1000,
            still_ms=None if still is None else still * 1000,
            span_ms=(self._last_at - self._first_at) * 1000,
            undecodable_ms=self._undecodable_ms,
            requests_unanswered=self._unanswered,
            size=times.size,
            resolution_megapixels=times.megapixels,
            keyframe_interval_ms=times.key_frame_interval_ms,
            packets_malformed=self._malformed,
            packets_late=self._late,
            packets_recovered=self._lost.recovered,
            keyframes_requested=self._requested,
            frames_dropped=self._dropped,
        )

    @property
    def _undecodable_ms(self) -> float | None:
        since = self._undecodable_since
        # A key frame may be put together after the last packet, and a loss be found then.
        return None if since is None else max(0.0, self._last_at - since) * 1000

    def metrics(self, now: float) -> Mapping[str, float | None]:
        """What the catalogue has of it, by key."""
        times, freezes = self._times, self._freezes
        return {
            "frame_rate_fps": times.rate(now),
            "frames_received": times.frames,
            "keyframes_received": times.key_frames,
            "keyframe_requests_sent": self._requested,
            "freeze_count": freezes.count,
            "freeze_duration_ms": freezes.duration_s * 1000,
            "resolution_megapixels": times.megapixels,
        }

    def _told(self, payload: bytes) -> VideoPayload | None:
        if not payload:
            return _PADDING
        try:
            return self._describe(payload)
        except RtpSyntaxError:
            self._malformed += 1
            return None

    def _number(self, now: float, sequence: int) -> int | None:
        """A sequence number that goes on over 16 bits; None when it is far from all others.

        Two in a row from far away begin a new sequence, as in RFC 3550 appendix A.1.
        """
        if not self._started:
            self._started = True
            self._first_at = self._undecodable_since = now
            self._next, self._highest = _BEFORE_ALL, sequence - 1
            self._hold_until = now + HOLD_S
            self._key_due = now + FIRST_KEY_FRAME_S
            return sequence
        step = (sequence - self._highest) % _SEQUENCES
        if step >= _SEQUENCES // 2:
            step -= _SEQUENCES
        if abs(step) <= WINDOW:
            return self._highest + step
        if sequence != self._restart_at:
            self._restart_at = (sequence + 1) % _SEQUENCES
            return None
        if self._hold_until is not None:
            self._begin(now)
        while self._waiting:
            self._skip(now)
        self._lost.forget(self._next, self._highest + 1)
        self._break()
        self._next = self._highest + step
        self._highest = self._next - 1
        return self._next

    def _is_full(self) -> bool:
        if self._hold_until is not None or not self._waiting:
            return False
        return self._held > MOST_HELD_OCTETS or self._highest - self._next >= WINDOW

    def _begin(self, now: float) -> None:
        """Whatever came first, the stream begins with the lowest number."""
        self._hold_until = None
        self._next = first = min(self._waiting)
        for number in range(first, self._highest):
            if number not in self._waiting and number not in self._lost:
                self._lost.note(number, number + 1, now)
        self._drain(now)
        while self._is_full():
            self._skip(now)

    def _may_begin(self, now: float, hold_until: float) -> bool:
        """Whether what came first was not overtaken, which is sure if it starts a key frame."""
        if now >= hold_until or self._highest - min(self._waiting) >= WINDOW:
            return True
        told = [packet.told for packet in self._waiting.values()]
        return any(each and each.starts_frame and each.size for each in told)

    def _pass_time(self, now: float) -> None:
        if self._hold_until is not None:
            if not self._may_begin(now, self._hold_until):
                return
            self._begin(now)
        while self._waiting and self._lost.given_up(self._next, now):
            self._skip(now)

    def _skip(self, now: float) -> None:
        """Give up what is missing before the first packet that waits."""
        first = min(self._waiting)
        self._lost.forget(self._next, first)
        self._next = first
        self._break()
        self._drain(now)

    def _break(self) -> None:
        """What comes next does not follow what came before."""
        if self._frame is None:
            self._gap = True
        else:
            self._frame.damaged = True

    def _drain(self, now: float) -> None:
        waiting = self._waiting
        while waiting and (packet := waiting.pop(self._next, None)) is not None:
            self._held -= len(packet.payload)
            self._next += 1
            self._take(packet, now)

    def _take(self, packet: _Packet, now: float) -> None:
        """The next packet in the order of the stream."""
        if packet.told is _PADDING:
            return
        frame = self._frame
        if frame is not None and frame.timestamp != packet.timestamp:
            # Its marker is missing. If no packet is, the sender sets none.
            self._finish(frame, now)
            frame = None
        if frame is None:
            frame = self._frame = _Frame(packet)
            if self._gap and not frame.damaged:
                self._lose(now)
            self._gap = False
        frame.add(packet)
        # There are senders that set it on each parameter set, too.
        if packet.marker and (frame.pictured or frame.damaged):
            self._finish(frame, now)

    def _finish(self, frame: _Frame, now: float) -> None:
        self._frame = None
        if frame.damaged:
            self._lose(now)
            return
        if frame.key_frame is None or not frame.pictured:
            return  # Parameter sets alone are no picture.
        self._times.note(now, key_frame=frame.key_frame, size=frame.size)
        if frame.key_frame:
            self._decodable = True
            self._key_due = self._undecodable_since = None
            self._unanswered = 0
        if self._decodable:
            self._freezes.note(now)
        else:
            self._want_key_frame(now)
        if self.keep_frames:
            self._keep(frame)

    def _lose(self, now: float) -> None:
        self._frames_lost += 1
        if self._decodable:
            self._undecodable_since = now
        self._decodable = False
        self._want_key_frame(now)

    def _want_key_frame(self, now: float) -> None:
        due = max(now, self._key_allowed)
        if self._key_due is None or due < self._key_due:
            self._key_due = due

    def _keep(self, frame: _Frame) -> None:
        shown = frame.timestamp
        if self._shown is not None:
            step = (shown - self._shown) % _TIMESTAMPS
            shown = self._shown + (step if step < _TIMESTAMPS // 2 else step - _TIMESTAMPS)
        self._shown = shown
        kept = self._kept
        kept.append(WholeFrame(shown, bool(frame.key_frame), tuple(frame.payloads)))
        self._kept_octets += frame.octets
        while len(kept) > MOST_KEPT_FRAMES or self._kept_octets > MOST_KEPT_OCTETS:
            self._kept_octets -= sum(map(len, kept.popleft().payloads))
            self._dropped += 1
