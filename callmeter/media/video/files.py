"""Video in files, sent and received: IVF with VP8, Annex B byte streams with H.264."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callmeter.errors import ConfigurationError, RtpSyntaxError
from callmeter.media.video.frames import EncodedFrame, StoredFrames, picture_size
from callmeter.media.wave_file import open_for_writing
from callmeter.rtp import h264, vp8
from callmeter.rtp.video import CLOCK_RATE

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["AnnexBFile", "AnnexBRecorder", "IvfFile", "IvfRecorder"]

MAX_FILE_OCTETS: Final = 1 << 28
MAX_FRAMES: Final = 1 << 20
MAX_STEP: Final = 60 * CLOCK_RATE
"""A picture that stands for longer is no video."""
MAX_FRAME_RATE: Final = 240.0

_IVF_HEADER = struct.Struct("<4sHH4sHHIII4x")
_IVF_FRAME = struct.Struct("<IQ")
_IVF_FRAMES_AT: Final = 24
_SIGNATURE: Final = b"DKIF"
_FOURCC: Final = b"VP80"
_PARAMETER_SETS: Final = frozenset({7, 8})
_PICTURES: Final = frozenset(range(1, 6))
_MAX_PARAMETER_SETS: Final = 32


class VideoFile(ABC):
    """A file that is sent; it is read once, by `prepare` or when the first frame is wanted.

    Args:
        path: Of the file.
        loop: It starts again at its end.
    """

    codec: str

    def __init__(self, path: str | os.PathLike[str], *, loop: bool) -> None:
        self.path = path
        self.loop = loop
        self._stored: StoredFrames | None = None
        self._size: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def frame_rate(self) -> float:
        """Frames a second, on average."""
        return self._opened().frame_rate

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height; None when the stream does not say."""
        self._opened()
        return self._size

    def prepare(self) -> None:
        """Read the file.

        Raises:
            ConfigurationError: There is none, or it cannot be sent.
        """
        self._opened()

    def next_frame(self) -> EncodedFrame | None:
        """The next frame; None at the end of a file that does not start again."""
        return self._opened().next_frame()

    def request_key_frame(self) -> None:
        """Go back to the last key frame, unless there was one within half a second."""
        self._opened().request_key_frame()

    def _opened(self) -> StoredFrames:
        if self._stored is None:
            try:
                frames, duration = self._read(_content(self.path))
                self._stored = StoredFrames(frames, duration=duration, loop=self.loop)
                self._size = picture_size(self.codec, frames[0].data)
            except (ValueError, struct.error, RtpSyntaxError) as error:
                raise ConfigurationError(f"{self.path} cannot be sent: {error}") from error
        return self._stored

    @abstractmethod
    def _read(self, data: bytes) -> tuple[list[EncodedFrame], int]:
        """The frames of the file, and how long the last one stands."""


class IvfFile(VideoFile):
    """VP8 in an IVF file, as FFmpeg, GStreamer and libvpx write it."""

    codec = "VP8"

    def __init__(self, path: str | os.PathLike[str], *, loop: bool = True) -> None:
        super().__init__(path, loop=loop)

    def _read(self, data: bytes) -> tuple[list[EncodedFrame], int]:
        signature, _, place, fourcc, _, _, rate, scale, _ = _IVF_HEADER.unpack_from(data)
        if signature != _SIGNATURE:
            raise ValueError("not an IVF file")
        if fourcc != _FOURCC:
            raise ValueError(f"its codec is {fourcc.decode('ascii', 'replace')}, not VP8")
        if not rate or not scale or place < _IVF_HEADER.size:
            raise ValueError("its header is damaged")
        frames: list[EncodedFrame] = []
        first = None
        while place < len(data):
            length, shown = _IVF_FRAME.unpack_from(data, place)
            place += _IVF_FRAME.size
            frame = data[place : place + length]
            if not length or len(frame) < length:
                raise ValueError("a frame is cut off or empty")
            place += length
            first = shown if first is None else first
            timestamp = (shown - first) * CLOCK_RATE * scale // rate
            frames.append(EncodedFrame(frame, timestamp, vp8.is_key_frame(frame)))
            if len(frames) > MAX_FRAMES:
                raise ValueError(f"more than {MAX_FRAMES} frames")
        return frames, _last_duration(frames)


