"""RTCP packets: parse and build (RFC 3550 section 6).

Sender and receiver reports, source descriptions, goodbyes, the feedback messages of `feedback` and
the extended reports of `xr` are read in full; every other packet is kept as `UnknownRtcp`, so that
nothing is refused for being newer than this text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callmeter.errors import LocalProtocolError, RtcpSyntaxError
from callmeter.rtp.feedback import (
    PAYLOAD_FEEDBACK,
    TRANSPORT_FEEDBACK,
    Feedback,
    FullIntraRequest,
    GenericNack,
    PictureLossIndication,
    SliceLossIndication,
    build_feedback,
    parse_feedback,
)
from callmeter.rtp.xr import (
    EXTENDED_REPORT,
    ExtendedReport,
    build_extended_report,
    parse_extended_report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "NTP_UNIX",
    "Goodbye",
    "PacketType",
    "ReceiverReport",
    "ReportBlock",
    "RtcpPacket",
    "SdesChunk",
    "SdesItem",
    "SenderReport",
    "SourceDescription",
    "UnknownRtcp",
    "build_compound",
    "ntp_middle",
    "ntp_timestamp",
    "parse_rtcp",
    "split_loss",
]

MAX_PACKETS: Final = 64
"""Packets in one datagram."""
MAX_COUNT: Final = 31
"""Report blocks, chunks or sources in one packet: the width of the count field."""
MAX_TEXT: Final = 255

NTP_UNIX: Final = 2_208_988_800
"""Seconds from 1900 to 1970."""
_HEAD = struct.Struct("!BBH")
_WORD = struct.Struct("!I")
_SENDER_INFO = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IIIIII")
_VERSION_2: Final = 0x80
_PADDING: Final = 0x20


class PacketType:
    """RTCP packet types with a form of their own here."""

    SENDER_REPORT: Final = 200
    RECEIVER_REPORT: Final = 201
    SOURCE_DESCRIPTION: Final = 202
    GOODBYE: Final = 203
    TRANSPORT_FEEDBACK: Final = TRANSPORT_FEEDBACK
    PAYLOAD_FEEDBACK: Final = PAYLOAD_FEEDBACK
    EXTENDED_REPORT: Final = EXTENDED_REPORT


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """Reception of one source (RFC 3550 section 6.4.1).

    Attributes:
        ssrc: The source that is reported on.
        fraction_lost: 1/256 since the last report.
        cumulative_lost: Signed, 24 bits; duplicates make it negative.
        extended_max_sequence: Highest sequence number with cycles, 32 bits.
        jitter: Timestamp units.
        last_sr: Middle 32 bits of the NTP time of the last sender report, 0 for none.
        delay_since_last_sr: 1/65536 s.
    """

    ssrc: int
    fraction_lost: int = 0
    cumulative_lost: int = 0
    extended_max_sequence: int = 0
    jitter: int = 0
    last_sr: int = 0
    delay_since_last_sr: int = 0


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR (RFC 3550 section 6.4.1).

    Attributes:
        ssrc: The sender.
        ntp: 64-bit NTP time.
        rtp_timestamp: The same moment on the RTP clock.
        packets: Packets sent.
        octets: Payload octets sent.
        blocks: At most 31.
        extension: Profile-specific octets, a multiple of 4.
    """

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR (RFC 3550 section 6.4.2)."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


@dataclass(frozen=True, slots=True)
class SdesItem:
    """One item: 1 CNAME, 2 NAME, 3 EMAIL, 4 PHONE, 5 LOC, 6 TOOL, 7 NOTE, 8 PRIV."""

    kind: int
    value: bytes

    @property
    def text(self) -> str:
        """The value as text; octets that are no UTF-8 are replaced."""
        return self.value.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class SdesChunk:
    """The items of one source."""

    ssrc: int
    items: tuple[SdesItem, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES (RFC 3550 section 6.5)."""

    CNAME = 1

    chunks: tuple[SdesChunk, ...] = ()

    @classmethod
    def cname(cls, ssrc: int, name: str) -> SourceDescription:
        """The description every compound packet carries: the canonical name alone."""
        return cls((SdesChunk(ssrc, (SdesItem(cls.CNAME, name.encode()),)),))


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE (RFC 3550 section 6.6)."""

    ssrcs: tuple[int, ...] = ()
    reason: bytes | None = None


@dataclass(frozen=True, slots=True)
class UnknownRtcp:
    """A packet of another type or format, APP and TMMBR among them.

    Attributes:
        packet_type: 0 to 255.
        count: The five bits after version and padding.
        body: Octets after the first word, without padding; a multiple of 4.
    """

    packet_type: int
    count: int
    body: bytes


RtcpPacket = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | Feedback
    | ExtendedReport
    | UnknownRtcp
)


def ntp_timestamp(wall: float) -> int:
    """The 64-bit NTP time of a wall clock reading in seconds since 1970 (RFC 3550 section 4)."""
    return round((wall + NTP_UNIX) * 4_294_967_296.0) & 0xFFFF_FFFF_FFFF_FFFF


