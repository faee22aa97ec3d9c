"""Bursts and gaps of loss: RFC 3611 section 4.7.2, and their share of the time of a call.

A burst starts and ends with a lost packet and has fewer than Gmin packets received in a row. All
else is gap, single losses with Gmin good packets on both sides included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GMIN", "BurstGap", "LossCounter", "burst_gap", "burst_ratio"]

GMIN: Final = 16
"""The value RFC 3611 recommends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstGap:
    """How the loss of a stream is spread.

    Attributes:
        bursts, gaps: How many there were.
        burst_packets, gap_packets: Packets expected in them.
        burst_lost, gap_lost: How many of these were lost.
        ptime_ms: Packet time.
    """

    bursts: int
    gaps: int
    burst_packets: int
    gap_packets: int
    burst_lost: int
    gap_lost: int
    ptime_ms: float

    @property
    def loss_in_bursts(self) -> float:
        """`burst density` of RFC 3611: the part of the packets in bursts that was lost."""
        return _ratio(self.burst_lost, self.burst_packets)

    @property
    def loss_in_gaps(self) -> float:
        """`gap density` of RFC 3611: the part of the packets in gaps that was lost."""
        return _ratio(self.gap_lost, self.gap_packets)

    @property
    def burst_density(self) -> float:
        """The metric `burst_density`: the part of the time that was burst."""
        return _ratio(self.burst_packets, self.burst_packets + self.gap_packets)

    @property
    def gap_density(self) -> float:
        """The metric `gap_density`: the part of the time that was gap."""
        return _ratio(self.gap_packets, self.burst_packets + self.gap_packets)

    @property
    def burst_duration(self) -> float:
        """Mean milliseconds of a burst; 0 without."""
        return _ratio(self.burst_packets, self.bursts) * self.ptime_ms

    @property
    def gap_duration(self) -> float:
        """Mean milliseconds of a gap; 0 without."""
        return _ratio(self.gap_packets, self.gaps) * self.ptime_ms


def burst_gap(lost: Sequence[int], packets: int, *, ptime_ms: float, gmin: int = GMIN) -> BurstGap:
    """Divide a stream into bursts and gaps.

    Args:
        lost: Positions of packets lost or discarded, ascending, the first packet of the stream
            being 0.
        packets: How many were expected.
        ptime_ms: Packet time.
        gmin: Packets received in a row that end a burst, 1 to 255.

    Raises:
        ConfigurationError: Positions that do not ascend or are outside, or another `gmin`.
    """
    _check(lost, packets)
    if gmin not in range(1, 256):
        raise ConfigurationError(f"Gmin is 1 to 255, not {gmin!r}")
    groups: list[list[int]] = []
    for position in lost:
        if groups and position - groups[-1][-1] <= gmin:
            groups[-1].append(position)
        else:
            groups.append([position])
    bursts = [group for group in groups if len(group) > 1]
    burst_packets = sum(group[-1] - group[0] + 1 for group in bursts)
    burst_lost = sum(map(len, bursts))
    # A gap stands before, between and behind the bursts, where there is any packet.
    edges = [-1, *(edge for group in bursts for edge in (group[0], group[-1])), packets]
    gaps = sum(end - begin > 1 for begin, end in zip(edges[::2], edges[1::2], strict=True))
    return BurstGap(
        bursts=len(bursts),
        gaps=gaps,
        burst_packets=burst_packets,
        gap_packets=packets - burst_packets,
        burst_lost=burst_lost,
        gap_lost=len(lost) - burst_lost,
        ptime_ms=ptime_ms,
    )


def burst_ratio(lost: Sequence[int], packets: int) -> float:
    """BurstR of ITU-T G.107: mean length of runs of loss over that of random loss.

    1 means random loss, or none; more means bursts.

    Args:
        lost: As for `burst_gap`.
        packets: How many were expected.

    Raises:
        ConfigurationError: As for `burst_gap`.
    """
    _check(lost, packets)
    if not lost or len(lost) == packets:
        return 1.0
    runs = 1 + sum(after - before > 1 for before, after in pairwise(lost))
    # Random loss of probability p makes runs of 1 / (1 - p) packets.
    return len(lost) / runs * (1 - len(lost) / packets)


class LossCounter:
    """The same of a stream that still runs, in constant space: one lost packet after the other."""

    __slots__ = (
        "_burst_lost",
        "_burst_packets",
        "_bursts",
        "_first",
        "_group_first",
        "_group_lost",
        "_last",
        "_lost",
        "_runs",
    )

    def __init__(self) -> None:
        self._lost = self._runs = 0
        self._last = -2
        self._group_first = self._group_lost = 0
        self._bursts = self._burst_packets = self._burst_lost = 0
        self._first: int | None = None

    def add(self, position: int) -> None:
        """A packet was lost; one at or before the last one counts as the next.

        Args:
            position: The first packet of the stream being 0.
        """
        position = max(position, self._last + 1, 0)
        self._runs += position - self._last > 1
        if self._lost and position - self._last <= GMIN:
            self._group_lost += 1
        else:
            self._close()
            self._group_first, self._group_lost = position, 1
        self._lost += 1
        self._last = position

    def _close(self) -> None:
        """The packets lost so far are a burst, or one lost in a gap."""
        if self._group_lost > 1:
            if not self._bursts:
                self._first = self._group_first
            self._bursts += 1
            self._burst_packets += self._last - self._group_first + 1
            self._burst_lost += self._group_lost

    def burst_gap(self, packets: int, ptime_ms: float) -> BurstGap:
        """What `burst_gap` finds, had it been given all positions.

        Args:
            packets: How many were expected so far.
            ptime_ms: Packet time.
        """
        packets = max(packets, self._last + 1)
        open_burst = self._group_lost > 1
        bursts = self._bursts + open_burst
        burst_packets = self._burst_packets
        burst_lost = self._burst_lost
        # After a burst that is closed a single loss has come, and with it a gap.
        trailing = not open_burst or self._last < packets - 1
        if open_burst:
            burst_packets += self._last - self._group_first + 1
            burst_lost += self._group_lost
        first = self._group_first if self._first is None else self._first
        gaps = (bursts - 1) + (first > 0) + trailing if bursts else int(packets > 0)
        return BurstGap(
            bursts=bursts,
            gaps=gaps,
            burst_packets=burst_packets,
            gap_packets=packets - burst_packets,
            burst_lost=burst_lost,
            gap_lost=self._lost - burst_lost,
            ptime_ms=ptime_ms,
        )

    def burst_ratio(self, packets: int) -> float:
        """What `burst_ratio` finds, had it been given all positions."""
        packets = max(packets, self._last + 1)
        if not self._lost or self._lost == packets:
            return 1.0
        return self._lost / self._runs * (1 - self._lost / packets)


def _check(lost: Sequence[int], packets: int) -> None:
    if any(after <= before for before, after in pairwise(lost)) or (
        lost and not 0 <= lost[0] <= lost[-1] < packets
    ):
        raise ConfigurationError(f"lost packets are ascending positions below {packets}")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
