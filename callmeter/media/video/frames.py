"""One encoded picture, where such pictures come from, and where they go to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from callmeter.errors import ConfigurationError
from callmeter.rtp import h264, vp8
from callmeter.rtp.video import CLOCK_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Discard", "EncodedFrame", "StoredFrames", "VideoSink", "VideoSource", "picture_size"]

LEAST_BETWEEN_KEY_FRAMES = CLOCK_RATE // 2
"""Who asks for key frames all the time gets two a second."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One picture as its encoder made it.

    Attributes:
        data: A VP8 frame, or an H.264 access unit as an Annex B byte stream.
        timestamp: When it is shown, in units of 90 kHz; it goes on over 32 bits.
        key_frame: It is decoded without any other.
    """

    data: bytes
    timestamp: int
    key_frame: bool


@runtime_checkable
class VideoSource(Protocol):
    """Gives the frames of one stream, encoded, one after the other.

    A source keeps its place: each stream needs one of its own.
    """

    @property
    def codec(self) -> str:
        """Encoding name: `"VP8"` or `"H264"`."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second, on average."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height; None when the stream does not say."""
        ...

    def prepare(self) -> None:
        """Do what takes time: read the file, encode the pattern. Once; call it in a thread.

        Raises:
            ConfigurationError: It cannot be sent.
        """
        ...

    def next_frame(self) -> EncodedFrame | None:
        """The next frame; None when there is none any more."""
        ...

    def request_key_frame(self) -> None:
        """The receiver cannot go on without a key frame."""
        ...


class VideoSink(Protocol):
    """Takes the frames that came whole, in order."""

    def write(self, frame: EncodedFrame) -> None:
        """Take one frame."""

    def close(self) -> None:
        """There are no more."""


class Discard:
    """Takes frames and forgets them.

    Attributes:
        frames: How many there were.
    """

    def __init__(self) -> None:
        self.frames = 0

    def write(self, frame: EncodedFrame) -> None:
        """Count it."""
        del frame
        self.frames += 1

    def close(self) -> None:
        """Nothing to release."""


class StoredFrames:
    """Frames that were encoded beforehand, given out with timestamps that only grow.

    A key frame that is asked for is the last one before: the frames since are shown again.

    Args:
        frames: In order, the first one a key frame; timestamps that grow.
        duration: Of the last frame, in timestamp units.
        loop: The first follows the last.
    """

    __slots__ = ("_asked", "_frames", "_key_at", "_loop", "_place", "_steps", "_timestamp")

    def __init__(self, frames: Sequence[EncodedFrame], *, duration: int, loop: bool) -> None:
        if not frames or not frames[0].key_frame:
            raise ConfigurationError("video begins with a key frame")
        times = [frame.timestamp for frame in frames]
        self._steps = [
            duration,
            *(later - earlier for earlier, later in pairwise(times)),
        ]
        if min(self._steps) <= 0:
            raise ConfigurationError("the timestamps of the frames do not grow")
        self._frames = tuple(frames)
        self._loop = loop
        self._place = 0
        self._timestamp = -duration
        self._key_at = -LEAST_BETWEEN_KEY_FRAMES - duration
        self._asked = False

    @property
    def frame_rate(self) -> float:
        """Frames a second, on average."""
        return CLOCK_RATE * len(self._frames) / sum(self._steps)

    def next_frame(self) -> EncodedFrame | None:
        """The next frame; None when there is none any more."""
        if self._place == len(self._frames):
            if not self._loop:
                return None
            self._place = 0
        timestamp = self._timestamp + self._steps[self._place]
        if self._asked and timestamp - self._key_at >= LEAST_BETWEEN_KEY_FRAMES:
            while not self._frames[self._place].key_frame:
                self._place -= 1
        frame = self._frames[self._place]
        if frame.key_frame:
            self._asked = False
            self._key_at = timestamp
        self._place += 1
        self._timestamp = timestamp
        return EncodedFrame(frame.data, timestamp, frame.key_frame)

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, unless there was one just now."""
        self._asked = True


def picture_size(codec: str, data: bytes) -> tuple[int, int] | None:
    """Width and height that a frame says, None when it says none.

    Raises:
        RtpSyntaxError: It is no VP8 frame.
    """
    if codec == "VP8":
        return vp8.frame_size(data)
    sizes = (
        h264.describe(unit).size
        for unit in h264.nal_units(data)
        if h264.unit_type(unit) == h264.SEQUENCE_PARAMETER_SET
    )
    return next(filter(None, sizes), None)
