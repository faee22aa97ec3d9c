"""How well the tick keeps its time, and how wall-clock stamps become loop time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClockOffset", "LatenessHistogram", "Overload"]

BUCKETS_PER_DOUBLING: Final = 8
SMALLEST_S: Final = 1e-5
BUCKETS: Final = 168
LATE_S: Final = 0.005
TIGHT_S: Final = 2e-5
STEP_S: Final = 1e-3
OVERLOADED_SECONDS: Final = 3


class LatenessHistogram:
    """Counts of durations in logarithmic buckets, 9 % wide, from 10 us to 20 s.

    Attributes:
        count: Durations added.
        late: Those above 5 ms.
        maximum: The longest one, seconds.
    """

    __slots__ = ("_buckets", "count", "late", "maximum")

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS
        self.count = 0
        self.late = 0
        self.maximum = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration, so many times."""
        self.count += times
        if seconds > LATE_S:
            self.late += times
        self.maximum = max(self.maximum, seconds)
        # The exponent and the top bits of the mantissa are the logarithm, well enough.
        scaled = seconds / SMALLEST_S
        if scaled < 1:
            self._buckets[0] += times
            return
        whole = int(scaled * BUCKETS_PER_DOUBLING)
        doublings = whole.bit_length() - 4
        index = doublings * BUCKETS_PER_DOUBLING + (whole >> doublings) - BUCKETS_PER_DOUBLING
        self._buckets[min(index, BUCKETS - 1)] += times

    def quantile(self, share: float) -> float:
        """The duration in seconds that a share (0 to 1) of all stays within; 0 when empty."""
        wanted = share * self.count
        seen = 0
        for index, times in enumerate(self._buckets):
            seen += times
            if times and seen >= wanted:
                return min(_upper_edge(index), self.maximum)
        return 0.0

    def merge(self, other: LatenessHistogram) -> None:
        """Add what another one has counted."""
        self.count += other.count
        self.late += other.late
        self.maximum = max(self.maximum, other.maximum)
        for index, times in enumerate(other._buckets):
            self._buckets[index] += times


def _upper_edge(index: int) -> float:
    doublings, part = divmod(index, BUCKETS_PER_DOUBLING)
    return SMALLEST_S * (1 << doublings) * (1 + (part + 1) / BUCKETS_PER_DOUBLING)


class ClockOffset:
    """What must be added to a wall-clock stamp to make it loop time.

    The two clocks cannot be read at once. A reading between which the process was held up would
    show as jitter of the peer, so it only counts when the wall clock was really stepped.
    """

    __slots__ = ("_loop_clock", "_wall_clock", "seconds")

    def __init__(self, loop_clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._loop_clock = loop_clock
        self._wall_clock = wall_clock
        self.seconds = loop_clock() - wall_clock()

    def sample(self) -> None:
        """Read both clocks once more."""
        before = self._loop_clock()
        wall = self._wall_clock()
        after = self._loop_clock()
        offset = (before + after) / 2 - wall
        if after - before <= TIGHT_S or abs(offset - self.seconds) > STEP_S + after - before:
            self.seconds = offset


class Overload:
    """Whether the ticks of a packet lane come too late to take more calls.

    Args:
        limit: Seconds that half of the ticks of a second may be late by; above, three seconds in
            a row, there is too much to do, and below, three seconds in a row, there is not.
        on_change: Called with whether there is, when that changes.
    """

    __slots__ = ("_lateness", "_limit", "_on_change", "_seconds", "exceeded")

    def __init__(self, limit: float, on_change: Callable[[bool], None]) -> None:
        self._limit = limit
        self._on_change = on_change
        self._lateness = LatenessHistogram()
        self._seconds = 0
        self.exceeded = False

    def add(self, lateness: float) -> None:
        """A tick was so late."""
        self._lateness.add(lateness)

    def on_second(self) -> None:
        """Judge the second that has passed."""
        late = self._lateness.quantile(0.5) > self._limit
        self._lateness = LatenessHistogram()
        self._seconds = 0 if late is self.exceeded else self._seconds + 1
        if self._seconds == OVERLOADED_SECONDS:
            self._seconds, self.exceeded = 0, late
            self._on_change(late)

    def end(self) -> None:
        """There are no ticks any more."""
        self._seconds = 0
        self._lateness = LatenessHistogram()
        if self.exceeded:
            self.exceeded = False
            self._on_change(False)  # noqa: FBT003  what it was told before
