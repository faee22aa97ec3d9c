"""RTCP extended reports, without the header of their packet (RFC 3611).

All seven report blocks of the RFC are read and built. A block of another type or of a wrong length
is kept as it came: the report in front of it is worth having all the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError
from callmeter.rtp.run_length import chunks_of, flags_of, numbers_reported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "EXTENDED_REPORT",
    "DelaySinceReference",
    "DelaySinceReferences",
    "DuplicateRuns",
    "ExtendedReport",
    "LossRuns",
    "ReceiptTimes",
    "ReferenceTime",
    "StatisticsSummary",
    "UnknownBlock",
    "VoipMetrics",
    "XrBlock",
    "build_extended_report",
    "parse_extended_report",
]

EXTENDED_REPORT: Final = 207
MAX_BLOCKS: Final = 64
"""Report blocks in one packet."""
UNAVAILABLE: Final = 127
"""Stands for a level, R factor or MOS that was not measured."""

_WORD = struct.Struct("!I")
_HEAD = struct.Struct("!BBH")
_SPAN = struct.Struct("!IHH")
_NTP = struct.Struct("!Q")
_DELAY = struct.Struct("!III")
_SUMMARY = struct.Struct("!IHHIIIIIIBBBB")
_VOIP = struct.Struct("!I4B4H2b2B4B2B3H")
_THINNING: Final = 0x0F
_SEQUENCES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Runs:
    """What became of each packet of a span, run-length encoded (RFC 3611 section 4.1).

    Attributes:
        ssrc: The source that is reported on.
        begin: First sequence number.
        end: The last one plus one.
        chunks: As on the wire, without the null chunk at the end.
        thinning: Only sequence numbers that are multiples of 2 to this power are reported on.
    """

    ssrc: int
    begin: int
    end: int
    chunks: tuple[int, ...] = ()
    thinning: int = 0

    @property
    def flags(self) -> dict[int, bool]:
        """The bit of each sequence number reported on; what the chunks do not tell is left out."""
        numbers = numbers_reported(self.begin, self.end, self.thinning)
        return dict(zip(numbers, flags_of(self.chunks, len(numbers)), strict=False))


@dataclass(frozen=True, slots=True)
class LossRuns(_Runs):
    """Loss RLE (section 4.1): the flag of a packet is whether it was received."""

    @classmethod
    def of(cls, ssrc: int, begin: int, received: Sequence[bool]) -> LossRuns:
        """The block about consecutive packets, without thinning."""
        return cls(ssrc, begin, (begin + len(received)) % _SEQUENCES, chunks_of(received))


@dataclass(frozen=True, slots=True)
class DuplicateRuns(_Runs):
    """Duplicate RLE (section 4.2): the flag of a packet is whether it came exactly once."""

    @classmethod
    def of(cls, ssrc: int, begin: int, single: Sequence[bool]) -> DuplicateRuns:
        """The block about consecutive packets, without thinning."""
        return cls(ssrc, begin, (begin + len(single)) % _SEQUENCES, chunks_of(single))


@dataclass(frozen=True, slots=True)
class ReceiptTimes:
    """Packet Receipt Times (section 4.3).

    Attributes:
        ssrc, begin, end, thinning: As in `LossRuns`.
        times: RTP timestamps of the arrivals.
    """

    ssrc: int
    begin: int
    end: int
    times: tuple[int, ...]
    thinning: int = 0


@dataclass(frozen=True, slots=True)
class ReferenceTime:
    """Receiver Reference Time (section 4.4): the 64-bit NTP time at which it was sent."""

    ntp: int


@dataclass(frozen=True, slots=True)
class DelaySinceReference:
    """One answer to a `ReferenceTime`.

    Attributes:
        ssrc: Who sent it.
        last_reference: Middle 32 bits of its NTP time.
        delay: 1/65536 s since it came.
    """

    ssrc: int
    last_reference: int
    delay: int


@dataclass(frozen=True, slots=True)
class DelaySinceReferences:
    """DLRR (section 4.5)."""

    delays: tuple[DelaySinceReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsSummary:
    """Statistics Summary (section 4.6); None stands for what is not reported.

    Attributes:
        ssrc, begin, end: As in `LossRuns`.
        lost, duplicates: Packets.
        jitter: Least, greatest, mean and deviation of the transit times, in timestamp units.
        ttl: The same of the TTL or hop limit.
        ipv6: Whether `ttl` is a hop limit.
    """

    ssrc: int
    begin: int
    end: int
    lost: int | None = None
    duplicates: int | None = None
    jitter: tuple[int, int, int, int] | None = None
    ttl: tuple[int, int, int, int] | None = None
    ipv6: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoipMetrics:
    """VoIP Metrics (section 4.7), in the units of the wire; 127 stands for "not measured".

    Attributes:
        ssrc: The source that is reported on.
        loss_rate, discard_rate: 1/256 of the packets, since the beginning.
        burst_density, gap_density: 1/256 of the packets in bursts, in gaps, lost or discarded.
        burst_duration, gap_duration: Mean milliseconds.
        round_trip_delay, end_system_delay: Milliseconds, 0 when not measured.
        signal_level, noise_level: dBm, signed.
        echo_return_loss: dB.
        gmin: The gap threshold, 16 unless said.
        r_factor, external_r_factor: 0 to 100.
        mos_lq, mos_cq: Ten times the MOS, 10 to 50.
        concealment: 0 unspecified, 1 disabled, 2 enhanced, 3 standard.
        adaptive: Jitter buffer: 0 unknown, 2 fixed, 3 adaptive.
        adjustment: How fast it adapts, 0 to 15.
        nominal_delay, maximum_delay, absolute_maximum_delay: Of the jitter buffer, milliseconds.
    """

    ssrc: int
    loss_rate: int = 0
    discard_rate: int = 0
    burst_density: int = 0
    gap_density: int = 0
    burst_duration: int = 0
    gap_duration: int = 0
    round_trip_delay: int = 0
    end_system_delay: int = 0
    signal_level: int = UNAVAILABLE
    noise_level: int = UNAVAILABLE
    echo_return_loss: int = UNAVAILABLE
    gmin: int = 16
    r_factor: int = UNAVAILABLE
    external_r_factor: int = UNAVAILABLE
    mos_lq: int = UNAVAILABLE
    mos_cq: int = UNAVAILABLE
    concealment: int = 0
    adaptive: int = 0
    adjustment: int = 0
    nominal_delay: int = 0
    maximum_delay: int = 0
    absolute_maximum_delay: int = 0


@dataclass(frozen=True, slots=True)
class UnknownBlock:
    """A block of another type, or of a length that its type does not have.

    Attributes:
        block_type: 0 to 255.
        specific: The octet after the type.
        body: Octets after the first word, a multiple of 4.
    """

    block_type: int
    specific: int
    body: bytes


XrBlock = (
    LossRuns
    | DuplicateRuns
    | ReceiptTimes
    | ReferenceTime
    | DelaySinceReferences
    | StatisticsSummary
    | VoipMetrics
    | UnknownBlock
)


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """XR (section 2).

    Attributes:
        ssrc: Who reports.
        blocks: At most 64.
    """

    ssrc: int
    blocks: tuple[XrBlock, ...] = ()


def parse_extended_report(body: bytes) -> ExtendedReport:
    """Read what follows the first word of the packet.

    Raises:
        ValueError: A block is longer than the packet, or there are more than 64.
    """
    if len(body) < _WORD.size:
        raise ValueError("an extended report without a sender")
    blocks: list[XrBlock] = []
    position = _WORD.size
    while position < len(body):
        if len(blocks) == MAX_BLOCKS:
            raise ValueError(f"more than {MAX_BLOCKS} blocks in one extended report")
        kind, specific, words = _HEAD.unpack_from(body, position)
        end = position + _WORD.size * (words + 1)
        if end > len(body):
            raise ValueError("a report block beyond its packet")
        content = body[position + _HEAD.size : end]
        parse = _PARSERS.get(kind)
        block = None if parse is None else parse(specific, content)
        blocks.append(block or UnknownBlock(kind, specific, content))
        position = end
    return ExtendedReport(_WORD.unpack_from(body)[0], tuple(blocks))


def _span(content: bytes) -> tuple[int, int, int]:
    ssrc, begin, end = _SPAN.unpack_from(content)
    return ssrc, begin, end


def _parse_chunks(content: bytes) -> tuple[int, ...]:
    chunks = struct.unpack(f"!{(len(content) - _SPAN.size) // 2}H", content[_SPAN.size :])
    return chunks[: chunks.index(0)] if 0 in chunks else chunks


def _parse_loss(specific: int, content: bytes) -> LossRuns | None:
    if len(content) < _SPAN.size:
        return None
    return LossRuns(*_span(content), _parse_chunks(content), specific & _THINNING)


def _parse_duplicates(specific: int, content: bytes) -> DuplicateRuns | None:
    if len(content) < _SPAN.size:
        return None
    return DuplicateRuns(*_span(content), _parse_chunks(content), specific & _THINNING)


def _parse_times(specific: int, content: bytes) -> ReceiptTimes | None:
    if len(content) < _SPAN.size:
        return None
    times = tuple(time for (time,) in _WORD.iter_unpack(content[_SPAN.size :]))
    return ReceiptTimes(*_span(content), times, specific & _THINNING)


def _parse_reference(_specific: int, content: bytes) -> ReferenceTime | None:
    return ReferenceTime(*_NTP.unpack(content)) if len(content) == _NTP.size else None


def _parse_delays(_specific: int, content: bytes) -> DelaySinceReferences | None:
    if len(content) % _DELAY.size:
        return None
    return DelaySinceReferences(
        tuple(DelaySinceReference(*entry) for entry in _DELAY.iter_unpack(content))
    )


def _parse_summary(specific: int, content: bytes) -> StatisticsSummary | None:
    if len(content) != _SUMMARY.size:
        return None
    ssrc, begin, end, lost, duplicates, *rest = _SUMMARY.unpack(content)
    hops = specific >> 3 & 3
    return StatisticsSummary(
        ssrc=ssrc,
        begin=begin,
        end=end,
        lost=lost if specific & 0x80 else None,
        duplicates=duplicates if specific & 0x40 else None,
        jitter=(rest[0], rest[1], rest[2], rest[3]) if specific & 0x20 else None,
        ttl=(rest[4], rest[5], rest[6], rest[7]) if hops else None,
        ipv6=hops == 2,  # noqa: PLR2004  ToH (section 4.6)
    )


def _parse_voip(_specific: int, content: bytes) -> VoipMetrics | None:
    if len(content) != _VOIP.size:
        return None
    fields = _VOIP.unpack(content)
    config = fields[17]
    return VoipMetrics(
        ssrc=fields[0],
        loss_rate=fields[1],
        discard_rate=fields[2],
        burst_density=fields[3],
        gap_density=fields[4],
        burst_duration=fields[5],
        gap_duration=fields[6],
        round_trip_delay=fields[7],
        end_system_delay=fields[8],
        signal_level=fields[9],
        noise_level=fields[10],
        echo_return_loss=fields[11],
        gmin=fields[12],
        r_factor=fields[13],
        external_r_factor=fields[14],
        mos_lq=fields[15],
        mos_cq=fields[16],
        concealment=config >> 6,
        adaptive=config >> 4 & 3,
        adjustment=config & 15,
        nominal_delay=fields[19],
        maximum_delay=fields[20],
        absolute_maximum_delay=fields[21],
    )


_PARSERS: Final[Mapping[int, Callable[[int, bytes], XrBlock | None]]] = {
    1: _parse_loss,
    2: _parse_duplicates,
    3: _parse_times,
    4: _parse_reference,
    5: _parse_delays,
    6: _parse_summary,
    7: _parse_voip,
}


def build_extended_report(report: ExtendedReport) -> bytes:
    """What follows the first word of the packet.

    Raises:
        LocalProtocolError: More than 64 blocks, or a field of less than an octet does not fit.
        struct.error: A number does not fit its field.
    """
    if len(report.blocks) > MAX_BLOCKS:
        raise LocalProtocolError(f"{len(report.blocks)} blocks, {MAX_BLOCKS} at most")
    return _WORD.pack(report.ssrc) + b"".join(map(_build_block, report.blocks))


def _build_block(block: XrBlock) -> bytes:
    specific = 0
    match block:
        case LossRuns() | DuplicateRuns():
            kind, specific = 1 if isinstance(block, LossRuns) else 2, _narrow(block.thinning, 4)
            # Null chunks fill up the last word (section 4.1).
            padded = block.chunks + (0,) * (len(block.chunks) % 2)
            content = _SPAN.pack(block.ssrc, block.begin, block.end)
            content += struct.pack(f"!{len(padded)}H", *padded)
        case ReceiptTimes():
            kind, specific = 3, _narrow(block.thinning, 4)
            content = _SPAN.pack(block.ssrc, block.begin, block.end)
            content += b"".join(map(_WORD.pack, block.times))
        case ReferenceTime():
            kind, content = 4, _NTP.pack(block.ntp)
        case DelaySinceReferences():
            kind = 5
            content = b"".join(
                _DELAY.pack(each.ssrc, each.last_reference, each.delay) for each in block.delays
            )
        case StatisticsSummary():
            kind = 6
            specific, content = _build_summary(block)
        case VoipMetrics():
            kind, content = 7, _build_voip(block)
        case _:
            kind, specific, content = block.block_type, block.specific, block.body
    if len(content) % _WORD.size:
        raise LocalProtocolError("the octets of a report block are a multiple of 4")
    return _HEAD.pack(kind, specific, len(content) // _WORD.size) + content


def _build_summary(block: StatisticsSummary) -> tuple[int, bytes]:
    specific = 0x80 * (block.lost is not None)
    specific |= 0x40 * (block.duplicates is not None)
    specific |= 0x20 * (block.jitter is not None)
    if block.ttl is not None:
        specific |= (2 if block.ipv6 else 1) << 3
    nothing = (0, 0, 0, 0)
    return specific, _SUMMARY.pack(
        block.ssrc,
        block.begin,
        block.end,
        block.lost or 0,
        block.duplicates or 0,
        *(block.jitter or nothing),
        *(block.ttl or nothing),
    )


def _build_voip(block: VoipMetrics) -> bytes:
    config = _narrow(block.concealment, 2) << 6
    config |= _narrow(block.adaptive, 2) << 4 | _narrow(block.adjustment, 4)
    return _VOIP.pack(
        block.ssrc,
        block.loss_rate,
        block.discard_rate,
        block.burst_density,
        block.gap_density,
        block.burst_duration,
        block.gap_duration,
        block.round_trip_delay,
        block.end_system_delay,
        block.signal_level,
        block.noise_level,
        block.echo_return_loss,
        block.gmin,
        block.r_factor,
        block.external_r_factor,
        block.mos_lq,
        block.mos_cq,
        config,
        0,
        block.nominal_delay,
        block.maximum_delay,
        block.absolute_maximum_delay,
    )


def _narrow(value: int, bits: int) -> int:
    if not 0 <= value < 1 << bits:
        raise LocalProtocolError(f"{value} does not fit the {bits} bits of its field")
    return value
