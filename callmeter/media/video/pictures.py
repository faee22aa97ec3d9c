"""The door to PyAV for pictures: encode a few beforehand, decode what was received on demand.

PyAV is loaded when it is first needed, as for Opus.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from callmeter.errors import ConfigurationError
from callmeter.media.video.frames import EncodedFrame
from callmeter.rtp.video import CLOCK_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

__all__ = ["decode", "encode", "mean_luma"]

MAX_PIXELS: Final = 4096 * 2304
"""A larger picture is not decoded: its size is the peer's word."""
SLICE_OCTETS: Final = 1100
"""Slices fit a packet, so that they can be sent to who takes no fragments."""
NO_COLOUR: Final = 128

_ENCODERS: Final = {"VP8": "libvpx", "H264": "libx264"}
_DECODERS: Final = {"VP8": "vp8", "H264": "h264"}
_ONE_KEY_FRAME: Final = 1_000_000
_OPTIONS: Final = {
    "VP8": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
    "H264": {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "x264-params": f"slice-max-size={SLICE_OCTETS}:scenecut=0",
    },
}


def encode(
    pictures: Iterable[Picture], codec: str, *, frame_rate: float, bitrate: int
) -> list[EncodedFrame]:
    """Encode pictures in grey; the first is a key frame, and no other.

    Args:
        pictures: Of one size, height and width even.
        codec: `"VP8"` or `"H264"`; the latter in Constrained Baseline.
        frame_rate: Frames a second.
        bitrate: Bits a second to aim at.

    Raises:
        ConfigurationError: This build of PyAV has no such encoder.
    """
    from av import CodecContext, VideoFrame  # noqa: PLC0415  see above

    context: Any = None
    packets: list[Any] = []
    for number, picture in enumerate(pictures):
        if context is None:
            context = _encoder(CodecContext, codec, picture, frame_rate, bitrate)
        height, width = picture.shape
        planes = np.full((height * 3 // 2, width), NO_COLOUR, np.uint8)
        planes[:height] = picture
        frame: Any = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = round(number * CLOCK_RATE / frame_rate)
        frame.time_base = context.time_base
        packets += context.encode(frame)
    if context is not None:
        packets += context.encode(None)
    return [EncodedFrame(bytes(each), each.pts, bool(each.is_keyframe)) for each in packets]


def _encoder(maker: Any, codec: str, picture: Picture, frame_rate: float, bitrate: int) -> Any:
    try:
        context = maker.create(_ENCODERS[codec], "w")
    except ValueError as error:
        raise ConfigurationError(f"this build of PyAV does not encode {codec}") from error
    context.height, context.width = picture.shape
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, CLOCK_RATE)
    context.framerate = Fraction(frame_rate).limit_denominator(1001)
    context.bit_rate = bitrate
    context.gop_size = _ONE_KEY_FRAME
    context.thread_count = 1
    context.options = _OPTIONS[codec]
    return context


def decode(frames: Iterable[EncodedFrame], codec: str) -> Iterator[Picture]:
    """The pictures of frames, in grey; frames that cannot be decoded give none.

    It takes its time: run it in a thread, or after the call.

    Args:
        frames: In order, from a key frame on.
        codec: `"VP8"` or `"H264"`.

    Yields:
        Brightness by row and column, 16 for black to 235 for white.

    Raises:
        ConfigurationError: It is another codec.
    """
    from av import CodecContext, FFmpegError, Packet  # noqa: PLC0415  see above

    name = _DECODERS.get(codec)
    if name is None:
        raise ConfigurationError(f"{codec} is not decoded; known are VP8 and H264")
    context: Any = CodecContext.create(name, "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}
    for data in chain((frame.data for frame in frames), (None,)):
        try:
            pictures = context.decode(None if data is None else Packet(data))
        except FFmpegError:
            continue
        for picture in pictures:
            planes = picture.reformat(format="yuv420p").to_ndarray()
            yield planes[: picture.height]


def mean_luma(picture: Picture) -> float:
    """How bright a picture is on average: 16 when it is black."""
    return float(picture.mean())