def ntp_middle(ntp: int) -> int:
    """The middle 32 bits of a 64-bit NTP time."""
    return (ntp >> 16) & 0xFFFF_FFFF


def split_loss(word: int) -> tuple[int, int]:
    """Fraction and signed cumulative number of packets lost, from their common word."""
    lost = word & 0xFF_FFFF
    return word >> 24, lost - 0x100_0000 if lost & 0x80_0000 else lost


def _error(message: str, section: str, excerpt: bytes) -> RtcpSyntaxError:
    return RtcpSyntaxError(message, rfc=f"RFC 3550 section {section}", excerpt=excerpt)


def parse_rtcp(data: bytes, *, reduced_size: bool = False) -> list[RtcpPacket]:
    """Read a compound packet.

    Args:
        data: One datagram, decrypted.
        reduced_size: Whether a packet may begin with something else than a report (RFC 5506).

    Raises:
        RtcpSyntaxError: Version, lengths, padding or order are wrong; nothing of the datagram
            is to be used (RFC 3550 appendix A.2).
    """
    if len(data) < 2 * _WORD.size:
        raise _error("shorter than one packet", "6.1", data)
    packets: list[RtcpPacket] = []
    position = 0
    while position < len(data):
        if len(packets) == MAX_PACKETS:
            raise _error(f"more than {MAX_PACKETS} packets in one datagram", "6.1", data)
        if len(data) - position < _HEAD.size:
            raise _error("octets after the last packet", "6.1", data[position:])
        first, kind, words = _HEAD.unpack_from(data, position)
        end = position + _WORD.size * (words + 1)
        if first & 0xC0 != _VERSION_2:
            raise _error("not version 2", "6.4.1", data[position:])
        if end > len(data):
            raise _error("the length field goes beyond the datagram", "6.4.1", data[position:])
        if not packets and not reduced_size and kind not in _REPORTS:
            raise _error("a compound packet begins with a report", "6.1", data)
        body = data[position + _HEAD.size : end]
        if first & _PADDING:
            body = _without_padding(body, last=end == len(data))
        packets.append(_PARSERS.get(kind, _parse_unknown)(kind, first & MAX_COUNT, body))
        position = end
    return packets


def _without_padding(body: bytes, *, last: bool) -> bytes:
    if not last:
        raise _error("padding before the last packet", "6.4.1", body)
    padding = body[-1] if body else 0
    if padding == 0 or padding % _WORD.size or padding > len(body):
        raise _error("impossible padding", "6.4.1", body)
    return body[:-padding]


def _parse_blocks(body: bytes, start: int, count: int) -> tuple[tuple[ReportBlock, ...], bytes]:
    end = start + count * _BLOCK.size
    if end > len(body):
        raise _error("fewer report blocks than counted", "6.4.1", body)
    blocks = []
    for ssrc, loss, highest, jitter, last_sr, delay in _BLOCK.iter_unpack(body[start:end]):
        blocks.append(ReportBlock(ssrc, *split_loss(loss), highest, jitter, last_sr, delay))
    return tuple(blocks), body[end:]


def _parse_sender_report(_kind: int, count: int, body: bytes) -> SenderReport:
    if len(body) < _SENDER_INFO.size:
        raise _error("sender report without sender information", "6.4.1", body)
    blocks, extension = _parse_blocks(body, _SENDER_INFO.size, count)
    ssrc, ntp, rtp_timestamp, packets, octets = _SENDER_INFO.unpack_from(body)
    return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, blocks, extension)


def _parse_receiver_report(_kind: int, count: int, body: bytes) -> ReceiverReport:
    if len(body) < _WORD.size:
        raise _error("receiver report without a sender", "6.4.2", body)
    blocks, extension = _parse_blocks(body, _WORD.size, count)
    return ReceiverReport(_WORD.unpack_from(body)[0], blocks, extension)


def _parse_source_description(_kind: int, count: int, body: bytes) -> SourceDescription:
    chunks = []
    position = 0
    for _ in range(count):
        if len(body) - position < 2 * _WORD.size:
            raise _error("fewer chunks than counted", "6.5", body)
        ssrc = _WORD.unpack_from(body, position)[0]
        items, position = _parse_items(body, position + _WORD.size)
        chunks.append(SdesChunk(ssrc, items))
    return SourceDescription(tuple(chunks))