def _last_duration(frames: list[EncodedFrame]) -> int:
    """As long as the frames before on average; a single one stands for a second."""
    steps = [later.timestamp - earlier.timestamp for earlier, later in pairwise(frames)]
    if not steps:
        return CLOCK_RATE
    if max(steps) > MAX_STEP:
        raise ValueError("a frame stands for more than a minute")
    return max(1, sum(steps) // len(steps))


class AnnexBFile(VideoFile):
    """H.264 as a byte stream (ITU-T H.264 annex B), which says nothing of time.

    Args:
        path: Of the file.
        frame_rate: Frames a second.
        loop: It starts again at its end.

    Raises:
        ConfigurationError: The frame rate is out of range.
    """

    codec = "H264"

    def __init__(
        self, path: str | os.PathLike[str], *, frame_rate: float = 30.0, loop: bool = True
    ) -> None:
        super().__init__(path, loop=loop)
        if not 1 / 60 <= frame_rate <= MAX_FRAME_RATE:
            raise ConfigurationError(f"a frame rate of {frame_rate} is out of range")
        self._frame_rate = frame_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second, as it was said."""
        return self._frame_rate

    def _read(self, data: bytes) -> tuple[list[EncodedFrame], int]:
        step = CLOCK_RATE / self._frame_rate
        frames = [
            EncodedFrame(unit, round(number * step), key_frame)
            for number, (unit, key_frame) in enumerate(access_units(data))
        ]
        if len(frames) > MAX_FRAMES:
            raise ValueError(f"more than {MAX_FRAMES} frames")
        return frames, round(step)


def access_units(stream: bytes) -> Iterator[tuple[bytes, bool]]:
    """The pictures of a byte stream with all that belongs to them, and which are key frames.

    A key frame without parameter sets gets those that came before, for whoever joins there.
    """
    known: dict[bytes, None] = {}
    current: list[bytes] = []
    pictured = False
    for unit in h264.nal_units(stream):
        if pictured and h264.begins_access_unit(unit):
            yield _access_unit(current, known)
            current, pictured = [], False
        current.append(unit)
        pictured = pictured or h264.unit_type(unit) in _PICTURES
    if pictured:
        yield _access_unit(current, known)


def _access_unit(units: list[bytes], known: dict[bytes, None]) -> tuple[bytes, bool]:
    key_frame = any(h264.unit_type(unit) == h264.IDR_SLICE for unit in units)
    sets = [unit for unit in units if h264.unit_type(unit) in _PARAMETER_SETS]
    if sets:
        known.update(dict.fromkeys(sets[:_MAX_PARAMETER_SETS]))
        for oldest in list(known)[:-_MAX_PARAMETER_SETS]:
            del known[oldest]
    elif key_frame:
        units = [*known, *units]
    return b"".join(b"\0\0\0\1" + unit for unit in units), key_frame


def _content(path: str | os.PathLike[str]) -> bytes:
    try:
        if Path(path).stat().st_size > MAX_FILE_OCTETS:
            raise ConfigurationError(f"{path} is longer than {MAX_FILE_OCTETS} octets")
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


class _Recorder:
    """Writes frames to a file from the first key frame on: what comes before shows nothing.

    Args:
        path: The file to write.

    Attributes:
        frames: Frames written.
        skipped: Frames before the first key frame.

    Raises:
        ConfigurationError: The file cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.frames = 0
        self.skipped = 0
        self._file = open_for_writing(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def write(self, frame: EncodedFrame) -> None:
        """Append a frame."""
        if not self.frames and not frame.key_frame:
            self.skipped += 1
            return
        self._append(frame)
        self.frames += 1

    def close(self) -> None:
        """The file is complete once this returns."""
        self._file.close()

    def _append(self, frame: EncodedFrame) -> None:
        self._file.write(frame.data)


class AnnexBRecorder(_Recorder):
    """Writes H.264 as a byte stream, which players take for 25 frames a second."""


class IvfRecorder(_Recorder):
    """Writes VP8 into an IVF file, with the timestamps of the stream."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._first = 0
        self._file.write(_ivf_header((0, 0), 0))

    def _append(self, frame: EncodedFrame) -> None:
        if not self.frames:
            self._first = frame.timestamp
            self._file.seek(0)
            self._file.write(_ivf_header(vp8.frame_size(frame.data) or (0, 0), 0))
        shown = max(0, frame.timestamp - self._first)
        self._file.write(_IVF_FRAME.pack(len(frame.data), shown))
        self._file.write(frame.data)

    def close(self) -> None:
        """Write the number of frames into the header."""
        try:
            if not self._file.closed:
                self._file.seek(_IVF_FRAMES_AT)
                self._file.write(self.frames.to_bytes(4, "little"))
        finally:
            super().close()


def _ivf_header(size: tuple[int, int], frames: int) -> bytes:
    return _IVF_HEADER.pack(_SIGNATURE, 0, _IVF_HEADER.size, _FOURCC, *size, CLOCK_RATE, 1, frames)
