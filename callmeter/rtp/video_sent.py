"""What was sent of a video stream: its frames, and its packets as long as they may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.rtp.frame_times import FrameTimes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VideoSent", "VideoSentStatistics"]

STORED_PACKETS: Final = 1024
STORED_OCTETS: Final = 1 << 21
MOST_TIMES: Final = 4
"""How often a packet is sent again: a peer that keeps asking costs five times, and no more."""
LEAST_SPACING_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSentStatistics:
    """What was sent so far.

    Attributes:
        frames_sent: Frames.
        keyframes_sent: Of these, key frames.
        keyframe_interval_ms: Between the last two key frames; None before the second.
        frame_rate_fps: Frames of the last second; None in the first.
        size: Width and height, None when unknown.
        resolution_megapixels: The same as one number.
        packets_retransmitted: Packets sent again because the peer asked.
    """

    frames_sent: int
    keyframes_sent: int
    keyframe_interval_ms: float | None
    frame_rate_fps: float | None
    size: tuple[int, int] | None
    resolution_megapixels: float | None
    packets_retransmitted: int


class _Stored:
    """A packet as it left."""

    __slots__ = ("again_from", "packet", "times")

    def __init__(self, packet: bytes) -> None:
        self.packet = packet
        self.times = 0
        self.again_from = float("-inf")


class VideoSent:
    """Counts the frames of a sent stream and keeps its last packets.

    A NACK without a retransmission stream (RFC 4588) is answered with the packet itself. It is
    kept as it left, protected: libsrtp does not protect a sequence number twice, and under the
    counter modes the same octets are the only ones that may be sent under it.

    Args:
        packets: Most packets kept.
        octets: Most octets kept.
    """

    __slots__ = ("_most_octets", "_most_packets", "_octets", "_stored", "frames", "retransmitted")

    def __init__(self, *, packets: int = STORED_PACKETS, octets: int = STORED_OCTETS) -> None:
        self.frames = FrameTimes()
        self.retransmitted = 0
        self._most_packets = packets
        self._most_octets = octets
        self._octets = 0
        self._stored: dict[int, _Stored] = {}

    def on_frame(self, now: float, *, key_frame: bool, size: tuple[int, int] | None) -> None:
        """A frame was sent.

        Args:
            now: Seconds.
            key_frame: Whether it is one.
            size: Of the picture, where it is known.
        """
        self.frames.note(now, key_frame=key_frame, size=size)

    def on_packet(self, sequence: int, packet: bytes) -> None:
        """Keep a packet.

        Args:
            sequence: Of its header.
            packet: The octets that left.
        """
        stored = self._stored
        before = stored.pop(sequence, None)
        if before is not None:
            self._octets -= len(before.packet)
        stored[sequence] = _Stored(bytes(packet))
        self._octets += len(packet)
        while len(stored) > self._most_packets or self._octets > self._most_octets:
            self._octets -= len(stored.pop(next(iter(stored))).packet)

    def forget(self) -> None:
        """Keep nothing of what left so far: its key is not in use any more."""
        self._stored.clear()
        self._octets = 0

    def again(self, now: float, sequence: int) -> bytes | None:
        """The packet a NACK names.

        Args:
            now: Seconds.
            sequence: Its sequence number.

        Returns:
            What to send; None when it is not kept any more, or was sent again just now or often
            enough.
        """
        found = self._stored.get(sequence)
        if found is None or found.times >= MOST_TIMES or now < found.again_from:
            return None
        found.times += 1
        found.again_from = now + LEAST_SPACING_S
        self.retransmitted += 1
        return found.packet

    def statistics(self, now: float) -> VideoSentStatistics:
        """What was sent so far."""
        frames = self.frames
        return VideoSentStatistics(
            frames_sent=frames.frames,
            keyframes_sent=frames.key_frames,
            keyframe_interval_ms=frames.key_frame_interval_ms,
            frame_rate_fps=frames.rate(now),
            size=frames.size,
            resolution_megapixels=frames.megapixels,
            packets_retransmitted=self.retransmitted,
        )

    def metrics(self, now: float) -> Mapping[str, float | None]:
        """The same by catalogue key."""
        frames = self.frames
        return {
            "frames_sent": frames.frames,
            "keyframes_sent": frames.key_frames,
            "keyframe_interval_ms": frames.key_frame_interval_ms,
            "frame_rate_fps": frames.rate(now),
            "resolution_megapixels": frames.megapixels,
        }
