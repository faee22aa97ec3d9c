"""A picture that moves and needs no camera: a bright bar over a slope of grey, and some noise."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from callmeter.errors import ConfigurationError
from callmeter.media.video.frames import EncodedFrame, StoredFrames
from callmeter.media.video.pictures import encode
from callmeter.rtp.video import CLOCK_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["TestPattern"]

CODECS: Final = ("VP8", "H264")
SMALLEST_SIDE: Final = 32
LARGEST: Final = (1920, 1080)
FRAME_RATES: Final = (1.0, 60.0)
KEY_FRAME_INTERVALS_S: Final = (0.5, 10.0)
BITRATES: Final = (30_000, 10_000_000)

DARKEST: Final = 48
BRIGHTEST: Final = 144
BAR: Final = 235
BARS: Final = 8
"""Widths of the bar that make the width of the picture."""
NOISE_ROWS: Final = 4
"""One row of so many at the foot is noise: what makes a codec work."""
NOISE: Final = 24
SEED: Final = 1
KEPT_PATTERNS: Final = 8
"""Many calls send the same pattern; it is encoded for the first of them."""


class TestPattern:
    """A bright bar that crosses the picture once between two key frames.

    It is encoded once, when the first of its kind is prepared; sending it costs no encoding.

    Args:
        width: Of the picture, even.
        height: Of the picture, even.
        frame_rate: Frames a second, 1 to 60.
        codec: `"VP8"` or `"H264"`.
        key_frame_interval_s: Seconds between key frames, 0.5 to 10.
        bitrate: Bits a second to aim at.

    Raises:
        ConfigurationError: One of them is out of range.
    """

    __test__ = False  # It is no test of pytest's.

    def __init__(
        self,
        width: int = 320,
        height: int = 240,
        frame_rate: float = 15.0,
        codec: str = "VP8",
        *,
        key_frame_interval_s: float = 2.0,
        bitrate: int = 300_000,
    ) -> None:
        if codec not in CODECS:
            raise ConfigurationError(f"a pattern in {codec} cannot be made; known are VP8 and H264")
        for side, most in zip((width, height), LARGEST, strict=True):
            if side % 2 or not SMALLEST_SIDE <= side <= most:
                raise ConfigurationError(
                    f"a pattern of {width} x {height} cannot be made: sides are even, "
                    f"{SMALLEST_SIDE} x {SMALLEST_SIDE} to {LARGEST[0]} x {LARGEST[1]}"
                )
        _check("a frame rate", frame_rate, FRAME_RATES)
        _check("a key frame interval", key_frame_interval_s, KEY_FRAME_INTERVALS_S)
        _check("a bit rate", bitrate, BITRATES)
        self.codec = codec
        self.frame_rate = frame_rate
        self.key_frame_interval_s = key_frame_interval_s
        self.bitrate = bitrate
        self._width, self._height = width, height
        self._stored: StoredFrames | None = None

    def __repr__(self) -> str:
        return f"TestPattern({self._width}, {self._height}, {self.frame_rate}, {self.codec!r})"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._width, self._height

    def prepare(self) -> None:
        """Encode it: a few hundredths of a second, more for large pictures."""
        self._encoded()

    def next_frame(self) -> EncodedFrame | None:
        """The next frame; there always is one."""
        return self._encoded().next_frame()

    def request_key_frame(self) -> None:
        """Start again, unless there was a key frame within half a second."""
        self._encoded().request_key_frame()

    def _encoded(self) -> StoredFrames:
        if self._stored is None:
            count = max(1, round(self.frame_rate * self.key_frame_interval_s))
            frames = _encoded(self.size, count, self.codec, self.frame_rate, self.bitrate)
            duration = round(CLOCK_RATE / self.frame_rate)
            self._stored = StoredFrames(frames, duration=duration, loop=True)
        return self._stored


@lru_cache(maxsize=KEPT_PATTERNS)
def _encoded(
    size: tuple[int, int], count: int, codec: str, frame_rate: float, bitrate: int
) -> tuple[EncodedFrame, ...]:
    """The frames of one pattern, encoded once for all calls that send it."""
    return tuple(encode(_pictures(size, count), codec, frame_rate=frame_rate, bitrate=bitrate))


def _pictures(size: tuple[int, int], count: int) -> Iterator[npt.NDArray[np.uint8]]:
    width, height = size
    slope = np.linspace(DARKEST, BRIGHTEST, height).astype(np.uint8)
    noise = np.random.default_rng(SEED)
    rows = height // NOISE_ROWS
    columns = np.arange(width)
    for number in range(count):
        picture = np.repeat(slope[:, None], width, axis=1)
        picture[-rows:] += noise.integers(0, NOISE, (rows, width), np.uint8)
        behind = (columns - number * width // count) % width
        picture[:, behind < width // BARS] = BAR
        yield picture


def _check(what: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise ConfigurationError(f"{what} of {value} is out of range: {low} to {high}")
