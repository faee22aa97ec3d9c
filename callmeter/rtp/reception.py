"""Statistics of RTP streams at one moment: frozen snapshots in plain numbers.

The keys are those of the metrics catalogue. A snapshot taken with an earlier one at hand speaks
of the time between the two (rates, loss) and of the last two seconds (spacing, gaps); without
one, of the whole life of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from callmeter.rtp.rtcp import ReportBlock

if TYPE_CHECKING:
    import numpy.typing as npt

    from callmeter.rtp.send_table import SendTable
    from callmeter.rtp.stream_table import StreamTable

    Integers = npt.NDArray[np.int64]

__all__ = [
    "ReceptionStatistics",
    "SenderStatistics",
    "reception_statistics",
    "reception_totals",
    "report_block",
    "sender_statistics",
    "take_report_intervals",
    "valid_packets",
]

Number = int | float | None

_OCTET_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionStatistics:
    """What one received stream did. None means: nothing to measure yet.

    Attributes:
        sampled_at: Seconds, on the clock of the arrivals.
        packets_expected: Numbers the sender used, jumps left out.
        packets_received: Every packet that came, duplicates included.
        bytes_received: Payload octets.
        packets_lost: Numbers that never came.
        fraction_lost: Percent of the expected packets.
        jitter_ms: Interarrival jitter (RFC 3550 A.8).
        duplicate_packets: Packets that came again.
        out_of_order_packets: Packets behind a later one.
        sequence_number_resets: Sudden returns to low numbers.
        sequence_number_gaps: Longest run of missing numbers, in packets.
        sequence_number_jumps: Leaps forward too large for loss.
        timestamp_jumps: Timestamps that left real time by more than a second.
        ssrc_switches: Changes of the source.
        avg_packet_spacing, min_packet_spacing, max_packet_spacing: Milliseconds between packets.
        packets_recv_rate_ps: Packets a second.
        bytes_recv_rate_bps: Payload bits a second.
    """

    sampled_at: float
    packets_expected: int
    packets_received: int
    bytes_received: int
    packets_lost: int
    fraction_lost: float | None
    jitter_ms: float | None
    duplicate_packets: int
    out_of_order_packets: int
    sequence_number_resets: int
    sequence_number_gaps: int
    sequence_number_jumps: int
    timestamp_jumps: int
    ssrc_switches: int
    avg_packet_spacing: float | None
    min_packet_spacing: float | None
    max_packet_spacing: float | None
    packets_recv_rate_ps: float | None
    bytes_recv_rate_bps: float | None

    def metrics(self) -> dict[str, Number]:
        """The values by catalogue key, ready for a report."""
        return _metrics(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderStatistics:
    """What one sent stream did.

    Attributes:
        sampled_at: Seconds.
        packets_sent: Packets.
        bytes_sent: Payload octets.
        packets_sent_rate_ps: Packets a second.
        bytes_sent_rate_bps: Payload bits a second.
    """

    sampled_at: float
    packets_sent: int
    bytes_sent: int
    packets_sent_rate_ps: float | None
    bytes_sent_rate_bps: float | None

    def metrics(self) -> dict[str, Number]:
        """The values by catalogue key, ready for a report."""
        return _metrics(self)


_NO_METRIC = frozenset({"sampled_at", "packets_expected"})


def _metrics(statistics: ReceptionStatistics | SenderStatistics) -> dict[str, Number]:
    return {
        field.name: getattr(statistics, field.name)
        for field in fields(statistics)
        if field.name not in _NO_METRIC
    }


def _rate(amount: int, seconds: float) -> float | None:
    return amount / seconds if seconds > 0.0 else None


def reception_statistics(
    table: StreamTable, row: int, now: float, earlier: ReceptionStatistics | None = None
) -> ReceptionStatistics:
    """Read a row of the table.

    Args:
        table: The received streams.
        row: One of them.
        now: Seconds, on the clock of the arrivals.
        earlier: The last snapshot, when this one is to speak of the time since.
    """
    packets = table.valid_packets(row)
    received = packets + int(table.rejected[row])
    octets = int(table.octets[row])
    lost = int(table.earlier_lost[row]) + table.lost(row)
    expected = lost + packets - int(table.duplicates[row])
    first = float(table.first_arrival[row])
    if earlier is None:
        new_packets, new_octets, seconds = received, octets, now - first
        new_lost, new_expected = lost, expected
    else:
        new_packets = received - earlier.packets_received
        new_octets = octets - earlier.bytes_received
        seconds = now - earlier.sampled_at
        new_lost = lost - earlier.packets_lost
        new_expected = expected - earlier.packets_expected
    lowest, highest, average = _spacing(table, row, packets, whole=earlier is None)
    gaps = [table.gap[row], table.gap_previous[row]]
    if earlier is None:
        gaps.append(table.gap_max[row])
    return ReceptionStatistics(
        sampled_at=now,
        packets_expected=expected,
        packets_received=received,
        bytes_received=octets,
        packets_lost=max(lost, 0),
        fraction_lost=max(new_lost, 0) / new_expected * 100.0 if new_expected > 0 else None,
        jitter_ms=float(table.jitter[row] / table.clock_rate[row]) * 1e3 if packets else None,
        duplicate_packets=int(table.duplicates[row]),
        out_of_order_packets=int(table.out_of_order[row]),
        sequence_number_resets=int(table.resets[row]),
        sequence_number_gaps=int(max(gaps)),
        sequence_number_jumps=int(table.jumps[row]),
        timestamp_jumps=int(table.timestamp_jumps[row]),
        ssrc_switches=int(table.ssrc_switches[row]),
        avg_packet_spacing=average,
        min_packet_spacing=lowest,
        max_packet_spacing=highest,
        packets_recv_rate_ps=_rate(new_packets, seconds),
        bytes_recv_rate_bps=_rate(new_octets * _OCTET_BITS, seconds),
    )


def reception_totals(table: StreamTable, rows: Integers) -> tuple[Integers, Integers, Integers]:
    """Packets received, lost and expected of many rows so far, as in `ReceptionStatistics`.

    Lost may be negative for a moment, when packets that a jump left out come after all.

    Args:
        table: The received streams.
        rows: Some of them.
    """
    running = table.wild[rows] >= 0.0
    highest = table.extended_max[rows]
    counted = np.where(running, table.settled[rows] + highest - table.settled_at[rows], 0)
    promised = np.where(running, highest - table.base[rows] + 1, 0)
    lost = promised - (counted - table.surplus[rows]) - table.leapt[rows]
    lost += table.earlier_lost[rows]
    packets = table.earlier_received[rows] + counted
    return packets + table.rejected[rows], lost, lost + packets - table.duplicates[rows]


def _spacing(
    table: StreamTable, row: int, packets: int, *, whole: bool
) -> tuple[float | None, float | None, float | None]:
    """Least, largest and mean spacing in milliseconds, over two seconds or all the time."""
    lowest = min(table.spacing_min[row], table.spacing_min_previous[row])
    highest = max(table.spacing_max[row], table.spacing_max_previous[row])
    since, counted = table.mark_arrival_previous[row], table.mark_packets_previous[row]
    if whole:
        lowest = min(lowest, table.spacing_min_ever[row])
        highest = max(highest, table.spacing_max_ever[row])
        since, counted = table.first_arrival[row], 1
    if packets <= counted or not isfinite(lowest):
        return None, None, None
    average = (table.last_arrival[row] - since) / (packets - counted)
    return float(lowest) * 1e3, float(highest) * 1e3, float(average) * 1e3


def sender_statistics(
    table: SendTable, row: int, now: float, earlier: SenderStatistics | None = None
) -> SenderStatistics:
    """Read a row of the table.

    Args:
        table: The sent streams.
        row: One of them.
        now: Seconds, on the clock of the sends.
        earlier: The last snapshot, when the rates are to speak of the time since.
    """
    packets, octets = int(table.packets[row]), int(table.octets[row])
    if earlier is None:
        new_packets, new_octets = packets, octets
        seconds = now - float(table.first_sent[row])
    else:
        new_packets, new_octets = packets - earlier.packets_sent, octets - earlier.bytes_sent
        seconds = now - earlier.sampled_at
    return SenderStatistics(
        sampled_at=now,
        packets_sent=packets,
        bytes_sent=octets,
        packets_sent_rate_ps=_rate(new_packets, seconds),
        bytes_sent_rate_bps=_rate(new_octets * _OCTET_BITS, seconds),
    )


def report_block(
    table: StreamTable, row: int, *, last_sr: int = 0, delay_since_last_sr: int = 0
) -> ReportBlock:
    """Build the report block of a received stream and begin its next report interval.

    Args:
        table: The received streams.
        row: One of them.
        last_sr: Middle 32 bits of the NTP time of its last sender report, 0 for none.
        delay_since_last_sr: Time since then in 1/65536 s.
    """
    fraction, lost = table.take_report_interval(row)
    return ReportBlock(
        ssrc=int(table.ssrc[row]),
        fraction_lost=fraction,
        cumulative_lost=lost,
        extended_max_sequence=max(int(table.extended_max[row]), 0) & 0xFFFF_FFFF,
        jitter=min(int(table.jitter[row]), 0xFFFF_FFFF),
        last_sr=last_sr,
        delay_since_last_sr=delay_since_last_sr,
    )


def valid_packets(table: StreamTable, rows: Integers) -> Integers:
    """As `StreamTable.valid_packets`, of many rows."""
    counted = table.settled[rows] + table.extended_max[rows] - table.settled_at[rows]
    packets: Integers = table.earlier_received[rows] + np.where(table.wild[rows] < 0.0, 0, counted)
    return packets


def take_report_intervals(table: StreamTable, rows: Integers) -> tuple[Integers, Integers]:
    """As `StreamTable.take_report_interval`, of many rows, each once."""
    running = table.wild[rows] >= 0.0
    highest = table.extended_max[rows]
    expected: Integers = np.where(running, highest - table.base[rows] + 1, 0)
    received: Integers = np.where(
        running, table.settled[rows] + highest - table.settled_at[rows], 0
    )
    expected_now = expected - table.expected_prior[rows]
    lost_now: Integers = expected_now - (received - table.received_prior[rows])
    table.expected_prior[rows], table.received_prior[rows] = expected, received
    some = (expected_now > 0) & (lost_now > 0)
    fraction = np.where(some, (lost_now << 8) // np.maximum(expected_now, 1), 0)
    return np.minimum(fraction, 255), np.clip(expected - received, -0x80_0000, 0x7F_FFFF)
