"""When to send RTCP reports, and what the reports of the other side tell (RFC 3550 6.2, 6.3, A.7).

A pure state machine: time and received packets come in, a deadline and measurements go out.
A call has few members, so a goodbye never waits (section 6.3.7 asks for that from 50 on).
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Final

from callmeter.rtp.report_table import (
    CHANCES,
    COMPENSATION,
    LATEST_DELAY,
    LOWER_LAYERS,
    NEVER,
    NOBODY,
    SENDER_SHARE,
    SILENT_INTERVALS,
    SMOOTHING,
    UNITS,
    ReportTable,
)
from callmeter.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    ntp_middle,
    split_loss,
)
from callmeter.rtp.xr import (
    DelaySinceReference,
    DelaySinceReferences,
    ExtendedReport,
    ReferenceTime,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callmeter.rtp.rtcp import RtcpPacket

__all__ = ["MAX_MEMBERS", "ReportSchedule", "round_trip_time"]

MAX_MEMBERS: Final = 32
"""Sources remembered besides the own one; more are counted and ignored."""

_RTCP_SHARE: Final = 0.05
_REDUCED: Final = 360.0


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
    return 0.0 if units & 0x8000_0000 else units / UNITS


def _delay(seconds: float) -> int:
    return max(0, min(int(seconds * UNITS), LATEST_DELAY))


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
        table: Where most of it is kept; None is a table of its own.
        row: The row of that.

    Attributes:
        refused: Members beyond the limit.
    """

    __slots__ = (
        "_entropy",
        "_other_reports",
        "_others",
        "_references",
        "_row",
        "_ssrc",
        "_table",
        "refused",
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
        table: ReportTable | None = None,
        row: int = 0,
    ) -> None:
        self._ssrc = ssrc
        self._entropy = entropy
        self._table = ReportTable(1, 1) if table is None else table
        self._row = row
        if reduced_minimum:
            minimum = min(minimum, _REDUCED / (bandwidth / 1000))
        one = self._table.one
        one["octet_rate"][row] = bandwidth * _RTCP_SHARE / 8
        one["minimum"][row] = minimum
        one["initial_minimum"][row] = minimum / 2 if initial_minimum is None else initial_minimum
        self._others: dict[int, float] = {}
        self._other_reports: dict[int, tuple[int, float]] = {}
        self._references: dict[int, tuple[int, float]] = {}
        self.refused = 0
        one["previous"][row] = now
        one["deadline"][row] = now + self._interval()

    # --- what is kept in the table ------------------------------------------------------------

    def _known(self, name: str) -> float | None:
        value: float = self._table.one[name][self._row]
        return None if isnan(value) else value

    @property
    def we_sent(self) -> bool:
        """Whether the own side sent RTP lately; the owner sets it."""
        return bool(self._table.one["we_sent"][self._row])

    @we_sent.setter
    def we_sent(self, value: bool) -> None:
        self._table.one["we_sent"][self._row] = value

    @property
    def rtt(self) -> float | None:
        """Last round-trip time in seconds, or None."""
        return self._known("rtt")

    @property
    def report_interval(self) -> float | None:
        """Seconds between the last two reports received, or None."""
        return self._known("report_interval")

    @property
    def remote_block(self) -> ReportBlock | None:
        """The peer's last report block about the own stream, or None."""
        one, row = self._table.one, self._row
        if not one["has_block"][row]:
            return None
        return ReportBlock(
            self._ssrc,
            *split_loss(one["block_loss"][row]),
            one["block_highest"][row],
            one["block_jitter"][row],
            one["block_last_sr"][row],
            one["block_delay"][row],
        )

    def _keep_block(self, block: ReportBlock) -> None:
        one, row = self._table.one, self._row
        one["has_block"][row] = True
        one["block_loss"][row] = block.fraction_lost << 24 | (block.cumulative_lost & 0xFF_FFFF)
        one["block_highest"][row] = block.extended_max_sequence
        one["block_jitter"][row] = block.jitter
        one["block_last_sr"][row] = block.last_sr
        one["block_delay"][row] = block.delay_since_last_sr

    @property
    def _peer(self) -> int:
        peer: int = self._table.one["peer"][self._row]
        return peer

    @property
    def members(self) -> int:
        """Sources known, the own one included."""
        return len(self._others) + (self._peer != NOBODY) + 1

    def _note_crowd(self) -> None:
        self._table.one["crowded"][self._row] = bool(self._others or self._references)

    # --- the timer ----------------------------------------------------------------------------

    @property
    def feedback_interval(self) -> float:
        """Mean seconds between packets that the bandwidth allows (AVPF, RFC 4585 3.4)."""
        return self._mean_interval(0.0)

    def next_deadline(self) -> float | None:
        """When `on_deadline` is due; None after `stop`."""
        deadline: float = self._table.one["deadline"][self._row]
        return None if deadline == NEVER else deadline

    def on_deadline(self, now: float) -> bool:
        """Whether a compound packet is to be sent now (timer reconsideration, 6.3.6)."""
        one, row = self._table.one, self._row
        if now < one["deadline"][row]:
            return False
        self._forget_silent_members(now)
        due = one["previous"][row] + self._interval()
        if due > now:
            one["deadline"][row] = due
            one["members_before"][row] = self.members
            return False
        one["initial"][row] = False
        one["previous"][row] = now
        one["deadline"][row] = now + self._interval()
        one["members_before"][row] = self.members
        return True

    def stop(self) -> None:
        """No more reports: a goodbye was sent."""
        self._table.one["deadline"][self._row] = NEVER

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
        one, row = self._table.one, self._row
        if ssrc == one["peer"][row] and not isnan(one["sr_at"][row]):
            return one["sr_middle"][row], _delay(now - one["sr_at"][row])
        if ssrc not in self._other_reports:
            return 0, 0
        middle, arrived = self._other_reports[ssrc]
        return middle, _delay(now - arrived)

    def take_references(self, now: float) -> ExtendedReport | None:
        """The answer to the receiver reference times since the last call (RFC 3611 4.5)."""
        references, self._references = self._references, {}
        if not references:
            return None
        self._note_crowd()
        delays = tuple(
            DelaySinceReference(ssrc, middle, _delay(now - arrived))
            for ssrc, (middle, arrived) in references.items()
        )
        return ExtendedReport(self._ssrc, (DelaySinceReferences(delays),))

    def _take_reference(self, packet: ExtendedReport, now: float) -> None:
        for block in packet.blocks:
            # Who sends reports besides is a member.
            if isinstance(block, ReferenceTime) and (
                packet.ssrc == self._peer or packet.ssrc in self._others
            ):
                self._references[packet.ssrc] = ntp_middle(block.ntp), now
                self._note_crowd()

    def _take_report(self, packet: SenderReport | ReceiverReport, now: float, ntp: int) -> None:
        if not self._remember(packet.ssrc, now):
            return
        one, row = self._table.one, self._row
        if not now < one["reported_at"][row]:
            one["report_interval"][row] = now - one["reported_at"][row]
            one["reported_at"][row] = now
        if isinstance(packet, SenderReport):
            self._keep_sender_report(packet, now)
        for block in packet.blocks:
            if block.ssrc == self._ssrc:
                self._keep_block(block)
                rtt = round_trip_time(block, ntp)
                if rtt is not None:
                    one["rtt"][row] = rtt

    def _keep_sender_report(self, packet: SenderReport, now: float) -> None:
        one, row = self._table.one, self._row
        if packet.ssrc == self._peer:
            one["sr_middle"][row], one["sr_at"][row] = ntp_middle(packet.ntp), now
        else:
            self._other_reports[packet.ssrc] = ntp_middle(packet.ntp), now

    def _remember(self, ssrc: int, now: float) -> bool:
        one, row, peer = self._table.one, self._row, self._peer
        if ssrc == peer or (peer == NOBODY and ssrc not in self._others):
            one["peer"][row], one["heard_at"][row] = ssrc, now
            return True
        if ssrc not in self._others and self.members > MAX_MEMBERS:
            self.refused += 1
            return False
        self._others[ssrc] = now
        self._note_crowd()
        return True

    def _forget(self, ssrc: int) -> None:
        if ssrc == self._peer:
            self._table.forget_peer(self._row)
        self._others.pop(ssrc, None)
        self._other_reports.pop(ssrc, None)

    def _promote(self) -> None:
        """Who was heard last of the others is the first one when that has gone."""
        if self._others and self._peer == NOBODY:
            one, row = self._table.one, self._row
            ssrc = max(self._others, key=self._others.__getitem__)
            one["peer"][row], one["heard_at"][row] = ssrc, self._others.pop(ssrc)
            if ssrc in self._other_reports:
                one["sr_middle"][row], one["sr_at"][row] = self._other_reports.pop(ssrc)
        self._note_crowd()

    def _remove(self, ssrcs: Iterable[int], now: float) -> None:
        for ssrc in ssrcs:
            self._forget(ssrc)
            self._references.pop(ssrc, None)
        self._promote()
        one, row, members = self._table.one, self._row, self.members
        before, deadline = one["members_before"][row], one["deadline"][row]
        if members < before and deadline != NEVER:
            # Reverse reconsideration (6.3.4).
            share = members / before
            one["deadline"][row] = now + share * (deadline - now)
            one["previous"][row] = now - share * (now - one["previous"][row])
        one["members_before"][row] = members

    def _forget_silent_members(self, now: float) -> None:
        one, row = self._table.one, self._row
        oldest = now - SILENT_INTERVALS * self._mean_interval(one["minimum"][row])
        for ssrc in [ssrc for ssrc, heard in self._others.items() if heard < oldest]:
            self._forget(ssrc)
        if one["heard_at"][row] < oldest:
            self._table.forget_peer(row)
        self._promote()

    def _learn_size(self, octets: int) -> None:
        sizes, row = self._table.one["average_size"], self._row
        sizes[row] += (octets + LOWER_LAYERS - sizes[row]) * SMOOTHING

    def _mean_interval(self, minimum: float) -> float:
        one, row = self._table.one, self._row
        members, bandwidth = self.members, one["octet_rate"][row]
        senders = len(self._other_reports) + (not isnan(one["sr_at"][row])) + self.we_sent
        if senders <= members * SENDER_SHARE:
            if self.we_sent:
                bandwidth *= SENDER_SHARE
                members = senders
            else:
                bandwidth *= 1 - SENDER_SHARE
                members -= senders
        mean: float = max(one["average_size"][row] * members / bandwidth, minimum)
        return mean

    def _interval(self) -> float:
        one, row = self._table.one, self._row
        least = one["initial_minimum" if one["initial"][row] else "minimum"][row]
        chance = int.from_bytes(self._entropy(4)) / CHANCES
        return self._mean_interval(least) * (chance + 0.5) / COMPENSATION