def _parse_items(body: bytes, position: int) -> tuple[tuple[SdesItem, ...], int]:
    items = []
    length = len(body)
    while position < length and body[position]:
        if position + 1 == length:
            raise _error("an item without a length", "6.5", body)
        end = position + 2 + body[position + 1]
        if end > length:
            raise _error("an item beyond its packet", "6.5", body)
        items.append(SdesItem(body[position], body[position + 2 : end]))
        position = end
    if position == length:
        raise _error("a chunk without an end", "6.5", body)
    # At least one null octet, then up to the next word.
    return tuple(items), (position // _WORD.size + 1) * _WORD.size


def _parse_goodbye(_kind: int, count: int, body: bytes) -> Goodbye:
    end = count * _WORD.size
    if end > len(body):
        raise _error("fewer sources than counted", "6.6", body)
    ssrcs = tuple(ssrc for (ssrc,) in _WORD.iter_unpack(body[:end]))
    if end == len(body):
        return Goodbye(ssrcs)
    reason = body[end + 1 : end + 1 + body[end]]
    if len(reason) < body[end]:
        raise _error("a reason beyond its packet", "6.6", body)
    return Goodbye(ssrcs, reason)


def _parse_feedback(kind: int, message_format: int, body: bytes) -> Feedback | UnknownRtcp:
    try:
        found = parse_feedback(kind, message_format, body)
    except ValueError as error:
        raise RtcpSyntaxError(str(error), rfc="RFC 4585 section 6.1", excerpt=body) from error
    return found or UnknownRtcp(kind, message_format, body)


def _parse_extended_report(_kind: int, _reserved: int, body: bytes) -> ExtendedReport:
    try:
        return parse_extended_report(body)
    except ValueError as error:
        raise RtcpSyntaxError(str(error), rfc="RFC 3611 section 3", excerpt=body) from error


def _parse_unknown(kind: int, count: int, body: bytes) -> UnknownRtcp:
    return UnknownRtcp(kind, count, body)


_REPORTS = frozenset({PacketType.SENDER_REPORT, PacketType.RECEIVER_REPORT})
_PARSERS: Final[Mapping[int, Callable[[int, int, bytes], RtcpPacket]]] = {
    PacketType.SENDER_REPORT: _parse_sender_report,
    PacketType.RECEIVER_REPORT: _parse_receiver_report,
    PacketType.SOURCE_DESCRIPTION: _parse_source_description,
    PacketType.GOODBYE: _parse_goodbye,
    PacketType.TRANSPORT_FEEDBACK: _parse_feedback,
    PacketType.PAYLOAD_FEEDBACK: _parse_feedback,
    PacketType.EXTENDED_REPORT: _parse_extended_report,
}


def build_compound(packets: Sequence[RtcpPacket]) -> bytes:
    """Write packets one after another, without padding.

    Raises:
        LocalProtocolError: More than 31 blocks, chunks or sources in a packet, a text of more
            than 255 octets, or a number wider than its field.
    """
    try:
        return b"".join(map(_build, packets))
    except struct.error as error:
        raise LocalProtocolError(f"a number does not fit its RTCP field: {error}") from error


def _build(packet: RtcpPacket) -> bytes:
    match packet:
        case SenderReport():
            kind, count = PacketType.SENDER_REPORT, len(packet.blocks)
            info = _SENDER_INFO.pack(
                packet.ssrc,
                packet.ntp,
                packet.rtp_timestamp & 0xFFFF_FFFF,
                packet.packets & 0xFFFF_FFFF,
                packet.octets & 0xFFFF_FFFF,
            )
            body = info + _build_blocks(packet.blocks) + packet.extension
        case ReceiverReport():
            kind, count = PacketType.RECEIVER_REPORT, len(packet.blocks)
            body = _WORD.pack(packet.ssrc) + _build_blocks(packet.blocks) + packet.extension
        case SourceDescription():
            kind, count = PacketType.SOURCE_DESCRIPTION, len(packet.chunks)
            body = b"".join(map(_build_chunk, packet.chunks))
        case Goodbye():
            kind, count = PacketType.GOODBYE, len(packet.ssrcs)
            body = b"".join(map(_WORD.pack, packet.ssrcs))
            if packet.reason is not None:
                body = _to_word(body + _counted(packet.reason))
        case GenericNack() | PictureLossIndication() | SliceLossIndication() | FullIntraRequest():
            kind, count, body = build_feedback(packet)
        case ExtendedReport():
            kind, count, body = PacketType.EXTENDED_REPORT, 0, build_extended_report(packet)
        case _:
            kind, count, body = packet.packet_type, packet.count, packet.body
    if count > MAX_COUNT:
        raise LocalProtocolError(f"{count} entries in one RTCP packet, {MAX_COUNT} at most")
    if len(body) % _WORD.size:
        raise LocalProtocolError("the octets of an RTCP packet are a multiple of 4")
    return _HEAD.pack(_VERSION_2 | count, kind, len(body) // _WORD.size) + body


def _build_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            (block.fraction_lost << 24) | (block.cumulative_lost & 0xFF_FFFF),
            block.extended_max_sequence,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        )
        for block in blocks
    )


def _build_chunk(chunk: SdesChunk) -> bytes:
    items = b"".join(bytes((item.kind,)) + _counted(item.value) for item in chunk.items)
    return _to_word(_WORD.pack(chunk.ssrc) + items + b"\0")


def _counted(text: bytes) -> bytes:
    if len(text) > MAX_TEXT:
        raise LocalProtocolError(f"a text of {len(text)} octets, {MAX_TEXT} at most")
    return bytes((len(text),)) + text


def _to_word(body: bytes) -> bytes:
    return body + bytes(-len(body) % _WORD.size)
