"""RTCP extended reports of one stream (RFC 3611): what is told the peer, and what it tells.

A report block is sent only where the peer asked for it in its description (section 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.media.rating import receive_rating
from callmeter.metrics.quality import mos_of
from callmeter.rtp.rtcp import ntp_middle
from callmeter.rtp.xr import (
    UNAVAILABLE,
    DelaySinceReferences,
    ReferenceTime,
    VoipMetrics,
)

if TYPE_CHECKING:
    from callmeter.media.statistics import StreamStatistics
    from callmeter.rtp.xr import ExtendedReport, XrBlock

    Value = int | float | str | None

__all__ = [
    "NO_REPORTS",
    "REFERENCE_TIME",
    "VOIP_METRICS",
    "ExtendedReportStatistics",
    "ExtendedReports",
    "voip_metrics",
    "voip_values",
]

VOIP_METRICS: Final = "voip-metrics"
REFERENCE_TIME: Final = "rcvr-rtt"

DBM_OVER_DBOV: Final = 6.15
"""A sine of full scale is 3.14 dBm0 (G.711) and -3.01 dBov."""
_UNITS: Final = 65_536
_OCTET: Final = 255
_MILLISECONDS: Final = 0xFFFF
_SHARE: Final = 256
_FIXED, _ADAPTIVE = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedReportStatistics:
    """What was told and heard so far.

    Attributes:
        sent, received: VoIP metrics blocks, those received about the own stream.
        told, remote: The last ones, or None.
        rtt_ms: Round trip by the answer to a receiver reference time, or None.
    """

    sent: int = 0
    received: int = 0
    told: VoipMetrics | None = None
    remote: VoipMetrics | None = None
    rtt_ms: float | None = None


NO_REPORTS: Final = ExtendedReportStatistics()


class ExtendedReports:
    """Builds the blocks of a stream and takes those of its peer.

    Attributes:
        wanted: What the peer asked for, `VOIP_METRICS` and `REFERENCE_TIME`.
        remote: Its last VoIP metrics about the stream that is sent, or None.
        told: The last ones that it was told, or None.
        rtt: Round trip by its last answer to a reference time in seconds, or None.
        sent, received: VoIP metrics blocks.
    """

    __slots__ = ("received", "remote", "rtt", "sent", "told", "wanted")

    def __init__(self) -> None:
        self.wanted: frozenset[str] = frozenset()
        self.remote: VoipMetrics | None = None
        self.told: VoipMetrics | None = None
        self.rtt: float | None = None
        self.sent = 0
        self.received = 0

    def statistics(self) -> ExtendedReportStatistics:
        """As it is now."""
        return ExtendedReportStatistics(
            sent=self.sent,
            received=self.received,
            told=self.told,
            remote=self.remote,
            rtt_ms=None if self.rtt is None else self.rtt * 1e3,
        )

    def blocks(self, ntp: int, statistics: StreamStatistics | None) -> tuple[XrBlock, ...]:
        """What goes into the next report.

        Args:
            ntp: 64-bit NTP time of this moment.
            statistics: The stream; None has no VoIP metrics.
        """
        blocks: list[XrBlock] = []
        if REFERENCE_TIME in self.wanted:
            blocks.append(ReferenceTime(ntp))
        if VOIP_METRICS in self.wanted and statistics is not None:
            about = voip_metrics(statistics)
            if about is not None:
                blocks.append(about)
                self.told = about
                self.sent += 1
        return tuple(blocks)

    def on_received(self, packet: ExtendedReport, own: int, ntp: int) -> None:
        """Take a report of the peer.

        Args:
            packet: As parsed.
            own: The own SSRC.
            ntp: 64-bit NTP time of its arrival.
        """
        for block in packet.blocks:
            if isinstance(block, VoipMetrics) and block.ssrc == own:
                self.remote = block
                self.received += 1
            elif isinstance(block, DelaySinceReferences):
                for answer in block.delays:
                    if answer.ssrc == own and answer.last_reference:
                        passed = ntp_middle(ntp) - answer.last_reference - answer.delay
                        units = passed & 0xFFFF_FFFF
                        # Coarse clocks make it negative.
                        self.rtt = 0.0 if units & 0x8000_0000 else units / _UNITS


def voip_metrics(statistics: StreamStatistics) -> VoipMetrics | None:
    """The block about a received stream (section 4.7); None before its first packet."""
    source, received, bursts = statistics.remote_ssrc, statistics.receive, statistics.bursts
    if source is None or bursts is None:
        return None
    buffer, levels = statistics.jitter_buffer, statistics.levels
    settings = statistics.jitter_buffer_settings
    discarded = 0.0
    if buffer is not None and received.packets_expected:
        discarded = (buffer.late + buffer.early) / received.packets_expected
    target = 0.0 if buffer is None else buffer.target_delay_ms or 0.0
    ptime = 0.0 if statistics.speech is None else statistics.speech.ptime_ms
    conversation = receive_rating(statistics)
    listening = receive_rating(statistics, delay=False)
    return VoipMetrics(
        ssrc=source,
        loss_rate=_share((received.fraction_lost or 0.0) / 100),
        discard_rate=_share(discarded),
        burst_density=_share(bursts.loss_in_bursts),
        gap_density=_share(bursts.loss_in_gaps),
        burst_duration=_milliseconds(bursts.burst_duration),
        gap_duration=_milliseconds(bursts.gap_duration),
        round_trip_delay=_milliseconds(statistics.rtt_ms or 0.0),
        end_system_delay=_milliseconds(ptime + target),
        signal_level=_dbm(levels.signal),
        noise_level=_dbm(levels.noise),
        r_factor=UNAVAILABLE if conversation is None else round(conversation),
        mos_lq=_score(listening),
        mos_cq=_score(conversation),
        adaptive=0 if settings is None else _ADAPTIVE if settings.adaptive else _FIXED,
        nominal_delay=_milliseconds(target),
        maximum_delay=_milliseconds(target),
        absolute_maximum_delay=0 if settings is None else _milliseconds(settings.most * 1e3),
    )


def _share(part: float) -> int:
    return min(max(int(part * _SHARE), 0), _OCTET)


def _milliseconds(value: float) -> int:
    return min(max(round(value), 0), _MILLISECONDS)


def _dbm(dbov: float | None) -> int:
    return UNAVAILABLE if dbov is None else max(round(dbov + DBM_OVER_DBOV), -127)


def _score(rating: float | None) -> int:
    return UNAVAILABLE if rating is None else round(mos_of(rating) * 10)


def voip_values(block: VoipMetrics | None, count: int) -> dict[str, Value]:
    """The figures of a block by catalogue key.

    Args:
        block: The last one, or None.
        count: How many there were.
    """
    values: dict[str, Value] = {"xr_reports": count}
    if block is None:
        return values
    return values | {
        "xr_loss_rate": block.loss_rate / 2.56,
        "xr_discard_rate": block.discard_rate / 2.56,
        "xr_burst_density": block.burst_density / 2.56,
        "xr_gap_density": block.gap_density / 2.56,
        "xr_burst_duration_ms": block.burst_duration,
        "xr_gap_duration_ms": block.gap_duration,
        "xr_round_trip_delay_ms": block.round_trip_delay,
        "xr_end_system_delay_ms": block.end_system_delay,
        "xr_signal_level_dbm": _measured(block.signal_level),
        "xr_noise_level_dbm": _measured(block.noise_level),
        "xr_r_factor": _measured(block.r_factor),
        "xr_mos_lq": _measured(block.mos_lq, 10),
        "xr_mos_cq": _measured(block.mos_cq, 10),
        "xr_jitter_buffer_nominal_ms": block.nominal_delay,
        "xr_jitter_buffer_maximum_ms": block.maximum_delay,
    }


def _measured(value: int, scale: int = 1) -> float | None:
    return None if value == UNAVAILABLE else value / scale
