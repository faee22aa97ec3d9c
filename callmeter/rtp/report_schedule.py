"""When to send RTCP reports, and what the reports of the other side tell (RFC 3550 6.2, 6.3, A.7).

A pure state machine: time and received packets come in, a deadline and measurements go out.
A call has few members, so a goodbye never waits (section 6.3.7 asks for that from 50 on).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callmeter.rtp.rtcp import Goodbye, ReceiverReport, SenderReport, ntp_middle
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    ExtendedReport,
    ReferenceTime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.rtp.rtcp import ReportBlock, RtcpPacket

__all__ = ["MAX_MEMBERS", "ReportSchedule", "round_trip_time"]

MAX_MEMBERS: Final = 32
"""Sources remembered besides the own one; more are counted and ignored."""

_SENDER_SHARE: Final = 0.25
_RTCP_SHARE: Final = 0.05
_COMPENSATION: Final = 2.718_281_828 - 1.5
"""What timer reconsideration shortens the mean interval by (A.7)."""
_SILENT_INTERVALS: Final = 5
_UNITS: Final = 65_536
_FIRST_REPORT: Final = 128.0
"""Probable size of the first report in octets, IP and UDP headers included."""
_LOWER_LAYERS: Final = 28
_SMOOTHING: Final = 1 / 16
_REDUCED: Final = 360.0
_LATEST_DELAY: Final = 0xFFFF_FFFF


def round_trip_time(block: ReportBlock, ntp: int) -> float | None:
    """Round-trip time from a report block about the own stream (RFC 3550 section 6.4.1).

    Args:
        block: As received.
        ntp: 64-bit NTP time of its arrival, on the clock of the sender reports.

    Returns:
        Seconds; None when the peer has not seen a sender report. A result below zero, which
        coarse clocks produce, is zero.
    """
    if block.last_sr == 0:
        return None
    units = (ntp_middle(ntp) - block.last_sr - block.delay_since_last_sr) & 0xFFFF_FFFF
    return 0.0 if units & 0x8000_0000 else units / _UNITS


def _delay(seconds: float) -> int:
    return max(0, min(int(seconds * _UNITS), _LATEST_DELAY))


class ReportSchedule:
    """The report timer of one RTP session, and the members it knows.

    Args:
        ssrc: The own source.
        now: Seconds.
        entropy: Gives random octets.
        bandwidth: Session bandwidth in bit/s; RTCP takes five percent.
        minimum: Least mean interval in seconds.
        reduced_minimum: Use 360 / bandwidth in kbit/s instead, where that is less.
        initial_minimum: The same before the first report; None is half of it. It may be as
            little as 0 between two parties (section 6.2).

    Attributes:
        we_sent: Whether the own side sent RTP lately; the owner sets it.
        rtt: Last round-trip time in seconds, or None.
        remote_block: The peer's last report block about the own stream, or None.
        report_interval: Seconds between the last two reports received, or None.
        refused: Members beyond the limit.
    """

    __slots__ = (
        "_average_size",
        "_bandwidth",
        "_deadline",
        "_entropy",
        "_initial",
        "_initial_minimum",
        "_last_report_at",
        "_members",
        "_members_before",
        "_minimum",
        "_previous",
        "_references",
        "_sender_reports",
        "_ssrc",
        "refused",
        "remote_block",
        "report_interval",
        "rtt",
        "we_sent",
    )

    def __init__(
        self,
        ssrc: int,
        now: float,
        entropy: Callable[[int], bytes],
        *,
        bandwidth: float = 80_000.0,
        minimum: float = 5.0,
        reduced_minimum: bool = False,
        initial_minimum: float | None = None,
    ) -> None:
        self._ssrc = ssrc
        self._entropy = entropy
        self._bandwidth = bandwidth * _RTCP_SHARE / 8
        if reduced_minimum:
            minimum = min(minimum, _REDUCED / (bandwidth / 1000))
        self._minimum = minimum
        self._initial_minimum = minimum / 2 if initial_minimum is None else initial_minimum
        self._members: dict[int, float] = {}
        self._sender_reports: dict[int, tuple[int, float]] = {}
        self._references: dict[int, tuple[int, float]] = {}
        self._members_before = 1
        self._average_size = _FIRST_REPORT
        self._initial = True
        self._previous = now
        self.we_sent = False
        self.rtt: float | None = None
        self.remote_block: ReportBlock | None = None
        self.report_interval: float | None = None
        self._last_report_at: float | None = None
        self.refused = 0
        self._deadline: float | None = now + self._interval()

    @property
    def members(self) -> int:
        """Sources known, the own one included."""
        return len(self._members) + 1

    @property
    def feedback_interval(self) -> float:
        """Mean seconds between packets that the bandwidth allows (AVPF, RFC 4585 3.4)."""
        return self._mean_interval(0.0)

    def next_deadline(self) -> float | None:
        """When `on_deadline` is due; None after `stop`."""
        return self._deadline

    def on_deadline(self, now: float) -> bool:
        """Whether a compound packet is to be sent now (timer reconsideration, 6.3.6)."""
        if self._deadline is None or now < self._deadline:
            return False
        self._forget_silent_members(now)
        due = self._previous + self._interval()
        if due > now:
            self._deadline = due
            self._members_before = self.members
            return False
        self._initial = False
        self._previous = now
        self._deadline = now + self._interval()
        self._members_before = self.members
        return True

    def stop(self) -> None:
        """No more reports: a goodbye was sent."""
        self._deadline = None

    def on_sent(self, octets: int) -> None:
        """Learn the size of a compound packet that was sent."""
        self._learn_size(octets)

    def on_received(self, packets: Iterable[RtcpPacket], octets: int, now: float, ntp: int) -> None:
        """Take in a compound packet.

        Args:
            packets: As parsed.
            octets: Size of the datagram.
            now: Seconds.
            ntp: 64-bit NTP time of the arrival.
        """
        self._learn_size(octets)
        for packet in packets:
            if isinstance(packet, SenderReport | ReceiverReport):
                self._take_report(packet, now, ntp)
            elif isinstance(packet, ExtendedReport):
                self._take_reference(packet, now)
            elif isinstance(packet, Goodbye):
                self._remove(packet.ssrcs, now)

    def last_sr(self, ssrc: int, now: float) -> tuple[int, int]:
        """The fields LSR and DLSR of a report block about `ssrc` (RFC 3550 section 6.4.1)."""
        known = self._sender_reports.get(ssrc)
        if known is None:
            return 0, 0
        middle, arrived = known
        return middle, _delay(now - arrived)

    def take_references(self, now: float) -> ExtendedReport | None:
        """The answer to the receiver reference times since the last call (RFC 3611 4.5)."""
        references, self._references = self._references, {}
        if not references:
            return None
        delays = tuple(
            DelaySinceReference(ssrc, middle, _delay(now - arrived))
            for ssrc, (middle, arrived) in references.items()
        )
        return ExtendedReport(self._ssrc, (DelaySinceReferences(delays),))

    def _take_reference(self, packet: ExtendedReport, now: float) -> None:
        for block in packet.blocks:
            # Who sends reports besides is a member.
            if isinstance(block, ReferenceTime) and packet.ssrc in self._members:
                self._references[packet.ssrc] = ntp_middle(block.ntp), now

    def _take_report(self, packet: SenderReport | ReceiverReport, now: float, ntp: int) -> None:
        if not self._remember(packet.ssrc, now):
            return
        if self._last_report_at is not None:
            self.report_interval = now - self._last_report_at
        self._last_report_at = now
        if isinstance(packet, SenderReport):
            self._sender_reports[packet.ssrc] = ntp_middle(packet.ntp), now
        for block in packet.blocks:
            if block.ssrc == self._ssrc:
                self.remote_block = block
                rtt = round_trip_time(block, ntp)
                if rtt is not None:
                    self.rtt = rtt

    def _remember(self, ssrc: int, now: float) -> bool:
        if ssrc not in self._members and len(self._members) >= MAX_MEMBERS:
            self.refused += 1
            return False
        self._members[ssrc] = now
        return True

    def _remove(self, ssrcs: Iterable[int], now: float) -> None:
        for ssrc in ssrcs:
            self._members.pop(ssrc, None)
            self._sender_reports.pop(ssrc, None)
            self._references.pop(ssrc, None)
        members = self.members
        if members < self._members_before and self._deadline is not None:
            # Reverse reconsideration (6.3.4).
            share = members / self._members_before
            self._deadline = now + share * (self._deadline - now)
            self._previous = now - share * (now - self._previous)
        self._members_before = members

    def _forget_silent_members(self, now: float) -> None:
        oldest = now - _SILENT_INTERVALS * self._mean_interval(self._minimum)
        for ssrc in [ssrc for ssrc, heard in self._members.items() if heard < oldest]:
            del self._members[ssrc]
            self._sender_reports.pop(ssrc, None)

    def _learn_size(self, octets: int) -> None:
        self._average_size += (octets + _LOWER_LAYERS - self._average_size) * _SMOOTHING

    def _mean_interval(self, minimum: float) -> float:
        members, bandwidth = self.members, self._bandwidth
        senders = len(self._sender_reports) + self.we_sent
        if senders <= members * _SENDER_SHARE:
            if self.we_sent:
                bandwidth *= _SENDER_SHARE
                members = senders
            else:
                bandwidth *= 1 - _SENDER_SHARE
                members -= senders
        return max(self._average_size * members / bandwidth, minimum)

    def _interval(self) -> float:
        mean = self._mean_interval(self._initial_minimum if self._initial else self._minimum)
        chance = int.from_bytes(self._entropy(4)) / (1 << 32)
        return mean * (chance + 0.5) / _COMPENSATION
