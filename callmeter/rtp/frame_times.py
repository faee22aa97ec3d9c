"""When frames of video came or went: their rate, their key frames, and when the picture froze."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["FrameTimes", "Freezes"]

RATE_WINDOW_S: Final = 1.0
MOST_FRAMES_A_SECOND: Final = 1000

AVERAGED_FRAMES: Final = 30
FEWEST_FRAMES: Final = 5
FREEZE_FACTOR: Final = 3
FREEZE_MARGIN_S: Final = 0.15


class FrameTimes:
    """Counts frames and key frames of one direction.

    Attributes:
        frames: How many there were.
        key_frames: Of these, key frames.
        size: Width and height of the picture, as far as it is known.
        key_frame_interval_ms: Between the last two key frames; None before the second.
    """

    __slots__ = (
        "_first",
        "_last_key",
        "_recent",
        "frames",
        "key_frame_interval_ms",
        "key_frames",
        "size",
    )

    def __init__(self) -> None:
        self.frames = 0
        self.key_frames = 0
        self.size: tuple[int, int] | None = None
        self.key_frame_interval_ms: float | None = None
        self._first: float | None = None
        self._last_key: float | None = None
        self._recent: deque[float] = deque(maxlen=MOST_FRAMES_A_SECOND)

    @property
    def megapixels(self) -> float | None:
        """Pixels of the picture, in millions."""
        return None if self.size is None else self.size[0] * self.size[1] / 1_000_000

    def note(self, now: float, *, key_frame: bool, size: tuple[int, int] | None) -> None:
        """Count a frame.

        Args:
            now: Seconds.
            key_frame: Whether it is one.
            size: Of the picture, where the frame says it.
        """
        self.frames += 1
        if self._first is None:
            self._first = now
        self._recent.append(now)
        if size is not None:
            self.size = size
        if key_frame:
            self.key_frames += 1
            if self._last_key is not None:
                self.key_frame_interval_ms = (now - self._last_key) * 1000
            self._last_key = now

    def rate(self, now: float) -> float | None:
        """Frames of the last second; None while there was no whole second."""
        if self._first is None or now < self._first + RATE_WINDOW_S:
            return None
        recent = self._recent
        while recent and recent[0] <= now - RATE_WINDOW_S:
            recent.popleft()
        return len(recent) / RATE_WINDOW_S


class Freezes:
    """Freezes as `freezeCount` and `totalFreezesDuration` of W3C's webrtc-stats define them.

    It is one when the time between two frames that are shown is at least three times the average
    of the last 30 such times, and at least that average and 150 ms. The time between the two is
    the duration of the freeze. Browsers want five such times before the first freeze; so does
    this.

    Attributes:
        count: Freezes so far.
        duration_s: Their sum.
    """

    __slots__ = ("_durations", "_shown", "count", "duration_s")

    def __init__(self) -> None:
        self.count = 0
        self.duration_s = 0.0
        self._shown: float | None = None
        self._durations: deque[float] = deque(maxlen=AVERAGED_FRAMES)

    def note(self, now: float) -> None:
        """A frame is shown."""
        if self._shown is not None:
            duration = now - self._shown
            known = len(self._durations)
            if known >= FEWEST_FRAMES:
                average = sum(self._durations) / known
                if duration >= max(FREEZE_FACTOR * average, average + FREEZE_MARGIN_S):
                    self.count += 1
                    self.duration_s += duration
            self._durations.append(duration)
        self._shown = now

    def still(self, now: float) -> float | None:
        """Seconds since the last picture was shown; None before the first, and in a pause."""
        return None if self._shown is None else now - self._shown

    def pause(self) -> None:
        """The picture stands still because nobody sends: that is no freeze."""
        self._shown = None
